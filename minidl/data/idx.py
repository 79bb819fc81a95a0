"""The IDX format of the MNIST files: a type byte, the axes, then the numbers, all big-endian.

Layout (http://yann.lecun.com/exdb/mnist): two zero bytes, a type code, the number of axes, one
big-endian uint32 for the length of each axis, then the elements in row-major order. The files are
often gzipped.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from minidl.io import files

GZIP_MAGIC = b"\x1f\x8b"
DEFLATE_RATIO = 1032  # deflate stores 258 bytes in two bits, no more
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CODES = {np.dtype(name).newbyteorder("="): code for code, name in TYPES.items()}


def read_idx(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> np.ndarray:
    """The array in an IDX file, gzipped or not (the first bytes tell, not the name).

    Args:
        max_bytes: the most that the array may take: a small gzipped file may declare a very large
            one. Default: 1 GiB, or 16 times the file's size if that is more.

    Returns:
        A writable array in the machine's byte order: uint8, int8, int16, int32, float32 or float64.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: it is not a regular file or not an IDX file, is truncated or damaged, declares more than
            `max_bytes`, or goes on after its last element.

    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp(), "labels-idx1-ubyte")
    >>> _ = path.write_bytes(to_idx(np.array([5, 0, 4], np.uint8)))
    >>> read_idx(path)
    array([5, 0, 4], dtype=uint8)
    """
    with files.regular("read_idx", path) as file:
        limit = files.byte_limit("read_idx", max_bytes, file)
        try:
            return _read(file, files.size_of(file), limit)
        except ValueError as error:
            raise ValueError(f"read_idx: {path} {error}") from None


def parse_idx(content: bytes, where: str) -> np.ndarray:
    """The array in the content of an IDX file; `where` names it in errors."""
    try:
        return _read(io.BytesIO(content), len(content), len(content))
    except ValueError as error:
        raise ValueError(f"read_idx: {where} {error}") from None


def uncompressed(raw: bytes, where: str, limit: int) -> bytes:
    """raw itself, or what it unpacks to if it is gzipped, of up to `limit` bytes; `where` names it in errors."""
    try:
        with _unpacking(io.BytesIO(raw)) as (stream, _):
            content = stream.read(limit + 1)
    except ValueError as error:
        raise ValueError(f"read_idx: {where} {error}") from None
    if len(content) > limit:
        raise ValueError(f"read_idx: {where} has more than {limit:,} bytes")
    return content


@contextmanager
def _unpacking(file: BinaryIO) -> Iterator[tuple[BinaryIO, bool]]:
    """What to read the content of a file from, and whether it is gzipped."""
    import gzip  # slow to import

    packed = file.read(2) == GZIP_MAGIC
    file.seek(0)
    try:
        # It reads one member after another, skips zeros after the last one, and checks the CRC-32.
        yield (gzip.GzipFile(fileobj=file) if packed else file), packed  # type: ignore[misc]
    except EOFError:
        raise ValueError("is truncated: its gzip checksum is missing") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"is a damaged gzip file ({error})") from None


def _read(file: BinaryIO, size: int, limit: int) -> np.ndarray:
    """The array in a file of `size` bytes; errors lack its name."""
    with _unpacking(file) as (stream, packed):
        dtype, shape, start = _header(stream)
        count = math.prod(shape) * dtype.itemsize
        expected = f"expected {start + count} bytes for the shape {shape}"
        most = DEFLATE_RATIO * size if packed else size
        if start + count > most:
            raise ValueError(f"is truncated: {expected}, given {most} bytes" + " at most" * packed)
        if start + count < size and not packed:
            raise ValueError(f"has trailing bytes: {expected}, given {size} bytes")
        files.within(limit, count, f"declares for the shape {shape}")
        content = np.empty(count, np.uint8)
        try:
            done = files.read_into(stream, content)
        except EOFError:
            done = 0
        if done < count:
            raise ValueError(f"is truncated: {expected}, given fewer")
        if stream.read(1):
            raise ValueError(f"has trailing bytes: {expected}, given more")
    array = content.view(dtype).reshape(shape)
    return array if dtype.isnative else array.byteswap(inplace=True).view(dtype.newbyteorder("="))


def _header(stream: BinaryIO) -> tuple[np.dtype, tuple[int, ...], int]:
    """The dtype, the shape, and where the elements begin."""
    magic = stream.read(4)
    if len(magic) < 4:
        raise ValueError(f"is truncated: expected at least 4 bytes, given {len(magic)} bytes")
    zeros, code, ndim = struct.unpack(">HBB", magic)
    if zeros != 0 or code not in TYPES:
        raise ValueError(
            "has the wrong magic: expected 00 00, a type code of 08 09 0b 0c 0d 0e and the number "
            f"of axes, given {magic.hex(' ')}"
        )
    start = 4 + 4 * ndim
    axes = stream.read(4 * ndim)
    if len(axes) < 4 * ndim:
        raise ValueError(
            f"is truncated: expected a header of {start} bytes, given {4 + len(axes)} bytes"
        )
    return np.dtype(TYPES[code]), struct.unpack(f">{ndim}I", axes), start


def to_idx(array: np.ndarray) -> bytes:
    """The content of the IDX file that holds `array`."""
    if array.dtype.newbyteorder("=") not in CODES:
        raise TypeError(f"to_idx: expected uint8, int8-32 or float32/64, given {array.dtype}")
    code = CODES[array.dtype.newbyteorder("=")]
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + array.astype(TYPES[code]).tobytes()


# ── Images that are mostly background, in less space ─────────────────────────────────────────────


def packed(content: bytes) -> bytes:
    """The content of an IDX file of images (N, H, W), uint8, reordered: gzip then needs 23 % less for the digits.

    After the header: which pixels are 0 (the background), as lengths of runs, in turns of background and ink; then the
    values of the others, by how many of their neighbours are not 0 either. Values at the same distance from a line's
    edge are alike.
    """
    header, images = content[:16], np.frombuffer(content, np.uint8, offset=16)
    inked = images != 0
    lengths = bytearray()
    for n in np.diff(np.flatnonzero(np.diff(inked, prepend=False)), prepend=0, append=inked.size):
        while n > 255:
            lengths += b"\xff\0"
            n -= 255
        lengths.append(n)
    values = images[inked][_by_neighbours(inked.reshape(struct.unpack(">3I", header[4:])))]
    return header + struct.pack(">I", len(lengths)) + lengths + values.tobytes()


def unpacked(content: bytes) -> bytes:
    """What `packed` was given."""
    *shape, count = struct.unpack(">4I", content[4:20])
    lengths = np.frombuffer(content, np.uint8, count, 20)
    if lengths.sum(dtype=np.int64) != math.prod(shape):
        raise ValueError("its runs do not fill the images")
    inked = np.repeat(np.resize([False, True], count), lengths)
    values = np.empty(np.count_nonzero(inked), np.uint8)
    values[_by_neighbours(inked.reshape(shape))] = np.frombuffer(
        content, np.uint8, offset=20 + count
    )
    images = np.zeros(inked.size, np.uint8)
    images[inked] = values
    return content[:16] + images.tobytes()


def _by_neighbours(inked: np.ndarray) -> np.ndarray:
    """The order of the pixels that are inked, by the number of their neighbours that are; those beside count twice."""
    x = np.pad(inked.view(np.uint8), ((0, 0), (1, 1), (1, 1)))
    x = x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]
    count = x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:]  # itself included
    return np.argsort(count[inked], kind="stable")
