"""The negative log-likelihood of classes: cross-entropy of logarithms of probabilities that are there already."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl._kernels.runtime.prepared import by_numpy, checks, recorder
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor, plain, wrap
from minidl.ops.args import as_float
from minidl.ops.losses.loss import (
    Weigh,
    _class_targets,
    _kept_reduced,
    _per_sample,
    facing,
    reduced,
)
from minidl.ops.losses.weights import IGNORED, check_targets, kept_weights, weighting
from minidl.ops.shape import reshape

__all__ = ["nll_loss"]


class NegativeLogLikelihood(Op):
    """loss[r] = -x[r, target[r]] for x (rows, n), or (outer, n, inner) with (outer, inner) for rows.

    With a divisor, the result is their sum divided by it.
    """

    saves = ()

    def __init__(self, target: np.ndarray, divisor: float = 0.0) -> None:
        self.target, self.divisor = target, divisor

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.shape = x.shape
        picked = by_numpy(_picked, x, self.target)
        if self.divisor:
            return K.sum_axes(picked, None, False, -self.divisor)
        return K.unary("neg", picked)

    def backward(self, gy: Tensor) -> Tensor:
        slope = wrap(by_numpy(_slope, self.target, self.shape, gy.dtype))
        return reshape(gy, facing(self.shape, gy.size)) / (self.divisor or 1.0) * slope


def _places(target: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Where the targets' elements are in scores of this shape, in C order."""
    target = target.astype(np.int64, copy=False)
    if len(shape) == 2:
        return np.arange(0, shape[0] * shape[1], shape[1]) + target
    outer, n, inner = shape
    first = np.arange(0, outer * n * inner, n * inner)[:, None] + np.arange(inner)
    return (target.reshape(outer, inner) * inner + first).reshape(-1)


def _picked(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    return x.reshape(-1).take(_places(target, x.shape)) if x.size else np.zeros(0, x.dtype)


def _slope(target: np.ndarray, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    slope = np.zeros(shape, dtype)
    slope.reshape(-1)[_places(target, shape) if slope.size else slice(0)] = -1
    return slope


def nll_loss(
    log_probabilities: Any,
    target: Any,
    reduction: str = "mean",
    weight: Any = None,
    ignore_index: int = IGNORED,
) -> Tensor:
    """-log_probabilities[target]: the negative log-likelihood, for the output of `log_softmax`.

    The gradient is -1 at the target and 0 elsewhere. Arguments, shapes, errors and reduction as in `cross_entropy`
    (class ids only).
    """
    name, x = "nll_loss", as_float(log_probabilities)
    if x.ndim == 0:
        raise ValueError(f"{name}: expected scores of shape (N, classes), got a scalar")
    lengths = x._data.shape if x.ndim > 1 else (1, *x._data.shape)
    rows = x if x.ndim == 2 else reshape(x, (*lengths[:2], -1) if len(lengths) > 2 else lengths)
    ids = _class_targets(name, x, check.array(name, "target", plain(target)))
    classes = lengths[1]
    settings = weighting(name, classes, weight, ignore_index)
    if not settings.is_plain(ids, classes, recorder.on):
        ids, kept = kept_weights(ids, classes, settings, x.dtype)
        loss = NegativeLogLikelihood(ids)(rows)
        return _kept_reduced(name, Weigh()(kept, loss), kept, x, reduction)
    if recorder.on:
        checks(check_targets, name, ids, classes)
    if x._requires_grad:
        # For backward: the caller may fill its array anew.
        ids = K.copy(ids) if recorder.on else ids.copy()
    if isinstance(reduction, str) and reduction in ("mean", "sum") and len(ids):
        return NegativeLogLikelihood(ids, 1.0 if reduction == "sum" else float(len(ids)))(rows)
    return reduced(name, _per_sample(NegativeLogLikelihood(ids)(rows), x), reduction)
