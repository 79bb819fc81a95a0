"""ONNX's recurrent operators for minidl's recurrent ops, and attention. See `rules`.

An op of minidl is given the inputs of all steps after the product with their weights; ONNX's operator is given both, so
that the product, which has been written down before, goes into its node.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.autograd.tensor import wrap
from minidl.onnx.rules import rule
from minidl.ops.sequence.attention_op import Attention
from minidl.ops.sequence.recurrent import GRU, LSTM, RNN, Recurrence

# For each op: the operator, and the places of ONNX's gates among minidl's.
GATES: dict[type[Recurrence], tuple[str, tuple[int, ...]]] = {
    RNN: ("RNN", (0,)),
    LSTM: ("LSTM", (0, 3, 1, 2)),
    GRU: ("GRU", (1, 0, 2)),
}


@rule(Attention)
def attention(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    return t.name(op.steps(*[wrap(array) for array in xs])._data)


@rule(Recurrence)
def recurrent(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    product = _product(t.graph, x[0])
    if type(op) not in GATES or product is None:
        return t.name(op.steps(*[wrap(array) for array in xs])._data)  # one step after the other
    g, (kind, order), states = t.graph, GATES[type(op)], 2 if isinstance(op, LSTM) else 1
    given, weight, bias = product
    first, last = g.constant([0], np.int64), g.constant([1], np.int64)
    weights = [_by_gates(g, w, order) for w in (weight, x[1 + states])]
    rows, zeros = xs[1 + states].shape[0], None
    biases = [bias, x[2 + states] if len(x) > 2 + states else None]
    if any(biases):
        zeros = g.constant(np.zeros(rows), y.dtype)
        halves = [zeros if b is None else _by_gates(g, b, order) for b in biases]
        zeros = g.node("Unsqueeze", g.node("Concat", *halves, axis=0), first)
    begin = [g.node("Unsqueeze", state, first) for state in x[1 : 1 + states]]
    settings: dict[str, Any] = {
        "hidden_size": y.shape[2],
        "direction": ["forward", "reverse"][op.reverse],
    }
    if kind == "RNN":
        settings["activations"] = [{"tanh": "Tanh", "relu": "Relu"}[op.activation]]
    if kind == "GRU":
        settings["linear_before_reset"] = 1
    inputs = [given, *[g.node("Unsqueeze", w, first) for w in weights], zeros or "", "", *begin]
    found, _, *more = g.node(kind, *inputs, outputs=1 + states, **settings)
    steps = g.node("Squeeze", found, last)  # (T, directions, N, H) without the directions
    return g.node("Concat", steps, *more, axis=0) if more else steps


def _product(graph: Any, name: str) -> tuple[str, str, str | None] | None:
    """(x, weight, bias or None) of the product x weightᵀ + bias, with x of three axes, that made a value."""
    made = {output: node for node in graph.nodes for output in node.outputs}
    found = []
    for kind in ("Reshape", "Gemm", "Reshape"):
        node = made.get(name)
        if node is None or node.kind != kind:
            return None
        found.append(node)
        name = node.inputs[0]
    _, weight, *bias = found[1].inputs
    return name, weight, bias[0] if bias else None


def _by_gates(graph: Any, name: str, order: tuple[int, ...]) -> str:
    """A weight or a bias with the rows of its gates in another order."""
    if len(order) == 1:
        return name
    parts = graph.node("Split", name, outputs=len(order), axis=0, num_outputs=len(order))
    return graph.node("Concat", *[parts[i] for i in order], axis=0)
