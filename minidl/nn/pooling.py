"""Layers that change the size of images: MaxPool, AvgPool, Upsample, PixelShuffle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidl import check
from minidl import functional as F
from minidl.autograd.tensor import Tensor
from minidl.nn.module import Module

Sizes = int | Sequence[int]


class _Pool(Module):
    """The settings that both kinds have."""

    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0) -> None:
        name = type(self).__name__
        self.kernel_size = _sizes(name, "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else _sizes(name, "stride", stride, 1)
        self.padding = _sizes(name, "padding", padding, 0)

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool(_Pool):
    """y = the greatest value of each window of x (see `F.max_pool`).

    Args:
        kernel_size, stride, padding: an int for all spatial axes of x, or a tuple of one each; stride
            None means kernel_size.

    Raises:
        ValueError: a kernel larger than the padded x, or padding of more than half the kernel.

    >>> MaxPool(2)([[[1.0, 3.0, 2.0, 0.0]]])
    Tensor([[[3. 2.]]])
    """

    def forward(self, x: Any) -> Tensor:
        return F.max_pool(x, self.kernel_size, self.stride, self.padding)


class AvgPool(_Pool):
    """y = the mean of each window of x, padding counted as 0 (see `F.avg_pool`).

    Args, Raises: as for `MaxPool`.

    >>> AvgPool(2)([[[1.0, 3.0, 2.0, 0.0]]])
    Tensor([[[2. 1.]]])
    """

    def forward(self, x: Any) -> Tensor:
        return F.avg_pool(x, self.kernel_size, self.stride, self.padding)


class Upsample(Module):
    """y = x with each element repeated `scale` times along each spatial axis (see `F.upsample`).

    Args:
        scale: an int for all spatial axes of x, or a tuple of one each.

    >>> Upsample(2)([[[1.0, 2.0]]])
    Tensor([[[1. 1. 2. 2.]]])
    """

    def __init__(self, scale: Sizes) -> None:
        self.scale = _sizes("Upsample", "scale", scale, 1)

    def forward(self, x: Any) -> Tensor:
        return F.upsample(x, self.scale)

    def extra_repr(self) -> str:
        return f"{self.scale}"


class PixelShuffle(Module):
    """(N, C * factor², H, W) -> (N, C, H * factor, W * factor) (see `F.pixel_shuffle`).

    Raises:
        ValueError: the channels are not a multiple of factor ** (spatial axes).

    >>> import numpy as np
    >>> PixelShuffle(2)(np.zeros((1, 8, 3, 5), np.float32)).shape
    (1, 2, 6, 10)
    """

    def __init__(self, factor: int) -> None:
        self.factor = check.integer("PixelShuffle", "factor", factor, 1, check.WINDOW_LIMIT)

    def forward(self, x: Any) -> Tensor:
        return F.pixel_shuffle(x, self.factor)

    def extra_repr(self) -> str:
        return f"{self.factor}"


def _sizes(name: str, argument: str, value: Sizes, least: int) -> int | tuple[int, ...]:
    sizes = check.integers(name, argument, value, least, check.WINDOW_LIMIT)
    if len(sizes) > 3:
        raise ValueError(f"{name}: {argument}: expected at most 3 values, got {value!r}")
    return sizes if isinstance(value, Sequence) else sizes[0]
