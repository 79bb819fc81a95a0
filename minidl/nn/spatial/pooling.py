"""Pooling layers: MaxPool, AvgPool, AdaptiveMaxPool, AdaptiveAvgPool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidl import check
from minidl import functional as F
from minidl.autograd.tensor import Tensor
from minidl.nn.module import Module
from minidl.ops.spatial.adaptive import Sizes as AdaptiveSizes
from minidl.ops.spatial.adaptive import checked_sizes

Sizes = int | Sequence[int]


class _Pool(Module):
    """The settings that both kinds have."""

    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0) -> None:
        name = type(self).__name__
        self.kernel_size = window_sizes(name, "kernel_size", kernel_size, 1)
        self.stride = (
            self.kernel_size if stride is None else window_sizes(name, "stride", stride, 1)
        )
        self.padding = window_sizes(name, "padding", padding, 0)

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


class AdaptiveAvgPool(Module):
    """y = the mean of each of `output_size` windows of x along each spatial axis (see `F.adaptive_avg_pool`).

    Args:
        output_size: an int for all spatial axes of x, or a tuple of one each; None keeps an axis as it is. 1 is global
            pooling: (N, C, H, W) becomes (N, C, 1, 1).

    Raises:
        ValueError: another number of sizes than x has spatial axes.

    >>> AdaptiveAvgPool(2)([[[1.0, 3.0, 2.0, 0.0]]])
    Tensor([[[2. 1.]]])
    """

    def __init__(self, output_size: AdaptiveSizes) -> None:
        self.output_size = output_size
        checked_sizes(type(self).__name__, output_size)

    def forward(self, x: Any) -> Tensor:
        return F.adaptive_avg_pool(x, self.output_size)

    def extra_repr(self) -> str:
        return f"{self.output_size}"


class AdaptiveMaxPool(AdaptiveAvgPool):
    """y = the greatest value of each of `output_size` windows of x along each axis (see `F.adaptive_max_pool`).

    Args, Raises: as for `AdaptiveAvgPool`.

    >>> AdaptiveMaxPool(2)([[[1.0, 3.0, 2.0, 0.0]]])
    Tensor([[[3. 2.]]])
    """

    def forward(self, x: Any) -> Tensor:
        return F.adaptive_max_pool(x, self.output_size)


def window_sizes(name: str, argument: str, value: Sizes, least: int) -> int | tuple[int, ...]:
    sizes = check.integers(name, argument, value, least, check.WINDOW_LIMIT)
    if len(sizes) > 3:
        raise ValueError(f"{name}: {argument}: expected at most 3 values, got {value!r}")
    return sizes if isinstance(value, Sequence) else sizes[0]
