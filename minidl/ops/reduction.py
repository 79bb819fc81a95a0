"""Sums, means, variances and extrema over axes, as in NumPy: ``axis`` is None (all), an int or a tuple."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl.autograd.op import BroadcastTo, Op
from minidl.autograd.tensor import Tensor, as_tensor, wrap
from minidl.ops.args import normalize_axes
from minidl.ops.arithmetic import same, sqrt, where
from minidl.ops.shape import Reshape, reshape

__all__ = [
    "max", "mean", "min", "std", "sum", "var",
]  # fmt: skip

Axis = int | tuple[int, ...] | None


def _kept(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape after a reduction with keepdims=True."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


class Sum(Op):
    """y = Σ x / divisor; with the number of elements as the divisor it is the mean."""

    saves = ()

    def __init__(self, axes: tuple[int, ...], keepdims: bool, divisor: float = 1.0) -> None:
        self.axes, self.keepdims, self.divisor = axes, keepdims, divisor

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x_shape = x.shape
        return K.sum_axes(x, self.axes, self.keepdims, self.divisor)

    def backward(self, gy: Tensor) -> Tensor:
        if self.divisor != 1:
            gy = gy / self.divisor
        kept = Reshape(_kept(self.x_shape, self.axes))(gy)
        return BroadcastTo(self.x_shape)(kept)  # (the shapes are known to be right: no checks)


class Max(Op):
    """The greatest element; elements that share it (several NaNs, too) share the gradient evenly."""

    saves = (0,)
    saves_output = True
    name = "max"

    def __init__(self, axes: tuple[int, ...], keepdims: bool) -> None:
        self.axes, self.keepdims = axes, keepdims

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.extremum_axes(self.name, x, self.axes, self.keepdims)

    def backward(self, gy: Tensor) -> Tensor:
        x, kept = self.input(0), _kept(self.input(0).shape, self.axes)
        greatest = same(x, reshape(self.output(), kept))
        return where(greatest, reshape(gy, kept) / sum(greatest, self.axes, True), 0.0)

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        x, kept = self.input(0)._data, _kept(self.input(0).shape, self.axes)
        y = self.output()._data.reshape(kept)
        count = K.sum_axes(K.binary("same", x, y), self.axes, True)
        return K.where_same(x, y, K.binary("div", gy.reshape(kept), count))


class Min(Max):
    name = "min"


def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Σ x over the axes; 0 for no elements. Each element gets the gradient gy.

    Args:
        axis: None (all axes), an int or a tuple of ints; a negative one counts from the end.
        keepdims: the axes stay in the result, with length 1.

    Floats keep their dtype. Integers and bools are summed in 64 bits.

    Raises:
        ValueError: an axis that x does not have, or one that is named twice.
        TypeError: an axis that is not an integer, `keepdims` that is not a bool.
    """
    x = as_tensor(x)
    return Sum(normalize_axes("sum", axis, x.ndim), _flag("sum", keepdims))(x)


def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Σ x / n over the axes, n the number of elements; NaN for no elements, without a warning.

    Each element gets the gradient gy / n. Integers and bools give float32. Arguments and errors as for `sum`.
    """
    x = as_tensor(x)
    axes = normalize_axes("mean", axis, x.ndim)
    count, keepdims = _count(x, axes), _flag("mean", keepdims)
    if x.dtype.kind != "f":
        return Sum(axes, keepdims)(x) / count
    return Sum(axes, keepdims, count)(x)


def var(x: Any, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
    """The variance, Σ(x - mean)² / (n - ddof), in two passes (exact for large means).

    Where ddof is n or more it is infinite, or NaN where all elements are equal. The gradient is
    2 gy (x - mean) / (n - ddof). Integers give float32. The other arguments and errors as for `sum`.

    Source: Chan, Golub & LeVeque, Algorithms for Computing the Sample Variance: Analysis and Recommendations, The
    American Statistician 37, 1983.
    """
    return _variance("var", as_tensor(x), axis, keepdims, ddof)


def _variance(name: str, x: Tensor, axis: Axis, keepdims: bool, ddof: int) -> Tensor:
    freedom = _count(x, normalize_axes(name, axis, x.ndim)) - check.number(name, "ddof", ddof)
    keepdims, deviation = _flag(name, keepdims), centered(x, axis)
    return sum(deviation * deviation, axis, keepdims) / (freedom if freedom > 0 else 0.0)


def centered(x: Tensor, axis: Axis) -> Tensor:
    """x - mean, and 0 where all elements are equal.

    The mean of equal numbers may be off by an ulp, of which a division by their deviation would make anything: a number
    of each group is taken away first.
    """
    if x.dtype.kind == "f" and x.size:
        axes = normalize_axes("mean", axis, x.ndim)
        first = tuple(slice(0, 1) if i in axes else slice(None) for i in range(x.ndim))
        x = x - wrap(x._data[(*first, ...)])
    return x - mean(x, axis, keepdims=True)


def std(x: Any, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Tensor:
    """The standard deviation, √(Σ(x - mean)² / (n - ddof)): the square root of `var`.

    The gradient is gy (x - mean) / ((n - ddof) std), and 0 where std is 0. Arguments and errors as for `var`.
    """
    v = _variance("std", as_tensor(x), axis, keepdims, ddof)
    zero = v == 0
    return where(zero, v, sqrt(where(zero, 1.0, v)))


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The greatest element over the axes; NaN if there is one. The result has x's dtype.

    The gradient goes to the greatest element; equal ones, and several NaNs, share it evenly. Arguments and errors as
    for `sum`; ValueError, too, where there are no elements to choose from.
    """
    return _extremum("max", Max, x, axis, keepdims)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element over the axes; NaN if there is one. The result has x's dtype.

    The gradient goes to the smallest element; equal ones, and several NaNs, share it evenly. Arguments and errors as
    for `sum`; ValueError, too, where there are no elements to choose from.
    """
    return _extremum("min", Min, x, axis, keepdims)


def _extremum(name: str, op: type[Max], x: Any, axis: Axis, keepdims: bool) -> Tensor:
    x = as_tensor(x)
    axes = normalize_axes(name, axis, x.ndim)
    if x.size == 0 and any(x.shape[a] == 0 for a in axes):
        raise ValueError(f"{name}: no elements along axis {axes} of shape {x.shape}")
    return op(axes, _flag(name, keepdims))(x)


def _flag(name: str, keepdims: bool) -> bool:
    return keepdims if type(keepdims) is bool else check.flag(name, "keepdims", keepdims)


def _count(x: Tensor, axes: tuple[int, ...]) -> float:
    return float(math.prod([x.shape[a] for a in axes]))
