"""The NumPy definitions of selection.pyx and scatter.pyx, and what the former does with other kinds of array."""

from __future__ import annotations

import numpy as np


def where(condition, x0, x1):
    try:
        return np.where(condition, x0, x1)
    except ValueError as error:
        raise ValueError(f"where: {error}") from None


def where_same(x, z, g):
    return np.where(_same(x, z), g, np.zeros((), g.dtype))


def extremum_backward(name, x, z, gy):
    chosen = (np.maximum if name == "maximum" else np.minimum)(x, z)
    share = np.where(_same(x, z), gy.dtype.type(0.5) * gy, gy)
    return where_same(x, chosen, share)


def _same(x, z):
    """Equal, or both NaN."""
    return (x == z) | ((x != x) & (z != z))


def clip(x, low=None, high=None):
    return np.asarray(np.clip(x, low, high), dtype=x.dtype)


def clip_backward(x, gy, low=None, high=None):
    inside = np.ones(x.shape, bool)
    if low is not None:
        inside &= x >= low
    if high is not None:
        inside &= x <= high
    return np.where(inside, gy, np.zeros((), gy.dtype))


def add_rows(x, ids, rows):
    y = np.zeros((rows, x.shape[1]), x.dtype)
    np.add.at(y, np.asarray(ids), x)
    return y


def nll_forward(x, target):
    return np.take_along_axis(x, _facing(target, x.shape), 1).reshape(-1)


def nll_backward(gy, target, shape, divisor=1.0):
    gx = np.zeros(shape, gy.dtype)
    places = _facing(target, shape)
    np.put_along_axis(
        gx,
        places,
        -(np.broadcast_to(gy, target.shape) / gy.dtype.type(divisor)).reshape(places.shape),
        1,
    )
    return gx


def _facing(target, shape):
    """The targets as one class of scores of this shape."""
    return np.asarray(target).astype(np.int64).reshape(shape[0], 1, *shape[2:])
