"""The NumPy definitions of reduction.pyx and scan.pyx; also what it does with integers and other kinds of array."""

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


def running_sum(x, reverse=False):
    step = -1 if reverse else 1
    return np.cumsum(x[:, ::step], 1, dtype=np.float64)[:, ::step].astype(x.dtype)
