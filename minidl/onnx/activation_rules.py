"""ONNX nodes of the activations, by the names of their rows (see `minidl.ops.activations.table`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.ops.activations.smooth import SELU_ALPHA, SELU_SCALE

# Those that are one node: the operator, and its attributes from the row's parameters.
ONE_NODE: dict[str, tuple[str, Callable[..., dict]]] = {
    "relu": ("Relu", lambda a, b: {}),
    "leaky_relu": ("LeakyRelu", lambda a, b: {"alpha": a}),
    "hardsigmoid": ("HardSigmoid", lambda a, b: {"alpha": 1 / 6, "beta": 0.5}),
    "softshrink": ("Shrink", lambda a, b: {"lambd": a, "bias": a}),
    "hardshrink": ("Shrink", lambda a, b: {"lambd": a, "bias": 0.0}),
    "elu": ("Elu", lambda a, b: {"alpha": a}),
    "selu": ("Selu", lambda a, b: {"alpha": SELU_ALPHA, "gamma": SELU_SCALE}),
    "sigmoid": ("Sigmoid", lambda a, b: {}),
    "tanh": ("Tanh", lambda a, b: {}),
    "softsign": ("Softsign", lambda a, b: {}),
    "hardswish": ("HardSwish", lambda a, b: {}),
    "mish": ("Mish", lambda a, b: {}),
    "gelu": ("Gelu", lambda a, b: {}),
    "gelu_tanh": ("Gelu", lambda a, b: {"approximate": "tanh"}),
}


def _limited(t: Any, x: str, low: float, high: float, dtype: Any) -> str:
    return t.graph.node("Clip", x, t.graph.constant(low, dtype), t.graph.constant(high, dtype))


def _celu(t: Any, x: str, a: float, b: float, dtype: Any) -> str:
    """ONNX's Celu is for float32 alone."""
    zero, alpha = t.graph.constant(0, dtype), t.graph.constant(a, dtype)
    power = t.graph.node("Exp", t.graph.node("Div", x, alpha))
    low = t.graph.node("Mul", alpha, t.graph.node("Sub", power, t.graph.constant(1, dtype)))
    return t.graph.node("Where", t.graph.node("LessOrEqual", x, zero), low, x)


def _threshold(t: Any, x: str, a: float, b: float, dtype: Any) -> str:
    edge, value = t.graph.constant(a, dtype), t.graph.constant(b, dtype)
    return t.graph.node("Where", t.graph.node("LessOrEqual", x, edge), value, x)


def _softplus(t: Any, x: str, a: float, b: float, dtype: Any) -> str:
    if a == 1:
        return t.graph.node("Softplus", x)
    beta = t.graph.constant(a, dtype)
    return t.graph.node("Div", t.graph.node("Softplus", t.graph.node("Mul", x, beta)), beta)


def _logsigmoid(t: Any, x: str, a: float, b: float, dtype: Any) -> str:
    return t.graph.node("Neg", t.graph.node("Softplus", t.graph.node("Neg", x)))


# Those that are composed.
COMPOSED: dict[str, Callable[..., str]] = {
    "relu6": lambda t, x, a, b, dtype: _limited(t, x, 0, 6, dtype),
    "hardtanh": lambda t, x, a, b, dtype: _limited(t, x, a, b, dtype),
    "celu": _celu,
    "threshold": _threshold,
    "softplus": _softplus,
    "logsigmoid": _logsigmoid,
    "tanhshrink": lambda t, x, a, b, dtype: t.graph.node("Sub", x, t.graph.node("Tanh", x)),
    "silu": lambda t, x, a, b, dtype: t.graph.node("Mul", x, t.graph.node("Sigmoid", x)),
}


def activated(t: Any, name: str, x: str, parameters: tuple[float, float], dtype: np.dtype) -> str:
    """The nodes of an activation of x."""
    if name in ONE_NODE:
        kind, settings = ONE_NODE[name]
        return t.graph.node(kind, x, **settings(*parameters))
    if name in COMPOSED:
        return COMPOSED[name](t, x, *parameters, dtype)
    raise NotImplementedError(
        f"export_onnx: {t.graph.origin}: the activation {name!r} has no rule: see minidl/onnx/activation_rules.py"
    )
