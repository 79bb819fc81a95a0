"""NumPy's ``.npy`` and ``.npz`` files, read with no trust in what they declare.

A ``.npy`` is a header (shape, dtype, order) and the array's bytes; a ``.npz`` is a zip archive of
such files, which has the CRC-32 of each one. What a header declares is compared with what can be
there before any memory is taken.
"""

from __future__ import annotations

import math
import zipfile
from typing import IO, BinaryIO

import numpy as np

from minidl.io.files import read_into, size_of, within

Arrays = dict[str, np.ndarray]

TREE = "__minidl__"  # the entry of minidl's own files that is not an array
DEFLATE_RATIO = 1032  # deflate stores 258 bytes in two bits, no more
ENTRY_BYTES = 30  # of the zip archive itself, before each entry's name
NAME_BYTES = 65_535 - len(".npy")


def write(file: BinaryIO, arrays: Arrays, tree: str | None) -> None:
    """What np.savez does, for any names (it cannot take ``file``, one of its arguments)."""
    if tree is not None:
        arrays = {**arrays, TREE: np.array(tree.encode("ascii"))}
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # has no date: same state, same bytes
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def read(file: BinaryIO, limit: int) -> tuple[Arrays, bytes | None]:
    """The arrays of an archive by name, and the text that `write` was given.

    Raises:
        TooLarge: they declare more bytes than the limit.
        ValueError, zipfile.BadZipFile and others: the archive is damaged or holds other things.
    """
    arrays: Arrays = {}
    with zipfile.ZipFile(file) as archive:
        _check_count(file, archive)
        for name, entry in _entries(archive, size_of(file), limit).items():
            try:
                with archive.open(entry) as member:
                    arrays[name] = read_npy(member, entry.file_size)
            except Exception as error:
                raise ValueError(f"{entry.filename}: {error}") from error
    text = arrays.pop(TREE, None)
    return arrays, None if text is None else text.item()


def _check_count(file: BinaryIO, archive: zipfile.ZipFile) -> None:
    """A damaged length in the directory may hide entries: zipfile does not count them."""
    file.seek(-22 - len(archive.comment), 2)  # the last record of an archive
    end = file.read(22)
    expected, given = int.from_bytes(end[10:12], "little"), len(archive.infolist())
    if end[:4] == b"PK\x05\x06" and expected not in (given, 0xFFFF):
        raise ValueError(f"its directory has {given:,} entries, expected {expected:,}")


def _entries(archive: zipfile.ZipFile, size: int, limit: int) -> dict[str, zipfile.ZipInfo]:
    """What is in an archive of `size` bytes, by array name, if it can be what it declares."""
    entries: dict[str, zipfile.ZipInfo] = {}
    packed = unpacked = 0
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        if name in entries:
            raise ValueError(f"it has two arrays {name!r}")
        if entry.flag_bits & 1:
            raise ValueError(f"{entry.filename} is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(
                f"{entry.filename} has the compression method {entry.compress_type}, expected "
                "0 (none) or 8 (deflate)"
            )
        ratio = 1 if entry.compress_type == zipfile.ZIP_STORED else DEFLATE_RATIO
        if entry.file_size > ratio * entry.compress_size:
            raise ValueError(
                f"{entry.filename} declares {entry.file_size:,} bytes, which its "
                f"{entry.compress_size:,} cannot hold"
            )
        packed += ENTRY_BYTES + entry.compress_size
        unpacked += entry.file_size
        within(limit, unpacked, f"up to {entry.filename} ({entry.file_size:,} bytes) it declares")
        entries[name] = entry
    if packed > size:
        raise ValueError(f"its entries declare {packed:,} bytes, but it has {size:,}")
    return entries


def read_npy(file: IO[bytes], size: int) -> np.ndarray:
    """The array in a ``.npy`` file of `size` bytes, which must hold nothing else.

    The array is writable, in the order and byte order of the file.

    Raises:
        ValueError: the file is damaged, or holds Python objects.
    """
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"expected the format's version 1.0 or 2.0, given {version}")
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded: they would run code from the file")
    expected, given = math.prod(shape) * dtype.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or expected != given:
        raise ValueError(f"expected {expected:,} bytes for {dtype}{list(shape)}, given {given:,}")
    content = np.empty(expected, np.uint8)
    # Further than to its last byte: a zip archive then checks the CRC-32.
    if read_into(file, content) < expected or file.read(1):
        raise ValueError(f"it ends before its {expected:,} bytes")
    return np.ndarray(shape, dtype, content, order="F" if fortran else "C")
