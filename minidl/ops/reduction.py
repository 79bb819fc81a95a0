"""Sums, products, norms and extrema over axes, as in NumPy: ``axis`` is None (all), an int or a tuple."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl._kernels.runtime.prepared import by_numpy
from minidl.autograd.op import BroadcastTo, Op
from minidl.autograd.tensor import Tensor, as_tensor, wrap
from minidl.ops.args import as_float, filled, normalize_axes
from minidl.ops.arithmetic import abs, exp, same, sqrt, where
from minidl.ops.arrays.joining import concatenate, stack
from minidl.ops.shape import Reshape, Transpose, expand_dims, reshape

__all__ = [
    "logsumexp", "max", "mean", "min", "norm", "prod", "std", "sum", "var",
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


def _trailing(axes: tuple[int, ...], ndim: int) -> bool:
    """Whether they are the last ones of so many."""
    return sorted(axes) == list(range(ndim - len(axes), ndim))


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
        if x.flags.c_contiguous and self.axes and _trailing(self.axes, x.ndim):
            n = math.prod([x.shape[a] for a in self.axes])
            rows, y = K.reshape(x, (x.size // n, n)), K.reshape(self.output()._data, (x.size // n,))
            gx = K.extremum_rows_backward(rows, y, K.reshape(gy, (x.size // n,)))
            return gx.reshape(x.shape)
        y = self.output()._data.reshape(kept)
        count = K.sum_axes(K.binary("same", x, y), self.axes, True)
        return K.where_same(x, y, K.binary("div", gy.reshape(kept), count))


class Min(Max):
    name = "min"


class Norm(Op):
    """y = √Σ x². Where it is 0 so are all x, and their gradients."""

    saves = (0,)
    saves_output = True

    def __init__(self, axes: tuple[int, ...], keepdims: bool) -> None:
        self.axes, self.keepdims = axes, keepdims

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.unary("sqrt", K.sum_axes(K.binary("mul", x, x), self.axes, self.keepdims))

    def backward(self, gy: Tensor) -> Tensor:
        x, kept = self.input(0), _kept(self.input(0).shape, self.axes)
        y = reshape(self.output(), kept)
        return x * (reshape(gy, kept) / where(y == 0, 1.0, y))

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        x, kept = self.input(0)._data, _kept(self.input(0).shape, self.axes)
        y = self.output()._data.reshape(kept)
        y = K.binary("add", y, K.binary("same", y, K.number(0.0, y)))  # 1 in place of 0
        return K.binary("mul", x, K.binary("div", gy.reshape(kept), y))


class Prod(Op):
    """y = Π x over the rows of (rows, n); its gradient needs no division, so that an element may be 0."""

    saves = (0,)

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.prod_rows(x) if x.dtype.kind == "f" else by_numpy(np.prod, x, axis=1)

    def backward(self, gy: Tensor) -> Tensor:
        return expand_dims(gy, 1) * _products_of_others(self.input(0))

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        return K.prod_rows_backward(self.input(0)._data, gy)


def _products_of_others(x: Tensor) -> Tensor:
    """For each element of (rows, n) the product of the others in its row: of its neighbour, and of the other pairs."""
    rows, n = x.shape
    if n < 2:
        return filled(x.shape, 1.0, x.dtype)
    if n % 2:
        return _products_of_others(concatenate([x, filled((rows, 1), 1.0, x.dtype)], 1))[:, :n]
    pairs = reshape(x, rows, n // 2, 2)
    left, right = pairs[:, :, 0], pairs[:, :, 1]
    others = _products_of_others(left * right)
    return reshape(stack([others * right, others * left], 2), x.shape)


class LogSumExp(Op):
    """y = log Σ exp(x) over the rows of (rows, n)."""

    saves = (0,)
    saves_output = True

    def forward(self, x: np.ndarray) -> np.ndarray:
        if x.shape[1] == 0:
            return filled((len(x),), -math.inf, x.dtype)._data
        return K.logsumexp_forward(x)

    def backward(self, gy: Tensor) -> Tensor:
        y = expand_dims(self.output(), 1)
        return expand_dims(gy, 1) * exp(self.input(0) - where(y == -math.inf, 0.0, y))


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
    return _root(_variance("std", as_tensor(x), axis, keepdims, ddof))


def _root(y: Tensor, degree: float = 2) -> Tensor:
    """y^(1 / degree), with the slope 1 at 0 in place of inf: what y was made of has the slope 0 there."""
    zero = y == 0
    inside = where(zero, 1.0, y)
    return where(zero, y, sqrt(inside) if degree == 2 else inside ** (1 / degree))


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


def prod(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Π x over the axes; 1 for no elements.

    The gradient of an element is gy times the product of the others, right where elements are 0, too: it is computed
    without a division. Integers and bools give 64 bits. Arguments and errors as for `sum`.
    """
    x, keepdims = as_tensor(x), _flag("prod", keepdims)
    return _shaped(Prod()(_rows("prod", x, axis)), x, axis, keepdims)


def norm(x: Any, ord: float = 2, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """(Σ |x|^ord)^(1 / ord) over the axes: the length of a vector; with ord=1 Σ |x|, with ord=inf the greatest |x|.

    Always of vectors, also for matrices: over all axes it is Frobenius' norm. The gradient is
    gy x |x|^(ord - 2) / y^(ord - 1), and 0 where y is 0. Integers give float32. The other arguments and errors as for
    `sum`; ValueError, too, for an ord that is not positive.
    """
    x, keepdims = as_float(x), _flag("norm", keepdims)
    if isinstance(ord, bool) or not isinstance(ord, Real) or not ord > 0:
        kind = ValueError if isinstance(ord, Real) else TypeError
        raise kind(f"norm: ord must be a number > 0, got {ord!r}")
    axes = normalize_axes("norm", axis, x.ndim)
    if ord == 2:
        return Norm(axes, keepdims)(x)
    if ord == math.inf:
        return max(abs(x), axis, keepdims)
    if ord == 1:
        return sum(abs(x), axis, keepdims)
    return _root(sum(abs(x) ** float(ord), axis, keepdims), ord)


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log Σ exp(x) over the axes, shifted by the maximum so that nothing overflows; -inf for no elements.

    The gradient is gy exp(x - y): gy softmax(x). The result is inf where x has inf, -inf where all of it is. Integers
    become float32. Arguments and errors as for `sum`.

    Source: Blanchard, Higham & Higham, Accurately computing the log-sum-exp and softmax functions, IMA Journal of
    Numerical Analysis 41, 2021.
    """
    x, keepdims = as_float(x), _flag("logsumexp", keepdims)
    return _shaped(LogSumExp()(_rows("logsumexp", x, axis)), x, axis, keepdims)


def _rows(name: str, x: Tensor, axis: Axis) -> Tensor:
    """x as (rows, n): the axes of a reduction last, and joined."""
    axes = normalize_axes(name, axis, x.ndim)
    if axes == (1,) and x.ndim == 2:  # rows already: no time is lost
        return x
    if axes == (0,) and x.ndim == 2:
        return Transpose((1, 0)).run((x,))
    if len(set(axes)) < len(axes):
        raise ValueError(f"{name}: an axis is named twice: {axis}")
    kept = [i for i in range(x.ndim) if i not in axes]
    order, lengths = (*kept, *sorted(axes)), [x.shape[i] for i in kept]
    moved = x if order == tuple(range(x.ndim)) else Transpose(order)(x)
    if len(lengths) == len(axes) == 1:
        return moved
    return reshape(moved, math.prod(lengths), math.prod([x.shape[a] for a in axes]))


def _shaped(y: Tensor, x: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    """y, one number a row, in the shape of a reduction of x over an axis that x has."""
    axes = normalize_axes("sum", axis, x.ndim)
    if x.ndim == 2 and len(axes) == 1 and not keepdims:
        return y
    kept = enumerate(_kept(x.shape, axes))
    shape = tuple([n for i, n in kept if keepdims or i not in axes])
    return y if y.shape == shape else reshape(y, shape)


def _flag(name: str, keepdims: bool) -> bool:
    return keepdims if type(keepdims) is bool else check.flag(name, "keepdims", keepdims)


def _count(x: Tensor, axes: tuple[int, ...]) -> float:
    return float(math.prod([x.shape[a] for a in axes]))
