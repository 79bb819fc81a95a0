"""The IDX format of the MNIST files: a type byte, the axes, then the numbers, all big-endian.

Layout (http://yann.lecun.com/exdb/mnist): two zero bytes, a type code, the number of axes, one
big-endian uint32 for the length of each axis, then the elements in row-major order. The files are
often gzipped.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

GZIP_MAGIC = b"\x1f\x8b"
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CODES = {np.dtype(name).newbyteorder("="): code for code, name in TYPES.items()}


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file, gzipped or not (the first bytes tell, not the name).

    Returns:
        A writable array in the machine's byte order: uint8, int8, int16, int32, float32 or float64.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: it is no IDX file, is truncated or damaged, or goes on after its last element.

    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp(), "labels-idx1-ubyte")
    >>> _ = path.write_bytes(to_idx(np.array([5, 0, 4], np.uint8)))
    >>> read_idx(path)
    array([5, 0, 4], dtype=uint8)
    """
    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"read_idx: {path} is not there") from None
    return parse_idx(uncompressed(raw, str(path)), str(path))


def uncompressed(raw: bytes, where: str) -> bytes:
    """raw itself, or what it unpacks to if it is gzipped; `where` names it in errors."""
    parts = []
    rest = raw
    while rest.startswith(GZIP_MAGIC):  # a gzip file may have several members
        member = zlib.decompressobj(wbits=31)
        try:
            parts.append(member.decompress(rest))
        except zlib.error as error:
            raise ValueError(f"read_idx: {where} is a damaged gzip file ({error})") from None
        if not member.eof:
            parse_idx(b"".join(parts), where)  # says how much is missing, if any of the numbers is
            raise ValueError(f"read_idx: {where} is truncated: its gzip checksum is missing")
        rest = member.unused_data
    return b"".join(parts) if parts else raw


def parse_idx(content: bytes, where: str) -> np.ndarray:
    """The array in the (uncompressed) content of an IDX file; `where` names it in errors."""
    if len(content) < 4:
        given = f"given {len(content)} bytes"
        raise ValueError(f"read_idx: {where} is truncated: expected at least 4 bytes, {given}")
    zeros, code, ndim = struct.unpack(">HBB", content[:4])
    if zeros != 0 or code not in TYPES:
        raise ValueError(
            f"read_idx: {where} has the wrong magic: expected 00 00, a type code of "
            f"08 09 0b 0c 0d 0e and the number of axes, given {content[:4].hex(' ')}"
        )
    dtype = np.dtype(TYPES[code])
    start = 4 + 4 * ndim
    if len(content) < start:
        raise ValueError(
            f"read_idx: {where} is truncated: expected a header of {start} bytes, "
            f"given {len(content)} bytes"
        )
    shape = struct.unpack(f">{ndim}I", content[4:start])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        problem = "is truncated" if len(content) < expected else "has trailing bytes"
        raise ValueError(
            f"read_idx: {where} {problem}: expected {expected} bytes for the shape {shape}, "
            f"given {len(content)} bytes"
        )
    # astype copies: the result is writable, aligned and in native byte order.
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def to_idx(array: np.ndarray) -> bytes:
    """The content of the IDX file that holds `array`."""
    if array.dtype.newbyteorder("=") not in CODES:
        raise TypeError(f"to_idx: expected uint8, int8-32 or float32/64, given {array.dtype}")
    code = CODES[array.dtype.newbyteorder("=")]
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + array.astype(TYPES[code]).tobytes()
