"""The NumPy definitions of normalization.pyx."""

from __future__ import annotations

import numpy as np

from minidl._kernels.reference.activations import _quiet


def row_norm_forward(x, weight, bias, eps):
    n = max(x.shape[2] * x.shape[3], 1)
    first = x[:, :, :1, :1] if x.size else 0  # so that the mean of equal numbers is this number
    mean = _quiet(lambda: first + (x - first).sum(axis=(2, 3), keepdims=True) / n)
    d = _quiet(np.subtract, x, mean)
    square = _quiet(lambda: (d**2).sum(axis=(2, 3), keepdims=True))
    rstd = _quiet(lambda: 1 / np.sqrt(square / n + eps)).astype(x.dtype)
    weight, bias = (v.reshape(*x.shape[1:3], 1) for v in (weight, bias))
    return d * rstd * weight + bias, mean.reshape(-1), rstd.reshape(-1)


def row_norm_backward(x, weight, gy, mean, rstd):
    mean, rstd = (v.reshape(*x.shape[:2], 1, 1) for v in (mean, rstd))
    n = max(x.shape[2] * x.shape[3], 1)
    z, g = (x - mean) * rstd, gy * weight.reshape(*x.shape[1:3], 1)
    gz = z * (g * z).sum(axis=(2, 3), keepdims=True) / n
    gx = rstd * (g - g.sum(axis=(2, 3), keepdims=True) / n - gz) if n > 1 else x - mean
    return gx, (gy * z).sum(axis=(0, 3)).reshape(-1), gy.sum(axis=(0, 3)).reshape(-1)
