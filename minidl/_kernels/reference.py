"""The NumPy twin of every kernel, same names and signatures: what a kernel means, in a line or two.

The tests hold each compiled kernel against its twin; ``MINIDL_KERNELS=reference`` runs the whole library on them.
"""

from __future__ import annotations

import numpy as np

from minidl._kernels.reference_activation import (  # noqa: F401  (these are faces, too)
    ACTIVATIONS,
    _quiet,
    _result,
    activation_address,
    activation_backward,
    activation_forward,
    activation_slope_address,
)
from minidl._kernels.reference_arithmetic import (  # noqa: F401  (these are faces, too)
    binary,
    broadcast_to,
    extremum_axes,
    number,
    sum_axes,
    sum_to,
    unary,
)
from minidl._kernels.reference_batch_norm import (  # noqa: F401  (these are faces, too)
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_moments,
)
from minidl._kernels.reference_conv import (  # noqa: F401  (these are faces, too)
    conv_forward,
    conv_input_grad,
    conv_weight_grad,
)
from minidl._kernels.reference_distance import (  # noqa: F401  (these are faces, too)
    loss_backward,
    loss_forward,
)
from minidl._kernels.reference_gates import (  # noqa: F401  (these are faces, too)
    crelu_backward,
    crelu_forward,
    glu_backward,
    glu_forward,
    maxout_backward,
    maxout_forward,
)
from minidl._kernels.reference_gemm import (  # noqa: F401  (these are faces, too)
    affine_forward,
    affine_weight_grad,
    matmul,
)
from minidl._kernels.reference_noise import (  # noqa: F401  (these are faces, too)
    dropout_forward,
    noise_backward,
    random_words,
    rrelu_forward,
)
from minidl._kernels.reference_optim import (  # noqa: F401  (these are faces, too)
    adam_step,
    first_misfit,
    scale_all,
    sgd_step,
    sum_of_squares,
)
from minidl._kernels.reference_pooling import (  # noqa: F401  (these are faces, too)
    avg_pool_backward,
    avg_pool_forward,
    max_pool_forward,
    max_pool_gather,
    max_pool_scatter,
)
from minidl._kernels.reference_scatter import add_rows  # noqa: F401
from minidl._kernels.reference_selection import (  # noqa: F401  (these are faces, too)
    clip,
    clip_backward,
    extremum_backward,
    where,
    where_equal,
)


def prelu_forward(x, slope, out=None):
    return _result(np.where(x <= 0, _quiet(np.multiply, slope[:, None], x), x), x, out)


def prelu_backward(x, slope, gy):
    gx = np.where(x <= 0, slope[:, None] * gy, gy)
    return gx, np.where(x <= 0, _quiet(np.multiply, x, gy), 0).sum(axis=(0, 2), dtype=x.dtype)


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


def cross_entropy_forward(x, target, scale=0.0):
    target, n = np.asarray(target), x.shape[1]
    for row in np.flatnonzero((target < 0) | (target >= n)):
        raise ValueError(
            f"cross_entropy: target {target[row]} of row {row} is out of range for {n} classes"
        )
    rows, y = np.arange(len(x)), log_softmax_forward(x)
    loss, difference = -y[rows, target], np.exp(y)
    difference[rows, target] = _quiet(np.expm1, y[rows, target])
    return (loss if scale == 0 else np.asarray((scale * loss).sum(), x.dtype)), difference


def cross_entropy_backward(difference, gy, scale=1.0):
    return (scale * gy.reshape(-1, 1) * difference).astype(difference.dtype, copy=False)


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
