"""ONNX nodes for functions that are not ops, as they have no gradient: comparisons, logic, ``//``, argmax, sort.

They are seen when called as Python's operators or methods of a Tensor. (Called as `md.less`, `md.sort` and so on they
are not: the result is taken for a constant, and the second run finds that it is not one.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.autograd.tensor import plain
from minidl.onnx.rules import alike

TWO_INPUTS = {
    "equal": "Equal", "not_equal": "Equal", "less": "Less", "less_equal": "LessOrEqual", "greater": "Greater",
    "greater_equal": "GreaterOrEqual", "logical_and": "And", "logical_or": "Or",
}  # fmt: skip


def _inputs(t: Any, *given: Any) -> tuple[list[str], np.dtype]:
    """The names of arrays and numbers, in one dtype."""
    xs = [plain(x) for x in given]
    common = np.result_type(*xs)
    names: list[str] = []
    for x in xs:
        known = isinstance(x, np.ndarray)
        names += alike(t, [t.name(x)], [x], common) if known else [t.graph.constant(x, common)]
    return names, common


def two_inputs(t: Any, name: str, x0: Any, x1: Any) -> str:
    result = t.graph.node(TWO_INPUTS[name], *_inputs(t, x0, x1)[0])
    return t.graph.node("Not", result) if name == "not_equal" else result


def logical_not(t: Any, name: str, x: Any) -> str:
    return t.graph.node("Not", t.name(plain(x)))


def floor_division(t: Any, name: str, x0: Any, x1: Any) -> str:
    """``//`` and ``%``, which round down."""
    (a, b), dtype = _inputs(t, x0, x1)
    if dtype.kind != "f":
        rest = t.graph.node("Mod", a, b)
        return rest if name == "remainder" else t.graph.node("Div", t.graph.node("Sub", a, rest), b)
    below = t.graph.node("Floor", t.graph.node("Div", a, b))
    return (
        below if name == "floor_divide" else t.graph.node("Sub", a, t.graph.node("Mul", b, below))
    )


def argmax_or_argmin(
    t: Any, name: str, x: Any, axis: int | None = None, keepdims: bool = False
) -> str:
    array, kind = plain(x), {"argmax": "ArgMax", "argmin": "ArgMin"}[name]
    if axis is None:
        row = t.graph.node("Reshape", t.name(array), t.graph.constant([-1], np.int64))
        return t.graph.reshape(
            t.graph.node(kind, row, axis=0, keepdims=0), (1,) * array.ndim * keepdims
        )
    return t.graph.node(kind, t.name(array), axis=int(axis), keepdims=int(keepdims))


def sort_or_argsort(t: Any, name: str, x: Any, axis: int | None = -1) -> str:
    """`sort`, or the indices of the elements in order; ascending."""
    array = plain(x)
    given = t.name(array)
    if axis is None:
        given = t.graph.node("Reshape", given, t.graph.constant([-1], np.int64))
    count = t.graph.shape([array.size if axis is None else array.shape[axis]])
    settings = {"axis": 0 if axis is None else int(axis), "largest": 0, "sorted": 1}
    values, places = t.graph.node("TopK", given, count, outputs=2, **settings)
    return values if name == "sort" else places


OPERATORS: dict[str, Callable[..., str]] = dict.fromkeys(TWO_INPUTS, two_inputs) | {
    "logical_not": logical_not,
    "remainder": floor_division,
    "floor_divide": floor_division,
    "argmax": argmax_or_argmin,
    "argmin": argmax_or_argmin,
    "sort": sort_or_argsort,
    "argsort": sort_or_argsort,
}
