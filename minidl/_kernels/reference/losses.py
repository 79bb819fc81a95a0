"""The NumPy definitions of losses.pyx: each loss by its textbook formula."""

from __future__ import annotations

import numpy as np


def _log(x):
    """The logarithm, kept above -100."""
    return np.maximum(np.log(x), -100)


def _exp(x):
    return np.exp(-np.abs(x))


def _rare(x):
    """sigmoid(-|x|)."""
    return _exp(x) / (1 + _exp(x))


def _weighed(weight, x):
    """weight x, and 0 for a weight of 0 and an infinite x."""
    return np.where(weight == 0, 0, weight * x)


VALUES = {
    "squared": lambda x, t, a: (x - t) ** 2,
    "absolute": lambda x, t, a: np.abs(x - t),
    "huber": lambda x, t, a: np.where(
        np.abs(x - t) <= a, (x - t) ** 2 / 2, a * (np.abs(x - t) - a / 2)
    ),
    "probability": lambda x, t, a: -(t * _log(x) + (1 - t) * np.maximum(np.log1p(-x), -100)),
    "logit": lambda x, t, a: _weighed(np.where(x > 0, 1 - t, t), np.abs(x)) + np.log1p(_exp(x)),
}
SLOPES = {
    "squared": lambda x, t, a: x - t,  # half of it: 2 (x - t) could overflow alone
    "absolute": lambda x, t, a: np.sign(x - t),
    "huber": lambda x, t, a: np.clip(x - t, -a, a),
    "probability": lambda x, t, a: (x - t) / np.maximum(x * (1 - x), 1e-12),
    "logit": lambda x, t, a: np.where(x > 0, (1 - t) - _rare(x), _rare(x) - t),
}


def loss_forward(name, x, t, a=0.0, divisor=0.0):
    with np.errstate(all="ignore"):
        if divisor == 0:
            return np.asarray(VALUES[name](x, t, a), x.dtype)
        wide = VALUES[name](x.astype(np.float64), t.astype(np.float64), a)
        return np.asarray((wide / divisor).sum(), x.dtype)


def loss_backward(name, x, t, gy, a=0.0, divisor=1.0):
    divisor = divisor / 2 if name == "squared" else divisor
    with np.errstate(all="ignore"):
        return np.asarray(gy / divisor * SLOPES[name](x, t, a), x.dtype)
