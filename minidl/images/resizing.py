"""Batches of images in another size, by Pillow."""

from __future__ import annotations

import numpy as np

from minidl.images.files import pillow

RESAMPLE = ("nearest", "box", "bilinear", "bicubic", "lanczos")


def resized(owner: str, x: np.ndarray, size: tuple[int, int], resample: str) -> np.ndarray:
    """Images (..., H, W) resized to (height, width) by a method of `RESAMPLE`: bytes as bytes, floats in float32."""
    if x.dtype != np.uint8 and x.dtype.kind != "f":
        raise TypeError(f"{owner}: expected bytes or floats, got {x.dtype}")
    image_module = pillow(owner)
    how = image_module.Resampling[resample.upper()]
    # A pixel of Pillow is a byte, three bytes or a float32: three channels of floats are three images.
    colour = x.dtype == np.uint8 and x.ndim == 4 and x.shape[1] == 3
    pixels = x.transpose(0, 2, 3, 1) if colour else x.reshape(-1, *x.shape[-2:])
    if x.dtype != np.uint8:
        pixels = pixels.astype(np.float32, copy=False)
    y = np.empty((len(pixels), *size, *pixels.shape[3:]), pixels.dtype)
    for image, result in zip(pixels, y, strict=True):
        picture = image_module.fromarray(np.ascontiguousarray(image))
        result[...] = picture.resize(size[::-1], how)
    return y.transpose(0, 3, 1, 2) if colour else y.reshape(*x.shape[:-2], *size)
