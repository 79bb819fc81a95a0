"""What ONNX's operators do, in minidl's ops: arithmetic, reductions, shapes, products. See `layer_operators`, too.

A function is given the node's inputs (Tensors, or arrays for what is no parameter; None for one that is left out) and
its attributes by name. It takes those attributes that it names, with ONNX's defaults.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from minidl import check, ops
from minidl import functional as F
from minidl.autograd.tensor import Tensor, plain


class Operator(NamedTuple):
    """A function, and what is asked of it: the attributes that it takes; whether it depends on the training mode, or on
    the number of the node's results; the places of inputs that are settings rather than weights.
    """

    function: Callable[..., Any]
    settings: frozenset[str]
    by_mode: bool
    by_results: bool
    never_trained: tuple[int, ...]


OPERATORS: dict[str, Operator] = {}


def declare(kind: str, function: Callable, never_trained: tuple[int, ...] = ()) -> None:
    """Declares the function that an operator is run with."""
    named = {
        p.name for p in inspect.signature(function).parameters.values() if p.kind == p.KEYWORD_ONLY
    }
    extra = {"training", "results"}
    OPERATORS[kind] = Operator(
        function, frozenset(named - extra), "training" in named, "results" in named, never_trained
    )


def operator(*kinds: str, never_trained: tuple[int, ...] = ()) -> Callable[[Callable], Callable]:
    """Declares the decorated function for these operators."""

    def declared(function: Callable) -> Callable:
        for kind in kinds:
            declare(kind, function, never_trained)
        return function

    return declared


def integers(x: Any) -> list[int]:
    """A list of integers that a node is given as an array."""
    return np.asarray(plain(x)).reshape(-1).tolist()


def number(x: Any) -> float | None:
    """A number that a node is given as an array; None for an input that is left out."""
    return None if x is None else np.asarray(plain(x)).item()


# ── Arithmetic ───────────────────────────────────────────────────────────────────────────────────────────────────────

SIMPLE: dict[str, Any] = {
    "Add": ops.add, "Sub": ops.sub, "Mul": ops.mul, "Neg": ops.neg, "Abs": ops.abs, "Exp": ops.exp, "Log": ops.log,
    "Sqrt": ops.sqrt, "Less": ops.less, "LessOrEqual": ops.less_equal, "Greater": ops.greater,
    "GreaterOrEqual": ops.greater_equal, "Equal": ops.equal, "MatMul": ops.matmul, "And": ops.logical_and,
    "Or": ops.logical_or, "Not": ops.logical_not, "Xor": ops.not_equal, "Sin": ops.sin, "Cos": ops.cos, "Tan": ops.tan,
    "Atan": ops.arctan, "Sinh": ops.sinh, "Cosh": ops.cosh, "Erf": ops.erf, "Sign": ops.sign, "Floor": ops.floor,
    "Ceil": lambda x: -ops.floor(-x), "IsNaN": lambda x: ops.not_equal(x, x),
}  # fmt: skip
for _kind, _function in SIMPLE.items():
    declare(_kind, _function)


@operator("Div")
def divide(a: Any, b: Any) -> Any:
    x, y = plain(a), plain(b)
    if np.result_type(x, y).kind in "iu":
        return np.trunc(np.divide(x, y)).astype(np.result_type(x, y))
    return ops.div(a, b)


@operator("Mod")
def remainder(a: Any, b: Any, *, fmod: int = 0) -> Tensor:
    if fmod:
        raise NotImplementedError(
            "fmod=1, the remainder with the sign of the dividend, is not supported"
        )
    return ops.remainder(a, b)


@operator("Pow")
def power(x: Any, p: Any) -> Tensor:
    fixed = not isinstance(p, Tensor) and np.size(p) == 1
    return ops.pow(x, number(p)) if fixed and isinstance(x, Tensor) else ops.pow(x, p)


@operator("Reciprocal")
def reciprocal(x: Any) -> Tensor:
    return ops.div(1.0, x)


# Of any number of inputs.
declare("Max", lambda *xs: reduce(ops.maximum, xs))
declare("Min", lambda *xs: reduce(ops.minimum, xs))
declare("Sum", lambda *xs: reduce(ops.add, xs))


@operator("Clip", never_trained=(1, 2))
def clip(x: Any, low: Any = None, high: Any = None) -> Any:
    limits = number(low), number(high)
    return x if limits == (None, None) else ops.clip(x, *limits)


@operator("Where", never_trained=(0,))
def where(condition: Any, x: Any, y: Any) -> Tensor:
    return ops.where(condition, x, y)


DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 11: "float64",
    12: "uint32", 13: "uint64",
}  # fmt: skip


@operator("Cast")
def cast(x: Any, *, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:
    if to not in DTYPES:
        raise NotImplementedError(f"to={to}: a dtype that minidl does not have")
    return ops.astype(x, DTYPES[to])


@operator("Identity")
def identity(x: Any) -> Any:
    return x


# ── Reductions ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _reduction(function: Callable) -> Callable:
    def reduced(
        x: Any, given: Any = None, *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0
    ) -> Any:  # fmt: skip
        chosen = integers(given) if given is not None else axes
        if not chosen:
            if noop_with_empty_axes:
                return x
            chosen = range(np.ndim(plain(x)))
        return function(x, tuple(chosen), bool(keepdims))

    return reduced


for _kind, _function in {
    "ReduceSum": ops.sum,
    "ReduceMean": ops.mean,
    "ReduceMax": ops.max,
    "ReduceMin": ops.min,
    "ReduceProd": ops.prod,
    "ReduceLogSumExp": ops.logsumexp,
    "ReduceSumSquare": lambda x, axes, keepdims: ops.sum(x * x, axes, keepdims),
    "ReduceL1": lambda x, axes, keepdims: ops.sum(ops.abs(x), axes, keepdims),
    "ReduceL2": lambda x, axes, keepdims: ops.sqrt(ops.sum(x * x, axes, keepdims)),
}.items():
    declare(_kind, _reduction(_function), (1,))


@operator("CumSum", never_trained=(1,))
def cumsum(x: Any, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    place = integers(axis)[0]
    y = ops.flip(ops.cumsum(ops.flip(x, place), place), place) if reverse else ops.cumsum(x, place)
    return y - x if exclusive else y


def _place(name: str) -> Callable:
    def place(x: Any, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
        if select_last_index:
            raise NotImplementedError("select_last_index=1 is not supported")
        return getattr(ops, name)(x, axis, bool(keepdims))

    return place


declare("ArgMax", _place("argmax"))
declare("ArgMin", _place("argmin"))


@operator("TopK", never_trained=(1,))
def top_k(x: Any, k: Any, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple:
    """Always sorted, which ``sorted=0`` leaves open."""
    keep = (*(slice(None),) * (axis % x.ndim), slice(0, integers(k)[0]))
    if largest:
        return -ops.sort(-x, axis)[keep], ops.argsort(-x, axis)[keep]
    return ops.sort(x, axis)[keep], ops.argsort(x, axis)[keep]


# ── Shapes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@operator("Reshape", never_trained=(1,))
def reshape(x: Any, shape: Any, *, allowzero: int = 0) -> Tensor:
    before = np.shape(plain(x))
    lengths = integers(shape)
    return ops.reshape(
        x, [before[i] if n == 0 and not allowzero else n for i, n in enumerate(lengths)]
    )


@operator("Flatten")
def flatten(x: Any, *, axis: int = 1) -> Tensor:
    before = x.shape[: axis if axis >= 0 else x.ndim + axis]
    return ops.reshape(x, (math.prod(before), -1))


@operator("Transpose")
def transpose(x: Any, *, perm: Any = None) -> Tensor:
    return ops.transpose(x, tuple(perm)) if perm is not None else ops.transpose(x)


@operator("Expand", never_trained=(1,))
def expand(x: Any, shape: Any) -> Tensor:
    return ops.broadcast_to(x, np.broadcast_shapes(np.shape(plain(x)), tuple(integers(shape))))


@operator("Squeeze", never_trained=(1,))
def squeeze(x: Any, axes: Any = None) -> Tensor:
    return ops.squeeze(x, None if axes is None else tuple(integers(axes)))


@operator("Unsqueeze", never_trained=(1,))
def unsqueeze(x: Any, axes: Any) -> Tensor:
    return ops.expand_dims(x, tuple(integers(axes)))


@operator("Concat")
def concatenate(*xs: Any, axis: int) -> Tensor:
    return ops.concatenate(xs, axis)


@operator("Split", never_trained=(1,))
def split(
    x: Any, lengths: Any = None, *, axis: int = 0, num_outputs: int | None = None, results: int
) -> tuple:
    n = x.shape[axis]
    if lengths is None:
        most = -(-n // (num_outputs or results))
        sizes = [min(most, n - start) for start in range(0, n, most)]
    else:
        sizes = integers(lengths)
    lead, stops = (slice(None),) * (axis % x.ndim), np.cumsum(sizes).tolist()
    return tuple(
        x[(*lead, slice(stop - size, stop))] for stop, size in zip(stops, sizes, strict=True)
    )


@operator("Slice", never_trained=(1, 2, 3, 4))
def slice_(x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    first, last = integers(starts), integers(ends)
    places = range(len(first)) if axes is None else integers(axes)
    strides = [1] * len(first) if steps is None else integers(steps)
    index = [slice(None)] * np.ndim(plain(x))
    for axis, start, stop, step in zip(places, first, last, strides, strict=True):
        n = np.shape(plain(x))[axis]
        # (Going back, an end before the first element cannot be written as a number: -1 is the last one.)
        ended = None if step < 0 and stop < -n else stop
        index[axis] = slice(start, ended, step)
    return x[tuple(index)]


@operator("Gather", never_trained=(1,))
def gather(x: Any, ids: Any, *, axis: int = 0) -> Any:
    ids = np.asarray(plain(ids))
    lead = (slice(None),) * (axis % np.ndim(plain(x)))
    return x[(*lead, int(ids) if ids.ndim == 0 else ids)]


@operator("GatherND", never_trained=(1,))
def gather_nd(x: Any, ids: Any, *, batch_dims: int = 0) -> Any:
    if batch_dims:
        raise NotImplementedError("batch_dims is not supported")
    ids = np.asarray(plain(ids))
    return x[tuple(ids[..., i] for i in range(ids.shape[-1]))]


@operator("GatherElements", never_trained=(1,))
def gather_elements(x: Any, ids: Any, *, axis: int = 0) -> Any:
    ids = np.asarray(plain(ids))
    places = list(np.ogrid[tuple(slice(n) for n in ids.shape)])
    places[axis % ids.ndim] = ids
    return x[tuple(places)]


PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}


@operator("Pad", never_trained=(1, 2, 3))
def pad(
    x: Any, widths: Any, value: Any = None, axes: Any = None, *, mode: str = "constant"
) -> Tensor:
    if mode not in PAD_MODES:
        raise NotImplementedError(f"mode={mode!r} is not supported")
    numbers, pairs = integers(widths), [(0, 0)] * x.ndim
    places = range(x.ndim) if axes is None else integers(axes)
    for i, axis in enumerate(places):
        pairs[axis] = (numbers[i], numbers[i + len(numbers) // 2])
    return ops.pad(x, pairs, number(value) or 0.0, PAD_MODES[mode])


@operator("Shape")
def shape(x: Any, *, start: int = 0, end: int | None = None) -> np.ndarray:
    return np.array(np.shape(plain(x))[start:end], np.int64)


@operator("Size")
def size(x: Any) -> np.ndarray:
    return np.array(np.size(plain(x)), np.int64)


@operator("ConstantOfShape", never_trained=(0,))
def constant_of_shape(lengths: Any, *, value: Any = None) -> np.ndarray:
    value = np.zeros(1, np.float32) if value is None else value
    return np.full(check.shape("ConstantOfShape", integers(lengths)), value[0], value.dtype)


@operator("Range", never_trained=(0, 1, 2))
def arange(start: Any, limit: Any, delta: Any) -> np.ndarray:
    first, *rest = [np.asarray(plain(x)) for x in (start, limit, delta)]
    return np.arange(first.item(), *[x.item() for x in rest], dtype=first.dtype)


@operator("Constant")
def constant(
    *, value: Any = None, value_float: Any = None, value_floats: Any = None, value_int: Any = None,
    value_ints: Any = None,
) -> Any:  # fmt: skip
    raise AssertionError("constants are taken out of the graph when it is read")


@operator("Tile", never_trained=(1,))
def tile(x: Any, repeats: Any) -> Tensor:
    return ops.tile(x, integers(repeats))


# ── Products ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@operator("Gemm")
def affine(
    a: Any, b: Any, c: Any = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0
) -> Tensor:  # fmt: skip
    a = ops.transpose(a) if transA else a
    if alpha == beta == 1 and (c is None or c.shape == b.shape[: 1 if transB else 2][-1:]):
        return F.affine(a, b if transB else ops.transpose(b), c)
    y = alpha * ops.matmul(a, ops.transpose(b) if transB else b)
    return y if c is None else y + beta * c


@operator("Einsum")
def einsum(*xs: Any, equation: str) -> Tensor:
    return ops.einsum(equation, *xs)
