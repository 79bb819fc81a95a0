"""The NumPy definitions of reduction.pyx and scan.pyx.

Also what the first does with integers and other kinds of array.
"""

from __future__ import annotations

import numpy as np


def sum_axes(x, axes=None, keepdims=False, divisor=1.0):
    with np.errstate(all="ignore"):
        total = x.sum(axis=axes, keepdims=keepdims)
        return np.asarray(total if divisor == 1 else total / divisor)


def sum_to(x, shape):
    lead = x.ndim - len(shape)
    stretched = [i + lead for i, n in enumerate(shape) if n == 1 and x.shape[i + lead] != 1]
    return sum_axes(x, (*range(lead), *stretched), keepdims=True).reshape(shape)


def extremum_axes(name, x, axes=None, keepdims=False):
    return np.asarray({"max": np.max, "min": np.min}[name](x, axis=axes, keepdims=keepdims))


def prod_rows(x):
    with np.errstate(all="ignore"):
        return x.astype(np.float64).prod(1).astype(x.dtype)


def prod_rows_backward(x, gy):
    one = np.ones((len(x), min(x.shape[1], 1)))
    with np.errstate(all="ignore"):
        before = np.concatenate([one, np.cumprod(x[:, :-1], 1, np.float64)], 1)
        behind = np.concatenate([one, np.cumprod(x[:, :0:-1], 1, np.float64)], 1)[:, ::-1]
        return (gy[:, None] * (before * behind)).astype(x.dtype)


def extremum_rows_backward(x, y, gy):
    chosen = (x == y[:, None]) | ((x != x) & (y != y)[:, None])
    share = gy / np.maximum(chosen.sum(1), 1).astype(x.dtype)
    return np.where(chosen, share[:, None], np.zeros((), x.dtype))


def running_sum(x, reverse=False):
    step = -1 if reverse else 1
    return np.cumsum(x[:, ::step], 1, dtype=np.float64)[:, ::step].astype(x.dtype)
