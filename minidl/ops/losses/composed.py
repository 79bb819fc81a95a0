"""Losses that are made of other operations, without a kernel of their own: KL divergence, and two with a margin."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import check
from minidl._kernels.arrays.buffers import are_signs
from minidl._kernels.runtime.prepared import checks
from minidl.autograd.tensor import Tensor, as_tensor
from minidl.ops.args import as_float, one_float_dtype
from minidl.ops.arithmetic import exp, log, maximum, sqrt, where
from minidl.ops.losses.loss import Weigh, pair_of, reduced
from minidl.ops.reduction import sum

__all__ = ["cosine_embedding_loss", "hinge_loss", "kl_div"]

EPS = 1e-12  # added to squared lengths, so that a vector of zeros has a cosine: PyTorch's


def kl_div(x: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """t (log t - x) for log-probabilities x: the terms of the Kullback-Leibler divergence of exp(x) from t.

    The slope is -t, that of the target log t - x + 1. A target of 0 adds 0 (and its slope is taken as -x).

    Args:
        x: logarithms of probabilities, as `log_softmax` gives them.
        target: probabilities in x's shape, or their logarithms with `log_target`.
        reduction: "sum"; "batchmean", the sum over the length of axis 0, which is the divergence of a sample; "mean"
            over all elements, as for the other losses; or "none".

    Raises:
        ValueError: a target of another shape, or another reduction.

    Source: Kullback & Leibler, On Information and Sufficiency, 1951.
    """
    log_target = check.flag("kl_div", "log_target", log_target)
    check.choice("kl_div", "reduction", reduction, ("mean", "batchmean", "sum", "none"))
    x, t = pair_of("kl_div", x, target)
    if log_target:
        loss = Weigh()(exp(t), t - x)
    else:
        loss = Weigh()(t, log(where(t == 0, 1.0, t)) - x)
    if reduction == "batchmean":
        return sum(loss) / (x.shape[0] if x.ndim else 1)
    return reduced("kl_div", loss, reduction)


def hinge_loss(x: Any, target: Any, reduction: str = "mean", margin: float = 1.0) -> Tensor:
    """max(0, margin - t x) for scores x and targets t of -1 or 1: 0 for what is on its side of the margin.

    The slope is -t inside of the margin and 0 elsewhere. `torch.nn.HingeEmbeddingLoss` is another one.

    Raises:
        ValueError: targets that are neither -1 nor 1, or of another shape.

    Source: Cortes & Vapnik, Support-Vector Networks, Machine Learning 1995.
    """
    margin = check.number("hinge_loss", "margin", margin)
    x, t = pair_of("hinge_loss", x, target)
    checks(_check_signs, "hinge_loss", t._data)
    return reduced("hinge_loss", maximum(margin - t * x, 0.0), reduction)


def cosine_embedding_loss(
    x0: Any, x1: Any, target: Any, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """1 - cos(x0, x1) for a target of 1, max(0, cos(x0, x1) - margin) for -1: alike or not, over the last axis.

    cos = Σ x0 x1 / sqrt((Σ x0² + e) (Σ x1² + e)) with e = 1e-12. The gradient of x0 is ±(x1 / |x1| - cos x0 / |x0|) /
    |x0|, or 0 where the margin is kept.

    Args:
        x0, x1: (N, D) or (D,), in one shape.
        target: (N,) or (): 1 for pairs that belong together, -1 for others.
        margin: the cosine that others may have, from -1 to 1.

    Raises:
        ValueError: shapes that do not fit, targets that are neither -1 nor 1.

    Source: as in `torch.nn.CosineEmbeddingLoss`.
    """
    name = "cosine_embedding_loss"
    margin = check.number(name, "margin", margin, -1.0, 1.0)
    x0, x1 = one_float_dtype(as_float(x0), as_float(x1))
    if x0.shape != x1.shape or not 1 <= x0.ndim <= 2:
        raise ValueError(
            f"{name}: expected x0 and x1 of one shape (N, D) or (D,), got {x0.shape} and {x1.shape}"
        )
    t = as_tensor(target)
    if t.shape != x0.shape[:-1]:
        raise ValueError(f"{name}: expected a target of shape {x0.shape[:-1]}, got {t.shape}")
    checks(_check_signs, name, t._data)
    lengths = sqrt((sum(x0 * x0, -1) + EPS) * (sum(x1 * x1, -1) + EPS))
    cosine = sum(x0 * x1, -1) / lengths
    return reduced(name, where(t == 1, 1 - cosine, maximum(cosine - margin, 0.0)), reduction)


def _check_signs(name: str, t: np.ndarray) -> None:
    if not are_signs(t):
        wrong = t[(t != 1) & (t != -1)].flat[0]
        raise ValueError(f"{name}: target: expected -1 or 1, got {wrong:g}")
