"""A batch of images as one picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl import check
from minidl.images.files import write

ROUNDING = 1e-5  # of the range: values that were computed, such as x * std + mean, may be this far outside of it


def make_grid(
    batch: Any,
    columns: int = 8,
    padding: int = 2,
    value_range: Sequence[float] | None = None,
    background: int = 0,
) -> np.ndarray:
    """Images side by side, from left to right and from top to bottom, with lines between and around them.

    Args:
        batch: (N, H, W), (N, 1, H, W) or (N, 3, H, W), a Tensor or an array.
        columns: images in a row.
        padding: the width of the lines in pixels.
        value_range: (black, white). None means (0, 1) for floats, (0, 255) for bytes. It is not guessed
            from the values: the same value is the same grey in all pictures.
        background: the grey of the lines, 0 to 255.

    Returns:
        Bytes of shape (height, width), or (height, width, 3) of images in colour.

    Raises:
        ValueError: values outside of the range, with those seen; NaN; other shapes; no images.

    >>> make_grid(np.ones((3, 2, 2)), columns=2, padding=1)
    array([[  0,   0,   0,   0,   0,   0,   0],
           [  0, 255, 255,   0, 255, 255,   0],
           [  0, 255, 255,   0, 255, 255,   0],
           [  0,   0,   0,   0,   0,   0,   0],
           [  0, 255, 255,   0,   0,   0,   0],
           [  0, 255, 255,   0,   0,   0,   0],
           [  0,   0,   0,   0,   0,   0,   0]], dtype=uint8)
    """
    pixels = _bytes("make_grid", _channels_last("make_grid", batch), value_range)
    columns = min(check.integer("make_grid", "columns", columns, least=1), len(pixels))
    gap = check.integer("make_grid", "padding", padding, least=0)
    grey = check.integer("make_grid", "background", background, least=0, most=255)
    height, width = pixels.shape[1] + gap, pixels.shape[2] + gap
    rows = -(-len(pixels) // columns)
    shape = check.shape("make_grid", (rows * height + gap, columns * width + gap, pixels.shape[3]))
    grid = np.full(shape, grey, np.uint8)
    for i, image in enumerate(pixels):
        y, x = gap + i // columns * height, gap + i % columns * width
        grid[y : y + image.shape[0], x : x + image.shape[1]] = image
    return grid if grid.shape[2] == 3 else grid[..., 0]


def save_image(
    batch: Any,
    path: str | os.PathLike[str],
    columns: int = 8,
    padding: int = 2,
    value_range: Sequence[float] | None = None,
    background: int = 0,
) -> None:
    """Writes the `make_grid` of a batch to a file, as `write` does.

    ``save_image(G(noise), "samples.png", value_range=(-1, 1))`` draws what a generator with tanh made.

    Raises:
        ValueError: as `make_grid`, and before the file is touched.
    """
    write(make_grid(batch, columns, padding, value_range, background), path)


def _channels_last(owner: str, batch: Any) -> np.ndarray:
    """(N, H, W, 1) or (N, H, W, 3)."""
    x = check.array(owner, "batch", batch)
    if x.dtype.kind not in "buif":
        raise TypeError(f"{owner}: batch: expected numbers, got {x.dtype}")
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        hint = "; for one image: image[None]" if x.ndim == 2 else ""
        if x.ndim == 4 and x.shape[3] in (1, 3):
            hint = "; for channels that come last: batch.transpose(0, 3, 1, 2)"
        raise ValueError(
            f"{owner}: batch: expected images (N, H, W), (N, 1, H, W) or (N, 3, H, W), got shape "
            f"{np.shape(batch)}{hint}"
        )
    if not x.size:
        raise ValueError(f"{owner}: batch: no images in an array of shape {np.shape(batch)}")
    return x.transpose(0, 2, 3, 1)


def _bytes(owner: str, x: np.ndarray, value_range: Sequence[float] | None) -> np.ndarray:
    """Values from black to white -> 0 to 255."""
    if value_range is None:
        if x.dtype == np.uint8:
            return x
        low, high = (0.0, 1.0) if x.dtype.kind in "bf" else (0.0, 255.0)
    else:
        low, high = _range(owner, value_range)
    x = x.astype(np.float64 if x.dtype.kind in "iu" else np.promote_types(x.dtype, np.float32))
    least, most = float(x.min()), float(x.max())
    if np.isnan(least):
        raise ValueError(f"{owner}: {np.count_nonzero(np.isnan(x))} of {x.size} values are NaN")
    slack = ROUNDING * (high - low)
    if least < low - slack or most > high + slack:
        raise ValueError(
            f"{owner}: the values are from {least:.4g} to {most:.4g}, outside of value_range "
            f"({low:g}, {high:g}), which is black to white; {_advice(least, most)}"
        )
    return np.rint((x - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)


def _range(owner: str, value_range: Any) -> tuple[float, float]:
    ends = check.items(owner, "value_range", value_range, "two numbers, black and white")
    if len(ends) != 2:
        raise ValueError(f"{owner}: value_range must be two numbers, got {value_range!r}")
    low, high = (check.number(owner, "value_range", end) for end in ends)
    if low >= high:
        raise ValueError(
            f"{owner}: value_range must be (black, white), the smaller one first, got {value_range}"
        )
    return low, high


def _advice(least: float, most: float) -> str:
    if least >= -1 - ROUNDING and most <= 1 + ROUNDING:
        return "for images from -1 to 1, such as tanh's, pass value_range=(-1, 1)"
    if least >= 0 and most <= 255:
        return "for images from 0 to 255, pass value_range=(0, 255)"
    return "undo a normalisation first (x * std + mean), or pass the range that is meant"
