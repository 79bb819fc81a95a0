"""The NumPy definitions of batch_norm.pyx: x is (N, C, ...), all other arguments have one number per channel."""

from __future__ import annotations

import numpy as np

from minidl._kernels.reference.activations import activation_backward, activation_forward

__all__ = ["batch_norm_backward", "batch_norm_forward", "batch_norm_moments"]


def batch_norm_moments(x):
    if x.size == 0:
        return np.zeros(x.shape[1]), np.zeros(x.shape[1])
    wide, axes = x.astype(np.float64), _others(x)
    with np.errstate(all="ignore"):
        first = wide[(slice(0, 1), slice(None), *[slice(0, 1)] * (x.ndim - 2))]
        wide = wide - first  # so that the mean of equal numbers is this number
        return first.reshape(-1) + wide.mean(axis=axes), wide.var(axis=axes)


def batch_norm_forward(x, mean, rstd, weight=None, bias=None, activation=None, a=0.0, b=0.0):
    _check(x, mean=mean, rstd=rstd, weight=weight, bias=bias)
    with np.errstate(all="ignore"):
        y = (x - _channels(mean, x)) * _channels(_times(rstd, weight), x)
        y = y if bias is None else y + _channels(bias, x)
        y = np.empty_like(x) if x.size == 0 else y.astype(x.dtype)
    return y if activation is None else activation_forward(activation, y, a, b, y)


def batch_norm_backward(
    x,
    gy,
    mean,
    rstd,
    weight=None,
    bias=None,
    moving=True,
    activation=None,
    a=0.0,
    b=0.0,
    y=None,
):
    _check(x, mean=mean, rstd=rstd, weight=weight, bias=bias)
    axes, n = _others(x), max(x.size // max(x.shape[1], 1), 1)
    if activation is not None and y is not None:
        gy = activation_backward(activation, y, gy, a, b, True)
    with np.errstate(all="ignore"):
        z = (x - _channels(mean, x)) * _channels(rstd, x)
        if activation is not None and y is None:
            before = batch_norm_forward(x, mean, rstd, weight, bias)
            gy = np.where(before <= 0, a * gy if a else 0, gy)
        gb, gw = gy.sum(axis=axes, dtype=np.float64), (gy * z).sum(axis=axes)
        rest = (_channels(gb, x) + z * _channels(gw, x)) / n if moving else 0
        gx = _channels(_times(rstd, weight), x) * (gy - rest)
    return gx.astype(x.dtype), gw.astype(x.dtype), gb.astype(x.dtype)


def _others(x):
    """All axes but that of the channels."""
    return (0, *range(2, x.ndim))


def _channels(v, x):
    return np.asarray(v, np.float64).reshape(-1, *(1,) * (x.ndim - 2))


def _times(rstd, weight):
    return rstd if weight is None else np.multiply(rstd, weight, dtype=np.float64)


def _check(x, **vectors):
    for name, v in vectors.items():
        if v is not None and v.shape != (x.shape[1],):
            raise ValueError(
                f"batch_norm: {name}: expected {x.shape[1]} values, got shape {v.shape}"
            )
