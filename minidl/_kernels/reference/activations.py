"""The NumPy definitions of activations.pyx and prelu.pyx, and the functions that several of them are made of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# name -> what is declared of it (minidl.ops.activations.activation.Row): `value`, `slope` and so on
ACTIVATIONS: dict[str, Any] = {}

__all__ = [
    "activation_backward",
    "activation_forward",
    "prelu_backward",
    "prelu_forward",
]


def _quiet(function, *args) -> np.ndarray:
    with np.errstate(all="ignore"):
        return function(*args)


def _result(value: np.ndarray, like: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    value = np.asarray(value).astype(like.dtype, copy=False)
    if out is None:
        return value
    out[...] = value
    return out


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), by the formula that does not overflow on x's side of 0."""
    e = _quiet(np.exp, -np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)) + 0 * np.where(np.isnan(x), x, 0)


def normal_cdf(x: np.ndarray) -> np.ndarray:
    """P(Z <= x)."""
    erfc = np.frompyfunc(math.erfc, 1, 1)
    return 0.5 * np.asarray(erfc(-math.sqrt(0.5) * x), x.dtype)


def tanhshrink(x: np.ndarray) -> np.ndarray:
    """x - tanh(x), by its series near 0, where the difference would cancel."""
    series = (1 / 3, -2 / 15, 17 / 315, -62 / 2835, 1382 / 155925, -21844 / 6081075)
    z = x * x
    return np.where(np.abs(x) < 0.05, x * z * np.polyval(series[::-1], z), x - np.tanh(x))


def times(x: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """x * factor, where a factor of 0 wins over an infinite x: a zero with the sign of x."""
    return np.where(factor == 0, np.copysign(0.0, x), x * factor)


# Activations are computed in float64, so that their own rounding does not count.
def activation_forward(name, x, a=0.0, b=0.0, out=None):
    row = _found(name)
    params = (a, b)[: len(row.params)]
    return _quiet(lambda: _result(row.value(x.astype(np.float64), *params), x, out))


def activation_backward(name, xy, gy, a=0.0, b=0.0, from_y=False, out=None):
    row = _found(name)
    slope = (from_y and row.from_y and row.from_y.slope) or row.slope
    params = (a, b)[: len(row.params)]
    s = _quiet(lambda: _result(slope(xy.astype(np.float64), *params), xy, None))
    s = np.where(np.isnan(xy), xy, s)  # a NaN never becomes a finite gradient
    return _quiet(lambda: _result(np.where(s != 0, gy * s, 0), xy, out))


def _found(name: str) -> Any:
    if name not in ACTIVATIONS:
        raise ValueError(f"activation: expected one of {', '.join(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]


def prelu_forward(x, slope, out=None):
    return _result(np.where(x <= 0, _quiet(np.multiply, slope[:, None], x), x), x, out)


def prelu_backward(x, slope, gy):
    gx = np.where(np.isnan(x), x, np.where(x <= 0, slope[:, None] * gy, gy))
    return gx, np.where(x > 0, 0, _quiet(np.multiply, x, gy)).sum(axis=(0, 2), dtype=x.dtype)
