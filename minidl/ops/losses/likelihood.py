"""The negative log-likelihood of classes: cross-entropy of logarithms of probabilities that are there already."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl._kernels.arrays.buffers import within
from minidl._kernels.runtime.prepared import checks, recorder
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor, plain, wrap
from minidl.ops.args import as_float, filled
from minidl.ops.losses.loss import (
    Weigh,
    _class_targets,
    _kept_reduced,
    _per_sample,
    class_rows,
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
        picked = K.nll_forward(x, self.target)
        if self.divisor:
            return K.sum_axes(picked, None, False, -self.divisor)
        return K.unary("neg", picked)

    def backward(self, gy: Tensor) -> Tensor:
        one = filled((), 1.0, gy.dtype)
        slope = wrap(K.nll_backward(one._data, self.target, self.shape))
        return reshape(gy, facing(self.shape, gy.size)) / (self.divisor or 1.0) * slope

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        return K.nll_backward(gy, self.target, self.shape, self.divisor or 1.0)


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
    rows = class_rows(name, x, True)
    ids = _class_targets(name, x, check.array(name, "target", plain(target)))
    classes = rows.shape[1]
    settings = None  # the usual loss: no weights, and most often nothing to ignore
    usual = weight is None and type(ignore_index) is int and ignore_index == IGNORED
    if not usual or not within(ids, classes):
        settings = weighting(name, classes, weight, ignore_index)
    if settings is not None and not settings.is_plain(ids, classes, recorder.on):
        ids, kept = kept_weights(ids, classes, settings, x.dtype)
        loss = NegativeLogLikelihood(ids)(rows)
        return _kept_reduced(name, Weigh()(kept, loss), kept, x, reduction)
    if recorder.on:
        checks(check_targets, name, ids, classes)
    if recorder.on:
        ids = K.copy(ids)
    elif x._requires_grad:  # for backward: the caller may fill its array anew
        ids = ids.copy()
    if isinstance(reduction, str) and reduction in ("mean", "sum") and len(ids):
        return NegativeLogLikelihood(ids, 1.0 if reduction == "sum" else float(len(ids)))(rows)
    return reduced(name, _per_sample(NegativeLogLikelihood(ids)(rows), x), reduction)
