"""The NumPy twins of elementwise.pyx and reduction.pyx; also what these do with integers and other kinds of array."""

from __future__ import annotations

from typing import Any

import numpy as np

BINARY: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.true_divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
}
UNARY: dict[str, Any] = {
    "neg": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "square": np.square,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
}


def binary(name, x0, x1, out=None):
    with np.errstate(all="ignore"):
        return np.asarray(BINARY[name](x0, x1, out=out))


def unary(name, x, out=None):
    with np.errstate(all="ignore"):
        return np.asarray(UNARY[name](x, out=out))


def number(value, like):
    return np.asarray(value, like.dtype)


def broadcast_to(x, shape):
    return np.broadcast_to(x, shape)


def sum_axes(x, axes=None, keepdims=False, divisor=1.0):
    with np.errstate(all="ignore"):
        total = x.sum(axis=axes, keepdims=keepdims)
        return np.asarray(total if divisor == 1 else total / divisor)


def sum_to(x, shape):
    lead = x.ndim - len(shape)
    stretched = [i + lead for i, n in enumerate(shape) if n == 1 and x.shape[i + lead] != 1]
    return sum_axes(x, (*range(lead), *stretched), keepdims=True).reshape(shape)
