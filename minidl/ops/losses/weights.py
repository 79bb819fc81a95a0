"""Weights of losses; and what the losses of classes do with class weights, ignored targets and smoothed labels.

All three are factors on the logarithms of the probabilities. For targets t the loss of a sample is

    loss[r] = -Σ_c a[r, c] log p[r, c]      a[r, c] = k[r] w[c] ((1 - ε) [c = t[r]] + ε / C)

with the weight w of each class, the smoothing ε, and k[r] = 0 where the target is ignored, else 1. The mean is
Σ loss[r] / Σ k[r] w[t[r]], as in PyTorch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minidl import check
from minidl._kernels.arrays.buffers import within
from minidl._kernels.runtime.prepared import by_numpy, checks
from minidl.autograd.tensor import Tensor, plain, wrap
from minidl.ops.args import as_float

IGNORED = -100  # the target that is ignored, unless another is named: as in PyTorch
_LATE = (
    ", as this captured step was recorded with a batch that had no ignored target: with class weights, "
    "numpy.ones(classes) say, it expects them"
)


class Weighting(NamedTuple):
    """The settings of one loss, checked: class weights (or None), the target that is ignored, the smoothing."""

    name: str
    weight: np.ndarray | None
    ignored: int
    smoothing: float

    def is_plain(self, ids: np.ndarray, classes: int, recording: bool) -> bool:
        """Whether the loss is the negative logarithm at the target, for all of these targets.

        While a step is recorded, a target to ignore that was chosen tells that later batches may have it.
        """
        if self.weight is not None or self.smoothing or 0 <= self.ignored < classes:
            return False
        return within(ids, classes) and (not recording or self.ignored == IGNORED)


def weighting(
    name: str, classes: int, weight: Any, ignore_index: int, label_smoothing: float = 0.0
) -> Weighting:
    """The settings, for so many classes."""
    ignored = check.integer(name, "ignore_index", ignore_index)
    smoothing = check.number(name, "label_smoothing", label_smoothing, 0.0, 1.0)
    if weight is None:
        return Weighting(name, None, ignored, smoothing)
    if isinstance(weight, Tensor) and weight.requires_grad:
        raise ValueError(f"{name}: weight: class weights have no gradient: pass weight.detach()")
    weights = check.array(name, "weight", plain(weight))
    if weights.dtype.kind not in "fiu":
        raise TypeError(f"{name}: weight: expected numbers, got dtype {weights.dtype}")
    if weights.shape != (classes,):
        raise ValueError(
            f"{name}: weight: expected shape ({classes},), one for each class, got {weights.shape}"
        )
    return Weighting(name, weights, ignored, smoothing)


def check_targets(name: str, ids: np.ndarray, classes: int, ignored: int | None = None) -> None:
    """ValueError for a target that is not a class, unless it is the one that is ignored."""
    if not within(ids, classes):
        wrong = (ids < 0) | (ids >= classes)
        if ignored is not None:
            wrong &= ids != ignored
        if wrong.any():
            row = int(np.argmax(wrong))
            late = ignored is None and ids[row] == IGNORED
            raise ValueError(
                f"{name}: target {ids[row]} of row {row} is out of range for {classes} classes"
                + (_LATE if late else "")
            )


def coefficients(
    ids: np.ndarray, classes: int, settings: Weighting, dtype: Any
) -> tuple[Tensor, Tensor]:
    """(a, k w): the factors a (rows, classes), and k[r] w[t[r]], those that a mean is divided by."""
    name, weight, ignored, smoothing = settings
    checks(check_targets, name, ids, classes, ignored)
    a = by_numpy(_coefficients, ids, classes, weight, ignored, smoothing, dtype)
    return wrap(a), wrap(by_numpy(_kept, ids, weight, ignored, dtype))


def kept_weights(
    ids: np.ndarray, classes: int, settings: Weighting, dtype: Any
) -> tuple[np.ndarray, Tensor]:
    """(ids, k w): targets that are classes, with 0 for those that are ignored; and the factors k[r] w[t[r]]."""
    name, weight, ignored, _ = settings
    checks(check_targets, name, ids, classes, ignored)
    return by_numpy(_classes, ids, ignored), wrap(by_numpy(_kept, ids, weight, ignored, dtype))


def soften(target: Tensor, settings: Weighting, axis: int) -> Tensor:
    """Targets that are probabilities as factors of the logarithms: w[c] ((1 - ε) t[r, c] + ε / C)."""
    classes = target.shape[axis]
    if settings.smoothing:
        target = target * (1 - settings.smoothing) + settings.smoothing / classes
    if settings.weight is None:
        return target
    each = (classes, *(1,) * (target.ndim - axis - 1))
    weight = by_numpy(np.ndarray.astype, settings.weight, target.dtype)
    return target * wrap(weight).reshape(each)


def _classes(ids: np.ndarray, ignored: int) -> np.ndarray:
    return np.where(ids == ignored, 0, ids).astype(np.int64, copy=False)


def _kept(ids: np.ndarray, weight: np.ndarray | None, ignored: int, dtype: Any) -> np.ndarray:
    kept = (ids != ignored).astype(dtype)
    return kept if weight is None else kept * weight.astype(dtype)[_classes(ids, ignored)]


def _coefficients(
    ids: np.ndarray,
    classes: int,
    weight: np.ndarray | None,
    ignored: int,
    smoothing: float,
    dtype: Any,
) -> np.ndarray:
    a = np.full((len(ids), classes), smoothing / classes, dtype)
    a[np.arange(len(ids)), _classes(ids, ignored)] += 1 - smoothing
    if weight is not None:
        a *= weight.astype(dtype)
    a[ids == ignored] = 0
    return a


def element_factor(name: str, argument: str, value: Any, x: Tensor) -> Tensor | None:
    """A factor on the loss of each element, in x's dtype; ValueError if it does not broadcast to x's shape."""
    if value is None:
        return None
    factor = as_float(value).astype(x.dtype)
    try:
        fits = np.broadcast_shapes(factor.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name}: {argument}: expected a shape that broadcasts to {x.shape}, got {factor.shape}"
        )
    return factor
