"""Joining tensors, and taking one apart. The gradient of a part is a part of the gradient, and the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl._kernels.runtime.memory import alike, same_dtype
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor, as_tensor, plain
from minidl.ops.args import normalize_axis, operands
from minidl.ops.shape import Slice

__all__ = ["concatenate", "split", "stack", "unstack"]


class Concatenate(Op):
    """The inputs one after another along an axis that they have."""

    saves = ()

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, *xs: np.ndarray) -> np.ndarray:
        self.lengths, shape = _lengths(xs, self.axis), xs[0].shape
        total = sum(self.lengths)
        return _joined(xs, (*shape[: self.axis], total, *shape[self.axis + 1 :]), self.axis)

    def places(self) -> Any:
        """Where the inputs are along the axis."""
        return [slice(a, b) for a, b in pairwise(accumulate(self.lengths, initial=0))]

    def backward(self, gy: Tensor) -> tuple:
        lead = (slice(None),) * self.axis
        parts = enumerate(self.places())
        return tuple([gy[(*lead, place, ...)] if self.needs(i) else None for i, place in parts])

    def fused_backward(self, gy: np.ndarray) -> tuple:
        if self.axis == 0 and gy.ndim > 1:
            return tuple([gy[place] for place in self.places()])
        lead = (slice(None),) * self.axis
        return tuple([gy[(*lead, place, ...)] for place in self.places()])


class Stack(Concatenate):
    """The inputs along a new axis."""

    def forward(self, *xs: np.ndarray) -> np.ndarray:
        self.lengths, shape = [1] * len(xs), xs[0].shape
        return _joined(xs, (*shape[: self.axis], len(xs), *shape[self.axis :]), self.axis)

    def places(self) -> Any:
        return range(len(self.lengths))

    backward, fused_backward = Concatenate.backward, Concatenate.fused_backward


def _lengths(xs: tuple[np.ndarray, ...], axis: int) -> list[int]:
    lengths = []
    for x in xs:  # (x has a type here, which it would not have in a comprehension)
        lengths.append(x.shape[axis])
    return lengths


def _joined(xs: tuple[np.ndarray, ...], shape: tuple[int, ...], axis: int) -> np.ndarray:
    first = xs[0]
    dtype = first.dtype
    for x in xs:
        if not same_dtype(x, first):
            dtype = np.result_type(*[x.dtype for x in xs])
            break
    y = K.empty(shape, dtype)
    K.join(y, xs, axis)
    return y


def concatenate(xs: Sequence[Any], axis: int = 0) -> Tensor:
    """The tensors one after another along an axis that they have: (2, 3) and (4, 3) make (6, 3).

    Dtypes as for `add`. The gradient of each tensor is its part of gy.

    Raises:
        ValueError: nothing to join, or shapes that differ off the axis; says which tensor and axis.
    """
    tensors = _tensors("concatenate", xs)
    axis = normalize_axis("concatenate", axis, tensors[0].ndim)
    _check_same("concatenate", tensors, skip=axis)
    return Concatenate(axis).run(tensors)


def stack(xs: Sequence[Any], axis: int = 0) -> Tensor:
    """The tensors, all of one shape, along a new axis: k of (2, 3) make (k, 2, 3), with axis=1 (2, k, 3).

    Dtypes as for `add`. The gradient of tensor i is gy at place i of the axis. ValueError: no tensors, shapes that
    differ (says which tensor and axis), or an axis that the result does not have.
    """
    tensors = _tensors("stack", xs)
    _check_same("stack", tensors, skip=None)
    return Stack(normalize_axis("stack", axis, tensors[0].ndim + 1)).run(tensors)


def _tensors(name: str, xs: Sequence[Any]) -> tuple[Tensor, ...]:
    if type(xs) is not list and type(xs) is not tuple:
        xs = check.items(name, "xs", xs, "tensors")
    if not xs:
        raise ValueError(f"{name}: expected at least one tensor, got none")
    return operands(*xs)


def _check_same(name: str, tensors: tuple[Tensor, ...], skip: int | None) -> None:
    first = tensors[0]._data
    for i, x in enumerate(tensors):
        if alike(x._data, first):
            continue
        if x.ndim != first.ndim:
            raise ValueError(f"{name}: tensor {i} has {x.ndim} axes, tensor 0 has {first.ndim}")
        for axis, (n, expected) in enumerate(zip(x.shape, tensors[0].shape, strict=True)):
            if axis != skip and n != expected:
                raise ValueError(
                    f"{name}: axis {axis} of tensor {i}: expected {expected} as in tensor 0, got {n}"
                )


def split(x: Any, sections: Any, axis: int = 0) -> list[Tensor]:
    """x in parts along an axis, as views: in equal ones if `sections` is their number, else cut before these places.

    As in NumPy: ``split(x, 3)`` has three parts, ``split(x, [2, 5])`` is ``x[:2], x[2:5], x[5:]``. (PyTorch's ``split``
    takes lengths; its ``chunk`` takes a number.) The gradients of all parts meet in one array: Σ of their places.

    Raises:
        ValueError: a number of parts that does not divide the axis, or an axis that x does not have.
        TypeError: sections that are not integers.
    """
    x = as_tensor(x)
    axis = normalize_axis("split", axis, x.ndim)
    length = x.shape[axis]
    if isinstance(sections, int | np.integer):
        count = check.integer("split", "sections", sections, 1)
        if length % count:
            raise ValueError(f"split: {count} equal parts of axis {axis}, of length {length}")
        stops = list(range(0, length + 1, length // count)) if length else [0] * (count + 1)
    else:
        places = check.items("split", "sections", plain(sections), "integers")
        stops = [0, *[check.integer("split", "sections", place) for place in places], length]
    lead = (slice(None),) * axis
    return [Slice((*lead, slice(a, b)))(x) for a, b in pairwise(stops)]


def unstack(x: Any, axis: int = 0) -> list[Tensor]:
    """x at each place of an axis, as views without that axis: ``unstack(stack(xs)) = xs``. Along axis 0: ``list(x)``.

    The gradients of all parts meet in one array. ValueError: an axis that x does not have.
    """
    x = as_tensor(x)
    lead = (slice(None),) * normalize_axis("unstack", axis, x.ndim)
    places = range(x.shape[len(lead)])
    return [Slice((*lead, i) if lead else i).run((x,)) for i in places]
