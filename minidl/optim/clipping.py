"""Gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real

from minidl import _kernels as K
from minidl import check
from minidl.autograd.tensor import Tensor

__all__ = ["clip_grad_norm"]


def clip_grad_norm(params: Tensor | Iterable[Tensor], max_norm: float) -> float:
    """Scales all gradients together so that the norm of all their elements is at most `max_norm`.

    The gradients are multiplied, in place, by max_norm / (norm + 1e-6) if that is less than 1 (as
    in PyTorch). A norm that is inf or NaN is returned, and the gradients are left alone: look at
    the result before you step.

    Returns:
        The norm before clipping, added up in float64.

    Raises:
        ValueError: `max_norm` is negative or NaN (inf is allowed: it only measures).

    Source: Pascanu, Mikolov & Bengio, On the difficulty of training recurrent neural networks, ICML
    2013.
    """
    if not isinstance(max_norm, Real) or not max_norm >= 0:
        raise ValueError(f"clip_grad_norm: max_norm must be a number >= 0, got {max_norm!r}")
    listed = (
        [params]
        if isinstance(params, Tensor)
        else check.items("clip_grad_norm", "params", params, "Tensors")
    )
    for p in listed:
        if not isinstance(p, Tensor):
            raise TypeError(f"clip_grad_norm: params: expected Tensors, got {type(p).__name__}")
    unique = {id(p): p for p in listed}
    grads = [p.grad for p in unique.values() if p.grad is not None]
    norm = math.sqrt(K.sum_of_squares([g._data for g in grads]))
    factor = max_norm / (norm + 1e-6)
    if math.isfinite(norm) and factor < 1:
        for g in grads:
            if not (g._data.flags.behaved and g._data.flags.forc):
                g._data = g._data.copy()
            g._mark_changed()
        K.scale_all([g._data for g in grads], factor)
    return norm
