"""``.safetensors`` files, and the checksums that minidl puts into its own.

The format (https://github.com/huggingface/safetensors): eight bytes with the length of the header,
a header in JSON, ``{name: {"dtype", "shape", "data_offsets"}}``, then the arrays' bytes,
little-endian, with nothing between them. ``__metadata__`` in the header holds texts by name.

minidl writes ``minidl_crc32`` there, ``{"arrays": {name: CRC-32}, "tree": CRC-32}`` in JSON. An
array's CRC-32 is that of ``["F32", [2, 3]]``, its dtype and shape, and then of its bytes.
"""

from __future__ import annotations

import json
import math
import zlib
from typing import Any, BinaryIO

import numpy as np

from minidl.files import read_into, size_of, within

Arrays = dict[str, np.ndarray]

METADATA = "__metadata__"
TREE = "minidl"  # the text in a file of minidl for all that is no array
CHECKSUMS = "minidl_crc32"
MOST_HEADER = 100_000_000  # as in the safetensors library
TYPES = {
    "BOOL": "?",
    **{f"{kind}{8 * n}": f"<{kind.lower()}{n}" for kind in "IU" for n in (1, 2, 4, 8)},
    **{f"F{8 * n}": f"<f{n}" for n in (2, 4, 8)},
    "BF16": "<u2",  # NumPy has no bfloat16: its bits are the upper half of a float32's
}
NAMES = {np.dtype(code): name for name, code in TYPES.items() if name != "BF16"}


def write(file: BinaryIO, arrays: Arrays, tree: str | None) -> None:
    """Writes arrays in native byte order and row-major, in their order in the header."""
    header: dict[str, Any] = {METADATA: {}}
    checksums: dict[str, Any] = {"arrays": {}}
    if tree is not None:
        header[METADATA][TREE] = tree
        checksums["tree"] = zlib.crc32(tree.encode())
    # The largest items first: all begin at a multiple of their size.
    by_size = sorted(arrays, key=lambda name: -arrays[name].itemsize)
    end = 0
    begins = {}
    for name in by_size:
        begins[name], end = end, end + arrays[name].nbytes
    for name, array in arrays.items():
        little = array.dtype.newbyteorder("<")
        kind, shape = NAMES[little], list(array.shape)
        offsets = [begins[name], begins[name] + array.nbytes]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": offsets}
        checksums["arrays"][name] = _crc32(kind, shape, array.astype(little, copy=False))
    header[METADATA][CHECKSUMS] = json.dumps(checksums)
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in by_size:
        file.write(arrays[name].astype(arrays[name].dtype.newbyteorder("<"), copy=False).data)


def read(file: BinaryIO, limit: int) -> tuple[Arrays, str | None]:
    """The arrays of a file by name, and the text that `write` was given.

    The arrays are writable and in native byte order; bfloat16 becomes float32.

    Raises:
        TooLarge: they declare more bytes than the limit.
        ValueError and others: the file is damaged, or has a dtype that NumPy does not have.
    """
    size = size_of(file)
    length = int.from_bytes(file.read(8), "little")
    if not 0 < length <= min(size - 8, MOST_HEADER):
        raise ValueError(f"it declares a header of {length:,} bytes, and has {size:,} in all")
    header = json.loads(file.read(length).decode(), object_pairs_hook=_without_duplicates)
    metadata = header.pop(METADATA, {})
    places = _places(header, size - 8 - length, limit)
    checksums = json.loads(metadata[CHECKSUMS]) if CHECKSUMS in metadata else None
    text = metadata.get(TREE)
    if checksums is not None:
        if set(checksums["arrays"]) != set(header):
            raise ValueError(f"{CHECKSUMS} is about {sorted(checksums['arrays'])}")
        if checksums.get("tree") != (None if text is None else zlib.crc32(text.encode())):
            raise ValueError(f"{TREE} has another checksum than {CHECKSUMS} says")
    arrays: Arrays = dict.fromkeys(header, np.empty(0))  # in the header's order
    for name, count in places:
        content = np.empty(count, np.uint8)
        if read_into(file, content) < count:
            raise ValueError(f"{name} ends before its {count:,} bytes")
        kind, shape = header[name]["dtype"], header[name]["shape"]
        if checksums is not None and checksums["arrays"][name] != _crc32(kind, shape, content):
            raise ValueError(f"{name} has another checksum than {CHECKSUMS} says")
        array = content.view(TYPES[kind]).reshape(shape)
        if kind == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        arrays[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return arrays, text


def _places(header: dict[str, Any], size: int, limit: int) -> list[tuple[str, int]]:
    """Each array's name and its bytes, in the order of the file; they must fill `size` bytes."""
    places, taken = [], 0
    for name, entry in header.items():
        kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        if kind not in TYPES:
            raise ValueError(f"{name} has the dtype {kind}, which NumPy does not have")
        if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
            raise ValueError(f"{name} has the shape {shape} and the offsets {[begin, end]}")
        expected = math.prod(shape) * np.dtype(TYPES[kind]).itemsize
        if end - begin != expected:
            raise ValueError(
                f"{name} has {end - begin:,} bytes, expected {expected:,} for {kind}{shape}"
            )
        taken += expected * (2 if kind == "BF16" else 1)
        within(limit, taken, f"up to {name} ({kind}{shape}) it declares")
        places.append((begin, end, name))
    here = 0
    for begin, end, name in sorted(places):
        if begin != here:
            raise ValueError(f"{name} begins at byte {begin:,}, expected {here:,}")
        here = end
    if here != size:
        raise ValueError(f"its arrays take {here:,} bytes, but it has {size:,}")
    return [(name, end - begin) for begin, end, name in sorted(places)]


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has two entries {next(n for n in names if names.count(n) > 1)!r}")
    return found


def _crc32(kind: str, shape: list[int], content: np.ndarray) -> int:
    return zlib.crc32(content.data, zlib.crc32(json.dumps([kind, shape]).encode()))
