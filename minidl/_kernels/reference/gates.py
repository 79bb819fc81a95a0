"""The NumPy definitions of the activations that join or split channels."""

from __future__ import annotations

import numpy as np


def _sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(x.dtype)


def maxout_forward(x, keep=True):
    if not 1 <= x.shape[1] <= 1 << 16:  # their numbers take 16 bits
        raise ValueError(f"maxout: expected 1 to {1 << 16} pieces, got {x.shape[1]}")
    nan = np.isnan(x).any(axis=1)
    which = np.where(nan, np.isnan(x).argmax(axis=1), x.argmax(axis=1)).astype(np.uint16)
    y = np.take_along_axis(x, which[:, None].astype(np.intp), axis=1)[:, 0]
    return y, which if keep else None


def maxout_backward(gy, which, pieces):
    mine = which[:, None] == np.arange(pieces)[:, None]
    return np.where(mine, gy[:, None], gy.dtype.type(0))


def crelu_forward(x):
    return np.stack([np.where(x <= 0, 0, x), np.where(x >= 0, 0, -x)], axis=1)


def crelu_backward(x, gy):
    gx = np.where(x <= 0, 0, gy[:, 0]) - np.where(x >= 0, 0, gy[:, 1])
    return np.where(np.isnan(x), x, gx)  # the slope at NaN is NaN


def glu_forward(x):
    with np.errstate(all="ignore"):
        return x[:, 0] * _sigmoid(x[:, 1])


def glu_backward(x, gy):
    with np.errstate(all="ignore"):
        s = _sigmoid(x[:, 1])
        ga = np.where(np.isnan(x[:, 0]), x[:, 0], gy * s)
        return np.stack([ga, gy * x[:, 0] * s * (1 - s)], axis=1)
