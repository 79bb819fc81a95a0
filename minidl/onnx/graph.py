"""The graph that export records in a run, and what two runs of one model have in common.

A run gives nodes with numbers in them: shapes, settings, arrays. A single run does not tell which of them depend on
the values of the input or on the number of samples. So there are two, with other values and (if the batch axis is to be
dynamic) with another number of samples. `merged` compares them: what is equal belongs to the model; a length that grew
with the batch is written as a multiple of it; any other difference is an error, as the file would be wrong for other
inputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


class Multiple(NamedTuple):
    """A length that is so many times the number of samples."""

    factor: int


Length = int | Multiple


@dataclass
class Node:
    """An ONNX node: the operator, names of values, attributes; and which op of minidl's, where it was called."""

    kind: str
    inputs: list[str]
    outputs: list[str]
    settings: dict[str, Any]
    origin: str


@dataclass
class Graph:
    """The nodes of a run, in order.

    Attributes:
        constants: arrays by name. shapes: those that are lists of lengths, for nodes such as Reshape.
        states: parameters and buffers that were used, by name. trained: the names of the parameters among them.
        inputs, outputs: name -> array. lengths: of their axes, as far as two runs have told (see `merged`).
        origin: the op whose nodes are written down now, and where it was called.
    """

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    shapes: dict[str, tuple[Length, ...]] = field(default_factory=dict)
    states: dict[str, np.ndarray] = field(default_factory=dict)
    trained: set[str] = field(default_factory=set)
    inputs: dict[str, np.ndarray] = field(default_factory=dict)
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    lengths: dict[str, tuple[Length, ...]] = field(default_factory=dict)
    origin: str = ""
    count: int = 0

    def new_name(self, kind: str) -> str:
        """A name for a value."""
        self.count += 1
        return f"/{kind}_{self.count}"  # (no parameter has such a name)

    def node(self, kind: str, *inputs: str, outputs: int = 1, **settings: Any) -> Any:
        """Adds a node; returns the name of its result (a list of them, if there are several)."""
        names, given = [self.new_name(kind) for _ in range(outputs)], list(inputs)
        while given and not given[-1]:  # optional ones that are not there
            given.pop()
        self.nodes.append(Node(kind, given, names, settings, self.origin))
        return names[0] if outputs == 1 else names

    def constant(self, values: Any, dtype: Any = None) -> str:
        """The name of an array; it is copied."""
        name = self.new_name("constant")
        self.constants[name] = np.array(values, dtype)
        return name

    def shape(self, lengths: Any) -> str:
        """The name of a shape, as a list of integers."""
        name = self.new_name("shape")
        self.shapes[name] = tuple([int(n) for n in lengths])
        return name

    def reshape(self, x: str, lengths: Any) -> str:
        return self.node("Reshape", x, self.shape(lengths))

    def prune(self) -> None:
        """Forgets what the outputs do not depend on."""
        wanted, kept = set(self.outputs), list[Node]()
        for node in reversed(self.nodes):
            if wanted.intersection(node.outputs):
                kept.append(node)
                wanted.update(node.inputs)
        self.nodes = kept[::-1]
        self.constants = {name: x for name, x in self.constants.items() if name in wanted}
        self.shapes = {name: x for name, x in self.shapes.items() if name in wanted}
        self.states = {name: x for name, x in self.states.items() if name in wanted}


def merged(first: Graph, second: Graph, samples: tuple[int, int]) -> Graph:
    """The graph that both runs had; their inputs had so many samples each.

    Raises:
        ValueError: what depends on the values or the number of samples in a way that a file cannot hold; says where.
    """
    first.prune()
    second.prune()
    _compare_nodes(first, second)
    graph = Graph(list(first.nodes), states=first.states, trained=first.trained)
    users = {name: node.origin for node in reversed(first.nodes) for name in node.inputs}
    for name, lengths in first.shapes.items():
        graph.shapes[name] = _lengths(users[name], lengths, second.shapes[name], samples)
    for name, array in first.constants.items():
        origin = users.get(name, "the result")
        _merge_constant(graph, name, array, second.constants[name], samples, origin)
    graph.inputs, graph.outputs = first.inputs, first.outputs
    for name, array in [*first.inputs.items(), *first.outputs.items()]:
        other = (second.inputs | second.outputs)[name]
        graph.lengths[name] = _lengths(f"{name!r}", array.shape, other.shape, samples)
    return graph


def _compare_nodes(first: Graph, second: Graph) -> None:
    for a, b in zip(first.nodes, second.nodes, strict=False):
        if (a.kind, a.inputs, a.outputs) != (b.kind, b.inputs, b.outputs):
            raise ValueError(
                f"export_onnx: {a.origin}: with other values, or another number of samples, the model runs "
                f"{b.origin} instead: a file holds one way only"
            )
        for setting, value in a.settings.items():
            if value != b.settings[setting]:
                raise _depends(a.origin, f"{a.kind}'s {setting}", value, b.settings[setting])
    if len(first.nodes) != len(second.nodes) or list(first.outputs) != list(second.outputs):
        longer = max(first, second, key=lambda graph: len(graph.nodes))
        raise ValueError(
            "export_onnx: with other values, or another number of samples, the model runs more ops (the last one: "
            f"{longer.nodes[-1].origin if longer.nodes else 'none'}): a file holds one way only"
        )


def _lengths(origin: str, a: Any, b: Any, samples: tuple[int, int]) -> tuple[Length, ...]:
    """A shape that was a and then b."""
    if len(a) != len(b):
        raise _depends(origin, "a shape", a, b)
    lengths: list[Length] = []
    for m, n in zip(a, b, strict=True):
        grew = samples[0] != samples[1] and m * samples[1] == n * samples[0] and m % samples[0] == 0
        if m != n and not grew:
            raise _depends(origin, "a length", m, n)
        lengths.append(m if m == n else Multiple(m // samples[0]))
    return tuple(lengths)


def _merge_constant(
    graph: Graph, name: str, a: np.ndarray, b: np.ndarray, samples: tuple[int, int], origin: str
) -> None:
    if _same(a, b):
        graph.constants[name] = a
        return
    if a.shape != b.shape:
        lengths = _lengths(origin, a.shape, b.shape, samples)
        row = a[tuple([slice(0, 1) if isinstance(n, Multiple) else slice(None) for n in lengths])]
        if _same(a, np.broadcast_to(row, a.shape)) and _same(b, np.broadcast_to(row, b.shape)):
            # Equal in each sample, such as zeros to begin with: one of them, repeated.
            one, shape = f"{name}/one", f"{name}/shape"
            graph.constants[one], graph.shapes[shape] = row, lengths
            at = next(i for i, node in enumerate(graph.nodes) if name in node.inputs)
            graph.nodes.insert(at, Node("Expand", [one, shape], [name], {}, origin))
            return
    raise ValueError(
        f"export_onnx: {origin}: an array or number that the op is given was computed from the model's input or the "
        "number of samples, but not by ops of minidl: by NumPy, say, or by a function without a gradient (of those the "
        "operators <, ==, &, // and methods such as x.sort() are known). Pass it as an input; integers become floats "
        "by x.astype(...); if the number of samples is always that of the example: dynamic_batch=False"
    )


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are equal, NaN included."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def _depends(origin: str, what: str, a: Any, b: Any) -> ValueError:
    return ValueError(
        f"export_onnx: {origin}: {what} depends on the input: {a} in one run, {b} in another, with other values or "
        "another number of samples; if the number of samples is always that of the example: dynamic_batch=False"
    )
