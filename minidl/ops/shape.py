"""Shapes and indexing. Most results are views: they share the memory of what they came from."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl._kernels import binary
from minidl._kernels.arrays.buffers import within
from minidl._kernels.runtime.prepared import by_numpy, capturing, reads, recorder, refuse
from minidl.autograd.op import BroadcastTo, Op
from minidl.autograd.tensor import Tensor, as_tensor, plain
from minidl.ops.args import class_ids, normalize_axes, normalize_axis

# NumPy 2.0 takes only by integers that any intp holds.
TAKEN_BY = {np.dtype(kind) for kind in "bhilqBHILQ" if np.can_cast(kind, np.intp)}


class Reshape(Op):
    saves = ()
    shares = "view"

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x_shape = x.shape
        return K.reshape(x, self.shape)

    def backward(self, gy: Tensor) -> Tensor:
        return Reshape(self.x_shape)(gy)

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        return K.reshape(gy, self.x_shape)


class Transpose(Op):
    saves = ()
    shares = "view"

    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, x: np.ndarray) -> np.ndarray:
        return x.transpose(self.axes)

    def backward(self, gy: Tensor) -> Tensor:
        return Transpose(tuple(np.argsort(self.axes).tolist()))(gy)


class GetItem(Op):
    """y = x[index] for an index with arrays in it: a copy, which may hold an element several times."""

    saves = ()
    unique = False

    def __init__(self, index: Any, rows: bool = False) -> None:
        """rows: the index is an array of integers that are known to be places of x's first axis."""
        self.index, self.rows = index, rows

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x_shape = x.shape
        return _looked_up(_rows if self.rows else _taken, self.index, x)

    def backward(self, gy: Tensor) -> Tensor:
        return PutItem(self.index, self.x_shape, unique=self.unique)(gy)


class Slice(GetItem):
    """y = x[index] for a basic index: a view, which holds each element once."""

    shares = "view"
    unique = True

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x_shape = x.shape
        return _part(x, self.index)

    def add_gradient(self, gy: np.ndarray, gx: np.ndarray) -> None:
        part = _part(gx, self.index)
        binary("add", part, gy, part)


def _part(x: np.ndarray, index: Any) -> np.ndarray:
    """x[index] for a basic index: a single element, too, is a view and not a copy of it."""
    try:
        y = x[index]
    except OverflowError:
        raise IndexError(f"getitem: index {index} is out of range for shape {x.shape}") from None
    if isinstance(y, np.ndarray):
        return y
    return x[(*(index if isinstance(index, tuple) else (index,)), ...)]


def item_op(index: Any) -> GetItem:
    if isinstance(index, np.ndarray):
        return GetItem(index)
    basic = (int, np.integer, slice, type(None), type(Ellipsis))
    items = index if isinstance(index, tuple) else (index,)
    view = all(isinstance(item, basic) and not isinstance(item, bool) for item in items)
    return Slice(index) if view else GetItem(index)  # (NumPy's True and False select, and copy)


class PutItem(Op):
    """Zeros of `shape` with x added at `index`: the gradient of GetItem, and GetItem is its."""

    saves = ()

    def __init__(self, index: Any, shape: tuple[int, ...], unique: bool) -> None:
        self.index, self.shape, self.unique = index, shape, unique

    def forward(self, x: np.ndarray) -> np.ndarray:
        ids = (
            self.index[0] if isinstance(self.index, tuple) and len(self.index) == 1 else self.index
        )
        if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu" and x.dtype.kind == "f":
            return _add_rows(x, ids, self.shape)
        if isinstance(ids, np.ndarray) and ids.dtype.kind == "b":  # it names no place twice
            return _looked_up(_put_at, self.index, x, self.shape)
        if not self.unique and x.dtype.kind == "f":
            return _add_elements(x, self.index, self.shape)
        y = K.empty(self.shape, x.dtype)
        if self.unique:
            part = _part(y, self.index)
            if part.size < y.size:
                K.set_all(y, 0)
            K.assign(part, x)
        else:
            K.set_all(y, 0)
            refuse("NumPy adds at places that are named twice")
            np.add.at(y, self.index, x)
        return y

    def backward(self, gy: Tensor) -> Tensor:
        return item_op(self.index)(gy)


def _taken(index: Any, x: np.ndarray) -> np.ndarray:
    if _is_mask(index, x.shape):
        return x.reshape(index.size, *x.shape[index.ndim :]).compress(index.reshape(-1), 0)
    if isinstance(index, np.ndarray) and index.dtype in TAKEN_BY and x.ndim:
        if not within(index, len(x)):
            return x.take(index, 0)  # the same in half the time
        return _rows(index, x)
    return np.asarray(x[index])


def _rows(index: np.ndarray, x: np.ndarray) -> np.ndarray:
    """x[index], into memory that was used before. Nothing is left to clip; "raise" would go through a copy of y."""
    y = K.empty((*index.shape, *x.shape[1:]), x.dtype)
    return x.take(index, 0, y, "clip")


def _put_at(index: Any, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    y = np.zeros(shape, x.dtype)
    if _is_mask(index, shape):
        y.reshape(index.size, *shape[index.ndim :])[np.flatnonzero(index)] = x
    else:
        y[index] = x
    return y


def _is_mask(index: Any, shape: tuple[int, ...]) -> bool:
    """Whether it says of each place of the first axes if it is taken: lists of places are quicker in NumPy."""
    if not isinstance(index, np.ndarray) or index.dtype.kind != "b":
        return False
    return index.ndim > 0 and index.shape == shape[: index.ndim]


def _looked_up(function: Any, index: Any, *rest: Any) -> np.ndarray:
    """function(index, *rest), computed by NumPy: again in each replay of a captured step, with its index."""
    if recorder.on and capturing():
        for item in index if isinstance(index, tuple) else (index,):
            if isinstance(item, np.ndarray):
                if item.dtype.kind == "b":
                    refuse("how many elements a mask selects may change: use where")
                elif capturing():
                    reads(item)
        return by_numpy(function, index, *rest)
    return function(index, *rest)


def _add_elements(x: np.ndarray, index: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Zeros of `shape` with x added at any index. (np.add.at would do, but for more than 32 axes it crashes.)"""
    size = math.prod(shape)
    places = _looked_up(_numbers, index, shape)
    return K.add_rows(K.reshape(x, (x.size, 1)), places, size).reshape(shape)


def _numbers(index: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The numbers of the elements that an index selects from an array of this shape, in one row."""
    return np.ravel(np.arange(math.prod(shape)).reshape(shape)[index])


def _add_rows(x: np.ndarray, ids: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Zeros of `shape` with x added at the rows `ids`, of which some may be counted from the end."""
    ids = _looked_up(_from_the_front, ids, shape[0])
    rows = K.reshape(x, (len(ids), math.prod(shape[1:])))
    return K.add_rows(rows, ids, shape[0]).reshape(shape)


def _from_the_front(ids: np.ndarray, n: int) -> np.ndarray:
    """ids in one row; those that count from the end of n rows, from the front."""
    ids = ids.reshape(-1).astype(np.int64, copy=False)
    return np.where(ids < 0, ids + n, ids) if ids.size and ids.min() < 0 else ids


def reshape(x: Any, *shape: Any) -> Tensor:
    """x in another shape of the same size; one length may be -1. ``reshape(x, 2, 3)`` or ``reshape(x, (2, 3))``.

    A view where x's memory allows one, else a copy. The gradient is gy in x's shape.

    Raises:
        ValueError: another number of elements, or two lengths of -1.
        TypeError: lengths that are not integers.
    """
    if len(shape) == 1 and not isinstance(shape[0], int | np.integer):
        shape = _lengths("reshape", shape[0])
    else:
        shape = _lengths("reshape", shape)
    given = as_tensor(x)
    try:
        return Reshape(shape).run((given,))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"reshape: {error}") from None


def _lengths(name: str, shape: Any) -> tuple[int, ...]:
    """A shape as a tuple of ints; TypeError for anything that NumPy would round or read as one."""
    wrong = isinstance(shape, str | bytes | dict) or getattr(shape, "ndim", 1) == 0
    if wrong or not hasattr(shape, "__iter__"):
        raise TypeError(f"{name}: shape must be a sequence of integers, got {shape!r}")
    lengths = tuple(shape)
    for n in lengths:
        if type(n) is not int:
            return tuple([check.integer(name, "shape", n) for n in lengths])
    return lengths


def transpose(x: Any, *axes: Any) -> Tensor:
    """x with its axes in another order; without `axes`, reversed. A view; the gradient is gy in the old order.

    As in NumPy all axes are listed, in their new order: ``transpose(x, 0, 2, 1)``. (PyTorch's ``transpose(0, 1)``
    swaps two of them. Here it raises for more than two axes, and for two, which it leaves as they are, it warns.)

    Raises:
        ValueError: axes that are not a permutation of x's. TypeError: axes that are not integers.
    """
    given = as_tensor(x)
    ndim, listed = given._data.ndim, len(axes)
    if listed == 1 and type(axes[0]) is not int and not isinstance(axes[0], np.integer):
        axes = () if axes[0] is None else axes[0]
        if type(axes) is not tuple:
            axes = tuple(check.items("transpose", "axis", axes, "integers"))
    order = axes or tuple(range(ndim))[::-1]
    places = normalize_axes("transpose", order, ndim)
    if len(places) != ndim or len(set(places)) != ndim:
        swap = (
            " (to swap two of them, list all in their new order)" if len(places) == 2 < ndim else ""
        )
        raise ValueError(
            f"transpose: axes {order} are no permutation of the {ndim} axes of x{swap}"
        )
    if places == (0, 1) and listed == 2:
        warnings.warn(
            "transpose(0, 1) leaves the two axes as they are: axes are listed in their new order, as in NumPy; "
            "to swap them: x.T",
            stacklevel=2,
        )
    return Transpose(places).run((given,))


def flatten(x: Any, start_axis: int = 0) -> Tensor:
    """All axes from `start_axis` on made one: (N, C, H, W) becomes (N C H W,), with ``flatten(x, 1)`` (N, C H W).

    A view where x's memory allows one, else a copy. The gradient is gy in x's shape. ValueError: x has no such axis.
    """
    given = as_tensor(x)
    shape = given._data.shape
    start = normalize_axis("flatten", start_axis, max(len(shape), 1))
    size = 1
    for n in shape[start:]:
        size *= n
    return Reshape((*shape[:start], size)).run((given,))


def squeeze(x: Any, axis: Any = None) -> Tensor:
    """x without its axes of length 1, or without those in `axis`, an int or a tuple: (2, 1, 3) becomes (2, 3).

    A view where x's memory allows one. The gradient is gy in x's shape. ValueError: an axis of another length, or
    one that x does not have.
    """
    x = as_tensor(x)
    axes = axis if isinstance(axis, tuple) else () if axis is None else (axis,)
    for a in axes:
        if x.shape[normalize_axis("squeeze", a, x.ndim)] != 1:
            raise ValueError(f"squeeze: axis {a}: expected length 1, got shape {x.shape}")
    places = {normalize_axis("squeeze", a, x.ndim) for a in axes}
    if axis is None:
        places = {i for i, n in enumerate(x.shape) if n == 1}
    return Reshape(tuple([n for i, n in enumerate(x.shape) if i not in places])).run((x,))


def expand_dims(x: Any, axis: Any) -> Tensor:
    """x with a new axis of length 1 at `axis` (an int or a tuple, as in the result): at 1, (2, 3) becomes (2, 1, 3).

    A view where x's memory allows one. The gradient is gy in x's shape. ValueError: an axis that the result does not
    have, or one twice.
    """
    x = as_tensor(x)
    axes = axis if isinstance(axis, tuple) else (axis,)
    ndim = x.ndim + len(axes)
    places = {normalize_axis("expand_dims", a, ndim) for a in axes}
    if len(places) < len(axes):
        raise ValueError(f"expand_dims: an axis is named twice: {axis}")
    lengths = iter(x._data.shape)
    return Reshape(tuple([1 if i in places else next(lengths) for i in range(ndim)])).run((x,))


def broadcast_to(x: Any, shape: Any) -> Tensor:
    """x repeated to `shape` by NumPy's rules; a read-only view. The gradient is gy, summed over what was repeated.

    Raises:
        ValueError: a shape to which x does not broadcast.
        TypeError: lengths that are not integers.
    """
    if isinstance(shape, int | np.integer):
        shape = (shape,)
    lengths = _lengths("broadcast_to", shape)
    return BroadcastTo(check.shape("broadcast_to", lengths))(as_tensor(x))


def getitem(x: Any, index: Any) -> Tensor:
    """x[index] for ints, slices, None, Ellipsis (a view), integer and boolean arrays (a copy)."""
    x = as_tensor(x)
    op = Slice(index) if type(index) is int else item_op(plain(index))
    if x._requires_grad and not op.unique:
        op.index = _owned(op.index)  # for backward: the caller may fill its array anew
    return op.run((x,))


def _owned(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(_owned(item) for item in index)
    if isinstance(index, np.ndarray) and recorder.on and capturing():
        return K.copy(np.asarray(index))
    return copy.deepcopy(index) if isinstance(index, np.ndarray | list) else index


def embedding(ids: Any, weight: Any) -> Tensor:
    """weight[ids]: one row of the table for each id; the gradient of a row adds up over its uses.

    Args:
        ids: integers of any shape.
        weight: (entries, features).

    Raises:
        TypeError: ids that are not integers.
        ValueError: an id outside 0 ... entries - 1, or a table that is not 2-D.
    """
    weight = as_tensor(weight)
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight: expected 2 axes, got shape {weight.shape}")
    op = GetItem(class_ids("embedding", ids, weight.shape[0]), rows=True)
    if weight._requires_grad:
        op.index = _owned(op.index)  # for backward, as in getitem
    return op.run((weight,))
