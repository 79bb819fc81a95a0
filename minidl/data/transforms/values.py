"""Transforms of what pixels are: their type, their scale, their colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl import check
from minidl.data.transforms.base import Transform


class ToFloat(Transform):
    """Integers from 0 to their type's greatest, such as bytes, to float32 from 0 to 1. The shape stays.

    PyTorch's ToTensor does so for one image with the channels last. Floats become float32, unchanged.

    Raises:
        TypeError: signed integers: which value would be white?

    >>> ToFloat()(np.array([[[0, 51, 255]]], np.uint8)).tolist() == [[[0.0, np.float32(0.2), 1.0]]]
    True
    """

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if x.dtype.kind in "bf":
            return x.astype(np.float32, copy=False)
        if x.dtype.kind != "u":
            raise TypeError(
                f"ToFloat: expected bytes or other unsigned integers, or floats, got {x.dtype}"
            )
        return np.divide(x, np.float32(np.iinfo(x.dtype).max), dtype=np.float32)


class Normalize(Transform):
    """y = (x - mean) / std, in each channel.

    Args:
        mean, std: a number for all channels, or one for each.

    Raises:
        TypeError: x are integers; put `ToFloat` before it.
        ValueError: a std of 0 or less, or another number of values than channels.

    >>> x = np.ones((1, 3, 1, 1), np.float32)
    >>> Normalize([0.5, 0.5, 1.0], [0.5, 1.0, 1.0])(x).ravel().tolist()
    [1.0, 0.5, 0.0]
    """

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        self.mean = _numbers("mean", mean)
        self.std = _numbers("std", std)
        if min(self.std) <= 0:
            raise ValueError(f"Normalize: std must be greater than 0, got {std}")

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if x.dtype.kind != "f":
            raise TypeError(f"Normalize: expected floats, got {x.dtype}: put ToFloat() before it")
        channels = x.shape[1] if x.ndim == 4 else 1
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                raise ValueError(
                    f"Normalize: {name} has {len(values)} values, images of shape {x.shape} have "
                    f"{channels} channel{'s' if channels > 1 else ''}"
                )
        mean, std = (np.array(v, x.dtype).reshape(-1, 1, 1) for v in (self.mean, self.std))
        y = x - mean
        y /= std
        return y


class Grayscale(Transform):
    """Luminance, 0.299 R + 0.587 G + 0.114 B: (N, 3, H, W) to (N, channels, H, W).

    Grey images, (N, H, W) or (N, 1, H, W), get the axis of channels that layers expect.

    Args:
        channels: 1, or 3 equal ones for a network that expects colours.

    Raises:
        ValueError: images with another number of channels than 1 or 3.

    Source: ITU-R BT.601.

    >>> Grayscale()(np.array([255, 0, 0], np.uint8).reshape(1, 3, 1, 1)).tolist()
    [[[[76]]]]
    """

    def __init__(self, channels: int = 1) -> None:
        if check.integer("Grayscale", "channels", channels) not in (1, 3):
            raise ValueError(f"Grayscale: channels must be 1 or 3, got {channels}")
        self.channels = channels

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        x = x[:, None] if x.ndim == 3 else x
        if x.shape[1] not in (1, 3):
            raise ValueError(f"Grayscale: expected 1 or 3 channels, got shape {x.shape}")
        if x.shape[1] == 3:
            red, green, blue = (x[:, i : i + 1] for i in range(3))
            if x.dtype.kind == "f":
                weights = np.array([0.299, 0.587, 0.114], x.dtype)
                x = weights[0] * red + weights[1] * green + weights[2] * blue
            else:
                # In 65536ths, rounded: Pillow's convert("L") gives the same bytes.
                total = np.multiply(red, 19595, dtype=np.int64)
                total += np.multiply(green, 38470, dtype=np.int64)
                total += np.multiply(blue, 7471, dtype=np.int64)
                x = ((total + 0x8000) >> 16).astype(x.dtype)
        return np.repeat(x, 3, axis=1) if self.channels == 3 else x


def _numbers(argument: str, value: Any) -> tuple[float, ...]:
    """One number, or one per channel."""
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str):
        found = tuple(check.number("Normalize", argument, v) for v in value)
        if found:
            return found
        raise ValueError(f"Normalize: {argument} must not be empty")
    return (check.number("Normalize", argument, value),)
