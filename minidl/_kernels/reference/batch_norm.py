"""The NumPy definitions of batch_norm.pyx: x is (N, C, ...), all other arguments have one number per channel."""

from __future__ import annotations

from operator import setitem

import numpy as np

from minidl._kernels.reference.activations import activation_backward, activation_forward
from minidl.atomic import at_once, starmap

__all__ = ["batch_norm_backward", "batch_norm_forward", "batch_norm_moments", "batch_norm_track"]


def batch_norm_moments(x):
    if x.size == 0:
        return np.zeros(x.shape[1]), np.zeros(x.shape[1])
    wide, axes = x.astype(np.float64), _others(x)
    with np.errstate(all="ignore"):
        first = wide[(slice(0, 1), slice(None), *[slice(0, 1)] * (x.ndim - 2))]
        wide = wide - first  # so that the mean of equal numbers is this number
        return first.reshape(-1) + wide.mean(axis=axes), wide.var(axis=axes)


def batch_norm_forward(x, mean, var, eps, weight=None, bias=None, activation=None, a=0.0, b=0.0):
    _check(x, mean=mean, var=var, weight=weight, bias=bias)
    with np.errstate(all="ignore"):
        y = (x - _channels(mean, x)) * _channels(_scale(var, eps, weight), x)
        y = y if bias is None else y + _channels(bias, x)
        y = np.empty_like(x) if x.size == 0 else y.astype(x.dtype)
    return y if activation is None else activation_forward(activation, y, a, b, y)


def batch_norm_backward(
    x,
    gy,
    mean,
    var,
    eps,
    weight=None,
    bias=None,
    moving=True,
    activation=None,
    a=0.0,
    b=0.0,
    y=None,
):
    _check(x, mean=mean, var=var, weight=weight, bias=bias)
    axes, n = _others(x), max(x.size // max(x.shape[1], 1), 1)
    if activation is not None and y is not None:
        gy = activation_backward(activation, y, gy, a, b, True)
    with np.errstate(all="ignore"):
        z = (x - _channels(mean, x)) * _channels(_scale(var, eps), x)
        if activation is not None and y is None:
            before = batch_norm_forward(x, mean, var, eps, weight, bias)
            gy = np.where(before <= 0, a * gy if a else 0, gy)
        gb, gw = gy.sum(axis=axes, dtype=np.float64), (gy * z).sum(axis=axes)
        rest = (_channels(gb, x) + z * _channels(gw, x)) / n if moving else 0
        gx = _channels(_scale(var, eps, weight), x) * (gy - rest)
    return gx.astype(x.dtype), gw.astype(x.dtype), gb.astype(x.dtype)


def batch_norm_track(running_mean, running_var, count, mean, var, n, momentum=None):
    momentum = 1 / (int(count) + 1) if momentum is None else momentum
    changes = [] if count is None else [(count, ..., count + 1)]
    with np.errstate(all="ignore"):
        for old, new in ((running_mean, mean), (running_var, var * (n / max(n - 1, 1)))):
            if old is not None and n:
                changes.append((old, ..., old + (momentum * (new - old)).astype(old.dtype)))
    at_once(starmap(setitem, changes))


def _others(x):
    """All axes but that of the channels."""
    return (0, *range(2, x.ndim))


def _channels(v, x):
    return np.asarray(v, np.float64).reshape(-1, *(1,) * (x.ndim - 2))


def _scale(var, eps, weight=None):
    rstd = 1 / np.sqrt(np.asarray(var, np.float64) + eps)
    return rstd if weight is None else rstd * weight


def _check(x, **vectors):
    for name, v in vectors.items():
        if v is not None and v.shape != (x.shape[1],):
            raise ValueError(
                f"batch_norm: {name}: expected {x.shape[1]} values, got shape {v.shape}"
            )
