"""ONNX nodes for the ops of losses. See `rules`."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.onnx.rules import reduced, rule
from minidl.ops.losses.likelihood import NegativeLogLikelihood
from minidl.ops.losses.loss import CrossEntropy, ElementLoss, Weigh


@rule(Weigh)
def weigh(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    zero = t.graph.constant(0, y.dtype)
    return t.graph.node("Where", t.graph.node("Equal", x[0], zero), zero, t.graph.node("Mul", *x))


@rule(ElementLoss)
def element_loss(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    loss = LOSSES[op.kernel](t.graph, x[0], x[1], op.parameter, y.dtype)
    if not op.divisor:
        return loss
    mean = op.divisor == xs[0].size
    return reduced(t, "ReduceMean" if mean else "ReduceSum", loss, tuple(range(xs[0].ndim)), False)


def _squared(g: Any, x: str, t: str, delta: float, dtype: Any) -> str:
    d = g.node("Sub", x, t)
    return g.node("Mul", d, d)


def _absolute(g: Any, x: str, t: str, delta: float, dtype: Any) -> str:
    return g.node("Abs", g.node("Sub", x, t))


def _huber(g: Any, x: str, t: str, delta: float, dtype: Any) -> str:
    d, edge = g.node("Sub", x, t), g.constant(delta, dtype)
    size, half = g.node("Abs", d), g.constant(0.5, dtype)
    near = g.node("Mul", g.node("Mul", d, d), half)
    far = g.node("Mul", edge, g.node("Sub", size, g.constant(delta / 2, dtype)))
    return g.node("Where", g.node("LessOrEqual", size, edge), near, far)


def _probability(g: Any, x: str, t: str, delta: float, dtype: Any) -> str:
    one, least = g.constant(1, dtype), g.constant(-100, dtype)
    terms = [
        g.node("Mul", share, g.node("Max", g.node("Log", p), least))
        for share, p in ((t, x), (g.node("Sub", one, t), g.node("Sub", one, x)))
    ]
    return g.node("Neg", g.node("Add", *terms))


def _logit(g: Any, x: str, t: str, delta: float, dtype: Any) -> str:
    return g.node("Sub", g.node("Softplus", x), g.node("Mul", x, t))


LOSSES = {
    "squared": _squared,
    "absolute": _absolute,
    "huber": _huber,
    "probability": _probability,
    "logit": _logit,
}


@rule(CrossEntropy)
def cross_entropy(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    loss = _at_target(t, op, t.graph.node("LogSoftmax", *x, axis=1), xs[0].shape)
    if not op.scale:
        return loss
    return reduced(t, "ReduceSum" if op.scale == 1 else "ReduceMean", loss, (0,), False)


@rule(NegativeLogLikelihood)
def nll(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    loss = _at_target(t, op, x[0], xs[0].shape)
    if not op.divisor:
        return loss
    return reduced(t, "ReduceSum" if op.divisor == 1 else "ReduceMean", loss, (0,), False)


def _at_target(t: Any, op: Any, x: str, shape: tuple[int, ...]) -> str:
    """-x at the targets, in one row."""
    g = t.graph
    places = g.constant([-1, 1, *shape[2:]], np.int64)
    picked = g.node("GatherElements", x, g.node("Reshape", t.name(op.target), places), axis=1)
    return g.node("Neg", g.node("Reshape", picked, g.constant([-1], np.int64)))
