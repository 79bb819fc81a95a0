"""Transforms of where pixels are: sizes, parts, margins, mirror images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl import check
from minidl.data.transforms.base import Transform
from minidl.images.resizing import RESAMPLE, resized


class Resize(Transform):
    """Images of another size, by Pillow; when shrinking, all pixels that fall into one count (antialiasing).

    Needs ``pip install "minidl[images]"``. Bytes stay bytes; floats are computed in float32.

    Args:
        size: (height, width), or an int: the length of the shorter side, the other in proportion.
        resample: "nearest", "box", "bilinear", "bicubic" or "lanczos". The last two can go a little
            beyond the range of float images.

    Raises:
        ValueError: `size` is below 1, or `resample` none of these words.
        ModuleNotFoundError: Pillow is missing.
        TypeError: integers other than bytes.

    >>> Resize(2)(np.array([[[0, 0, 9, 9]] * 2], np.uint8)).shape, Resize((1, 2)).size
    ((1, 2, 4), (1, 2))
    """

    def __init__(self, size: int | Sequence[int], resample: str = "bilinear") -> None:
        self.size = _pair("Resize", "size", size, 1)
        self.shorter = len(check.integers("Resize", "size", size)) == 1
        self.resample = check.choice("Resize", "resample", resample, RESAMPLE)

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = x.shape[-2:]
        if not height or not width:
            raise ValueError(f"Resize: images of shape {x.shape} have no pixels")
        size = self.size
        if self.shorter:
            shorter = min(height, width)
            size = (height * size[0] // shorter, width * size[0] // shorter)
        return resized("Resize", x, size, self.resample)

    def __repr__(self) -> str:
        return f"Resize({self.size[0] if self.shorter else self.size}, {self.resample!r})"


class CenterCrop(Transform):
    """The middle of each image.

    Args:
        size: (height, width), or an int for a square.

    Raises:
        ValueError: the images are smaller.

    >>> CenterCrop(1)(np.arange(9).reshape(1, 3, 3)).tolist()
    [[[4]]]
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = _pair("CenterCrop", "size", size, 1)

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        spare = _spare("CenterCrop", x, self.size)
        top, left = (round(n / 2) for n in spare)
        return x[..., top : top + self.size[0], left : left + self.size[1]]


class RandomCrop(Transform):
    """A part of each image, at a random place.

    Args:
        size: (height, width), or an int for a square.
        padding: pixels of 0 put around the images first: (rows, columns), or an int for both. With
            ``RandomCrop(28, padding=2)`` images of 28 x 28 are moved by up to 2 pixels.

    Raises:
        ValueError: the images are smaller.

    >>> RandomCrop(2)(np.arange(9).reshape(1, 3, 3), rng=0).shape
    (1, 2, 2)
    """

    random = True

    def __init__(self, size: int | Sequence[int], padding: int | Sequence[int] = 0) -> None:
        self.size = _pair("RandomCrop", "size", size, 1)
        self.padding = _pair("RandomCrop", "padding", padding, 0)

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        x = _padded(x, self.padding, 0)
        spare = _spare("RandomCrop", x, self.size)
        top, left = (rng.integers(0, n, len(x), endpoint=True) for n in spare)
        windows = np.lib.stride_tricks.sliding_window_view(x, self.size, axis=(-2, -1))
        return windows[np.arange(len(x)), ..., top, left, :, :]


class Pad(Transform):
    """A margin around each image.

    Args:
        padding: its width in pixels: (rows, columns), or an int for both, as in `nn.Conv`.
        value: what is put there.

    >>> Pad((0, 1))(np.ones((1, 1, 2), int)).tolist()
    [[[0, 1, 1, 0]]]
    """

    def __init__(self, padding: int | Sequence[int], value: float = 0) -> None:
        self.padding = _pair("Pad", "padding", padding, 0)
        self.value = value
        check.number("Pad", "value", value)

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if x.dtype.kind in "ui":
            limits = np.iinfo(x.dtype)
            if not limits.min <= self.value <= limits.max or self.value != int(self.value):
                raise ValueError(f"Pad: value {self.value} does not fit into {x.dtype}")
        return _padded(x, self.padding, self.value)


class RandomHorizontalFlip(Transform):
    """Each image is mirrored, left to right, with probability p.

    >>> RandomHorizontalFlip(1.0)(np.arange(3).reshape(1, 1, 3)).tolist()
    [[[2, 1, 0]]]
    """

    random = True

    def __init__(self, p: float = 0.5) -> None:
        self.p = check.number("RandomHorizontalFlip", "p", p, 0.0, 1.0)

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        chosen = rng.random(len(x)) < self.p
        y = x.copy()
        y[chosen] = x[chosen, ..., ::-1]
        return y


def _pair(owner: str, argument: str, value: Any, least: int) -> tuple[int, int]:
    """(rows, columns), from them or from one number for both."""
    given = check.integers(owner, argument, value, least)
    if len(given) > 2:
        raise ValueError(f"{owner}: {argument} must be an int or (rows, columns), got {value}")
    return given[0], given[-1]


def _spare(owner: str, x: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
    """How many rows and columns the images have more than `size`."""
    rows, columns = x.shape[-2] - size[0], x.shape[-1] - size[1]
    if min(rows, columns) < 0:
        raise ValueError(
            f"{owner}: size {size} is larger than the images, {x.shape[-2:]}; Pad or Resize them first"
        )
    return rows, columns


def _padded(x: np.ndarray, padding: tuple[int, int], value: float) -> np.ndarray:
    if not any(padding):
        return x
    (rows, columns), (height, width) = padding, x.shape[-2:]
    # (np.pad takes several times as long.)
    y = np.full((*x.shape[:-2], height + 2 * rows, width + 2 * columns), value, x.dtype)
    y[..., rows : rows + height, columns : columns + width] = x
    return y
