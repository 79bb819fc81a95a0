"""Elements in other places: each function is a few operations on shapes, which have the gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl._kernels.runtime.prepared import by_numpy
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor, as_tensor, plain
from minidl.ops.args import normalize_axes, normalize_axis, pair
from minidl.ops.linalg import matmul
from minidl.ops.shape import broadcast_to, expand_dims, getitem, reshape

__all__ = ["flip", "outer", "repeat", "roll", "tile", "tril", "triu"]


class Roll(Op):
    """y = x from place `cut` of an axis on, and then what is before it."""

    saves = ()

    def __init__(self, cut: int, axis: int) -> None:
        self.cut, self.axis = cut, axis

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.length, lead = x.shape[self.axis], (slice(None),) * self.axis
        y = K.empty(x.shape, x.dtype)
        K.join(y, (x[(*lead, slice(self.cut, None))], x[(*lead, slice(None, self.cut))]), self.axis)
        return y

    def backward(self, gy: Tensor) -> Tensor:
        return Roll(-self.cut % self.length if self.length else 0, self.axis)(gy)


class Triangle(Op):
    """y = x where column - row <= k, or, if not `lower`, >= k; 0 elsewhere."""

    saves = ()

    def __init__(self, k: int, lower: bool) -> None:
        self.k, self.lower, self.name = k, lower, "tril" if lower else "triu"

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.triangle(x, self.k, self.lower)

    def backward(self, gy: Tensor) -> Tensor:
        return Triangle(self.k, self.lower)(gy)


class Outer(Op):
    """y_ij = x0_i x1_j of two vectors. The gradients are products of a matrix and a vector: nothing of y's size."""

    def forward(self, x0: np.ndarray, x1: np.ndarray) -> np.ndarray:
        return K.binary("mul", K.reshape(x0, (len(x0), 1)), x1)

    def backward(self, gy: Tensor) -> tuple:
        return (
            matmul(gy, self.input(1)) if self.needs(0) else None,
            matmul(self.input(0), gy) if self.needs(1) else None,
        )


def repeat(x: Any, repeats: Any, axis: int | None = None) -> Tensor:
    """Each element of x several times, side by side; without an axis, x in one row. (PyTorch's ``repeat`` is `tile`.)

    Args:
        repeats: how often, an integer, or one for each place of the axis.

    The gradient of an element is the Σ of gy over its copies. ValueError: a negative number, or not one for each place.
    """
    x, axis = along("repeat", x, axis)
    length, lead = x.shape[axis], (slice(None),) * axis
    if not isinstance(repeats, int | np.integer):
        counts = _counts("repeat", "repeats", repeats)
        if len(counts) not in (1, length):
            raise ValueError(f"repeat: {len(counts)} repeats for axis {axis}, of length {length}")
        places = by_numpy(_places, length, counts)
        return getitem(x, (*lead, places))
    count = check.integer("repeat", "repeats", repeats, 0)
    shape = check.shape("repeat", (*x.shape[:axis], length, count, *x.shape[axis + 1 :]))
    copies = broadcast_to(expand_dims(x, axis + 1), shape)
    return reshape(copies, (*x.shape[:axis], length * count, *x.shape[axis + 1 :]))


def along(name: str, x: Any, axis: int | None) -> tuple[Tensor, int]:
    """x as a tensor, and the axis counted from the front; without one, x in one row."""
    x = as_tensor(x)
    return (reshape(x, -1), 0) if axis is None else (x, normalize_axis(name, axis, x.ndim))


def _counts(name: str, argument: str, values: Any) -> tuple[int, ...]:
    """How often each: integers >= 0, of which there may be none."""
    listed = _listed(values)
    return () if listed in ([], ()) else check.integers(name, argument, listed, 0)


def _listed(values: Any) -> Any:
    values = plain(values)
    return values.tolist() if isinstance(values, np.ndarray) else values


def _places(length: int, counts: tuple[int, ...]) -> np.ndarray:
    return np.repeat(np.arange(length), np.array(counts, np.int64))


def tile(x: Any, reps: Any) -> Tensor:
    """x as a whole several times along its axes: ``reps`` is one number for each, or for the last; more make new axes.

    As in NumPy, and as PyTorch's ``x.repeat``. The gradient: Σ of gy over the copies. ValueError: a negative number.
    """
    x, counts = as_tensor(x), _counts("tile", "reps", reps)
    counts = (1,) * (x.ndim - len(counts)) + counts
    shape = (1,) * (len(counts) - x.ndim) + x.shape
    apart = [n for pair in zip(counts, shape, strict=True) for n in pair]
    spread = reshape(x, [n for length in shape for n in (1, length)])
    copies = broadcast_to(spread, check.shape("tile", apart))
    return reshape(copies, [count * n for count, n in zip(counts, shape, strict=True)])


def flip(x: Any, axis: Any = None) -> Tensor:
    """x with the order reversed along an axis, several, or all (None); a view. The gradient is gy, flipped back.

    ValueError: an axis that x does not have, or one that is named twice.
    """
    x = as_tensor(x)
    axes = normalize_axes("flip", axis, x.ndim)
    if len(set(axes)) < len(axes):
        raise ValueError(f"flip: an axis is named twice: {axis}")
    back = slice(None, None, -1)
    return getitem(x, (*[back if i in axes else slice(None) for i in range(x.ndim)], ...))


def roll(x: Any, shift: Any, axis: Any = None) -> Tensor:
    """x moved by `shift` places along an axis, what leaves at the end coming back at the start; a copy.

    Args:
        shift: an integer, or one for each axis; a negative one moves to the front.
        axis: an int or a tuple; None moves x in one row and keeps its shape.

    The gradient is gy, moved back. ValueError: an axis that x does not have, or not one shift for each.
    """
    x = as_tensor(x)
    if axis is None:
        return reshape(roll(reshape(x, -1), shift, 0), x.shape)
    axes = normalize_axes("roll", axis, x.ndim)
    shifts = check.integers("roll", "shift", _listed(shift))
    if len(shifts) == 1:
        shifts = shifts * len(axes)
    if len(shifts) != len(axes):
        raise ValueError(f"roll: {len(shifts)} shifts for {len(axes)} axes")
    for places, a in zip(shifts, axes, strict=True):
        x = Roll(-places % x.shape[a] if x.shape[a] else 0, a)(x)
    return x


def outer(x0: Any, x1: Any) -> Tensor:
    """The matrix of products, y_ij = x0_i x1_j, of both in one row. The gradients are gy x1 and x0 gy. As `mul`."""
    x0, x1 = pair(x0, x1)
    return Outer()(*[x if x.ndim == 1 else reshape(x, -1) for x in (x0, x1)])


def tril(x: Any, k: int = 0) -> Tensor:
    """The lower triangles of the matrices (last two axes): 0 where column - row > k. The gradient is gy's, too.

    ValueError: x has fewer than two axes.
    """
    return _triangle("tril", x, k, lower=True)


def triu(x: Any, k: int = 0) -> Tensor:
    """The upper triangles of the matrices (last two axes): 0 where column - row < k. The gradient is gy's, too.

    ValueError: x has fewer than two axes.
    """
    return _triangle("triu", x, k, lower=False)


def _triangle(name: str, x: Any, k: int, lower: bool) -> Tensor:
    x, k = as_tensor(x), check.integer(name, "k", k, -check.WINDOW_LIMIT, check.WINDOW_LIMIT)
    if x.ndim < 2:
        raise ValueError(f"{name}: expected at least 2 axes, got shape {x.shape}")
    return Triangle(k, lower)(x)
