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

from typing import Any, NamedTuple

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor
from minidl.ops.activations.activation import ActivationGrad, Row, fused_row
from minidl.ops.args import one_float_dtype
from minidl.ops.reduction import sum

Axes = tuple[int, ...]


class Window(NamedTuple):
    """How a kernel moves over an image: one number a spatial axis, and the groups of channels."""

    stride: Axes
    padding: Axes
    dilation: Axes
    groups: int


class _Fused(Op):
    """What Conv and ConvTranspose share: bias and activation are applied while the result is in the cache."""

    def __init__(
        self, window: Window, size: Axes, row: Row | None = None, a: float = 0.0, b: float = 0.0
    ) -> None:
        self.window, self.size = window, size  # size: the spatial axes of the result
        self.row, self.a, self.b = row, a, b

    def forward(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
        self.x_size, self.kernel = x.shape[2:], w.shape[2:]
        if self.row is None:
            return self.kernel_call(x, w, b)
        return self.kernel_call(x, w, b, self.row.name, self.a, self.b)

    def kernel_call(self, x: np.ndarray, w: np.ndarray, b: Any, *activation: Any) -> np.ndarray:
        raise NotImplementedError

    def product_gradients(self, gy: Tensor) -> tuple:
        raise NotImplementedError

    def backward(self, gy: Tensor) -> tuple:
        if self.row is not None:
            gy = ActivationGrad(self.row, self.a, self.b, True)(self.output(), gy)
        gb = None
        if len(self.edges) > 2 and self.needs(2):
            gb = sum(gy, axis=(0, *range(2, gy.ndim)))
        return (*self.product_gradients(gy), gb)[: len(self.edges)]


class Conv(_Fused):
    """y (N, O, ...) from x (N, C, ...), w (O, C/groups, ...) and b (O,)."""

    def kernel_call(self, x: np.ndarray, w: np.ndarray, b: Any, *activation: Any) -> np.ndarray:
        v = self.window
        return K.conv_forward(
            x, w, b, v.stride, v.padding, v.dilation, v.groups, self.size, *activation
        )

    def product_gradients(self, gy: Tensor) -> tuple:
        v = self.window
        return (
            ConvTranspose(v, self.x_size)(gy, self.input(1)) if self.needs(0) else None,
            ConvWeightGrad(v, self.kernel)(self.input(0), gy) if self.needs(1) else None,
        )


class ConvTranspose(_Fused):
    """x (N, C, ...) from y (N, O, ...), w (O, C/groups, ...) and b (C,): the transpose of Conv in x and y."""

    def kernel_call(self, x: np.ndarray, w: np.ndarray, b: Any, *activation: Any) -> np.ndarray:
        v = self.window
        return K.conv_input_grad(
            x, w, self.size, v.stride, v.padding, v.dilation, v.groups, b, *activation
        )

    def product_gradients(self, gy: Tensor) -> tuple:
        v = self.window
        return (
            Conv(v, self.x_size)(gy, self.input(1)) if self.needs(0) else None,
            ConvWeightGrad(v, self.kernel)(gy, self.input(0)) if self.needs(1) else None,
        )


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
        self.x_size, self.y_size = x.shape[2:], y.shape[2:]
        v = self.window
        return K.conv_weight_grad(x, y, self.kernel, v.stride, v.padding, v.dilation, v.groups)

    def backward(self, gw: Tensor) -> tuple:
        v = self.window
        return (
            ConvTranspose(v, self.x_size)(self.input(1), gw) if self.needs(0) else None,
            Conv(v, self.y_size)(self.input(0), gw) if self.needs(1) else None,
        )


# ── The public functions ─────────────────────────────────────────────────────────────────────────────────────────────


def conv(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Axes = 1,
    padding: int | Axes = 0,
    dilation: int | Axes = 1,
    groups: int = 1,
    activation: str | None = None,
) -> Tensor:
    """The convolution of neural networks (a cross-correlation): y[n, o] = Σ over c and taps of weight[o, c] · x[n, c].

    Args:
        x: (N, C, *size) with 1, 2 or 3 spatial axes.
        weight: (O, C/groups, *kernel).
        bias: (O,) or None.
        stride, padding, dilation: an int below 2**31, or one for each spatial axis; padding is zeros on both sides.
        groups: the channels fall into so many parts; an output sees the inputs of its own.
        activation: applied in the same pass; the names are those of `affine`.

    Returns:
        (N, O, *y_size) with y_size = (size + 2 padding - dilation (kernel - 1) - 1) // stride + 1. In memory the
        channels lie innermost, which its strides say; for the caller the axes are N, channels, space as always.

    Kernels of 3 x 3 with stride 1 and of 4 x 4 with stride 2, and their gradients, are computed with fewer products
    (Winograd's minimal filtering; Lavin & Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016): float32
    results are within about 1e-6 of the largest, and what sees an infinite pixel may be NaN.

    Raises:
        ValueError: shapes or settings that do not fit; names the argument, the axis, what was expected and what was
            given.

    >>> conv([[[1.0, 2.0, 4.0]]], [[[-1.0, 1.0]]]).data
    array([[[1., 2.]]], dtype=float32)
    """
    args = _operands("conv", x, weight, bias)
    axes = args[0].ndim - 2
    window = _window("conv", axes, stride, padding, dilation, groups)
    x_shape, w_shape = args[0].shape, args[1].shape
    if x_shape[1] % window.groups:
        raise ValueError(
            f"conv: groups={window.groups} does not divide the {x_shape[1]} channels of x {x_shape}"
        )
    if w_shape[1] * window.groups != x_shape[1]:
        raise ValueError(
            f"conv: axis 1 of x: expected {w_shape[1] * window.groups} channels (weight is {w_shape}, "
            f"groups={window.groups}), got shape {x_shape}"
        )
    if w_shape[0] % window.groups:
        raise ValueError(
            f"conv: groups={window.groups} does not divide the {w_shape[0]} outputs of weight {w_shape}"
        )
    _check_bias("conv", args, w_shape[0])
    size = []
    for axis in range(axes):
        padded = x_shape[2 + axis] + 2 * window.padding[axis]
        reach = window.dilation[axis] * (w_shape[2 + axis] - 1) + 1
        if padded < reach:
            raise ValueError(
                f"conv: axis {2 + axis} of x: the kernel spans {reach} (length {w_shape[2 + axis]}, "
                f"dilation {window.dilation[axis]}), more than the padded input, {padded} "
                f"(x {x_shape}, padding {window.padding[axis]})"
            )
        size.append((padded - reach) // window.stride[axis] + 1)
    op = ActivatedConv if activation is not None else Conv
    return op(window, tuple(size), *_activation("conv", activation))(*args)


def conv_transpose(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Axes = 1,
    padding: int | Axes = 0,
    output_padding: int | Axes = 0,
    groups: int = 1,
    dilation: int | Axes = 1,
    activation: str | None = None,
) -> Tensor:
    """The transpose of `conv` in its input: each pixel of x adds a kernel, times its value, to y.

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
    args = _operands("conv_transpose", x, weight, bias)
    axes = args[0].ndim - 2
    window = _window("conv_transpose", axes, stride, padding, dilation, groups)
    extra = spatial("conv_transpose", "output_padding", output_padding, axes, 0)
    x_shape, w_shape = args[0].shape, args[1].shape
    if w_shape[0] != x_shape[1]:
        raise ValueError(
            f"conv_transpose: axis 1 of x: expected {w_shape[0]} channels (weight is {w_shape}), "
            f"got shape {x_shape}"
        )
    if x_shape[1] % window.groups:
        raise ValueError(
            f"conv_transpose: groups={window.groups} does not divide the {x_shape[1]} channels of x {x_shape}"
        )
    _check_bias("conv_transpose", args, w_shape[1] * window.groups)
    size = []
    for axis in range(axes):
        stride_, dilation_ = window.stride[axis], window.dilation[axis]
        if extra[axis] >= max(stride_, dilation_):
            raise ValueError(
                f"conv_transpose: output_padding must be less than stride or dilation, got "
                f"{extra[axis]} with stride {stride_} and dilation {dilation_} on axis {2 + axis}"
            )
        n = (x_shape[2 + axis] - 1) * stride_ - 2 * window.padding[axis]
        n += dilation_ * (w_shape[2 + axis] - 1) + extra[axis] + 1
        if n < 1 or x_shape[2 + axis] == 0:
            raise ValueError(
                f"conv_transpose: axis {2 + axis} of the result would have {n} elements (x {x_shape}, "
                f"kernel {w_shape[2 + axis]}, stride {stride_}, padding {window.padding[axis]})"
            )
        size.append(n)
    check.shape("conv_transpose", (x_shape[0], w_shape[1] * window.groups, *size))
    kind = ActivatedConvTranspose if activation is not None else ConvTranspose
    op = kind(window, tuple(size), *_activation("conv_transpose", activation))
    return op(*args)


def _operands(name: str, x: Any, weight: Any, bias: Any) -> tuple[Tensor, ...]:
    """The arguments in one float dtype, x and weight with as many axes as a convolution has."""
    given = (x, weight) if bias is None else (x, weight, bias)
    args = one_float_dtype(*given)
    if not 3 <= args[0].ndim <= 5:
        raise ValueError(
            f"{name}: expected x (batch, channels, *size) with 1, 2 or 3 spatial axes, got shape {args[0].shape}"
        )
    if args[1].ndim != args[0].ndim:
        raise ValueError(
            f"{name}: x and weight: expected as many spatial axes in both, got shapes {args[0].shape}, {args[1].shape}"
        )
    for axis in range(2, args[1].ndim):
        if args[1].shape[axis] == 0:
            raise ValueError(f"{name}: weight: axis {axis} is empty, got shape {args[1].shape}")
    return args


def _window(name: str, axes: int, stride: Any, padding: Any, dilation: Any, groups: Any) -> Window:
    return Window(
        spatial(name, "stride", stride, axes, 1),
        spatial(name, "padding", padding, axes, 0),
        spatial(name, "dilation", dilation, axes, 1),
        check.integer(name, "groups", groups, 1),
    )


def spatial(owner: str, argument: str, value: Any, axes: int, least: int) -> Axes:
    """One int for each of `axes` spatial axes, from that many or from one for all of them.

    Raises:
        ValueError: another number of them, or one less than `least` or more than 2**31 - 1; names the owner and the
            argument.
    """
    values = check.integers(owner, argument, value, least, check.WINDOW_LIMIT)
    if len(values) == 1:
        values *= axes
    if len(values) != axes:
        raise ValueError(
            f"{owner}: {argument}: expected one int or {axes}, one for each spatial axis, got {value}"
        )
    return values


def _check_bias(name: str, args: tuple[Tensor, ...], channels: int) -> None:
    if len(args) > 2 and args[2].shape != (channels,):
        raise ValueError(f"{name}: bias: expected shape ({channels},), got {args[2].shape}")


def _activation(name: str, activation: str | None) -> tuple[Row | None, float, float]:
    return (None, 0.0, 0.0) if activation is None else fused_row(activation, name)
