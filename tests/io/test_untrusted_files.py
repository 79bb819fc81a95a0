"""Files that lie or are damaged: what they declare is compared with what they have before memory is taken."""

import gzip
import io
import json
import struct
import time
import tracemalloc
import warnings
import zipfile
from importlib.util import find_spec

import numpy as np
import pytest

from minidl import nn
from minidl.data import read_idx
from minidl.data.idx import to_idx
from minidl.io import files
from minidl.io.saving import load, save

ENDINGS = [".npz", *([".safetensors"] if find_spec("safetensors") else [])]
ZEROS = 1 << 25
STATE = {
    "model": {"weight": np.arange(12, dtype=np.float32).reshape(3, 4), "mask": np.ones(3, bool)},
    "epoch": 3,
    "rate": 0.25,
    "names": ("a", "b"),
}


def header(shape, dtype="<f4", fortran=False):
    """The header of a .npy file."""
    out = io.BytesIO()
    declared = {"descr": dtype, "fortran_order": fortran, "shape": shape}
    np.lib.format.write_array_header_1_0(out, declared)
    return out.getvalue()


def npz(path, *entries, method=zipfile.ZIP_DEFLATED):
    """An archive of (name, content)."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in entries:
            archive.writestr(name, content)
    return path


def tensors(path, entries, content=b"", length=None):
    """A .safetensors file with this header, a dict or its text."""
    text = (entries if isinstance(entries, str) else json.dumps(entries)).encode()
    length = len(text) if length is None else length
    path.write_bytes(length.to_bytes(8, "little") + text + content)
    return path


def same(a, b):
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and a == b


# --- More than there is ----------------------------------------------------------------


def bomb(path):
    """A small .npz that rightly declares 32 MiB of zeros and some more."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("small.npy", "w") as member:
            member.write(header((2,)) + bytes(8))
        with archive.open("big.npy", "w", force_zip64=True) as member:
            member.write(header((ZEROS,), "|u1"))
            member.write(bytes(ZEROS))
    assert path.stat().st_size < 4e4
    return path


def test_a_bomb_is_refused_unless_its_size_is_allowed(tmp_path, monkeypatch):
    assert files.LEAST_LIMIT == 1 << 30
    monkeypatch.setattr(files, "LEAST_LIMIT", ZEROS)
    path = bomb(tmp_path / "bomb.npz")
    tracemalloc.start()
    message = r"bomb\.npz: up to big\.npy \(33,554,560 bytes\) it declares 33,554,696 bytes, "
    message += r"more than max_bytes=33,554,432: .*load it with a larger max_bytes"
    for read in (load, lambda path: nn.Affine(1, 1, weight=path)):
        with pytest.raises(ValueError, match=message):
            read(path)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    with pytest.raises(ValueError, match="max_bytes=100: "):
        load(path, max_bytes=100)
    assert len(load(path, max_bytes=2 * ZEROS)["big"]) == ZEROS


@pytest.mark.parametrize("ending", ENDINGS)
def test_max_bytes(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    save({"w": np.zeros(1000)}, path)
    with pytest.raises(ValueError, match=rf"a\{ending}: .* more than max_bytes=7,999: "):
        load(path, max_bytes=7999)
    assert load(path, max_bytes=9000)["w"].shape == (1000,)
    for wrong, error in ((-1, ValueError), (1.5, TypeError), ("9", TypeError)):
        with pytest.raises(error, match="load: max_bytes must be an integer"):
            load(path, max_bytes=wrong)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        # A header that declares 4 EiB, and no bytes behind it.
        ([("w.npy", header((1 << 60,)))], "w.npy: expected 4,611,686,018,427,387,904 bytes"),
        ([("w.npy", header((4,)) + bytes(15))], "w.npy: expected 16 bytes .* given 15"),
        ([("w.npy", header((4,)) + bytes(17))], "w.npy: expected 16 bytes .* given 17"),
        ([("w.npy", header((-4,)))], "w.npy: expected -16 bytes"),
        ([("w.npy", header((0, 1 << 62)) + b"x")], "w.npy: expected 0 bytes .* given 1"),
        ([("w.npy", header((2,), "|O"))], "w.npy: Object arrays cannot be loaded"),
        ([("w.npy", header((2,), [("a", "|O")]))], "w.npy: Object arrays cannot be loaded"),
        ([("w.npy", b"\x93NUMPY\x03\x00" + bytes(90))], "version 1.0 or 2.0, given .3, 0"),
        ([("w.npy", header((1,)) + bytes(4))] * 2, "two arrays 'w'"),
        ([("w", header((0,))), ("w.npy", header((0,)))], "two arrays 'w'"),
        ([("w.npy", b"")], "w.npy: "),
        ([("README.txt", b"hello")], "README.txt: "),
        ([("folder/", b"")], "folder/: "),
    ],
    ids=range(13),
)
def test_archives_that_lie(tmp_path, entries, message):
    path = npz(tmp_path / "a.npz", *entries)
    with pytest.raises(ValueError, match=rf"a\.npz is truncated, damaged or no .*{message}"):
        load(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_numpy_does_not_write(tmp_path, method):
    path = npz(tmp_path / "a.npz", ("w.npy", header((1,)) + bytes(4)), method=method)
    with pytest.raises(ValueError, match=f"w.npy has the compression method {method}, expected"):
        load(path)


def patched(path, at, value, form="<I"):
    """The archive with another field in its central directory."""
    content = bytearray(path.read_bytes())
    struct.pack_into(form, content, content.index(b"PK\x01\x02") + at, value)
    path.write_bytes(content)
    return path


def test_fields_of_the_directory_that_lie(tmp_path):
    def archive():
        return npz(tmp_path / "a.npz", ("w.npy", header((1000,)) + bytes(4000)))

    with pytest.raises(ValueError, match=r"w.npy is encrypted"):
        load(patched(archive(), 8, 1, "<H"))
    with pytest.raises(ValueError, match=r"w.npy declares 900,000,000 bytes, which its [0-9]+ can"):
        load(patched(archive(), 24, 900_000_000))
    with pytest.raises(ValueError, match=r"its entries declare 500,000,030 bytes, but it has "):
        load(patched(archive(), 20, 500_000_000))
    with pytest.raises(ValueError, match=r"w.npy: .*CRC"):
        load(patched(archive(), 16, 1))


def test_arrays_that_share_their_bytes(tmp_path):
    """Entries that overlap would unpack the same bytes again and again."""
    path = npz(tmp_path / "a.npz", ("w.npy", header((100_000,)) + bytes(400_000)))
    content = path.read_bytes()
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry = content[start:end]
    count = 200
    copies = b"".join(entry.replace(b"w.npy", b"%05d" % i) for i in range(count))
    tail = bytearray(content[end:])
    struct.pack_into("<HHII", tail, 8, count, count, len(copies), start)
    path.write_bytes(content[:start] + copies + tail)
    with pytest.raises(ValueError, match=r"a\.npz is truncated, damaged"):
        load(path)


def test_orders_shapes_and_names_of_other_programs(tmp_path):
    base = np.arange(6.0).reshape(2, 3)
    arrays = {
        "../up": np.asfortranarray(base),
        "/root": base.astype(">f8"),
        "zero": np.array(5, np.int16),
        "empty": np.zeros((0, 3)),
        "dates": np.array(["2020-01-01"], "datetime64[D]"),
    }
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "a.npz", **arrays)
        loaded = load(tmp_path / "a.npz")
        assert same(loaded, arrays)
        assert loaded["../up"].flags.f_contiguous
        assert all(array.flags.writeable for array in loaded.values())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.npy", header((1 << 50, 2)), "expected 9,007,199,254,740,992 bytes .* given 0"),
        ("w.npy", header((2, 1)) + bytes(9), "expected 8 bytes for .* given 9"),
        ("w.npz", b"PK\x05\x06" + bytes(18), r"no array 'weight' but \[\]"),
    ],
)
def test_files_of_a_parameter_that_lie(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"Affine\.weight: .*{name}.*{message}"):
        nn.Affine(2, 1, weight=tmp_path / name)


def test_a_parameter_from_a_file_of_save(tmp_path):
    for ending in ENDINGS:
        save(nn.Affine(2, 1, bias=False).state_dict(), tmp_path / f"w{ending}")
        assert nn.Affine(2, 1, weight=tmp_path / f"w{ending}").weight.shape == (1, 2)


# --- safetensors -----------------------------------------------------------------------

F4 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


# Its library says what is wrong with a header; ours are the limit, the dtypes and the checksums.
@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"a": {**F4, "shape": [2]}}, ""),
        ({"a": {**F4, "data_offsets": [0, 5]}}, ""),
        ({"a": F4 | {"data_offsets": [4, 8]}}, ""),
        ({"a": F4 | {"data_offsets": [-4, 0]}}, ""),
        ({"a": F4 | {"shape": [-1], "data_offsets": [4, 0]}}, ""),
        ({"a": F4 | {"shape": [1.0]}}, ""),
        ({"a": F4 | {"shape": [True]}}, ""),
        ({"a": F4, "b": F4}, ""),
        ({"a": F4 | {"shape": [1 << 40], "data_offsets": [0, 1 << 42]}}, ""),
        ({"a": F4 | {"shape": [1 << 62, 16], "data_offsets": [0, 4]}}, ""),
        ({"a": F4 | {"shape": [9], "data_offsets": [0, 36]}}, ""),
        ({}, ""),
        ({"a": F4 | {"dtype": "F8_E4M3", "shape": [4]}}, "a has the dtype F8_E4M3"),
        ({"a": F4 | {"dtype": []}}, ""),
        ({"a": 3}, ""),
        ({"a": {}}, ""),
        ([F4], ""),
        ("[" * 100_000, ""),
        ("{", ""),
        ("\xff", ""),
        ({"a": F4, "__metadata__": {"minidl_crc32": '{"arrays": {}}'}}, "minidl_crc32 is about"),
        ({"a": F4, "__metadata__": {"minidl_crc32": "7"}}, "TypeError"),
        ({"a": F4, "__metadata__": {"minidl": "{}"}}, "KeyError"),
    ],
    ids=range(23),
)
def test_safetensors_that_lie(tmp_path, entries, message):
    pytest.importorskip("safetensors")
    path = tensors(tmp_path / "a.safetensors", entries, bytes(4))
    with pytest.raises(ValueError, match=rf"load: .*a\.safetensors.*{message}"):
        load(path)


@pytest.mark.parametrize("length", [0, 100, 10**8 + 1, 2**63, 2**64 - 1])
def test_headers_of_a_length_that_cannot_be(tmp_path, length):
    pytest.importorskip("safetensors")
    path = tensors(tmp_path / "a.safetensors", {"a": F4}, bytes(4), length)
    with pytest.raises(ValueError, match=r"load: .*a\.safetensors is truncated, damaged"):
        load(path)


def test_safetensors_larger_than_the_limit(tmp_path):
    pytest.importorskip("safetensors")
    path = tensors(tmp_path / "a.safetensors", {"a": F4}, bytes(4))
    with pytest.raises(
        ValueError, match=r"a\.safetensors: its arrays take 4 bytes, more than max_bytes=3"
    ):
        load(path, max_bytes=3)


def test_the_library_reads_our_files_and_we_read_its(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    arrays = {"b": np.ones(3, bool), "": np.arange(2.0), "ünï": np.ones((0, 2), np.float16),
              "i": np.array(-5, np.int64), "f": np.arange(6, dtype=np.float32).reshape(2, 3)}  # fmt: skip
    path = tmp_path / "a.safetensors"
    save(arrays, path)
    found = library.load_file(path)
    assert all(same(found[name], array) for name, array in arrays.items())
    assert sorted(load(path)) == sorted(arrays)
    library.save_file(arrays, path)
    found = load(path)
    assert all(same(found[name], array) for name, array in arrays.items())


# --- Damage ----------------------------------------------------------------------------


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
def test_one_damaged_byte_is_an_error_or_changes_nothing(tmp_path, ending, flat):
    path = tmp_path / f"state{ending}"
    state = dict(sorted(STATE["model"].items())) if flat else STATE
    save(state, path)
    whole = path.read_bytes()
    refused = 0
    for at in range(len(whole)):
        for bits in (1 << at % 8,):
            damaged = bytearray(whole)
            damaged[at] ^= bits
            path.write_bytes(damaged)
            try:
                found = load(path)
                if flat:  # the library's order of arrays may depend on the damaged byte
                    found = {name: found[name] for name in sorted(found)}
                assert same(found, state), f"byte {at} ^ {bits} is not noticed"
            except ValueError as error:
                assert f"state{ending}" in str(error)
                refused += 1
    assert refused > len(whole) / 2


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_damaged_array_is_named(tmp_path, ending):
    path = tmp_path / f"state{ending}"
    save({"good": np.zeros(100), "bad": np.full(100, 7.0)}, path)
    content = path.read_bytes()
    seven = struct.pack("<d", 7.0) * 3
    path.write_bytes(content.replace(seven, struct.pack("<d", 8.0) * 3, 1))
    with pytest.raises(ValueError, match=rf"state\{ending} is .* bad.*(CRC|checksum)"):
        load(path)


def test_files_without_checksums_load_as_before(tmp_path):
    """As versions without checksums wrote them."""
    tree = {"dict": {"w": {"array": "w"}, "epoch": 3}}
    text = json.dumps({"version": 1, "tree": tree})
    w = np.arange(3, dtype=np.float32)
    content = w.astype("<f4").tobytes()
    entry = {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}
    path = tensors(
        tmp_path / "old.safetensors", {"__metadata__": {"minidl": text}, "w": entry}, content
    )
    assert same(load(path), {"w": w, "epoch": 3})
    np.savez(tmp_path / "old.npz", w=w, __minidl__=np.array(text.encode()))
    assert same(load(tmp_path / "old.npz"), {"w": w, "epoch": 3})


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"\ud800": np.ones(1)}, "the key '.ud800' cannot be encoded in UTF-8"),
        ({"k" * 70_000: np.ones(1)}, "the key 'kkkkkkkkkkkkkkkkkkkk'... has 70,000 bytes"),
    ],
)
@pytest.mark.parametrize("ending", ENDINGS)
def test_keys_that_no_file_can_have(tmp_path, ending, state, message):
    with pytest.raises(ValueError, match=f"save: {message}"):
        save(state, tmp_path / f"a{ending}")
    assert not list(tmp_path.iterdir())


def test_a_state_that_contains_itself(tmp_path):
    state = []
    state.append(state)
    with pytest.raises(ValueError, match="save: state contains itself, or is nested too deeply"):
        save(state, tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())


# --- IDX -------------------------------------------------------------------------------


def idx_header(*shape):
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)


def test_a_gzipped_idx_is_unpacked_no_further_than_it_declares(tmp_path):
    path = tmp_path / "bomb"
    with gzip.open(path, "wb", 1) as file:
        file.write(idx_header(10))
        for _ in range(4):
            file.write(bytes(1 << 24))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"bomb has trailing bytes: expected 18 bytes .* more"):
        read_idx(path)
    assert tracemalloc.get_traced_memory()[1] < 3e6
    tracemalloc.stop()


def test_an_idx_that_declares_too_much(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(idx_header(1 << 31)))
    with pytest.raises(ValueError, match=r"truncated: expected 2147483656 bytes .* at most"):
        read_idx(path)
    path.write_bytes(gzip.compress(to_idx(np.zeros(1000, np.uint8))))
    with pytest.raises(ValueError, match=r"read_idx: .*a declares .* 1,000 bytes, more than max_b"):
        read_idx(path, max_bytes=999)
    assert len(read_idx(path, max_bytes=1000)) == 1000


def test_many_members_take_linear_time(tmp_path):
    path = tmp_path / "a"

    def seconds(count):
        path.write_bytes(gzip.compress(idx_header(count)) + gzip.compress(b"\x07") * count)
        begun = time.process_time()
        assert read_idx(path).tolist() == [7] * count
        return time.process_time() - begun

    assert seconds(20_000) < 8 * seconds(5_000) + 0.5  # quadratic: 16


def test_what_follows_a_gzip_member(tmp_path):
    path, whole = tmp_path / "a", gzip.compress(to_idx(np.arange(5, dtype=np.uint8)))
    path.write_bytes(whole + bytes(100))  # padding, as of tapes
    assert read_idx(path).tolist() == [0, 1, 2, 3, 4]
    for rest in (b"garbage", bytes(3) + b"x"):
        path.write_bytes(whole + rest)
        with pytest.raises(ValueError, match="a is a damaged gzip file"):
            read_idx(path)


def test_every_damaged_byte_of_a_gzipped_idx(tmp_path):
    path, values = tmp_path / "a", np.arange(200, dtype=np.uint8)
    whole = gzip.compress(to_idx(values), mtime=0)
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        try:
            assert same(read_idx(path), values), at
        except ValueError as error:
            assert f"read_idx: {path}" in str(error)
