"""The NumPy twin of every kernel, same names and signatures: what a kernel means, in a line or two.

The tests hold each compiled kernel against its twin; ``MINIDL_KERNELS=reference`` runs the whole library on them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

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

ACTIVATIONS: dict[
    str, Any
] = {}  # name -> (value, slope); minidl.ops.activation_table fills it from its rows


def _quiet(function, *args) -> np.ndarray:
    with np.errstate(all="ignore"):
        return function(*args)


def _result(value: np.ndarray, like: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    value = np.asarray(value).astype(like.dtype, copy=False)
    if out is None:
        return value
    out[...] = value
    return out


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), by the formula that does not overflow on x's side of 0."""
    e = _quiet(np.exp, -np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)) + 0 * np.where(np.isnan(x), x, 0)


def normal_cdf(x: np.ndarray) -> np.ndarray:
    """P(Z <= x)."""
    erfc = np.frompyfunc(math.erfc, 1, 1)
    return 0.5 * np.asarray(erfc(-math.sqrt(0.5) * x), x.dtype)


def tanhshrink(x: np.ndarray) -> np.ndarray:
    """x - tanh(x), by its series near 0, where the difference would cancel."""
    series = (1 / 3, -2 / 15, 17 / 315, -62 / 2835, 1382 / 155925, -21844 / 6081075)
    z = x * x
    return np.where(np.abs(x) < 0.05, x * z * np.polyval(series[::-1], z), x - np.tanh(x))


def times(x: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """x * factor, where a factor of 0 wins over an infinite x."""
    return np.where(factor == 0, 0, x * factor)


# Activations are computed in float64, so that the twin's own rounding does not count.
def activation_forward(name, x, a=0.0, b=0.0, out=None):
    value, _ = ACTIVATIONS[name]
    return _quiet(lambda: _result(value(x.astype(np.float64), *_used(value, a, b)), x, out))


def activation_backward(name, xy, gy, a=0.0, b=0.0, out=None):
    _, slope = ACTIVATIONS[name]
    s = _quiet(lambda: _result(slope(xy.astype(np.float64), *_used(slope, a, b)), xy, None))
    return _quiet(lambda: _result(np.where(s != 0, gy * s, 0), xy, out))


def activation_address(name, wide):
    return 0  # Python has no machine code to point to


def activation_slope_address(name, wide):
    return 0


def _used(function, a: float, b: float) -> tuple[float, ...]:
    return (a, b)[: function.__code__.co_argcount - 1]


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
    return _quiet(lambda: d - np.log(np.exp(d).sum(axis=1, keepdims=True)))


def log_softmax_backward(y, gy):
    return gy - np.exp(y) * gy.sum(axis=1, keepdims=True)


def cross_entropy_forward(x, target, scale=0.0):
    target, n = np.asarray(target), x.shape[1]
    for row in np.flatnonzero((target < 0) | (target >= n)):
        raise ValueError(
            f"cross_entropy: target {target[row]} of row {row} is out of range for {n} classes"
        )
    y = log_softmax_forward(x)
    loss = -y[np.arange(len(x)), target]
    return (loss if scale == 0 else np.asarray(scale * loss.sum(), x.dtype)), np.exp(y)


def cross_entropy_backward(p, target, gy, scale=1.0):
    gx = scale * gy.reshape(-1, 1) * p
    gx[np.arange(len(p)), target] -= scale * gy.reshape(-1)
    return gx.astype(p.dtype, copy=False)


def layer_norm_forward(x, weight, bias, eps):
    n = max(x.shape[1], 1)
    mean = x.sum(axis=1) / n
    variance = ((x - mean[:, None]) ** 2).sum(axis=1) / n
    rstd = _quiet(lambda: 1 / np.sqrt(variance + eps)).astype(x.dtype)
    return (x - mean[:, None]) * rstd[:, None] * weight + bias, mean, rstd


def layer_norm_backward(x, weight, gy, mean, rstd):
    z, g = (x - mean[:, None]) * rstd[:, None], gy * weight
    gz = z * (g * z).mean(axis=1, keepdims=True)
    gx = rstd[:, None] * (g - g.mean(axis=1, keepdims=True) - gz)
    return gx, (gy * z).sum(axis=0), gy.sum(axis=0)
