"""Conv and ConvTranspose: layers that move a small kernel over an image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl import check
from minidl import functional as F
from minidl.autograd.tensor import Tensor, as_tensor
from minidl.init import VarianceScaling
from minidl.nn.linear import DEFAULT_INIT
from minidl.nn.module import Module
from minidl.nn.parameter import ParameterMaker
from minidl.ops.activations.activation import fused_row
from minidl.ops.spatial.conv import Axes, spatial
from minidl.ops.spatial.padding import pad, same_widths

Activation = str | tuple
PADDING_MODES = ("zeros", "reflect", "replicate")
# PyTorch takes the fan of a transposed weight (in, out/groups, ...) from its second axis, which is
# the fan out; runs of the same script in both start alike.
TRANSPOSED_INIT = VarianceScaling(1 / 3, "fan_out", "uniform")


class _Convolution(Module):
    """The settings that both layers have, checked."""

    padding_mode = "zeros"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Axes,
        stride: int | Axes,
        padding: int | Axes | str,
        dilation: int | Axes,
        groups: int,
        activation: Activation | None,
    ) -> None:
        name = type(self).__name__
        if activation is not None:
            fused_row(activation, name)  # raises if it is wrong
        self.in_channels = check.integer(name, "in_channels", in_channels, 1)
        self.out_channels = check.integer(name, "out_channels", out_channels, 1)
        if isinstance(kernel_size, int | np.integer):
            kernel_size = (kernel_size, kernel_size)
        self.kernel_size = check.integers(name, "kernel_size", kernel_size, 1, check.WINDOW_LIMIT)
        axes = len(self.kernel_size)
        if axes > 3:
            raise ValueError(
                f"{name}: kernel_size: expected 1, 2 or 3 spatial axes, got {kernel_size}"
            )
        self.stride = spatial(name, "stride", stride, axes, 1)
        self.dilation = spatial(name, "dilation", dilation, axes, 1)
        self.padding: Any  # (an int for each axis, or "same")
        if isinstance(padding, str) and padding == "same" and isinstance(self, Conv):
            same_widths(name, self.kernel_size, self.stride, self.dilation)  # raises for a stride
            self.padding = padding
        else:
            self.padding = spatial(name, "padding", padding, axes, 0)
        self.groups = check.integer(name, "groups", groups, 1)
        for channels in (self.in_channels, self.out_channels):
            if channels % self.groups:
                which = "in_channels" if channels == self.in_channels else "out_channels"
                raise ValueError(f"{name}: groups={groups} does not divide {which}={channels}")
        self.activation = activation

    @property
    def fuses(self) -> bool:  # type: ignore[override]
        """It takes the activation that follows, unless it has one, is another layer or is watched."""
        return self.activation is None and (self.runs(_CONV) or self.runs(_TRANSPOSED))

    def extra_repr(self) -> str:
        axes = len(self.kernel_size)
        shown = [f"{self.in_channels}, {self.out_channels}, {self.kernel_size}"]
        for name, default in (
            ("stride", 1),
            ("padding", 0),
            ("output_padding", 0),
            ("dilation", 1),
        ):
            value = getattr(self, name, (default,) * axes)
            if value != (default,) * axes:
                shown.append(f"{name}={value!r}")
        if self.groups != 1:
            shown.append(f"groups={self.groups}")
        if self.padding_mode != "zeros":
            shown.append(f"padding_mode={self.padding_mode!r}")
        if self.activation:
            shown.append(f"activation={self.activation!r}")
        return ", ".join(shown)


class Conv(_Convolution):
    """y = the convolution of x with `out_channels` kernels, plus a bias (see `F.conv`).

    Shapes: x (N, in_channels, *size), weight (out_channels, in_channels/groups, *kernel_size), bias
    (out_channels,), y (N, out_channels, *y_size) with y_size = (size + 2 padding - dilation
    (kernel_size - 1) - 1) // stride + 1.

    Args:
        kernel_size: an int means two spatial axes; a tuple of 1, 2 or 3 ints as many.
        stride, padding, dilation: an int, or one for each spatial axis; "same" for padding keeps the size of x
            (with stride 1).
        padding_mode: what the padding is: "zeros", "reflect" (x mirrored at its edges) or "replicate" (the
            elements at its edges repeated), as for `md.pad`.
        groups: the channels fall into so many parts; an output sees the inputs of its own.
        bias, weight: where the parameters come from (see `ParameterMaker`); ``bias=False`` means
            none. By default both are drawn from U(-1/sqrt(fan_in), 1/sqrt(fan_in)) with fan_in =
            in_channels/groups * prod(kernel_size), as in PyTorch.
        lr_mult: learning-rate multiplier of both, or a dict by name.
        scope: layers with the same scope name share their parameters.
        activation: the name of one to apply in the same pass, such as "relu", or (name, *its
            parameters) (see `F.affine`). A `Sequential` does so with the activation that follows.

    Raises:
        ValueError: channels, axes or settings that do not fit, or a kernel larger than the padded x.

    Source: LeCun et al., Backpropagation Applied to Handwritten Zip Code Recognition, Neural
    Computation 1(4), 1989.

    >>> Conv(3, 64, 4, stride=2, padding=1)
    Conv(3, 64, (4, 4), stride=(2, 2), padding=(1, 1); weight (64, 3, 4, 4), bias (64,))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Axes,
        stride: int | Axes = 1,
        padding: int | Axes | str = 0,
        dilation: int | Axes = 1,
        groups: int = 1,
        bias: Any = True,
        weight: Any = None,
        lr_mult: float | Mapping[str, float] = 1.0,
        scope: str | None = None,
        activation: Activation | None = None,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, activation
        )
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        taps = math.prod(self.kernel_size)
        fan = (shape[1] * taps, self.out_channels // self.groups * taps)
        self.padding_mode = check.choice("Conv", "padding_mode", padding_mode, PADDING_MODES)
        make = ParameterMaker("Conv", ("weight", "bias"), lr_mult, scope)
        self.weight = make("weight", weight, DEFAULT_INIT, shape, fan)
        self.bias = make("bias", bias, DEFAULT_INIT, (self.out_channels,), fan, optional=True)

    def forward(self, x: Any, activation: Activation | None = None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            x, padding = self._padded(as_tensor(x)), 0
        return F.conv(
            x, self.weight, self.bias, self.stride, padding, self.dilation,
            self.groups, activation or self.activation,
        )  # fmt: skip

    def _padded(self, x: Tensor) -> Tensor:
        """x with its own elements around it."""
        if x.ndim != 2 + len(self.kernel_size):
            return x  # (F.conv says what is wrong)
        if isinstance(self.padding, str):
            widths = same_widths("Conv", self.kernel_size, self.stride, self.dilation)
        else:
            widths = [(n, n) for n in self.padding]
        return pad(x, [(0, 0), (0, 0), *widths], mode=self.padding_mode)


class ConvTranspose(_Convolution):
    """y = the transposed convolution of x, plus a bias: it enlarges images (see `F.conv_transpose`).

    Shapes: x (N, in_channels, *size), weight (in_channels, out_channels/groups, *kernel_size), bias
    (out_channels,), y (N, out_channels, *y_size) with y_size = (size - 1) stride - 2 padding +
    dilation (kernel_size - 1) + output_padding + 1.

    Args:
        kernel_size, stride, padding, dilation, groups, activation, lr_mult, scope: as for `Conv`.
        output_padding: added to y's size at the far end, less than stride or dilation.
        bias, weight: where the parameters come from (see `ParameterMaker`); ``bias=False`` means
            none. By default both are drawn from U(-a, a) with a = 1/sqrt(out_channels/groups *
            prod(kernel_size)), as in PyTorch.

    Raises:
        ValueError: channels, axes or settings that do not fit.

    Source: Zeiler, Krishnan, Taylor & Fergus, Deconvolutional Networks, CVPR 2010.

    >>> ConvTranspose(64, 3, 4, stride=2, padding=1, bias=False)
    ConvTranspose(64, 3, (4, 4), stride=(2, 2), padding=(1, 1); weight (64, 3, 4, 4))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Axes,
        stride: int | Axes = 1,
        padding: int | Axes = 0,
        output_padding: int | Axes = 0,
        groups: int = 1,
        bias: Any = True,
        dilation: int | Axes = 1,
        weight: Any = None,
        lr_mult: float | Mapping[str, float] = 1.0,
        scope: str | None = None,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, activation
        )
        axes = len(self.kernel_size)
        extra = spatial("ConvTranspose", "output_padding", output_padding, axes, 0)
        for axis, most in enumerate(map(max, self.stride, self.dilation)):
            if extra[axis] >= most:
                raise ValueError(
                    f"ConvTranspose: output_padding must be less than stride or dilation, "
                    f"got {extra[axis]} on spatial axis {axis}, where the greater is {most}"
                )
        self.output_padding = extra
        shape = (self.in_channels, self.out_channels // self.groups, *self.kernel_size)
        taps = math.prod(self.kernel_size)
        fan = (self.in_channels // self.groups * taps, shape[1] * taps)
        make = ParameterMaker("ConvTranspose", ("weight", "bias"), lr_mult, scope)
        self.weight = make("weight", weight, TRANSPOSED_INIT, shape, fan)
        self.bias = make("bias", bias, TRANSPOSED_INIT, (self.out_channels,), fan, optional=True)

    def forward(self, x: Any, activation: Activation | None = None) -> Tensor:
        return F.conv_transpose(
            x, self.weight, self.bias, self.stride, self.padding,
            self.output_padding, self.groups, self.dilation, activation or self.activation,
        )  # fmt: skip


_CONV, _TRANSPOSED = Conv.forward, ConvTranspose.forward
