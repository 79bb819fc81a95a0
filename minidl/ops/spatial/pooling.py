"""Pooling: the greatest value, or the mean, of each window of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl.autograd.op import Op
from minidl.autograd.tape import will_record
from minidl.autograd.tensor import Tensor
from minidl.ops.args import as_float
from minidl.ops.spatial.conv import spatial

Axes = tuple[int, ...]
# Its size, the step from one to the next, and the padding: a number for each spatial axis.
Window = tuple[Axes, Axes, Axes]


class MaxPool(Op):
    """y = the greatest value of each window of x (N, C, ...)."""

    def __init__(self, window: Window, recorded: bool) -> None:
        self.window, self.recorded = window, recorded

    def forward(self, x: np.ndarray) -> np.ndarray:
        if not self.recorded:
            return K.max_pool_forward(x, *self.window)
        y, self.kept = K.max_pool_places(x, *self.window, False)
        return y

    def backward(self, gy: Tensor) -> Tensor:
        x, places = self.input(0)._data, self.kept
        if places is None:
            _, places = K.max_pool_places(x, *self.window)
        return MaxPoolScatter(places, x.shape[2:])(gy)

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        x = self.input(0)._data
        if self.kept is None:
            return K.max_pool_backward(x, gy, *self.window)
        return K.max_pool_scatter(gy, self.kept, x.shape[2:])


class MaxPoolScatter(Op):
    """gx = gy, added up at the places where the greatest values stood."""

    saves = ()

    def __init__(self, places: np.ndarray, size: Axes) -> None:
        self.places, self.size = places, size

    def forward(self, gy: np.ndarray) -> np.ndarray:
        return K.max_pool_scatter(gy, self.places, self.size)

    def backward(self, ggx: Tensor) -> Tensor:
        return MaxPoolGather(self.places, self.size)(ggx)


class MaxPoolGather(Op):
    """ggy = ggx at the places where the greatest values stood."""

    saves = ()

    def __init__(self, places: np.ndarray, size: Axes) -> None:
        self.places, self.size = places, size

    def forward(self, ggx: np.ndarray) -> np.ndarray:
        return K.max_pool_gather(ggx, self.places)

    def backward(self, gy: Tensor) -> Tensor:
        return MaxPoolScatter(self.places, self.size)(gy)


class AvgPool(Op):
    """y = the mean of each window of x (N, C, ...), with zeros around it."""

    saves = ()

    def __init__(self, window: Window) -> None:
        self.window = window

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.size = x.shape[2:]
        return K.avg_pool_forward(x, *self.window)

    def backward(self, gy: Tensor) -> Tensor:
        return AvgPoolGrad(self.size, self.window)(gy)

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        return K.avg_pool_backward(gy, self.size, *self.window)


class AvgPoolGrad(Op):
    """gx = gy, each element spread evenly over its window. (Linear: its gradient is the mean again.)"""

    saves = ()

    def __init__(self, size: Axes, window: Window) -> None:
        self.size, self.window = size, window

    def forward(self, gy: np.ndarray) -> np.ndarray:
        return K.avg_pool_backward(gy, self.size, *self.window)

    def backward(self, ggx: Tensor) -> Tensor:
        return AvgPool(self.window)(ggx)


def max_pool(
    x: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
) -> Tensor:
    """The greatest value of each window of x.

    The first of several equal values takes the gradient; NaN counts as the greatest; padding is -inf.

    Args:
        x: (N, C, *size) with 1, 2 or 3 spatial axes, C order or channels last in memory; the result has x's layout and
            (size + 2 padding - kernel_size) // stride + 1 places along each axis.
        kernel_size, stride, padding: an int below 2**31, or one for each spatial axis; stride None means kernel_size.

    Raises:
        ValueError: a kernel larger than the padded x, or padding of more than half the kernel; names the axis.
    """
    image = as_float(x)
    window = _window("max_pool", image._data.shape, kernel_size, stride, padding)
    if 0 in image._data.shape[2:]:
        raise ValueError(
            f"max_pool: expected elements along every axis behind 1, got {image._data.shape}"
        )
    return MaxPool(window, will_record(image)).run((image,))


def avg_pool(
    x: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
) -> Tensor:
    """The mean of each window of x; padding is 0 and counts (PyTorch's count_include_pad=True).

    Each element of a window of k gets the gradient gy / k; where windows overlap, their sum.

    Args, Raises: as for `max_pool`.
    """
    image = as_float(x)
    window = _window("avg_pool", image._data.shape, kernel_size, stride, padding)
    return AvgPool(window).run((image,))


def _window(name: str, shape: Axes, kernel_size: Any, stride: Any, padding: Any) -> Window:
    """Kernel, stride and padding for each spatial axis, if they fit x of this shape."""
    axes = len(shape) - 2
    if not 1 <= axes <= 3:
        raise ValueError(f"{name}: expected x (N, C, ...) with 1 to 3 axes more, got shape {shape}")
    kernel = spatial(name, "kernel_size", kernel_size, axes, 1)
    steps = kernel if stride is None else spatial(name, "stride", stride, axes, 1)
    pad = spatial(name, "padding", padding, axes, 0)
    for axis in range(axes):
        if 2 * pad[axis] > kernel[axis]:
            raise ValueError(
                f"{name}: axis {axis + 2}: padding {pad[axis]} is more than half of kernel_size {kernel[axis]}"
            )
        if shape[axis + 2] + 2 * pad[axis] < kernel[axis]:
            raise ValueError(
                f"{name}: axis {axis + 2}: kernel_size {kernel[axis]} is larger than the padded input, "
                f"{shape[axis + 2]} + 2 * {pad[axis]} (x has shape {shape})"
            )
    return kernel, steps, pad
