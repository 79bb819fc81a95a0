"""Running sums along an axis, sorting, and where the extrema are. NumPy does the latter two for all but short rows; a
captured step calls it again.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl._kernels.runtime.prepared import by_numpy
from minidl.autograd.op import Op
from minidl.autograd.tape import will_record
from minidl.autograd.tensor import Tensor, as_tensor, wrap
from minidl.ops.args import normalize_axis
from minidl.ops.arrays.rearranging import along

__all__ = ["argmax", "argmin", "argsort", "cumsum", "sort"]

SHORT, LONG = 16, 64  # elements of a row
CHOSEN = 24  # of one in which a kernel finds the greatest before NumPy has begun with the row


class CumSum(Op):
    """y_i = Σ x_j over j <= i, along an axis; in reverse over j >= i."""

    saves = ()

    def __init__(self, axis: int, reverse: bool = False) -> None:
        self.axis, self.reverse = axis, reverse

    def forward(self, x: np.ndarray) -> np.ndarray:
        if x.dtype.kind != "f":
            return by_numpy(np.cumsum, x, self.axis)
        before, after = x.shape[: self.axis], x.shape[self.axis + 1 :]
        rows = K.reshape(x, (math.prod(before), x.shape[self.axis], math.prod(after)))
        return K.running_sum(rows, self.reverse).reshape(x.shape)

    def backward(self, gy: Tensor) -> Tensor:
        return CumSum(self.axis, not self.reverse)(gy)


class Permute(Op):
    """The elements along an axis in another order, each row in its own: y_i = x_order[i]; undone, y_order[i] = x_i."""

    saves = ()

    def __init__(self, order: np.ndarray, axis: int, undo: bool = False) -> None:
        self.order, self.axis, self.undo = order, axis, undo

    def forward(self, x: np.ndarray) -> np.ndarray:
        if x.dtype.kind == "f" and self.axis == x.ndim - 1:
            rows, order = (
                K.reshape(a, (math.prod(x.shape[:-1]), x.shape[-1])) for a in (x, self.order)
            )
            return K.permute_rows(rows, order, self.undo).reshape(x.shape)
        return by_numpy(_put_back if self.undo else np.take_along_axis, x, self.order, self.axis)

    def backward(self, gy: Tensor) -> Tensor:
        return Permute(self.order, self.axis, not self.undo)(gy)


def _put_back(x: np.ndarray, order: np.ndarray, axis: int) -> np.ndarray:
    y = np.empty(x.shape, x.dtype)
    np.put_along_axis(y, order, x, axis)
    return y


def _order(x: np.ndarray, axis: int) -> np.ndarray:
    """The places of the elements in ascending order, equal ones in theirs."""
    if (rows := _short_rows(x, axis)) is not None:
        return K.sort_rows(rows)[1].reshape(x.shape)
    return by_numpy(_stable_order, x, axis)


def _short_rows(x: np.ndarray, axis: int, most: int = SHORT) -> np.ndarray | None:
    """x as rows for a kernel, if there are at most so many elements in each."""
    if x.dtype.kind == "f" and axis == x.ndim - 1 and x.shape[axis] <= most:
        return K.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))
    return None


def _stable_order(x: np.ndarray, axis: int) -> np.ndarray:
    """NumPy sorts long rows of floats several times as fast if equal elements may change places. So it does here, and
    rows that have some, or a NaN, are sorted again.
    """
    if x.dtype.kind != "f" or x.shape[axis] < LONG:
        return np.argsort(x, axis=axis, kind="stable")
    rows = np.moveaxis(x, axis, -1)
    order = np.argsort(rows, axis=-1)
    y = np.take_along_axis(rows, order, -1)
    equal = ~(y[..., 1:] > y[..., :-1]).all(-1)
    if equal.any():
        order[equal] = np.argsort(rows[equal], axis=-1, kind="stable")
    return np.moveaxis(order, -1, axis)


def _sorted(x: np.ndarray, axis: int) -> np.ndarray:
    """NumPy's quickest sort may change the places of equal elements, which can be told apart if they are 0 and -0."""
    y = np.sort(x, axis)
    zeros = y[y == 0] if x.dtype.kind == "f" else y[:0]
    signs = np.signbit(zeros)
    return np.sort(x, axis, kind="stable") if signs.any() and not signs.all() else y


def cumsum(x: Any, axis: int | None = None) -> Tensor:
    """The running sums along an axis; without one, of x in one row. The gradient of x_i is the Σ of gy_j over j >= i.

    Floats keep their dtype (float32 is added in double); integers and bools are summed in 64 bits. ValueError: an axis
    that x does not have.
    """
    x, axis = along("cumsum", x, axis)
    return CumSum(axis)(x)


def sort(x: Any, axis: int | None = -1) -> Tensor:
    """x in ascending order along an axis (None: in one row); NaN comes last. Descending: ``flip(sort(x), axis)``.

    The gradient of an element is gy where it went. Equal elements keep their order. ValueError: an axis that x does not
    have.
    """
    x, axis = along("sort", x, axis)
    if not will_record(x):  # the places are not needed: sorting alone is faster
        if (rows := _short_rows(x._data, axis)) is not None:
            return wrap(K.sort_rows(rows)[0].reshape(x.shape))
        return wrap(by_numpy(_sorted, x._data, axis))
    return Permute(_order(x._data, axis), axis)(x)


def argsort(x: Any, axis: int | None = -1) -> Tensor:
    """The places from which `sort` takes its elements, as int64, without a gradient: sort(x) = x[argsort(x)] in 1-D.

    Equal elements keep their order. The rest as for `sort`.
    """
    x, axis = along("argsort", x, axis)
    return wrap(_order(x._data, axis))


def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The place of the greatest element along an axis (None: in x in one row), as int64, without a gradient.

    The first of equal ones; a NaN counts as the greatest. ValueError: an axis that x does not have, or no elements.
    """
    return _place("argmax", np.argmax, x, axis, keepdims)


def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The place of the smallest element along an axis (None: in x in one row); a NaN counts as the smallest.

    Without a gradient; the rest as for `argmax`.
    """
    return _place("argmin", np.argmin, x, axis, keepdims)


def _place(name: str, rule: Any, x: Any, axis: int | None, keepdims: bool) -> Tensor:
    x, keepdims = as_tensor(x), check.flag(name, "keepdims", keepdims)
    axis = None if axis is None else normalize_axis(name, axis, x.ndim)
    if (x.size if axis is None else x.shape[axis]) == 0:
        raise ValueError(f"{name}: no elements along axis {axis} of shape {x.shape}")
    if axis is not None and (rows := _short_rows(x._data, axis, CHOSEN)) is not None:
        places = K.extremum_places(rows, name == "argmax")
        return wrap(places.reshape((*x.shape[:-1], 1) if keepdims else x.shape[:-1]))
    return wrap(by_numpy(_as_array, rule, x._data, axis, keepdims))


def _as_array(rule: Any, x: np.ndarray, axis: int | None, keepdims: bool) -> np.ndarray:
    return np.asarray(rule(x, axis=axis, keepdims=keepdims))
