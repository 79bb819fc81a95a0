"""Convolution and its transpose, over 1, 2 or 3 spatial axes.

All of them come from one sum. With i running over the pixels of x, o over those of y and k over the taps of the
kernel, and with i = o * stride + k * dilation - padding on every axis,

    y[n, :, o] = Σ_k w[..., k] x[n, :, i]        Conv
    x[n, :, i] = Σ_k w[..., k]ᵀ y[n, :, o]       ConvTranspose
    w[..., k] = Σ_n,o y[n, :, o] x[n, :, i]ᵀ     ConvWeightGrad

Each is linear in its two operands, and each gradient of one is another of them: they close under differentiation, so
that gradients of any order need no more than these three.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor
from minidl.ops.activations.activation import ActivationGrad, fused_row
from minidl.ops.args import input_and_weights
from minidl.ops.linalg import affine
from minidl.ops.reduction import sum
from minidl.ops.shape import reshape, transpose
from minidl.ops.spatial.padding import same_padding

Axes = tuple[int, ...]
LIMIT = check.WINDOW_LIMIT  # (a constant of this module is found sooner)


# How a kernel moves over an image: stride, padding and dilation, one number a spatial axis, and the groups of channels.
Window = tuple[Axes, Axes, Axes, int]


class _Fused(Op):
    """What Conv and ConvTranspose share: bias and activation are applied while the result is in the cache."""

    def __init__(self, window: Window, size: Axes, activation: tuple = ()) -> None:
        self.window, self.size = window, size  # size: the spatial axes of the result
        self.activation = activation  # (row, a, b) or nothing
        self.named = (activation[0].name, *activation[1:]) if activation else ()

    def _before_activation(self, gy: Tensor) -> Tensor:
        """The gradient of what the activation was applied to."""
        if not self.activation:
            return gy
        row, a, b = self.activation
        return ActivationGrad(row, a, b, True)(self.output(), gy)

    def _fused_before_activation(self, gy: np.ndarray) -> np.ndarray:
        if not self.activation:
            return gy
        name, a, b = self.named
        return K.activation_backward(name, self.output()._data, gy, a, b, True)

    def _bias_gradient(self, gy: Tensor) -> tuple:
        """None or one gradient, as there are inputs for."""
        if len(self.edges) == 2:
            return ()
        return (sum(gy, axis=(0, *range(2, gy.ndim))) if self.needs(2) else None,)


class Conv(_Fused):
    """y (N, O, ...) from x (N, C, ...), w (O, C/groups, ...) and b (O,)."""

    def forward(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
        return K.conv_forward(x, w, b, *self.window, self.size, *self.named)

    def backward(self, gy: Tensor) -> tuple:
        x, w, gy = self.input(0), self.input(1), self._before_activation(gy)
        gx = ConvTranspose(self.window, x.shape[2:])(gy, w) if self.needs(0) else None
        gw = ConvWeightGrad(self.window, w.shape[2:])(x, gy) if self.needs(1) else None
        return (gx, gw, *self._bias_gradient(gy))

    def fused_backward(self, gy: np.ndarray) -> tuple:
        x, w, gy = self.input(0)._data, self.input(1)._data, self._fused_before_activation(gy)
        gx = gw = gb = None
        if self.needs(0):
            gx = K.conv_input_grad(gy, w, x.shape[2:], *self.window)
        if self.needs(1):
            gw, gb = K.conv_weight_grad(x, gy, w.shape[2:], *self.window)
        if len(self.edges) == 2:
            return gx, gw
        if gb is None and self.needs(2):
            gb = _pixel_sum(gy)
        return gx, gw, gb


class ConvTranspose(_Fused):
    """x (N, C, ...) from y (N, O, ...), w (O, C/groups, ...) and b (C,): the transpose of Conv in x and y."""

    def forward(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
        return K.conv_input_grad(x, w, self.size, *self.window, b, *self.named)

    def backward(self, gy: Tensor) -> tuple:
        x, w, gy = self.input(0), self.input(1), self._before_activation(gy)
        gx = Conv(self.window, x.shape[2:])(gy, w) if self.needs(0) else None
        gw = ConvWeightGrad(self.window, w.shape[2:])(gy, x) if self.needs(1) else None
        return (gx, gw, *self._bias_gradient(gy))

    def fused_backward(self, gy: np.ndarray) -> tuple:
        x, w, gy = self.input(0)._data, self.input(1)._data, self._fused_before_activation(gy)
        gx = gw = None
        if self.needs(0):
            gx = K.conv_forward(gy, w, None, *self.window, x.shape[2:])
        if self.needs(1):
            gw, _ = K.conv_weight_grad(gy, x, w.shape[2:], *self.window)
        if len(self.edges) == 2:
            return gx, gw
        return gx, gw, _pixel_sum(gy) if self.needs(2) else None


def _pixel_sum(gy: np.ndarray) -> np.ndarray:
    """The gradient of a bias."""
    return K.sum_axes(gy, (0, *range(2, gy.ndim)))


class ActivatedConv(Conv):
    """The same with an activation, whose slope is found from the result."""

    saves_output = True


class ActivatedConvTranspose(ConvTranspose):
    """The same with an activation, whose slope is found from the result."""

    saves_output = True


class ConvWeightGrad(Op):
    """w (O, C/groups, ...) from x (N, C, ...) and y (N, O, ...): the transpose of Conv in w and y."""

    def __init__(self, window: Window, kernel: Axes) -> None:
        self.window, self.kernel = window, kernel

    def forward(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return K.conv_weight_grad(x, y, self.kernel, *self.window)[0]

    def backward(self, gw: Tensor) -> tuple:
        x, y, v = self.input(0), self.input(1), self.window
        return (
            ConvTranspose(v, x.shape[2:])(y, gw) if self.needs(0) else None,
            Conv(v, y.shape[2:])(x, gw) if self.needs(1) else None,
        )


# ── The public functions ─────────────────────────────────────────────────────────────────────────────────────────────


def conv(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Axes = 1,
    padding: int | Axes | str = 0,
    dilation: int | Axes = 1,
    groups: int = 1,
    activation: str | tuple | None = None,
) -> Tensor:
    """The convolution of neural networks (a cross-correlation): y[n, o] = Σ over c and taps of weight[o, c] · x[n, c].

    Args:
        x: (N, C, *size) with 1, 2 or 3 spatial axes.
        weight: (O, C/groups, *kernel).
        bias: (O,) or None.
        stride, padding, dilation: an int below 2**31, or one for each spatial axis; padding is zeros on both sides.
            "same" for padding keeps the size of x (with stride 1; an even kernel has one more zero at the end).
        groups: the channels fall into so many parts; an output sees the inputs of its own.
        activation: applied in the same pass; the names are those of `affine`.

    Returns:
        (N, O, *y_size) with y_size = (size + 2 padding - dilation (kernel - 1) - 1) // stride + 1. In memory the
        channels lie innermost unless they are few, which its strides say; for the caller the axes are N, channels,
        space as always.

    Kernels of 3 x 3 with stride 1 and of 4 x 4 with stride 2, and their gradients, are computed with fewer products
    (Winograd's minimal filtering; Lavin & Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016): float32
    results are within about 1e-6 of the largest, and what sees an infinite pixel may be NaN.

    Raises:
        ValueError: shapes or settings that do not fit; names the argument, the axis, what was expected and what was
            given.

    >>> conv([[[1.0, 2.0, 4.0]]], [[[-1.0, 1.0]]]).data
    array([[[1., 2.]]], dtype=float32)
    """
    args = input_and_weights(x, weight) if bias is None else input_and_weights(x, weight, bias)
    x_shape, w_shape = args[0]._data.shape, args[1]._data.shape
    axes = _spatial_axes("conv", x_shape, w_shape)
    if isinstance(padding, str):
        args, padding = _keeping_size(args, padding, stride, dilation)
        x_shape = args[0]._data.shape
    window = _window("conv", axes, stride, padding, dilation, groups)
    stride, padding, dilation, groups = window
    if x_shape[1] % groups:
        raise ValueError(
            f"conv: groups={groups} does not divide the {x_shape[1]} channels of x {x_shape}"
        )
    if w_shape[1] * groups != x_shape[1]:
        raise ValueError(
            f"conv: axis 1 of x: expected {w_shape[1] * groups} channels (weight is {w_shape}, "
            f"groups={groups}), got shape {x_shape}"
        )
    if w_shape[0] % groups:
        raise ValueError(
            f"conv: groups={groups} does not divide the {w_shape[0]} outputs of weight {w_shape}"
        )
    if bias is not None and args[2]._data.shape != w_shape[:1]:
        raise ValueError(f"conv: bias: expected shape ({w_shape[0]},), got {args[2].shape}")
    size = _conv_size(x_shape, w_shape, stride, padding, dilation)
    row = None if activation is None else fused_row(activation, "conv")
    if size[-1] == 1 and groups == 1 and x_shape[2:] == w_shape[2:] and not any(padding):
        return _one_pixel(args, activation)
    if row is None:
        return Conv(window, size).run(args)
    return ActivatedConv(window, size, row).run(args)


def _conv_size(x_shape: Axes, w_shape: Axes, stride: Axes, padding: Axes, dilation: Axes) -> Axes:
    """The spatial axes of y."""
    size = []
    for axis in range(len(stride)):
        length, taps, step = x_shape[2 + axis], w_shape[2 + axis], stride[axis]
        zeros, apart = padding[axis], dilation[axis]
        padded, reach = length + 2 * zeros, apart * (taps - 1) + 1
        if padded < reach:
            raise ValueError(
                f"conv: axis {2 + axis} of x: the kernel spans {reach} (length {taps}, "
                f"dilation {apart}), more than the padded input, {padded} "
                f"(x {x_shape}, padding {zeros})"
            )
        size.append((padded - reach) // step + 1)
    return tuple(size)


def _keeping_size(
    args: tuple[Tensor, ...], padding: str, stride: Any, dilation: Any
) -> tuple[tuple[Tensor, ...], Axes]:
    """The arguments and the padding that "same" stands for."""
    if padding != "same":
        raise ValueError(f'conv: padding: expected integers or "same", got {padding!r}')
    kernel = args[1].shape[2:]
    steps = spatial("conv", "stride", stride, len(kernel), 1)
    apart = spatial("conv", "dilation", dilation, len(kernel), 1)
    x, widths = same_padding("conv", args[0], kernel, steps, apart)
    return (x, *args[1:]), widths


def _one_pixel(args: tuple[Tensor, ...], activation: str | tuple | None) -> Tensor:
    """A kernel that covers the image, without padding: one product of (N, C · taps) and (O, C · taps)."""
    x, weight = args[0], args[1]
    n, outputs, axes = x.shape[0], weight.shape[0], x.ndim - 2
    terms = math.prod(weight.shape[1:])
    if x.size > weight.size and not x._data.flags.c_contiguous:  # only the smaller one is copied
        order = (0, *range(2, axes + 2), 1)
        x, weight = transpose(x, order), transpose(weight, order)
    bias = args[2] if len(args) > 2 else None
    y = affine(reshape(x, (n, terms)), reshape(weight, (outputs, terms)), bias, activation)
    return reshape(y, (n, outputs, *(1,) * axes))


def conv_transpose(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Axes = 1,
    padding: int | Axes = 0,
    output_padding: int | Axes = 0,
    groups: int = 1,
    dilation: int | Axes = 1,
    activation: str | tuple | None = None,
) -> Tensor:
    """The transpose of `conv` in its input: each pixel of x adds a kernel, times its value, to y.

    The gradient of x is ``conv(gy, weight)`` with the same settings.

    Args:
        x: (N, C, *size) with 1, 2 or 3 spatial axes.
        weight: (C, O/groups, *kernel).
        bias: (O,) or None.
        stride, padding, dilation, groups, activation: those of the `conv` that leads from y to x's shape.
        output_padding: added to y's size at the far end, less than stride or dilation: of the sizes that this conv
            takes to x's, which one.

    Returns:
        (N, O, *y_size) with y_size = (size - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1.

    Raises:
        ValueError: shapes or settings that do not fit; names the argument, the axis, what was expected and what was
            given.

    Source: Zeiler, Krishnan, Taylor & Fergus, Deconvolutional Networks, CVPR 2010.

    >>> conv_transpose([[[1.0, 2.0]]], [[[1.0, 10.0]]], stride=2).data
    array([[[ 1., 10.,  2., 20.]]], dtype=float32)
    """
    args = input_and_weights(x, weight) if bias is None else input_and_weights(x, weight, bias)
    x_shape, w_shape = args[0]._data.shape, args[1]._data.shape
    axes = _spatial_axes("conv_transpose", x_shape, w_shape)
    window = _window("conv_transpose", axes, stride, padding, dilation, groups)
    stride, padding, dilation, groups = window
    extra = spatial("conv_transpose", "output_padding", output_padding, axes, 0)
    if w_shape[0] != x_shape[1]:
        raise ValueError(
            f"conv_transpose: axis 1 of x: expected {w_shape[0]} channels (weight is {w_shape}), "
            f"got shape {x_shape}"
        )
    if x_shape[1] % groups:
        raise ValueError(
            f"conv_transpose: groups={groups} does not divide the {x_shape[1]} channels of x {x_shape}"
        )
    if bias is not None and args[2]._data.shape != (w_shape[1] * groups,):
        raise ValueError(
            f"conv_transpose: bias: expected shape ({w_shape[1] * groups},), got {args[2].shape}"
        )
    size = []
    for axis in range(axes):
        if extra[axis] >= max(stride[axis], dilation[axis]):
            raise ValueError(
                f"conv_transpose: output_padding must be less than stride or dilation, got {extra[axis]} "
                f"with stride {stride[axis]} and dilation {dilation[axis]} on axis {2 + axis}"
            )
        n = (x_shape[2 + axis] - 1) * stride[axis] - 2 * padding[axis]
        n += dilation[axis] * (w_shape[2 + axis] - 1) + extra[axis] + 1
        if n < 1 or x_shape[2 + axis] == 0:
            raise ValueError(
                f"conv_transpose: axis {2 + axis} of the result would have {n} elements (x {x_shape}, "
                f"kernel {w_shape[2 + axis]}, stride {stride[axis]}, padding {padding[axis]})"
            )
        size.append(n)
    check.shape("conv_transpose", (x_shape[0], w_shape[1] * groups, *size))
    if activation is None:
        return ConvTranspose(window, tuple(size)).run(args)
    row = fused_row(activation, "conv_transpose")
    return ActivatedConvTranspose(window, tuple(size), row).run(args)


def _spatial_axes(name: str, x_shape: Axes, w_shape: Axes) -> int:
    """How many x and weight have."""
    if not 3 <= len(x_shape) <= 5:
        raise ValueError(
            f"{name}: expected x (batch, channels, *size) with 1, 2 or 3 spatial axes, got shape {x_shape}"
        )
    if len(w_shape) != len(x_shape):
        raise ValueError(
            f"{name}: x and weight: expected as many spatial axes in both, got shapes {x_shape}, {w_shape}"
        )
    for axis in range(2, len(w_shape)):
        if w_shape[axis] == 0:
            raise ValueError(f"{name}: weight: axis {axis} is empty, got shape {w_shape}")
    return len(x_shape) - 2


def _window(name: str, axes: int, stride: Any, padding: Any, dilation: Any, groups: Any) -> Window:
    return (
        spatial(name, "stride", stride, axes, 1),
        spatial(name, "padding", padding, axes, 0),
        spatial(name, "dilation", dilation, axes, 1),
        groups if type(groups) is int and groups > 0 else check.integer(name, "groups", groups, 1),
    )


def spatial(owner: str, argument: str, value: Any, axes: int, least: int) -> Axes:
    """One int for each of `axes` spatial axes, from that many or from one for all of them.

    Raises:
        ValueError: another number of them, or one less than `least` or more than 2**31 - 1; names the owner and the
            argument.
    """
    if type(value) is int and least <= value <= LIMIT:
        return (value,) * axes
    values = value if type(value) is tuple else ()
    for number in values:
        if type(number) is not int or not least <= number <= LIMIT:
            values = ()
            break
    if not values:
        values = check.integers(owner, argument, value, least, LIMIT)
    if len(values) == 1:
        values *= axes
    if len(values) != axes:
        raise ValueError(
            f"{owner}: {argument}: expected one int or {axes}, one for each spatial axis, got {value}"
        )
    return values
