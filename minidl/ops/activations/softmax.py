"""Softmax and its logarithm: each element depends on all others of its row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor
from minidl.ops.args import as_float, normalize_axis
from minidl.ops.arithmetic import exp
from minidl.ops.reduction import sum
from minidl.ops.shape import reshape, transpose

# The most classes, and the fewest columns, that the kernels take along an axis that is not last (softmax_columns.pxd).
CLASSES, COLUMNS = 256, 16


class Softmax(Op):
    """y = exp(x) / Σ exp(x) over the rows of (rows, n), or over axis 1 of (outer, n, inner)."""

    saves = ()
    saves_output = True

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.softmax_forward(x)

    def backward(self, gy: Tensor) -> Tensor:
        y = self.output()
        return y * (gy - sum(gy * y, axis=1, keepdims=True))

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        return K.softmax_backward(self.output()._data, gy)


class LogSoftmax(Op):
    """y = x - log Σ exp(x) over the rows of (rows, n), or over axis 1 of (outer, n, inner)."""

    saves = ()
    saves_output = True

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.log_softmax_forward(x)

    def backward(self, gy: Tensor) -> Tensor:
        return gy - exp(self.output()) * sum(gy, axis=1, keepdims=True)

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        return K.log_softmax_backward(self.output()._data, gy)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) / Σ exp(x) along `axis`, shifted by the maximum so that nothing overflows.

    The gradient is y (gy - Σ gy y), with y the result. Dtypes, infinities and errors as for `log_softmax`.

    Source: Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs, 1990.
    """
    return along_rows(Softmax(), x, axis)


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """x - log Σ exp(x) along `axis`: the logarithm of softmax without its rounding to 0.

    The gradient is gy - softmax(x) Σ gy, where softmax(x) is the exponential of the result: as that is rounded, it is
    right to |y| ulp, or 1e-6 where a float32 y is -16. The result has x's shape and dtype; integers become float32. A
    row with inf, or of nothing but -inf, becomes NaN.

    Raises:
        ValueError: an axis that x does not have. TypeError: one that is not an integer.

    Source: as for `softmax`; shifted by the maximum as in Blanchard, Higham & Higham, Accurately computing the
    log-sum-exp and softmax functions, IMA Journal of Numerical Analysis 41, 2021.
    """
    return along_rows(LogSoftmax(), x, axis)


def along_rows(op: Op, x: Any, axis: int) -> Tensor:
    """Applies an op that works on (rows, n), and on (outer, n, inner) as `columns` makes it, along any axis of x."""
    x = as_float(x)
    name = type(op).__name__
    axis = normalize_axis(name, axis, x.ndim)
    if axis == x.ndim - 1:
        if x.ndim == 2:
            return op(x)
        return reshape(op(reshape(x, (_rows(x), x.shape[-1]))), x.shape)
    if (middle := columns(x, axis)) is not None:
        return reshape(op(middle), x.shape)
    order = (*(a for a in range(x.ndim) if a != axis), axis)
    back = tuple(np.argsort(order).tolist())
    moved = transpose(x, order)
    return transpose(
        reshape(op(reshape(moved, (_rows(moved), moved.shape[-1]))), moved.shape), back
    )


def _rows(x: Tensor) -> int:
    return math.prod(x.shape[:-1])


def columns(x: Tensor, axis: int) -> Tensor | None:
    """x as (outer, n, inner) with this axis in the middle, if kernels go along it as x lies in memory."""
    if has_columns(x, axis):
        lengths = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
        return reshape(x, lengths)
    return None


def has_columns(x: Tensor, axis: int) -> bool:
    """Whether kernels go along this axis as x lies in memory."""
    few = 0 < x.shape[axis] <= CLASSES
    return few and math.prod(x.shape[axis + 1 :]) >= COLUMNS and x._data.flags.c_contiguous
