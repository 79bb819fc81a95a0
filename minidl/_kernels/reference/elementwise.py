"""The NumPy definitions of elementwise.pyx; also what it does with integers and other kinds of array."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

BINARY: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "weigh": lambda w, x, out=None: np.multiply(w, np.where(w == 0, w.dtype.type(0), x), out=out),
    "div": np.true_divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "pow": lambda x, p, out=None: np.power(x, p, out=out),
    "floor_divide": np.floor_divide,
    "remainder": np.remainder,
    "same": lambda x, z, out=None: np.multiply(
        (x == z) | ((x != x) & (z != z)), np.result_type(x, z).type(1), out=out
    ),
    # of what was saved and gy
    "abs_backward": lambda x, gy, out=None: np.multiply(np.sign(x), gy, out=out),
    "square_backward": lambda x, gy, out=None: np.multiply(2 * x, gy, out=out),
    "cube_backward": lambda x, gy, out=None: np.multiply(3 * x * x, gy, out=out),
    "reciprocal_backward": lambda x, gy, out=None: np.divide(-gy, x * x, out=out),
    "sqrt_backward": lambda y, gy, out=None: np.divide(gy, 2 * y, out=out),
}
UNARY: dict[str, Any] = {
    "neg": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "square": np.square,
    "cube": lambda x, out=None: np.multiply(x * x, x, out=out),
    "reciprocal": np.reciprocal,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "log2": np.log2,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "arctan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "erf": lambda x, out=None: np.multiply(_erf(x), x.dtype.type(1), out=out),
    "rsqrt": lambda x, out=None: np.divide(1, np.sqrt(x), out=out),
    "floor": np.floor,
}


def _erf(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x), x.dtype)


def binary(name, x0, x1, out=None):
    with np.errstate(all="ignore"):
        try:
            return np.asarray(BINARY[name](x0, x1, out=out))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None


def unary(name, x, out=None):
    with np.errstate(all="ignore"):
        return np.asarray(UNARY[name](x, out=out))


def number(value, like):
    return np.asarray(value, like.dtype)


def broadcast_to(x, shape):
    try:
        return np.broadcast_to(x, shape)
    except ValueError:
        raise ValueError(f"broadcast_to: shape {x.shape} does not broadcast to {shape}") from None
