"""``.safetensors`` files by the safetensors library, and the checksums that minidl puts into its own.

The format (https://github.com/huggingface/safetensors): eight bytes with the length of the header, a header in JSON,
then the arrays' bytes. The library checks that the header fits the file: types, shapes and places of the arrays.
``__metadata__`` in the header holds texts by name. minidl writes two: ``minidl``, all that is not an array, and
``minidl_crc32``, ``{"arrays": {name: CRC-32}, "tree": CRC-32}`` in JSON. An array's CRC-32 is that of
``["F32", [2, 3]]``, its dtype and shape, and then of its bytes.
"""

from __future__ import annotations

import json
import zlib
from typing import Any, BinaryIO

import numpy as np

from minidl.io.files import size_of, within

Arrays = dict[str, np.ndarray]

METADATA = "__metadata__"
TREE = "minidl"
CHECKSUMS = "minidl_crc32"
TYPES = {
    "BOOL": "?",
    **{f"{kind}{8 * n}": f"<{kind.lower()}{n}" for kind in "IU" for n in (1, 2, 4, 8)},
    **{f"F{8 * n}": f"<f{n}" for n in (2, 4, 8)},
    "BF16": "<u2",  # NumPy has no bfloat16: its bits are the upper half of a float32's
}
NAMES = {np.dtype(code): name for name, code in TYPES.items() if name != "BF16"}


def _library() -> Any:
    try:
        import safetensors.numpy  # an optional extra
    except ImportError:
        raise ImportError('.safetensors files need: pip install "minidl[safetensors]"') from None
    return safetensors


def write(file: BinaryIO, arrays: Arrays, tree: str | None) -> None:
    """Writes arrays in native byte order and row-major."""
    save = _library().numpy.save
    checksums: dict[str, Any] = {"arrays": {}}
    for name, array in arrays.items():
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        checksums["arrays"][name] = _crc32(NAMES[little.dtype], array.shape, little.data)
    metadata = {}
    if tree is not None:
        metadata[TREE] = tree
        checksums["tree"] = zlib.crc32(tree.encode())
    content = memoryview(save(arrays, {**metadata, CHECKSUMS: json.dumps(checksums)}))
    # The library puts the texts in any order, but the same state must give the same bytes.
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(bytes(content[8:end]))
    header[METADATA] = dict(sorted(header[METADATA].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the arrays begin at a multiple of 8
    file.write(len(text).to_bytes(8, "little") + text)
    file.write(content[end:])


def read(file: BinaryIO, limit: int) -> tuple[Arrays, str | None]:
    """The arrays of a file by name, and the text that `write` was given.

    The arrays are writable and in native byte order; bfloat16 becomes float32.

    Raises:
        ImportError: the library is missing.
        TooLarge: the arrays take more bytes than the limit.
        ValueError and others: the file is damaged, or has a dtype that NumPy does not have.
    """
    deserialize = _library().deserialize
    size, head = size_of(file), file.read(8)
    length = int.from_bytes(head, "little")  # of the header; what follows are the arrays
    within(limit, size - 8 - length if length < size else size, "its arrays take")
    content = head + file.read()
    entries = deserialize(content)
    header = json.loads(content[8 : 8 + length])
    metadata = header.get(METADATA, {})
    text = metadata.get(TREE)
    checksums = _checksums(metadata, text, {name for name, _ in entries})
    arrays: Arrays = {}
    for name, entry in entries:
        kind, shape, data = entry["dtype"], entry["shape"], entry["data"]
        if kind not in TYPES:
            raise ValueError(f"{name} has the dtype {kind}, which NumPy does not have")
        if checksums is not None and checksums[name] != _crc32(kind, shape, data):
            raise ValueError(f"{name} has another checksum than {CHECKSUMS} says")
        array = np.frombuffer(data, TYPES[kind]).reshape(shape)
        if kind == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        arrays[name] = native if native.flags.writeable else native.copy()
    return arrays, text


def _checksums(metadata: dict[str, str], text: str | None, names: set[str]) -> dict | None:
    """The checksum of each array; None for a file without."""
    if CHECKSUMS not in metadata:
        return None
    checksums = json.loads(metadata[CHECKSUMS])
    if set(checksums["arrays"]) != names:
        raise ValueError(f"{CHECKSUMS} is about {sorted(checksums['arrays'])}")
    if checksums.get("tree") != (None if text is None else zlib.crc32(text.encode())):
        raise ValueError(f"{TREE} has another checksum than {CHECKSUMS} says")
    return checksums["arrays"]


def _crc32(kind: str, shape: Any, data: Any) -> int:
    return zlib.crc32(data, zlib.crc32(json.dumps([kind, list(shape)]).encode()))
