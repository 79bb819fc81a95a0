"""Gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real

from minidl import _kernels as K
from minidl import check
from minidl._kernels.runtime.prepared import begins, capturing, is_older, note, recorder, refuse
from minidl.autograd.tensor import Tensor, mark_changed, wrap

__all__ = ["clip_grad_norm"]


def clip_grad_norm(params: Tensor | Iterable[Tensor], max_norm: float) -> float | Tensor:
    """Scales all gradients together so that the norm of all their elements is at most `max_norm`.

    The gradients are multiplied, in place, by max_norm / (norm + 1e-6) if that is less than 1 (as
    in PyTorch). A norm that is inf or NaN is returned, and the gradients are left alone: look at
    the result before you step.

    Returns:
        The norm before clipping, added up in float64. In a captured step it is a Tensor, as it is
        another number in each call: return it.

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
    unique = list({id(p): p for p in listed}.values())
    grads = [p.grad for p in unique if p.grad is not None]
    if recorder.on and capturing():
        begins("clip_grad_norm")
        if any([is_older(g._data) for g in grads]):
            refuse("a gradient that is not computed in the step would be clipped in each call")
        note("before", _NoGradients([p for p in unique if p.grad is None]))
    if max_norm < math.inf:
        for g in grads:
            if not (g._data.flags.behaved and g._data.flags.forc):
                g._data = K.copy(g._data)
    norm, clipped = K.clip_norm([g._data for g in grads], max_norm)
    if recorder.on and capturing():
        return wrap(norm)
    if clipped:
        mark_changed(grads)
    return norm.item()


class _NoGradients:
    """A captured step that clips is right as long as these have none, which would count in the norm."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self.tensors = tensors

    def ready(self) -> bool:
        return all([tensor.grad is None for tensor in self.tensors])
