"""What is done to images before a network sees them: conversion, sizes, random changes.

A transform is called with a batch of images, (N, C, H, W) or (N, H, W), and gives a batch. The loader
does so with each of its batches; labels and whatever else is in the batch pass through:

>>> from minidl import data
>>> images, labels = data.digits()
>>> augment = Compose([RandomCrop(28, padding=2), ToFloat(), Normalize(0.1307, 0.3081)])
>>> loader = data.DataLoader((images, labels), 100, shuffle=True, rng=0, transform=augment)
>>> x, y = next(iter(loader))
>>> x.shape, x.dtype, y.shape
((100, 28, 28), dtype('float32'), (100,))

Random ones treat each image by itself, and draw from the loader's generator: the same seed gives the
same batches. Outside of a loader they take the library's generator, or `rng=` in the call.

A transform of your own derives from `Transform`; a function of a batch of images can stand in a `Compose`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl import check, images
from minidl.porting import missing as _missing
from minidl.random import generator

__all__ = [
    "CenterCrop",
    "Compose",
    "Grayscale",
    "Lambda",
    "Normalize",
    "Pad",
    "RandomCrop",
    "RandomHorizontalFlip",
    "Resize",
    "ToFloat",
    "Transform",
]


class Transform:
    """A function of a batch of images. A class of your own overrides `apply`.

    ``transform(x, *others, rng=None)`` gives the changed x; or, if there are others, such as labels, a
    tuple of it and them.

    >>> class Invert(Transform):
    ...     def apply(self, x, rng):
    ...         return x.max() - x
    ...
    >>> Invert()(np.arange(4.0).reshape(1, 2, 2)).tolist()
    [[[3.0, 2.0], [1.0, 0.0]]]
    """

    random = False  # whether it draws from `rng`

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The changed images. x must be left as it is; where nothing changes, it may be returned."""
        raise NotImplementedError(f"{type(self).__name__}: apply(x, rng) is missing")

    def __call__(
        self, x: Any, *others: Any, rng: np.random.Generator | int | None = None
    ) -> np.ndarray | tuple:
        name = type(self).__name__
        if any(isinstance(other, np.random.Generator) for other in others):
            raise TypeError(f"{name}: a generator is passed by name: rng=...")
        y = self.apply(_images(name, x), generator(rng, name))
        return (y, *others) if others else y

    def __repr__(self) -> str:
        settings = (f"{key}={value!r}" for key, value in vars(self).items())
        return f"{type(self).__name__}({', '.join(settings)})"


class Compose(Transform):
    """One transform after the other.

    Args:
        transforms: transforms, and functions of a batch of images (see `Lambda`).

    Raises:
        TypeError: something else is among them.

    >>> Compose([ToFloat(), Normalize(0.5, 0.5)])(np.full((1, 2, 2), 255, np.uint8)).tolist()
    [[[1.0, 1.0], [1.0, 1.0]]]
    """

    def __init__(self, transforms: Sequence[Callable]) -> None:
        steps = check.items("Compose", "transforms", transforms, "transforms")
        for step in steps:
            if not callable(step):
                raise TypeError(
                    f"Compose: transforms: expected transforms or functions of images, got {step!r}"
                )
        self.transforms = [t if isinstance(t, Transform) else Lambda(t) for t in steps]

    @property
    def random(self) -> bool:  # type: ignore[override]
        """Whether one of them is."""
        return any(t.random for t in self.transforms)

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for transform in self.transforms:
            x = _images(type(transform).__name__, transform.apply(x, rng))
        return x

    def __repr__(self) -> str:
        return f"Compose({self.transforms})"


class Lambda(Transform):
    """Any function of a batch of images that gives another, such as ``Lambda(lambda x: x[:, None])``.

    Raises:
        TypeError: `fn` cannot be called.
        ValueError: it gives another number of images, or something else.
    """

    random = True  # for all that we know

    def __init__(self, fn: Callable[[np.ndarray], np.ndarray]) -> None:
        if not callable(fn):
            raise TypeError(f"Lambda: fn: expected a function of images, got {fn!r}")
        self.fn = fn

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        y = check.array("Lambda", "the function's result", self.fn(x))
        if y.ndim == 0 or len(y) != len(x):
            raise ValueError(
                f"Lambda: the function gave an array of shape {y.shape} for {len(x)} images"
            )
        return y


# ── Values ────────────────────────────────────────────────────────────────────────────────────────


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
        TypeError: x are integers; `ToFloat` belongs before.
        ValueError: a std of 0, or another number of values than channels.

    >>> x = np.ones((1, 3, 1, 1), np.float32)
    >>> Normalize([0.5, 0.5, 1.0], [0.5, 1.0, 1.0])(x).ravel().tolist()
    [1.0, 0.5, 0.0]
    """

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]) -> None:
        self.mean = _numbers("mean", mean)
        self.std = _numbers("std", std)
        if 0.0 in self.std or min(self.std) < 0:
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
        ValueError: images with other channels than 1 or 3.

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


# ── Sizes ─────────────────────────────────────────────────────────────────────────────────────────


class Resize(Transform):
    """Images of another size, by Pillow; when shrinking, all pixels that fall into one count (antialiasing).

    Needs ``pip install "minidl[images]"``. Bytes stay bytes; floats are computed in float32.

    Args:
        size: (height, width), or an int: the length of the shorter side, the other in proportion.
        resample: "nearest", "box", "bilinear", "bicubic" or "lanczos". The latter two can go a
            little beyond the range of float images.

    Raises:
        ModuleNotFoundError: Pillow is missing.
        TypeError: integers other than bytes.

    >>> Resize(2)(np.array([[[0, 0, 9, 9]] * 2], np.uint8)).shape, Resize((1, 2)).size
    ((1, 2, 4), (1, 2))
    """

    def __init__(self, size: int | Sequence[int], resample: str = "bilinear") -> None:
        self.size = _pair("Resize", "size", size, 1)
        self.shorter = len(check.integers("Resize", "size", size)) == 1
        self.resample = images.checked_resample("Resize", resample)

    def apply(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = x.shape[-2:]
        if not height or not width:
            raise ValueError(f"Resize: images of shape {x.shape} have no pixels")
        size = self.size
        if self.shorter:
            shorter = min(height, width)
            size = (height * size[0] // shorter, width * size[0] // shorter)
        return images.resized("Resize", x, size, self.resample)

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


# ── Arguments ─────────────────────────────────────────────────────────────────────────────────────


def _images(owner: str, x: Any) -> np.ndarray:
    x = check.array(owner, "x", x)
    if x.ndim not in (3, 4) or x.dtype.kind not in "buif":
        raise ValueError(
            f"{owner}: expected a batch of images, (N, C, H, W) or (N, H, W), got {x.dtype} of shape "
            f"{x.shape}" + ("; for one image: image[None]" if x.ndim == 2 else "")
        )
    return x


def _pair(owner: str, argument: str, value: Any, least: int) -> tuple[int, int]:
    """(rows, columns), from them or from one number for both."""
    given = check.integers(owner, argument, value, least)
    if len(given) > 2:
        raise ValueError(f"{owner}: {argument} must be an int or (rows, columns), got {value}")
    return given[0], given[-1]


def _numbers(argument: str, value: Any) -> tuple[float, ...]:
    """One number, or one per channel."""
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str):
        found = tuple(check.number("Normalize", argument, v) for v in value)
        if found:
            return found
        raise ValueError(f"Normalize: {argument} must not be empty")
    return (check.number("Normalize", argument, value),)


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
    widths = [(0, 0)] * (x.ndim - 2) + [(n, n) for n in padding]
    return np.pad(x, widths, constant_values=value)


def __getattr__(name: str) -> Any:
    raise _missing("transforms", name, globals())
