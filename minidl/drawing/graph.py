"""What a result was computed from: boxes and the arrows between them, read from what the ops have recorded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from minidl._kernels.reference.activations import ACTIVATIONS
from minidl._kernels.runtime.memory import owner
from minidl.autograd.engine import walk
from minidl.autograd.modes import no_grad
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter


@dataclass(eq=False)
class Arrow:
    """A value on its way into an operation, and the gradient that comes back on the same way (None: not asked for)."""

    source: Box
    gradient: np.ndarray | None = None


@dataclass(eq=False)
class Box:
    """A value, and what made it.

    name: what the user calls the value, if `names` has it or no op made it; `op`: what made it.
    kind: "op", or what no op made: "parameter", "input" (any other leaf that requires a gradient), "data" (what
        requires none), "cut" (an op that is not shown).
    shape: of the value; `value` is the number itself where the shape is () and it is still known.
    gradient: of the result by this value: the sum of what its arrows brought back.
    """

    kind: str
    name: str
    op: str
    shape: tuple[int, ...]
    value: float | None = None
    gradient: np.ndarray | None = None
    inputs: list[Arrow] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The op's name, and the value's before it."""
        return f"{self.name} = {self.op}" if self.name and self.op else self.name or self.op

    @property
    def detail(self) -> str:
        """The number, or the shape."""
        return str(self.shape) if self.value is None else f"= {self.value:.4g}"


def read(y: Tensor, names: Any, gradients: bool, depth: int | None) -> list[Box]:
    """The boxes of y's graph, each after those that its arrows come from: y's own is the last.

    Raises:
        RuntimeError: nothing was recorded for y, or its graph was freed.
    """
    if y._op is None:
        raise RuntimeError(
            "draw: this tensor has no graph: no op made it from tensors that require a gradient, or it was computed "
            "inside no_grad()"
        )
    ops = _ops(y._op, depth)
    reader = _Reader(names)
    reader.note(y._op, y.shape, y._data)
    for op in ops:
        reader.connect(op, set(ops))
    if gradients:
        _add_gradients(y, ops, reader.boxes)
    return reader.in_order(ops)


def _ops(last: Op, depth: int | None) -> list[Op]:
    """The ops that are at most depth - 1 steps before the last one; the newest first."""
    found, steps = {last: 1}, [last]
    for op in steps:  # grows while we walk over it
        if op.edges is None:
            raise RuntimeError(
                f"draw: {op_name(op)}: the graph was freed by backward() or grad(). Draw before it (the picture's "
                "gradients are computed for it, .grad is left alone), or keep the graph: backward(retain_graph=True)"
            )
        for edge in op.edges:
            if isinstance(edge, Op) and edge not in found and (not depth or found[op] < depth):
                found[edge] = found[op] + 1
                steps.append(edge)
    return sorted(steps, key=lambda op: op._number, reverse=True)


class _Reader:
    """Makes the boxes. The last op comes first: how an op's result looks is remembered by those that use it."""

    def __init__(self, names: Any) -> None:
        self.names = _names(names)
        self.boxes: dict[Any, Box] = {}  # of an op, a leaf, or ("data", id of an array)

    def note(self, op: Op, shape: tuple[int, ...], array: np.ndarray | None) -> Box:
        """The box of an op."""
        box = self.boxes.get(op)
        if box is None:
            box = self.boxes[op] = Box("op", self.names.get(id(op), ""), op_name(op), shape)
        for known in (array, op._output):
            if box.value is None and known is not None and known.shape == ():
                box.value = float(known)
        return box

    def connect(self, op: Op, shown: set[Op]) -> None:
        """The arrows into the box of an op."""
        box = self.boxes[op]
        likes = None if op._details is None else op._details.likes
        for i, edge in enumerate(op.edges):
            saved = None if op._saved is None else op._saved[i]
            array = None if saved is None else saved._data
            shape = array.shape if array is not None else likes[i][0] if likes else box.shape
            if isinstance(edge, Op):
                source = self.note(edge, shape, array)
                if edge not in shown:
                    source.kind, source.op, source.value = "cut", "...", None
            elif edge is not None:
                source = self._leaf(edge)
            else:
                source = self._constant(shape, array)
            box.inputs.append(Arrow(source))

    def _leaf(self, leaf: Tensor) -> Box:
        if leaf not in self.boxes:
            parameter = isinstance(leaf, Parameter)
            name = self.names.get(id(leaf)) or getattr(leaf, "name", None) or "input"
            box = Box("parameter" if parameter else "input", name, "", leaf.shape)
            box.value = float(leaf._data) if leaf.shape == () else None
            self.boxes[leaf] = box
        return self.boxes[leaf]

    def _constant(self, shape: tuple[int, ...], array: np.ndarray | None) -> Box:
        """What requires no gradient. Unless backward needs it, the op has kept nothing of it but its shape."""
        if array is None:
            return Box("data", "data" if shape else "number", "", shape)
        key = "data", id(array)
        if key not in self.boxes:
            whole = owner(array)  # a flattened image, say, is the same memory in another shape
            name = self.names.get(id(array)) or self.names.get((id(whole), array.size))
            box = Box("data", name or ("data" if shape else "number"), "", shape)
            box.value = float(array) if shape == () else None
            self.boxes[key] = box
        return self.boxes[key]

    def in_order(self, ops: list[Op]) -> list[Box]:
        """All boxes, each before those that its arrows come from."""
        boxes = [self.boxes[op] for op in reversed(ops)]
        sources = [arrow.source for box in boxes for arrow in box.inputs]
        return list(dict.fromkeys([box for box in sources if box.kind != "op"] + boxes))


def _names(given: Any, prefix: str = "") -> dict[Any, str]:
    """{id of a leaf, an op or an array; (id, size) of the memory of an array: its name}."""
    names: dict[Any, str] = {}
    if given is None:
        return names
    if isinstance(given, Module):
        return {id(p): prefix + name for name, p in given.named_parameters()}
    if not isinstance(given, Mapping):
        raise TypeError(
            f"draw: names: expected a Module or a dict of Tensors, arrays and Modules, got {given!r}"
        )
    for name, thing in given.items():
        if not isinstance(name, str):
            raise TypeError(f"draw: names: a name must be a string, got {name!r}")
        if isinstance(thing, Module):
            names |= _names(thing, f"{name}.")
        elif isinstance(thing, Tensor | np.ndarray):
            array = thing._data if isinstance(thing, Tensor) else thing
            made_by = thing._op if isinstance(thing, Tensor) else None
            keys = [id(thing), id(array), (id(owner(array)), array.size)]
            names |= dict.fromkeys([id(made_by)] if made_by is not None else keys, name)
        else:
            raise TypeError(
                f"draw: names: {name!r}: expected a Tensor, an array or a Module, got {type(thing).__name__}"
            )
    return names


def _add_gradients(y: Tensor, ops: list[Op], boxes: dict[Any, Box]) -> None:
    """Gradients of all boxes, by the engine; where several arrows leave a box, the part that each of them brings."""
    keys = {key for key in boxes if isinstance(key, Op | Tensor)}
    grads = walk([y], [None], keys, True, False)
    for key in keys:
        boxes[key].gradient = _array(grads.get(key), boxes[key].shape)
    leaving: dict[Box, int] = {}
    for op in ops:
        for arrow in boxes[op].inputs:
            leaving[arrow.source] = leaving.get(arrow.source, 0) + 1
    whole = all([box.kind != "cut" for box in boxes.values()])  # no arrow leaves unseen
    for op in ops:
        box, parts = boxes[op], None
        for i, arrow in enumerate(box.inputs):
            if arrow.source.kind == "data":
                continue
            if whole and leaving[arrow.source] == 1:
                arrow.gradient = arrow.source.gradient
                continue
            parts = _parts(op, grads[op]) if parts is None else parts
            arrow.gradient = _array(parts[i], arrow.source.shape)


def _parts(op: Op, gy: Tensor | None) -> tuple:
    """What an op passes on to each of its inputs."""
    if gy is None:
        return (None,) * len(op.edges)
    with no_grad():
        parts = op.backward(gy)
    return parts if isinstance(parts, tuple) else (parts,)


def _array(g: Tensor | None, shape: tuple[int, ...]) -> np.ndarray:
    """A gradient as an array of this shape, summed where that was broadcast; None means a slope of 0."""
    if g is None:
        return np.zeros(shape, np.float32)
    array = g._data
    extra = tuple(range(array.ndim - len(shape)))
    stretched = tuple(
        i + len(extra) for i, n in enumerate(shape) if array.shape[i + len(extra)] != n
    )
    return array.sum(axis=extra + stretched, keepdims=True).reshape(shape)


# ── What ops are called ──────────────────────────────────────────────────────────────────────────────────────────────

# By their class, where it is not the class's name in small letters.
OP_NAMES = {
    "AbsoluteError": "l1_loss",
    "Add": "+",
    "Attention": "scaled_dot_product_attention",
    "AvgPoolGrad": "gradient of avg_pool",
    "BinaryCrossEntropyWithLogits": "binary_cross_entropy_with_logits",
    "Cast": "astype",
    "ConvWeightGrad": "gradient of conv's weight",
    "CReLU": "crelu",
    "CrossEntropySlope": "gradient of cross_entropy",
    "CumSum": "cumsum",
    "Div": "/",
    "Dot": "@",
    "EinsumOfIntegers": "einsum",
    "FoldEdges": "gradient of pad",
    "GLU": "glu",
    "GetItem": "getitem",
    "LogSumExp": "logsumexp",
    "MatMul": "@",
    "MaxPoolGather": "second gradient of max_pool",
    "MaxPoolScatter": "gradient of max_pool",
    "Mul": "*",
    "NegativeLogLikelihood": "nll_loss",
    "PReLU": "prelu",
    "PReLUInPlace": "prelu",
    "PadEdges": "pad",
    "Permute": "sort",
    "Pow": "**",
    "PutItem": "gradient of getitem",
    "RReLU": "rrelu",
    "RReLUInPlace": "rrelu",
    "Scale": "gradient of dropout",
    "ShardSum": "sum over shards",
    "Slice": "getitem",
    "SquaredError": "mse_loss",
    "Sub": "-",
    "SumTo": "sum over broadcast axes",
    "Triangle": "tril",
    "Weigh": "*",
    "_Barrier": "backward hook",
    "_ThroughBarrier": "backward hook",
}


def op_name(op: Any) -> str:
    """What the user called: "affine + relu" if one op does both."""
    kind = type(op).__name__
    if kind == "ActivationGrad":
        return f"gradient of {op.name}"
    if kind == "PowNumber":
        return f"** {op.p:g}"
    if kind == "Sum" and op.divisor != 1:
        return "mean"
    if not type(op).__module__.startswith("minidl."):
        return kind  # the user's own
    if isinstance(getattr(op, "name", None), str):
        return _with_parameters(op.name, getattr(op, "a", 0.0), getattr(op, "b", 0.0))
    name = class_name(kind)
    if getattr(op, "named", ()):  # the activation of a convolution
        return f"{name} + {_with_parameters(*op.named)}"
    if hasattr(op, "row"):
        return f"{name} + {_with_parameters(op.row.name, op.a, op.b)}"
    return name


@cache
def class_name(kind: str) -> str:
    """The function that a class of ops belongs to, whatever activation it applies besides."""
    kind = kind.removeprefix("Activated")
    return OP_NAMES.get(kind) or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind).lower()


def _with_parameters(activation: str, a: float = 0.0, b: float = 0.0) -> str:
    row = ACTIVATIONS.get(activation)
    values = [f"{value:g}" for value in (a, b)][: len(row.params) if row else 0]
    return f"{activation}({', '.join(values)})" if values else activation
