"""Picture files: PNG is written without a library; everything else needs Pillow."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from minidl import check
from minidl.io import files

# What is read, by ending; and the format by which Pillow writes it.
FORMATS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP", ".gif": "GIF",
    ".tif": "TIFF", ".tiff": "TIFF", ".ppm": "PPM", ".pgm": "PPM",
}  # fmt: skip


def pillow(owner: str, module: str = "Image") -> ModuleType:
    """One of Pillow's modules."""
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError as error:
        if error.name != "PIL":
            raise
        raise ModuleNotFoundError(
            f'{owner}: Pillow is missing; install it with: pip install "minidl[images]"', name="PIL"
        ) from None
    return {"Image": Image, "ImageOps": ImageOps}[module]


def read(path: str | os.PathLike[str], size: int | Sequence[int] | None = None) -> np.ndarray:
    """The picture in a file: bytes (H, W, 3), upright, in colour, on white where it is transparent.

    Needs ``pip install "minidl[images]"``, and reads what Pillow can read.

    Args:
        size: (height, width), or an int for a square: the picture is cropped around its centre to these
            proportions, and resized (Lanczos). A JPEG file of 12 megapixels is then read in a tenth of the time.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: it is damaged or not a picture; the message names it.
        ModuleNotFoundError: Pillow is missing.
    """
    image_module, operations = pillow("images.read"), pillow("images.read", "ImageOps")
    sides = () if size is None else check.integers("images.read", "size", size, 1)
    if len(sides) > 2:
        raise ValueError(f"images.read: size must be an int or (height, width), got {size}")
    with (
        files.reading("images.read", _path("images.read", path)) as (file, _),
        image_module.open(file) as image,
    ):
        if sides:
            image.draft("RGB", (2 * max(sides),) * 2)  # a JPEG is decoded no larger than needed
        image = _in_colour(image_module, operations.exif_transpose(image))
        if sides:
            lanczos = image_module.Resampling.LANCZOS
            image = operations.fit(image, (sides[-1], sides[0]), lanczos)
        return np.array(image)


def _in_colour(image_module: Any, image: Any) -> Any:
    """An image of any mode in RGB."""
    if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion would cut them off at 255
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError("its pixels are integers of more than 16 bits, in no known range")
        image = image_module.fromarray((pixels >> 8).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, in no known range")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = image_module.new("RGBA", image.size, "white")
        image = image_module.alpha_composite(white, image)
    return image.convert("RGB")


def write(picture: Any, path: str | os.PathLike[str]) -> None:
    """Writes bytes (H, W) or (H, W, 3) to a file, in the format of its ending; an older file is replaced.

    ``.png`` needs nothing else. ``.jpg``, ``.webp``, ``.bmp``, ``.gif``, ``.tif`` and ``.ppm`` need
    ``pip install "minidl[images]"``.

    Raises:
        TypeError, ValueError: something other than a picture, or another ending. Nothing is written.
        FileNotFoundError: the folder is not there. ModuleNotFoundError: Pillow is missing.

    >>> from tempfile import mkdtemp
    >>> write(np.zeros((2, 3), np.uint8), Path(mkdtemp(), "black.png"))
    """
    pixels = check.array("images.write", "picture", picture)
    if pixels.dtype != np.uint8:
        raise TypeError(
            f"images.write: picture: expected bytes (uint8), got {pixels.dtype}; images.save_image "
            "takes numbers in other ranges"
        )
    grey = pixels.ndim == 2
    if not pixels.size or not (grey or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise ValueError(
            f"images.write: picture: expected (H, W) or (H, W, 3), got shape {pixels.shape}"
        )
    ending = Path(_path("images.write", path)).suffix.lower()
    if ending not in FORMATS:
        raise ValueError(
            f"images.write: path: expected one of the endings {', '.join(FORMATS)}, got {str(path)!r}"
        )
    content = _png(pixels) if ending == ".png" else None
    image_module = None if content else pillow("images.write")
    with files.replacing(path) as file:
        if content:
            file.write(content)
        elif image_module is not None:
            image_module.fromarray(pixels).save(file, FORMATS[ending])


def _path(owner: str, path: Any) -> str | os.PathLike[str]:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{owner}: path must be a string or a Path, got {path!r}")
    return path


def _png(pixels: np.ndarray) -> bytes:
    """The content of a PNG file (W3C, Portable Network Graphics, 2003): a signature, and three chunks."""
    height, width = pixels.shape[:2]
    colour = 0 if pixels.ndim == 2 else 2
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    rows = np.zeros((height, 1 + pixels[0].size), np.uint8)  # a row begins with its filter: 0, none
    rows[:, 1:] = pixels.reshape(height, -1)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(rows.tobytes()), b"IEND": b""}
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks.items():
        content += struct.pack(">I", len(data)) + name + data
        content += struct.pack(">I", zlib.crc32(name + data))
    return content


def below(folder: str | os.PathLike[str]) -> list[Path]:
    """The files in a folder and below that are named like pictures, sorted; hidden ones are left out."""
    found = []
    for where, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith(".")]
        found += [
            Path(where, name)
            for name in names
            if name[0] != "." and os.path.splitext(name)[1].lower() in FORMATS
        ]
    return sorted(found)
