"""Losses. `reduction` is "mean" (default), "sum" or "none" (one value an element, or a sample for class losses).

Accuracy, over all finite numbers and at the infinities: values are right to 3 ulp, gradients to 4, second derivatives
to 6, counted in ulp of the largest term where terms of different signs are added. Losses of classes are right to 8 ulp
and one more for each unit by which the scores of a row differ, which is what rounding the scores would do; a target of
0 adds nothing, whatever its logarithm. The gradient of class probabilities p - t is right to ulps of p and t. A mean of
finite losses is finite. `tests/ops/test_loss_range.py` holds all of this against mpmath.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl._kernels.arrays.buffers import within
from minidl._kernels.runtime.prepared import by_numpy, checks, recorder
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor, as_tensor, plain, wrap
from minidl.ops.activations.smooth import sigmoid, softplus
from minidl.ops.activations.softmax import has_columns, log_softmax, softmax
from minidl.ops.args import as_float, class_ids, one_float_dtype, operands
from minidl.ops.arithmetic import clip, log, maximum, where
from minidl.ops.losses.weights import (
    IGNORED,
    check_targets,
    coefficients,
    element_factor,
    soften,
    weighting,
)
from minidl.ops.reduction import mean, sum
from minidl.ops.shape import reshape, transpose

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "huber_loss", "l1_loss",
    "mse_loss", "one_hot",
]  # fmt: skip


class CrossEntropy(Op):
    """loss[r] = log Σ exp(x[r]) - x[r, target[r]]: softmax and cross-entropy in one pass, as stable as log_softmax.

    With a scale, the result is scale Σ loss[r]. x is (rows, n), or (outer, n, inner) with (outer, inner) for rows.
    Without `keep` there will be no backward.
    """

    def __init__(self, target: np.ndarray, scale: float = 0.0, keep: bool = True) -> None:
        self.target, self.scale, self.keep = target, scale, keep

    def forward(self, x: np.ndarray) -> np.ndarray:
        loss, self.kept = K.cross_entropy_forward(x, self.target, self.scale, self.keep)
        return loss

    def backward(self, gy: Tensor) -> Tensor:
        difference = CrossEntropySlope(self.target)(self.input(0))
        return reshape(gy, facing(self.kept.shape, gy.size)) * (self.scale or 1.0) * difference

    def fused_backward(self, gy: np.ndarray) -> np.ndarray:
        if self.kept.ndim == 3 and gy.size > 1:
            return K.binary("mul", self.kept, K.reshape(gy, facing(self.kept.shape, gy.size)))
        return K.cross_entropy_backward(self.kept, gy, self.scale or 1.0)


def facing(shape: tuple[int, ...], losses: int) -> tuple[int, ...]:
    """The shape in which so many gradients, one a loss or one for all, meet scores (rows, n) or (outer, n, inner)."""
    if len(shape) == 3 and losses > 1:
        return shape[0], 1, shape[2]
    return -1, *(1,) * (len(shape) - 1)


class CrossEntropySlope(Op):
    """y = softmax(x) - one_hot(target), with the digits that 1 - 1e-9 has lost."""

    def __init__(self, target: np.ndarray) -> None:
        self.target = target

    def forward(self, x: np.ndarray) -> np.ndarray:
        return K.cross_entropy_forward(x, self.target)[1]

    def backward(self, gy: Tensor) -> Tensor:
        p = softmax(self.input(0), axis=1)
        return p * (gy - sum(gy * p, axis=1, keepdims=True))


class Weigh(Op):
    """y = w x, and 0 where w is 0 and x infinite: the terms of Σ t log p."""

    def forward(self, w: np.ndarray, x: np.ndarray) -> np.ndarray:
        return K.binary("weigh", w, x)

    def backward(self, gy: Tensor) -> tuple:
        return (
            gy * self.input(1) if self.needs(0) else None,
            Weigh()(self.input(0), gy) if self.needs(1) else None,
        )


class ElementLoss(Op):
    """One loss an element of x and its target t; with a divisor, their sum divided by it.

    A subclass names its kernel and gives the slopes in Tensor operations.
    """

    kernel = ""

    def __init__(self, divisor: float = 0.0, parameter: float = 0.0) -> None:
        self.divisor, self.parameter = divisor, parameter

    def forward(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        return K.loss_forward(self.kernel, x, t, self.parameter, self.divisor)

    def backward(self, gy: Tensor) -> tuple:
        gy = gy / (self.divisor or 1.0)
        gx = gy * self.slope(self.input(0), self.input(1)) if self.needs(0) else None
        return gx, self.target_gradient(gy) if self.needs(1) else None

    def fused_backward(self, gy: np.ndarray) -> tuple:
        gx, divisor = None, self.divisor or 1.0
        if self.needs(0):
            x, t = self.input(0)._data, self.input(1)._data
            gx = K.loss_backward(self.kernel, x, t, gy, self.parameter, divisor)
        return gx, self.target_gradient(wrap(gy) / divisor)._data if self.needs(1) else None

    def target_gradient(self, gy: Tensor) -> Tensor:
        return gy * self.target_slope(self.input(0), self.input(1))

    def slope(self, x: Tensor, t: Tensor) -> Tensor:
        raise NotImplementedError

    def target_slope(self, x: Tensor, t: Tensor) -> Tensor:
        return -self.slope(x, t)  # of a function of x - t


class SquaredError(ElementLoss):
    """(x - t)²."""

    kernel = "squared"

    def slope(self, x: Tensor, t: Tensor) -> Tensor:
        return 2 * (x - t)


class AbsoluteError(ElementLoss):
    """|x - t|."""

    kernel = "absolute"

    def slope(self, x: Tensor, t: Tensor) -> Tensor:
        return wrap(K.unary("sign", K.binary("sub", x._data, t._data)))


class HuberLoss(ElementLoss):
    """d²/2 for |d| <= δ, δ (|d| - δ/2) beyond, with d = x - t."""

    kernel = "huber"

    def slope(self, x: Tensor, t: Tensor) -> Tensor:
        return clip(x - t, -self.parameter, self.parameter)


class BinaryCrossEntropy(ElementLoss):
    """-(t log p + (1 - t) log(1 - p)), with both logarithms kept above -100, as PyTorch does."""

    kernel = "probability"

    def slope(self, x: Tensor, t: Tensor) -> Tensor:
        # As (x - t) / max(x (1 - x), 1e-12), but its derivative has no difference of large numbers.
        inside = x * (1 - x) > 1e-12
        p = where(inside, x, 0.5)
        return where(inside, (1 - t) / (1 - p) - t / p, (x - t) / 1e-12)

    def target_slope(self, x: Tensor, t: Tensor) -> Tensor:
        return maximum(log(1 - x), -100.0) - maximum(log(x), -100.0)


class BinaryCrossEntropyWithLogits(ElementLoss):
    """softplus(x) - x t = w |x| + log(1 + exp(-|x|)) with w = 1 - t for x > 0 and t elsewhere: no term is negative."""

    kernel = "logit"

    def slope(self, x: Tensor, t: Tensor) -> Tensor:
        return where(x > 0, (1 - t) - sigmoid(-x), sigmoid(x) - t)

    def target_slope(self, x: Tensor, t: Tensor) -> Tensor:
        return -x


def reduced(name: str, loss: Tensor, reduction: str) -> Tensor:
    """The losses of all elements, reduced."""
    if isinstance(reduction, str):
        if reduction == "mean":
            return mean(loss)
        if reduction == "sum":
            return sum(loss)
        if reduction == "none":
            return loss
    raise ValueError(f'{name}: reduction: expected "mean", "sum" or "none", got {reduction!r}')


def _element_loss(
    name: str,
    loss: type[ElementLoss],
    x: Tensor,
    t: Tensor,
    reduction: str,
    parameter: float = 0.0,
    factor: Tensor | None = None,
) -> Tensor:
    if factor is not None:
        return reduced(name, Weigh()(factor, loss(0.0, parameter)(x, t)), reduction)
    if x.size and isinstance(reduction, str) and reduction in ("mean", "sum"):
        return loss(1.0 if reduction == "sum" else float(x.size), parameter)(x, t)
    return reduced(name, loss(0.0, parameter)(x, t), reduction)


def one_hot(ids: Any, n: int, dtype: Any = "float32") -> Tensor:
    """A row of n zeros with a 1 at the id, for each id: shape (*ids.shape, n).

    TypeError: ids that are not integers. ValueError: an id outside 0 ... n - 1.
    """
    (n,) = check.shape("one_hot", [check.integer("one_hot", "n", n, 0)])
    ids = class_ids("one_hot", ids, n)
    check.shape("one_hot", (*ids.shape, n))
    dtype = check.dtype("one_hot", dtype)
    return wrap(by_numpy(lambda ids: (ids[..., None] == np.arange(n)).astype(dtype), ids))


def class_rows(name: str, x: Tensor, as_they_lie: bool = False) -> Tensor:
    """Scores (N, C, ...) as rows (N..., C), one sample (C,) as one row; or, if asked for, if they have more axes,
    as (N, C, rest), for what goes along the classes as they lie in memory.
    """
    if x.ndim == 0:
        raise ValueError(f"{name}: expected scores of shape (N, classes), got a scalar")
    if x.ndim <= 2:
        return reshape(x, (1, -1)) if x.ndim == 1 else x
    if as_they_lie:
        return reshape(x, (*x.shape[:2], math.prod(x.shape[2:])))
    moved = transpose(x, (0, *range(2, x.ndim), 1))
    return reshape(moved, (math.prod(moved.shape[:-1]), moved.shape[-1]))


def _check_ids(name: str, ids: np.ndarray, classes: int) -> None:
    """`check_targets`, which takes longer where all of them are classes."""
    if not within(ids, classes):
        check_targets(name, ids, classes)


def _class_targets(name: str, x: Tensor, target: np.ndarray) -> np.ndarray:
    """Targets that fit the scores x, one an item; whether they are in range is seen where they are used."""
    shape = x._data.shape
    expected = shape[:1] + shape[2:] if len(shape) > 1 else ()
    if target.shape != expected:
        raise ValueError(
            f"{name}: expected class ids of shape {expected} for scores {shape}, got {target.shape}"
        )
    if target.dtype.kind not in "iu" and target.size:
        raise TypeError(f"{name}: expected integer class ids, got {target.dtype}")
    return target if target.ndim == 1 else target.reshape(-1)


def cross_entropy(
    logits: Any,
    target: Any,
    reduction: str = "mean",
    weight: Any = None,
    ignore_index: int = IGNORED,
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(logits)[target], averaged over the samples.

    The gradient of the logits is softmax(logits) - one_hot(target), over the number of samples for the mean.

    Args:
        logits: (N, C), (C,) or (N, C, ...): scores, before softmax.
        target: class ids of shape (N,), (), (N, ...); or class probabilities in logits' shape.
        reduction: "mean", "sum" or "none".
        weight: (C,), a factor on the loss of each class, without a gradient. With ids, the mean is the weighted one:
            divided by the sum of the targets' weights.
        ignore_index: ids of this value, in the range of the classes or not, have the loss 0 and do not count in
            the mean (which is NaN if there are no others). Probabilities are never ignored.
        label_smoothing: e from 0 to 1; the target's probabilities p become (1 - e) p + e / C (Szegedy et al., 2016).

    Raises:
        ValueError: shapes that do not fit, or an id out of range; in a captured step that was recorded without an
            ignored id also a later -100 (with class weights or another `ignore_index`, later ones are ignored).
        TypeError: ids that are not integers.
    """
    name, x = "cross_entropy", as_float(logits)
    settings = None  # the usual loss: no weights, no smoothing, and most often nothing to ignore
    plain_numbers = type(label_smoothing) is float and type(ignore_index) is int
    if weight is not None or not plain_numbers or label_smoothing or ignore_index != IGNORED:
        classes = class_rows(name, x, True).shape[1]
        settings = weighting(name, classes, weight, ignore_index, label_smoothing)
    given = check.array(name, "target", plain(target))
    if given.dtype.kind == "f" and given.shape == x.shape and x.ndim:
        # (Numbers in a list take the logits' dtype.)
        x, t = operands(
            x, Tensor(given, dtype=x.dtype) if isinstance(target, list | tuple) else target
        )
        axis = min(x.ndim - 1, 1)
        t = t if settings is None else soften(t, settings, axis)
        return reduced(name, -sum(Weigh()(t, log_softmax(x, axis)), axis), reduction)
    rows = class_rows(name, x, x._data.ndim > 2 and has_columns(x, 1))
    ids, classes = _class_targets(name, x, given), rows._data.shape[1]
    if settings is None and not within(ids, classes):
        settings = weighting(name, classes, None, ignore_index)
    if settings is not None and not settings.is_plain(ids, classes, recorder.on):
        a, kept = coefficients(ids, classes, settings, x.dtype)
        loss = -sum(Weigh()(a, log_softmax(class_rows(name, x), 1)), 1)
        return _kept_reduced(name, loss, kept, x, reduction)
    if recorder.on:  # (a captured step asks before it changes anything, not only in the kernel)
        checks(_check_ids, name, ids, classes)
    if x._requires_grad:
        # For backward: the caller may fill its array anew.
        ids = K.copy(ids) if recorder.on else ids.copy()
    if isinstance(reduction, str) and reduction in ("mean", "sum") and len(ids):
        scale = 1.0 if reduction == "sum" else 1 / len(ids)
        return CrossEntropy(ids, scale, rows._requires_grad)(rows)
    return reduced(
        name, _per_sample(CrossEntropy(ids, 0.0, rows._requires_grad)(rows), x), reduction
    )


def _per_sample(loss: Tensor, x: Tensor) -> Tensor:
    """The losses of all rows in the shape that x has without its classes."""
    shape = x.shape[:1] + x.shape[2:] if x.ndim > 1 else ()
    return loss if loss.shape == shape else reshape(loss, shape)


def _kept_reduced(name: str, loss: Tensor, kept: Tensor, x: Tensor, reduction: str) -> Tensor:
    """The losses of all rows, reduced; the mean is that of what counts."""
    if isinstance(reduction, str) and reduction == "mean":
        return sum(loss) / sum(kept)
    return reduced(name, _per_sample(loss, x), reduction)


def pair_of(name: str, x: Any, target: Any) -> tuple[Tensor, Tensor]:
    x, t = one_float_dtype(as_float(x), as_tensor(target))
    if x.shape != t.shape:
        raise ValueError(f"{name}: expected a target of shape {x.shape}, got {t.shape}")
    return x, t


def binary_cross_entropy(
    p: Any, target: Any, reduction: str = "mean", weight: Any = None
) -> Tensor:
    """-(t log p + (1 - t) log(1 - p)); the logarithms are kept above -100, so that p = 0 and 1 stay finite.

    The gradient is (p - t) / max(p (1 - p), 1e-12). Both limits are PyTorch's. `weight` is a factor on each loss, which
    broadcasts to p's shape; a mean is still one over all elements.

    Raises:
        ValueError: a probability outside [0, 1] (a logit? then use binary_cross_entropy_with_logits), or other shapes.
    """
    p, t = pair_of("binary_cross_entropy", p, target)
    factor = element_factor("binary_cross_entropy", "weight", weight, p)
    loss = _element_loss("binary_cross_entropy", BinaryCrossEntropy, p, t, reduction, factor=factor)
    if recorder.on:
        checks(_check_probabilities, p._data, loss._data)
    else:
        _check_probabilities(p._data, loss._data)
    return loss


def _check_probabilities(p: np.ndarray, loss: np.ndarray) -> None:
    total = loss if loss.ndim == 0 else K.sum_axes(loss)
    if total != total and p.size:  # the logarithm of a negative number is NaN
        low, high = p.min(), p.max()
        if low < 0 or high > 1:
            raise ValueError(
                f"binary_cross_entropy: expected probabilities in [0, 1], got {low:g} to {high:g}; "
                "for logits use binary_cross_entropy_with_logits"
            )


def binary_cross_entropy_with_logits(
    x: Any, target: Any, reduction: str = "mean", weight: Any = None, pos_weight: Any = None
) -> Tensor:
    """softplus(x) - x t: binary cross-entropy of sigmoid(x), accurate for any x, infinite ones too.

    The slope is sigmoid(x) - t, that of the target -x. Arguments, dtypes and errors as for `mse_loss`; a target is a
    probability, which is not checked.

    Args:
        weight: a factor on each loss, which broadcasts to x's shape; a mean is still one over all elements.
        pos_weight: p, a factor on what positive targets cost, which broadcasts, too, one number for each class, say:
            p t softplus(-x) + (1 - t) softplus(x).
    """
    name = "binary_cross_entropy_with_logits"
    x, t = pair_of(name, x, target)
    factor = element_factor(name, "weight", weight, x)
    positive = element_factor(name, "pos_weight", pos_weight, x)
    if positive is None:
        return _element_loss(name, BinaryCrossEntropyWithLogits, x, t, reduction, factor=factor)
    loss = Weigh()(positive * t, softplus(-x)) + Weigh()(1 - t, softplus(x))
    return reduced(name, loss if factor is None else Weigh()(factor, loss), reduction)


def mse_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """(x - t)², reduced: the mean squared error. The slope is 2 (x - t), that of the target -2 (x - t).

    Args:
        target: t, in x's shape: there is no broadcasting.
        reduction: "mean" over all elements, as are the gradients then; "sum"; or "none" (one loss an element).

    float32 and float64 together give float64, integers become float32.

    Raises:
        ValueError: a target of another shape, or another reduction.
    """
    x, t = pair_of("mse_loss", x, target)
    return _element_loss("mse_loss", SquaredError, x, t, reduction)


def l1_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """|x - t|, reduced: the mean absolute error. The slope is sign(x - t), with 0 at 0 and NaN at NaN.

    Arguments, dtypes and errors as for `mse_loss`.
    """
    x, t = pair_of("l1_loss", x, target)
    return _element_loss("l1_loss", AbsoluteError, x, t, reduction)


def huber_loss(x: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """d²/2 for |d| <= delta, delta (|d| - delta/2) beyond, with d = x - t. The slope is d, kept within ±delta.

    Arguments, dtypes and errors as for `mse_loss`; ValueError, too, for a delta that is not above 0.

    Source: Huber, Robust Estimation of a Location Parameter, 1964.
    """
    if not isinstance(delta, Real) or not delta > 0:
        raise ValueError(f"huber_loss: delta must be greater than 0, got {delta!r}")
    x, t = pair_of("huber_loss", x, target)
    return _element_loss("huber_loss", HuberLoss, x, t, reduction, float(delta))
