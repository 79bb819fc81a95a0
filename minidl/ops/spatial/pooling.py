"""Pooling, nearest upsampling and pixel shuffle: operations that change the size of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl.autograd.op import Op
from minidl.autograd.tape import will_record
from minidl.autograd.tensor import Tensor
from minidl.ops.args import as_float
from minidl.ops.shape import broadcast_to, reshape, transpose
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
    return MaxPool(window, will_record(image)).apply((image,))


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
    return AvgPool(window).apply((image,))


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


# ── Larger images ────────────────────────────────────────────────────────────────────────────────────────────────────


def upsample(x: Any, scale: int | Sequence[int]) -> Tensor:
    """Each element of x repeated `scale` times along each spatial axis (nearest neighbour).

    The gradient is the sum of gy over the repetitions.

    Args:
        x: (N, C, *size) with spatial axes; the result has size * scale places along each, and x's layout.
        scale: an int, or one for each spatial axis.
    """
    x = as_float(x)
    if x.ndim < 3:
        raise ValueError(f"upsample: expected x (N, C, ...) of 3 axes or more, got {x.shape}")
    factors = spatial("upsample", "scale", scale, x.ndim - 2, 1)
    last = _channels_last(x)
    y = _moved(x, 1, -1) if last else x
    first = 1 if last else 2  # the first spatial axis
    apart, wide, joined = list(y.shape[:first]), list(y.shape[:first]), list(y.shape[:first])
    for n, factor in zip(x.shape[2:], factors, strict=True):
        apart += [n, 1]
        wide += [n, factor]
        joined += [n * factor]
    rest = list(y.shape[first + len(factors) :])
    check.shape("upsample", joined + rest)
    y = reshape(broadcast_to(reshape(y, apart + rest), wide + rest), joined + rest)
    return _moved(y, -1, 1) if last else y


def pixel_shuffle(x: Any, factor: int) -> Tensor:
    """(N, C * factor², H, W) -> (N, C, H * factor, W * factor): channels become blocks of pixels.

    ``y[n, c, h * factor + i, w * factor + j] = x[n, (c * factor + i) * factor + j, h, w]``; x may have 1 or 3 spatial
    axes as well, and the result has x's layout. The gradient is gy with its elements put back.

    Raises:
        ValueError: the channels are no multiple of factor ** (spatial axes).

    Source: Shi et al., Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional
    Neural Network, CVPR 2016.
    """
    x = as_float(x)
    factor = check.integer("pixel_shuffle", "factor", factor, 1, check.WINDOW_LIMIT)
    axes = x.ndim - 2
    if axes < 1 or x.shape[1] % factor**axes:
        raise ValueError(
            f"pixel_shuffle: expected x (N, C, ...) with a multiple of {factor}**{max(axes, 1)} "
            f"channels, got shape {x.shape}"
        )
    n, channels, size = x.shape[0], x.shape[1] // factor**axes, x.shape[2:]
    last = _channels_last(x)
    blocks = reshape(_moved(x, 1, -1), (n, *size, channels, *(factor,) * axes)) if last else reshape(
        x, (n, channels, *(factor,) * axes, *size)
    )  # fmt: skip
    if last:  # (n, size..., c, factors...) -> (n, size and factor..., c)
        pairs = [axis for i in range(axes) for axis in (1 + i, 2 + axes + i)]
        y = reshape(
            transpose(blocks, (0, *pairs, 1 + axes)), (n, *[s * factor for s in size], channels)
        )
        return _moved(y, -1, 1)
    pairs = [axis for i in range(axes) for axis in (2 + axes + i, 2 + i)]
    return reshape(transpose(blocks, (0, 1, *pairs)), (n, channels, *[s * factor for s in size]))


def _channels_last(x: Tensor) -> bool:
    """Whether x's memory is N, ..., C and not N, C, ..."""
    data = x._data
    return not data.flags.c_contiguous and np.moveaxis(data, 1, -1).flags.c_contiguous


def _moved(x: Tensor, source: int, to: int) -> Tensor:
    """np.moveaxis."""
    order = [axis for axis in range(x.ndim) if axis != source % x.ndim]
    order.insert(to % x.ndim, source % x.ndim)
    return transpose(x, order)
