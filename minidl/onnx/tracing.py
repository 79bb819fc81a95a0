"""Running a model so that each op that it calls is written down as ONNX nodes.

Arrays are recognised: one that an op has returned is the result of that op's nodes, a parameter's is that parameter.
Any other one is taken for a constant; the second run finds those that were computed from the input after all, by NumPy
for example (see `graph`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minidl import ops
from minidl._kernels.runtime.memory import fingerprint
from minidl.autograd.engine import walk
from minidl.autograd.modes import no_grad
from minidl.autograd.tensor import Tensor, connect, wrap
from minidl.inspection.calls import around_ops
from minidl.nn import Module
from minidl.onnx.graph import Graph, Node
from minidl.onnx.operator_rules import OPERATORS
from minidl.onnx.rules import RULES
from minidl.ops.inplace import FUNCTIONS

PACKAGE = os.path.dirname(os.path.dirname(__file__))


class Value(NamedTuple):
    """An array that is known (and kept, so that no other one gets its id), and what it was then."""

    array: np.ndarray
    name: str
    fingerprint: int | None


class Tracer:
    """Writes down one run of a model."""

    def __init__(self, model: Any) -> None:
        self.model, self.graph = model, Graph()
        self.values: dict[int, Value] = {}
        self.buffers_used: set[str] = set()
        self.inside = False  # in an op's forward: ops that it calls are part of it

    # ── Names of arrays ──────────────────────────────────────────────────────────────────────────────────────────────

    def learn(self, array: np.ndarray, name: str) -> None:
        """This array is the value of that name from now on."""
        self.values[id(array)] = Value(array, name, fingerprint(array))

    def name(self, array: np.ndarray) -> str:
        """What the array is called in the graph."""
        value = self.values.get(id(array)) or self._state(array) or self._view(array)
        if value is None:
            name = self.graph.constant(array)
            self.values[id(array)] = Value(array, name, fingerprint(array))
            return name
        if value.fingerprint is not None and value.fingerprint != fingerprint(array):
            raise ValueError(
                f"export_onnx: {self.graph.origin}: its input (shape {array.shape}) was changed in place, through "
                "another tensor or array of the same memory, which a file cannot follow: compute a new tensor instead"
            )
        return value.name

    def _state(self, array: np.ndarray) -> Value | None:
        """A parameter or a buffer of the model."""
        if not isinstance(self.model, Module):
            return None
        for name, own in self.model._all():
            if (own._data if isinstance(own, Tensor) else own) is array:
                self.graph.states[name] = array
                if isinstance(own, Tensor):
                    self.graph.trained.add(name)
                self.values[id(array)] = Value(array, name, None)
                return self.values[id(array)]
        return None

    def _view(self, array: np.ndarray) -> Value | None:
        """All of an array that is known in another shape, or a part of it: what NumPy has made without computing."""
        for other, _, _ in list(self.values.values()) if array.size else ():
            if other.dtype != array.dtype or not np.may_share_memory(other, array):
                continue
            if other.size == array.size and other.flags.c_contiguous and array.flags.c_contiguous:
                self.learn(array, self.graph.reshape(self.name(other), array.shape))
                return self.values[id(array)]
            starts = _starts(other, array)
            if starts is not None:
                cut = [i for i, n in enumerate(array.shape) if n < other.shape[i]]
                first = [starts[i] for i in cut]
                ends = [starts[i] + array.shape[i] for i in cut]
                lists = [self.graph.constant(x, np.int64) for x in (first, ends, cut)]
                self.learn(array, self.graph.node("Slice", self.name(other), *lists))
                return self.values[id(array)]
        return None

    def buffer(self, array: np.ndarray, dtype: Any) -> str:
        """The name of a copy of a buffer, such as running statistics in float64."""
        buffers = self.model.buffers if isinstance(self.model, Module) else {}
        for name, own in buffers.items():
            same = own.dtype == dtype and own.shape == array.shape and (own == array).all()
            if same and name not in self.buffers_used:
                self.buffers_used.add(name)
                self.graph.states[name] = own
                return name
        return self.graph.constant(array, dtype)

    # ── Calls ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def around(self, method: str, forward: Callable) -> Callable:
        """`forward` of a class of ops, which is also written down."""
        if method != "forward":
            return forward

        def traced(op: Any, *arrays: np.ndarray) -> np.ndarray:
            if self.inside:
                return forward(op, *arrays)
            self.graph.origin = f"{type(op).__name__} (called at {_line()})"
            rule = _rule(op, self.graph.origin)
            names = [self.name(array) for array in arrays]
            self.inside = True
            try:
                y = np.asarray(forward(op, *arrays))
            finally:
                self.inside = False
            self.learn(y, rule(self, op, names, arrays, y))
            return y

        return traced

    def called(self, name: str, *xs: Any, **options: Any) -> Any:
        """A function of `minidl.ops` that is no op, as it has no gradient; called as an operator or a method."""
        result = getattr(ops, name)(*xs, **options)
        if isinstance(result, Tensor) and not self.inside:
            self.graph.origin = f"{name} (called at {_line()})"
            self.learn(result._data, OPERATORS[name](self, name, *xs, **options))
        return result

    def assigned(self, x: Tensor, other: Any, symbol: str) -> Tensor:
        """``x += other`` and its like: written down as an op whose result x becomes."""
        y = FUNCTIONS[symbol](x, other)
        name = self.name(y._data)
        if y.dtype != x.dtype:
            name = self.graph.node("Cast", name, to=x.dtype)
        self.inside = True
        try:
            ops.inplace(x, other, symbol)
        finally:
            self.inside = False
        self.learn(x._data, name)
        return x


@contextmanager
def _tracing(tracer: Tracer) -> Iterator[None]:
    """While the block runs, the tracer sees all ops, and the operators that are none."""
    seen: dict[str, Callable] = {name: partial(tracer.called, name) for name in OPERATORS}
    seen["inplace"] = tracer.assigned
    connect(seen, walk)
    try:
        with no_grad(), around_ops(tracer.around):
            yield
    finally:
        connect({name: getattr(ops, name) for name in seen}, walk)


def trace(model: Callable, inputs: dict[str, np.ndarray]) -> Graph:
    """What the model does with these inputs."""
    tracer = Tracer(model)
    graph = tracer.graph
    for name, array in inputs.items():
        graph.inputs[name] = array
        tracer.learn(array, name)
    with _tracing(tracer):
        results = list(_tensors(model(*[wrap(array) for array in inputs.values()])))
    graph.origin = "the result"
    for i, result in enumerate(results):
        name = free_name(model, f"output_{i}" if len(results) > 1 else "output")
        graph.nodes.append(Node("Identity", [tracer.name(result._data)], [name], {}, graph.origin))
        graph.outputs[name] = result._data
    return graph


def free_name(model: Any, name: str) -> str:
    """A name for an input or an output that no parameter or buffer has."""
    taken = {name for name, _ in model._all()} if isinstance(model, Module) else set()
    while name in taken:
        name += "_"
    return name


def _tensors(result: Any) -> Iterator[Tensor]:
    """The Tensors of a result, in order."""
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, tuple | list):
        for item in result:
            yield from _tensors(item)
    elif isinstance(result, dict):
        yield from _tensors(list(result.values()))
    elif result is not None:
        raise TypeError(
            f"export_onnx: the model must return Tensors, alone or in tuples, lists and dicts, got "
            f"{type(result).__name__}"
        )


def _starts(whole: np.ndarray, part: np.ndarray) -> list[int] | None:
    """Where a part of an array begins on each axis, if it is one that has the same axes and all elements between."""
    if whole.ndim != part.ndim or min(whole.strides, default=1) <= 0:
        return None
    pairs = zip(part.shape, part.strides, whole.strides, strict=True)
    if any(n > 1 and step != whole_step for n, step, whole_step in pairs):
        return None
    offset = part.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    starts = [0] * whole.ndim
    for axis in sorted(range(whole.ndim), key=lambda axis: -whole.strides[axis]):
        starts[axis], offset = divmod(offset, whole.strides[axis])
    places = zip(starts, part.shape, whole.shape, strict=True)
    inside = all([start in range(m - n + 1) for start, n, m in places])
    return starts if offset == 0 and inside else None


def _rule(op: Any, origin: str) -> Callable:
    for kind in type(op).__mro__:
        if kind in RULES:
            return RULES[kind]
    raise NotImplementedError(
        f"export_onnx: {origin} has no counterpart in ONNX, and no rule that composes it"
    )


def _line() -> str:
    """Where the user's code is."""
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back  # type: ignore[assignment]
    return (
        "?" if frame is None else f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
    )
