"""ONNX nodes for ops: arithmetic, reductions, shapes, products. `layer_rules` has the other ops.

A rule is given the tracer, the op, the names of its inputs, the arrays of inputs and result; it adds nodes and returns
the name of the result. Settings are those of operator set 21.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.autograd import op as engine
from minidl.onnx.activation_rules import activated
from minidl.ops import arithmetic, linalg, reduction, shape
from minidl.ops.arrays import elementary, joining, order, rearranging
from minidl.ops.einsum import Einsum, EinsumOfIntegers

RULES: dict[type, Callable[..., str]] = {}

INT_MAX, INT_MIN = 2**63 - 1, -(2**63)


def rule(*kinds: type) -> Callable[[Callable], Callable]:
    """Declares the decorated function as the rule of these classes of ops, and of subclasses without their own."""

    def declared(function: Callable) -> Callable:
        RULES.update(dict.fromkeys(kinds, function))
        return function

    return declared


# ── Arithmetic ───────────────────────────────────────────────────────────────────────────────────────────────────────

SIMPLE = {
    engine.Add: "Add", arithmetic.Sub: "Sub", arithmetic.Mul: "Mul", arithmetic.Div: "Div", arithmetic.Neg: "Neg",
    arithmetic.Exp: "Exp", arithmetic.Log: "Log", arithmetic.Sqrt: "Sqrt", arithmetic.Abs: "Abs",
    arithmetic.Maximum: "Max", arithmetic.Minimum: "Min", arithmetic.Pow: "Pow", linalg.MatMul: "MatMul",
    elementary.Sin: "Sin", elementary.Cos: "Cos", elementary.Tan: "Tan", elementary.Arctan: "Atan",
    elementary.Sinh: "Sinh", elementary.Cosh: "Cosh", elementary.Erf: "Erf", elementary.Sign: "Sign",
    elementary.Floor: "Floor",
}  # fmt: skip


def alike(t: Any, names: Any, arrays: Any, dtype: np.dtype) -> list[str]:
    """The names of the arrays in one dtype: ONNX's operators do not mix them, NumPy does (integers and bools)."""
    pairs = zip(names, arrays, strict=True)
    return [name if x.dtype == dtype else t.graph.node("Cast", name, to=dtype) for name, x in pairs]


@rule(*SIMPLE)
def simple(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    kind = next(SIMPLE[kind] for kind in type(op).__mro__ if kind in SIMPLE)
    return t.graph.node(kind, *alike(t, x, xs, y.dtype))


@rule(arithmetic.PowNumber)
def power(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    if op.p == 2:
        return t.graph.node("Mul", *x, *x)
    if op.p == -1:
        return t.graph.node("Reciprocal", *x)
    return t.graph.node("Pow", *x, t.graph.constant(op.p, y.dtype))


@rule(arithmetic.Clip)
def clip(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    limits = ["" if v is None else t.graph.constant(v, y.dtype) for v in (op.low, op.high)]
    return t.graph.node("Clip", *x, *limits)


@rule(arithmetic.Where)
def where(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    condition = alike(t, x[:1], xs[:1], np.dtype(bool))
    return t.graph.node("Where", *condition, *alike(t, x[1:], xs[1:], y.dtype))


@rule(engine.Cast)
def cast(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    return t.graph.node("Cast", *x, to=y.dtype)


@rule(elementary.Expm1, elementary.Log1p, elementary.Log2, elementary.Rsqrt)
def elementary_function(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    """Functions that ONNX has no operator for."""
    g = t.graph
    if isinstance(op, elementary.Rsqrt):
        return g.node("Reciprocal", g.node("Sqrt", *x))
    if isinstance(op, elementary.Log2):
        return g.node("Div", g.node("Log", *x), g.constant(math.log(2), y.dtype))
    one = g.constant(1, y.dtype)
    if isinstance(op, elementary.Log1p):
        return g.node("Log", g.node("Add", *x, one))
    return g.node("Sub", g.node("Exp", *x), one)


# ── Reductions ───────────────────────────────────────────────────────────────────────────────────────────────────────


def reduced(t: Any, kind: str, x: str, axes: Any, keepdims: bool) -> str:
    """A reduction over axes (none of them: x itself)."""
    if not axes:
        return t.graph.node("Identity", x)
    return t.graph.node(kind, x, t.graph.constant(axes, np.int64), keepdims=int(keepdims))


@rule(reduction.Sum)
def sum_(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    count = math.prod([xs[0].shape[axis] for axis in op.axes])
    if op.divisor == count != 1:
        return reduced(t, "ReduceMean", x[0], op.axes, op.keepdims)
    (given,) = alike(t, x, xs, y.dtype)
    result = reduced(t, "ReduceSum", given, op.axes, op.keepdims)
    return (
        result
        if op.divisor == 1
        else t.graph.node("Div", result, t.graph.constant(op.divisor, y.dtype))
    )


@rule(reduction.Max)
def max_or_min(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    kind = "ReduceMin" if isinstance(op, reduction.Min) else "ReduceMax"
    return reduced(t, kind, x[0], op.axes, op.keepdims)


@rule(reduction.Norm)
def norm(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    squares = t.graph.node("Mul", *x, *x)
    return t.graph.node("Sqrt", reduced(t, "ReduceSum", squares, op.axes, op.keepdims))


@rule(reduction.LogSumExp)
def logsumexp(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    return reduced(t, "ReduceLogSumExp", x[0], (1,), False)


@rule(reduction.Prod)
def prod(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    (given,) = alike(t, x, xs, y.dtype)
    return reduced(t, "ReduceProd", given, (1,), False)


@rule(order.CumSum)
def cumsum(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    (given,) = alike(t, x, xs, y.dtype)
    axis = t.graph.constant(op.axis, np.int64)
    return t.graph.node("CumSum", given, axis, reverse=int(op.reverse))


# ── Shapes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@rule(shape.Reshape)
def reshape(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    return t.graph.reshape(x[0], y.shape)


@rule(shape.Transpose)
def transpose(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    return t.graph.node("Transpose", *x, perm=list(op.axes))


@rule(engine.BroadcastTo)
def broadcast_to(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    before = (1,) * (y.ndim - xs[0].ndim) + xs[0].shape
    # (Expand leaves an axis as it is where the shape has 1: it need not know the number of samples.)
    lengths = [1 if n == m else n for n, m in zip(y.shape, before, strict=True)]
    return t.graph.node("Expand", *x, t.graph.shape(lengths))


@rule(joining.Concatenate)
def concatenate(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    return t.graph.node("Concat", *alike(t, x, xs, y.dtype), axis=op.axis)


@rule(joining.Stack)
def stack(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    axis = t.graph.constant([op.axis], np.int64)
    parts = [t.graph.node("Unsqueeze", part, axis) for part in alike(t, x, xs, y.dtype)]
    return t.graph.node("Concat", *parts, axis=op.axis)


@rule(rearranging.Roll)
def roll(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    lead = [slice(None)] * op.axis
    parts = [_sliced(t, x[0], [*lead, part]) for part in (slice(op.cut, None), slice(None, op.cut))]
    return t.graph.node("Concat", *parts, axis=op.axis)


@rule(rearranging.Triangle)
def triangle(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    (rows, columns), k = y.shape[-2:], op.k if op.lower else op.k - 1
    below = t.graph.constant(np.tri(rows, columns, k, dtype=bool), np.dtype(bool))
    zero = t.graph.constant(0, y.dtype)
    return t.graph.node("Where", below, *((x[0], zero) if op.lower else (zero, x[0])))


@rule(rearranging.Outer)
def outer(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    column, row = alike(t, x, xs, y.dtype)
    return t.graph.node(
        "Mul", t.graph.node("Unsqueeze", column, t.graph.constant([1], np.int64)), row
    )


@rule(shape.GetItem)
def getitem(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    """First the slices, then numbers and arrays, then new axes."""
    items = _expanded(op.index, xs[0].ndim)
    axes = [entry for entry in items if entry is not None]  # one for each axis of x
    new_axes = len(axes) < len(items)
    result = _sliced(t, x[0], axes)
    places = [axis for axis, entry in enumerate(axes) if not isinstance(entry, slice)]
    arrays = [axis for axis in places if not isinstance(axes[axis], int)]
    if not arrays:
        for axis in reversed(places):
            result = t.graph.node(
                "Gather", result, t.graph.constant(axes[axis], np.int64), axis=axis
            )
    elif places == list(range(places[0], places[-1] + 1)) and not new_axes:
        result = _gathered(
            t, result, xs[0].ndim, [np.asarray(axes[axis]) for axis in places], places[0]
        )
    else:
        raise NotImplementedError(
            f"export_onnx: {t.graph.origin}: an index of arrays that are not side by side, or with new axes: "
            "index twice"
        )
    return t.graph.reshape(result, y.shape) if new_axes else result


def _expanded(index: Any, ndim: int) -> list:
    """The items of an index, with slices for the axes that it leaves out and arrays of places for masks."""
    given = list(index) if isinstance(index, tuple) else [index]
    given = [np.asarray(entry) if isinstance(entry, list | tuple) else entry for entry in given]
    items: list[Any] = []
    for entry in given:
        if isinstance(entry, np.ndarray | bool) and np.asarray(entry).dtype == bool:
            raise NotImplementedError(
                "export_onnx: an index that is a mask: how many elements it selects may change; use where, or the "
                "numbers of the elements"
            )
        items.append(int(entry) if isinstance(entry, np.integer) else entry)
    used = sum(1 for entry in items if entry is not None and entry is not Ellipsis)
    if not any(entry is Ellipsis for entry in items):
        items.append(Ellipsis)
    at = next(i for i, entry in enumerate(items) if entry is Ellipsis)
    return items[:at] + [slice(None)] * (ndim - used) + items[at + 1 :]


def _sliced(t: Any, x: str, axes: list) -> str:
    cut = [i for i, entry in enumerate(axes) if isinstance(entry, slice) and entry != slice(None)]
    if not cut:
        return x
    steps = [1 if axes[i].step is None else int(axes[i].step) for i in cut]
    starts, stops = [], []
    for i, step in zip(cut, steps, strict=True):
        start, stop = axes[i].start, axes[i].stop
        starts.append(int(start) if start is not None else 0 if step > 0 else INT_MAX)
        stops.append(int(stop) if stop is not None else INT_MAX if step > 0 else INT_MIN)
    lists = [t.graph.constant(numbers, np.int64) for numbers in (starts, stops, cut, steps)]
    return t.graph.node("Slice", x, *lists)


def _gathered(t: Any, x: str, ndim: int, ids: list[np.ndarray], first: int) -> str:
    """x[:, ..., ids[0], ids[1], ...] with `first` axes before the arrays."""
    if len(ids) == 1:
        return t.graph.node("Gather", x, t.name(ids[0]), axis=first)
    lengths = np.broadcast_shapes(*[array.shape for array in ids])
    last = t.graph.constant([-1], np.int64)
    parts = []
    for array in ids:
        name = t.graph.node("Expand", t.name(array), t.graph.shape(lengths))
        parts.append(t.graph.node("Unsqueeze", name, last))
    places = t.graph.node("Concat", *parts, axis=-1)
    chosen = [first + i for i in range(len(ids))]
    rest = [axis for axis in range(ndim) if axis not in chosen]
    moved = t.graph.node("Transpose", x, perm=chosen + rest) if first else x
    y = t.graph.node("GatherND", moved, places)
    wide = len(lengths)
    back = [*range(wide, wide + first), *range(wide), *range(wide + first, wide + len(rest))]
    return t.graph.node("Transpose", y, perm=back) if first else y


# ── Products ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@rule(linalg.Affine)
def affine(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    return t.graph.node("Gemm", *x, transB=1)


@rule(linalg.ActivatedAffine)
def activated_affine(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    return activated(t, op.row.name, affine(t, op, x, xs, y), (op.a, op.b), y.dtype)


@rule(Einsum, EinsumOfIntegers)
def einsum(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    return t.graph.node("Einsum", *x, equation=op.equation)
