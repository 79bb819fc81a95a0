"""The NumPy definitions of softmax.pyx."""

from __future__ import annotations

import numpy as np

from minidl._kernels.reference.activations import _quiet


def softmax_forward(x):
    e = _quiet(lambda: np.exp(x - x.max(axis=1, keepdims=True, initial=-np.inf)))
    return _quiet(lambda: e / e.sum(axis=1, keepdims=True))


def softmax_backward(y, gy):
    return y * (gy - (gy * y).sum(axis=1, keepdims=True))


def log_softmax_forward(x):
    d = _quiet(lambda: x - x.max(axis=1, keepdims=True, initial=-np.inf))
    e = _quiet(np.exp, d)
    if e.size:  # the greatest, which is 1, is added by log1p
        np.put_along_axis(e, d.argmax(axis=1, keepdims=True), 0, axis=1)
    e[np.isnan(d)] = np.nan  # (in inf - inf, too)
    return _quiet(lambda: d - np.log1p(e.sum(axis=1, keepdims=True)))


def log_softmax_backward(y, gy):
    return gy - np.exp(y) * gy.sum(axis=1, keepdims=True)


def logsumexp_forward(x):
    top = x.max(axis=1)
    shift = np.where(np.isfinite(top), top, 0)
    # The greatest, which is 1, is added by log1p.
    e = _quiet(lambda: np.exp(x - shift[:, None]))
    np.put_along_axis(e, x.argmax(axis=1)[:, None], 0, axis=1)
    return np.where(np.isfinite(top), shift + np.log1p(e.sum(axis=1)), top).astype(x.dtype)


def cross_entropy_forward(x, target, scale=0.0, keep=True):
    target, n = np.asarray(target), x.shape[1]
    if x.ndim == 3:
        rows = np.moveaxis(x, 1, 2)
        loss, difference = cross_entropy_forward(rows.reshape(-1, n), target, scale)
        return loss, np.ascontiguousarray(np.moveaxis(difference.reshape(rows.shape), 2, 1))
    for row in np.flatnonzero((target < 0) | (target >= n)):
        raise ValueError(
            f"cross_entropy: target {target[row]} of row {row} is out of range for {n} classes"
        )
    rows, y = np.arange(len(x)), log_softmax_forward(x)
    loss, difference = -y[rows, target], np.exp(y)
    difference[rows, target] = _quiet(np.expm1, y[rows, target])
    return (loss if scale == 0 else np.asarray((scale * loss).sum(), x.dtype)), difference


def cross_entropy_backward(difference, gy, scale=1.0):
    each = gy.reshape(-1, *(1,) * (difference.ndim - 1))
    return (scale * each * difference).astype(difference.dtype, copy=False)
