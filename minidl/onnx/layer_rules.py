"""ONNX nodes for ops: activations, convolutions, pooling, normalisation. See `rules`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.onnx.activation_rules import activated
from minidl.onnx.rules import reduced, rule
from minidl.ops.activations.activation import Activation
from minidl.ops.activations.gates import GLU, CReLU, Maxout
from minidl.ops.activations.noise import Dropout, RReLU
from minidl.ops.activations.prelu import PReLU
from minidl.ops.activations.softmax import LogSoftmax, Softmax
from minidl.ops.batch_norm import ActivatedBatchNorm, BatchNorm
from minidl.ops.norm import RowNorm
from minidl.ops.spatial.conv import Conv, ConvTranspose
from minidl.ops.spatial.padding import Pad, PadEdges
from minidl.ops.spatial.pooling import AvgPool, MaxPool

# ── Activations ──────────────────────────────────────────────────────────────────────────────────────────────────────


@rule(Activation)
def activation(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    return activated(t, op.name, x[0], (op.a, op.b), y.dtype)


@rule(PReLU)
def prelu(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    """PRelu wants a slope that broadcasts to x from the right: (C,) becomes (C, 1, 1)."""
    outer, channels, _ = op.blocks
    if channels == 1:
        return t.graph.node("PRelu", *x)
    before = [math.prod(y.shape[:axis]) for axis in range(y.ndim + 1)]
    last = before.index(outer * channels)
    first = max(axis for axis in range(last) if before[axis] == outer)
    lengths = (*y.shape[first:last], *(1,) * (y.ndim - last))
    return t.graph.node("PRelu", x[0], t.graph.reshape(x[1], lengths))


@rule(Softmax)
def softmax(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    return t.graph.node("Softmax", *x, axis=1)


@rule(LogSoftmax)
def log_softmax(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    return t.graph.node("LogSoftmax", *x, axis=1)


@rule(Maxout)
def maxout(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    parts = t.graph.reshape(x[0], op.rows)
    return t.graph.reshape(reduced(t, "ReduceMax", parts, (1,), False), y.shape)


def _joined_axis(x: np.ndarray, y: np.ndarray) -> int:
    return next(i for i, (n, m) in enumerate(zip(x.shape, y.shape, strict=True)) if n != m)


@rule(CReLU)
def crelu(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    halves = t.graph.node("Relu", *x), t.graph.node("Relu", t.graph.node("Neg", *x))
    return t.graph.node("Concat", *halves, axis=_joined_axis(xs[0], y))


@rule(GLU)
def glu(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    a, b = t.graph.node("Split", *x, outputs=2, axis=_joined_axis(xs[0], y), num_outputs=2)
    return t.graph.node("Mul", a, t.graph.node("Sigmoid", b))


@rule(Dropout, RReLU)
def dropout(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    raise ValueError(
        f"export_onnx: {t.graph.origin} draws random numbers; export is of a model in evaluation mode: call it with "
        "training=self.training"
    )


# ── Images ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _window(stride: tuple, padding: tuple, dilation: tuple = ()) -> dict:
    settings = {"strides": list(stride), "pads": [*padding, *padding]}
    return settings | ({"dilations": list(dilation)} if dilation else {})


def _with_activation(t: Any, op: Any, y: str, dtype: Any) -> str:
    if not op.activation:
        return y
    row, a, b = op.activation
    return activated(t, row.name, y, (a, b), dtype)


@rule(Conv)
def conv(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    *window, groups = op.window
    result = t.graph.node("Conv", *x, **_window(*window), group=groups)
    return _with_activation(t, op, result, y.dtype)


@rule(ConvTranspose)
def conv_transpose(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    stride, padding, dilation, groups = op.window
    extra = [
        n - ((m - 1) * s - 2 * p + d * (k - 1) + 1)
        for n, m, s, p, d, k in zip(
            op.size, xs[0].shape[2:], stride, padding, dilation, xs[1].shape[2:], strict=True
        )
    ]
    settings = _window(stride, padding, dilation) | {"group": groups, "output_padding": extra}
    return _with_activation(t, op, t.graph.node("ConvTranspose", *x, **settings), y.dtype)


@rule(Pad)
def pad(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    value = t.graph.constant(op.value, y.dtype)
    return t.graph.node("Pad", *x, t.graph.constant(_both_sides(op.widths), np.int64), value)


@rule(PadEdges)
def pad_edges(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    mode = {"reflect": "reflect", "replicate": "edge"}[op.mode]
    return t.graph.node("Pad", *x, t.graph.constant(_both_sides(op.widths), np.int64), mode=mode)


def _both_sides(widths: list[tuple[int, int]]) -> list[int]:
    """All widths before, then all widths behind."""
    return [before for before, _ in widths] + [behind for _, behind in widths]


@rule(MaxPool)
def max_pool(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    kernel, stride, padding = op.window
    return t.graph.node("MaxPool", *x, kernel_shape=list(kernel), **_window(stride, padding))


@rule(AvgPool)
def avg_pool(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    kernel, stride, padding = op.window
    settings = _window(stride, padding) | {"count_include_pad": 1}
    return t.graph.node("AveragePool", *x, kernel_shape=list(kernel), **settings)


# ── Normalisation ────────────────────────────────────────────────────────────────────────────────────────────────────


@rule(BatchNorm)
def batch_norm(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    channels, dtype = xs[0].shape[1], y.dtype
    weight = x[1] if len(x) > 1 else t.graph.constant(np.ones(channels), dtype)
    bias = x[2] if len(x) > 2 else t.graph.constant(np.zeros(channels), dtype)
    if not op.batch_statistics:
        statistics = t.buffer(op.mean, dtype), t.buffer(op.var, dtype)
        return t.graph.node("BatchNormalization", x[0], weight, bias, *statistics, epsilon=op.eps)
    # A layer that keeps no running statistics: those of the batch at hand.
    each = (channels, *(1,) * (y.ndim - 2))
    z = _standardized(t, x[0], (0, *range(2, y.ndim)), op.eps, dtype)
    return t.graph.node(
        "Add", t.graph.node("Mul", z, t.graph.reshape(weight, each)), t.graph.reshape(bias, each)
    )


@rule(ActivatedBatchNorm)
def activated_batch_norm(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    return activated(t, op.row.name, batch_norm(t, op, x, xs, y), (op.a, op.b), y.dtype)


def _standardized(t: Any, x: str, axes: tuple, eps: float, dtype: Any) -> str:
    """(x - mean) / sqrt(var + eps) over the axes."""
    d = t.graph.node("Sub", x, reduced(t, "ReduceMean", x, axes, True))
    var = reduced(t, "ReduceMean", t.graph.node("Mul", d, d), axes, True)
    deviation = t.graph.node("Sqrt", t.graph.node("Add", var, t.graph.constant(eps, dtype)))
    return t.graph.node("Div", d, deviation)


@rule(RowNorm)
def row_norm(t: Any, op: Any, x: list, xs: tuple, y: np.ndarray) -> str:
    """x is (samples, groups, parts, inner)."""
    _, groups, parts, inner = y.shape
    if groups == inner == 1:  # of whole samples, with a weight for each element
        last = t.graph.reshape(x[0], (y.shape[0], parts))
        z = t.graph.node("LayerNormalization", last, *x[1:], axis=1, epsilon=op.eps)
        return t.graph.reshape(z, y.shape)
    if parts == 1:
        return t.graph.node("InstanceNormalization", *x, epsilon=op.eps)
    ones = t.graph.constant(np.ones(groups), y.dtype), t.graph.constant(np.zeros(groups), y.dtype)
    z = t.graph.node("InstanceNormalization", x[0], *ones, epsilon=op.eps)
    weight, bias = (t.graph.reshape(v, (groups, parts, 1)) for v in x[1:])
    return t.graph.node("Add", t.graph.node("Mul", z, weight), bias)
