"""read_idx: every type, gzipped or not, and an error that says what is wrong with a file."""

import gzip
import struct

import numpy as np
import pytest

from minidl.data import read_idx
from minidl.data.idx import to_idx

LABELS = struct.pack(">HBBI", 0, 8, 1, 3) + bytes([7, 0, 255])


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["raw", "gzip"])
def test_reads_by_content_not_by_name(tmp_path, pack):
    for name in ("labels", "labels.gz", "labels.bin"):
        labels = read_idx(write(tmp_path / name, pack(LABELS)))
        assert labels.dtype == np.uint8
        assert labels.tolist() == [7, 0, 255]


@pytest.mark.parametrize(
    ("code", "form", "values"),
    [
        (0x08, "B", [0, 1, 255]),
        (0x09, "b", [-128, 0, 127]),
        (0x0B, "h", [-300, 0, 300]),
        (0x0C, "i", [-(2**31), 0, 70000]),
        (0x0D, "f", [-1.5, 0.0, 3e38]),
        (0x0E, "d", [-1.5, 0.0, 1e300]),
    ],
)
def test_every_type_is_big_endian_in_the_file_and_native_here(tmp_path, code, form, values):
    content = struct.pack(f">HBB2I3{form}", 0, code, 2, 1, 3, *values)
    array = read_idx(write(tmp_path / "a", content))
    assert array.shape == (1, 3)
    assert array.dtype.isnative
    assert array.astype(float).tolist() == [np.array(values, form).astype(float).tolist()]
    assert to_idx(array) == content
    array[0, 0] = 1  # writable


def test_official_magic_numbers():
    assert to_idx(np.zeros((2, 28, 28), np.uint8))[:8] == struct.pack(">II", 2051, 2)
    assert to_idx(np.zeros(2, np.uint8))[:8] == struct.pack(">II", 2049, 2)
    with pytest.raises(TypeError, match="int64"):
        to_idx(np.zeros(2, np.int64))


def test_empty_and_multi_member_files(tmp_path):
    empty = np.zeros((0, 28, 28), np.uint8)
    assert read_idx(write(tmp_path / "empty", to_idx(empty))).shape == (0, 28, 28)
    members = gzip.compress(LABELS[:5]) + gzip.compress(LABELS[5:])
    assert read_idx(write(tmp_path / "two", members)).tolist() == [7, 0, 255]


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no-such-file.* is not there"):
        read_idx(tmp_path / "no-such-file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "truncated: expected at least 4 bytes, given 0"),
        (LABELS[:6], "truncated: expected a header of 8 bytes, given 6"),
        (LABELS[:-1], r"truncated: expected 11 bytes for the shape \(3,\), given 10"),
        (LABELS + b"xy", "trailing bytes: expected 11 bytes .* given 13"),
        (b"\x00\x00\x07\x01" + LABELS[4:], "wrong magic: .* given 00 00 07 01"),
        (b"<html>not found</html>", "wrong magic"),
        (b"PK\x03\x04zip", "wrong magic"),
        # A damaged length must not make it allocate 16 exabytes.
        (
            struct.pack(">HBB3I", 0, 8, 3, *[2**21] * 3) + b"x",
            "truncated: expected 9223372036854775824",
        ),
        (gzip.compress(LABELS + b"xy"), "trailing bytes"),
        (gzip.compress(LABELS[:-1]), "truncated: expected 11 bytes"),
        (gzip.compress(LABELS)[:-6], "truncated: its gzip checksum is missing"),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path, content, message):
    path = write(tmp_path / "bad-file", content)
    with pytest.raises(ValueError, match=rf"bad-file.*{message}"):
        read_idx(path)


def test_gzip_cut_short_and_gzip_with_a_wrong_checksum(tmp_path):
    numbers = np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint8)
    packed = bytearray(gzip.compress(to_idx(numbers)))
    with pytest.raises(ValueError, match=r"bad-file.*truncated: expected 5008 bytes"):
        read_idx(write(tmp_path / "bad-file", packed[: len(packed) // 2]))
    packed[-6] ^= 1
    with pytest.raises(ValueError, match=r"bad-file.*damaged gzip"):
        read_idx(write(tmp_path / "bad-file", packed))
