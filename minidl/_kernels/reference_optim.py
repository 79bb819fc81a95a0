"""The NumPy twins of the optimizer kernels."""

from __future__ import annotations

import numpy as np


def sgd_step(params, grads, moments, lrs, decays, momentum=0.0, nesterov=False):
    for k, (p, g) in enumerate(zip(params, grads, strict=True)):
        d = g + decays[k] * p
        if moments is not None:
            moments[k][...] = momentum * moments[k] + d
            d = d + momentum * moments[k] if nesterov else moments[k]
        p -= lrs[k] * d


def adam_step(
    params, grads, means, squares, steps, lrs, decays, beta1, beta2, eps, decoupled=False
):
    for p, g, m, v, t, lr, decay in zip(
        params, grads, means, squares, steps, lrs, decays, strict=True
    ):
        if decoupled:
            p *= 1 - lr * decay
        d = g if decoupled else g + decay * p
        m += (1 - beta1) * (d - m)
        v[...] = beta2 * v + (1 - beta2) * d * d
        p -= lr / (1 - beta1**t) * m / (np.sqrt(v) / (1 - beta2**t) ** 0.5 + eps)


def first_misfit(params, grads):
    for k, (p, g) in enumerate(zip(params, grads, strict=True)):
        if not isinstance(g, np.ndarray) or g.shape != p.shape or g.dtype != p.dtype:
            return k
    return -1


def sum_of_squares(arrays):
    return float(sum(np.square(x, dtype=np.float64).sum() for x in arrays))


def scale_all(arrays, factor):
    for x in arrays:
        x *= factor
