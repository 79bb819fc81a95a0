"""Batches of images in another size, by Pillow."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.images.files import pillow

RESAMPLE = ("nearest", "box", "bilinear", "bicubic", "lanczos")


def checked_resample(owner: str, name: Any) -> str:
    """The name of a way to resize."""
    if not isinstance(name, str):
        raise TypeError(
            f"{owner}: resample must be one of {', '.join(map(repr, RESAMPLE))}, got {name!r}"
        )
    if name not in RESAMPLE:
        raise ValueError(
            f"{owner}: resample must be one of {', '.join(map(repr, RESAMPLE))}, got {name!r}"
        )
    return name


def resized(owner: str, x: np.ndarray, size: tuple[int, int], resample: str) -> np.ndarray:
    """Images (..., H, W) in the size (height, width): bytes as bytes, floats in float32."""
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise TypeError(f"{owner}: expected bytes or floats, got {x.dtype}")
    image_module = pillow(owner)
    how = image_module.Resampling[resample.upper()]
    planes = x.reshape(-1, *x.shape[-2:])
    if x.dtype != np.uint8:
        planes = planes.astype(np.float32, copy=False)
    y = np.empty((len(planes), *size), planes.dtype)
    for plane, result in zip(planes, y, strict=True):
        # A plane at a time: Pillow has one-channel images of bytes and of float32, and none of three floats.
        image = image_module.fromarray(np.ascontiguousarray(plane))
        result[...] = image.resize(size[::-1], how)
    return y.reshape(*x.shape[:-2], *size)
