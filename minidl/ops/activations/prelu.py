"""PReLU: leaky ReLU with slopes that are learned, one for a channel, an element, or all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl._kernels.runtime.prepared import checks
from minidl.autograd.op import Op
from minidl.autograd.tape import will_record
from minidl.autograd.tensor import Tensor, as_tensor
from minidl.ops.args import as_float, as_float_in_place, normalize_axis
from minidl.ops.arithmetic import where
from minidl.ops.reduction import sum
from minidl.ops.shape import broadcast_to, reshape, transpose


class PReLU(Op):
    """y = max(0, x) + slope min(0, x) for x seen as `blocks` (outer, channels, inner), slope (channels,)."""

    def __init__(self, blocks: tuple[int, int, int]) -> None:
        self.blocks = blocks

    def forward(self, x: np.ndarray, slope: np.ndarray) -> np.ndarray:
        return K.prelu_forward(self._seen(x), slope).reshape(x.shape)

    def x(self) -> Tensor:
        return self.input(0)

    def backward(self, gy: Tensor) -> tuple:
        """gx = gy or slope gy, and Σ x gy where x is not positive."""
        x, g = reshape(self.x(), self.blocks), reshape(gy, self.blocks)
        gx = where(
            x <= 0, g * reshape(self.input(1), (-1, 1)), where(x > 0, g, math.nan)
        )  # the slope at NaN is NaN
        return reshape(gx, gy.shape), sum(where(x > 0, 0.0, g * x), axis=(0, 2))

    def fused_backward(self, gy: np.ndarray) -> tuple:
        x, slope = self._seen(self.x()._data), self.input(1)._data
        gx, gslope = K.prelu_backward(x, slope, self._seen(gy))
        return gx.reshape(gy.shape), gslope

    def _seen(self, array: np.ndarray) -> np.ndarray:
        array = array if array.flags.c_contiguous else K.copy(array)
        return array.reshape(self.blocks)


class PReLUInPlace(PReLU):
    """PReLU in x's own memory.

    With a positive slope y has the sign of x, and min(0, x) = min(0, y) / slope: the backward of PReLU, given y
    for x, needs no more than a division.
    """

    saves = (1,)
    saves_output = True
    shares = "inplace"

    def forward(self, x: np.ndarray, slope: np.ndarray) -> np.ndarray:
        if not x.flags.carray:
            K.assign(x, super().forward(x, slope))
            return x
        K.prelu_forward(self._seen(x), slope, self._seen(x))
        return x

    def x(self) -> Tensor:
        return self.output()

    def backward(self, gy: Tensor) -> tuple:
        gx, gslope = super().backward(gy)
        return gx, gslope / self.input(1) if self.needs(1) else None

    def fused_backward(self, gy: np.ndarray) -> tuple:
        gx, gslope = super().fused_backward(gy)
        return gx, K.binary("div", gslope, self.input(1)._data) if self.needs(1) else None


def prelu(
    x: Any,
    slope: Any = None,
    base_axis: int | tuple[int, ...] | None = 1,
    inplace: bool = False,
    **unknown: Any,
) -> Tensor:
    """max(0, x) + slope * min(0, x), with a slope that is learned. At 0 the slope is that of the negative side.

    Args:
        x: Tensor, array or number.
        slope: one element, which serves all; or one per channel, of shape ``x.shape[base_axis]`` (for a tuple of axes:
            the shape of these axes; for None: ``x.shape[1:]``, one slope an element).
        base_axis: the axis of x that the slopes belong to, counted over all axes (1 = channels).
        inplace: overwrite x's own memory. x is then found again from the result, where its gradient needs it.

    Raises:
        ValueError: a slope of another shape; names what was expected and what was given. In place: a slope below 0, or
            of 0 if it is to be learned: x could not be told from the result.
        TypeError: no slope, or an argument of another library's prelu (the right one is named).

    Source: He, Zhang, Ren & Sun, Delving Deep into Rectifiers, ICCV 2015.
    """
    if slope is None or unknown:
        raise TypeError(_wrong_call(unknown))
    if type(inplace) is not bool:
        inplace = check.flag("prelu", "inplace", inplace)
    x = as_float_in_place("prelu", x) if inplace else as_float(x)
    slope = as_tensor(slope, dtype=x.dtype)
    if slope.dtype != x.dtype:
        slope = slope.astype(x.dtype)
    shape = x.shape
    if slope.size == 1:
        if type(base_axis) is not int and base_axis is not None:  # x need not have these axes
            check.integers("prelu", "base_axis", base_axis)
        seen, slope = (1, 1, x.size), slope if slope.ndim == 1 else reshape(slope, (1,))
    else:
        axes = _slope_axes(base_axis, x.ndim)
        expected = tuple([shape[a] for a in axes])
        if slope.shape != expected:
            raise ValueError(
                f"prelu: slope: expected shape {expected} (axes {axes} of x, shape {shape}) or one "
                f"element, got {slope.shape}"
            )
        if len(axes) == 1 or axes == tuple(range(axes[0], axes[-1] + 1)):
            seen = (
                math.prod(shape[: axes[0]]),
                slope.size,
                math.prod(shape[axes[-1] + 1 :]),
            )
            slope = reshape(slope, (-1,)) if slope.ndim > 1 else slope
        else:  # axes that do not lie side by side: every element gets its slope, the engine sums them back
            kept = tuple(n if a in axes else 1 for a, n in enumerate(shape))
            order = tuple(np.argsort(axes).tolist())
            full = broadcast_to(reshape(transpose(slope, order), kept), shape)
            seen, slope = (1, x.size, 1), reshape(full, (-1,))
    if inplace:
        checks(_check_inplace, slope._data, will_record(slope))
    op = PReLUInPlace(seen) if inplace else PReLU(seen)
    return op.run((x, slope))


def _wrong_call(unknown: dict[str, Any]) -> str:
    slope, axis = (
        "slope=, a number, an array or a Parameter",
        "base_axis=, counted over all axes of x",
    )
    right = {"axis": axis} | dict.fromkeys(("alpha", "weight", "negative_slope"), slope)
    known = "one of x, slope, base_axis, inplace"
    wrong = [f"no argument {name!r}; use {right.get(name, known)}" for name in unknown]
    return "prelu: " + ("; ".join(wrong) or f"needs {slope}")


def _check_inplace(slope: np.ndarray, learned: bool) -> None:
    least = slope.min(initial=np.inf)
    if not (least > 0 or (least == 0 and not learned)):
        bound = "> 0 (to be learned)" if learned else ">= 0"
        raise ValueError(
            f"prelu: inplace needs every slope {bound}, got {least:g}: x could not be told from the result"
        )


def _slope_axes(base_axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    if base_axis is None:
        return tuple(range(1, ndim))
    if type(base_axis) is int:  # (the usual case, in half the time)
        return (normalize_axis("prelu: base_axis", base_axis, ndim),)
    axes = check.integers("prelu", "base_axis", base_axis)
    places = tuple([normalize_axis("prelu: base_axis", a, ndim) for a in axes])
    if len(set(places)) != len(places):
        raise ValueError(f"prelu: base_axis: {base_axis} names an axis twice")
    return places
