"""Gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import repeat
from numbers import Real

from minidl import _kernels as K
from minidl import check
from minidl._kernels.runtime.fields import Effect
from minidl._kernels.runtime.prepared import begins, capturing, is_older, note, recorder, refuse
from minidl.atomic import at_once
from minidl.autograd.tensor import Tensor, mark_changed, wrap

__all__ = ["clip_grad_norm", "clip_grad_value"]


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
    grads = _gradients("clip_grad_norm", params)
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


def clip_grad_value(params: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limits each element of all gradients to [-clip_value, clip_value]. NaN stays NaN.

    The direction changes, as it does not with `clip_grad_norm`.

    Raises:
        ValueError: `clip_value` is negative or NaN.
    """
    if not isinstance(clip_value, Real) or not clip_value >= 0:
        raise ValueError(f"clip_grad_value: clip_value must be a number >= 0, got {clip_value!r}")
    limit = float(clip_value)
    grads = _gradients("clip_grad_value", params)
    clipped = [K.clip(g._data, -limit, limit) for g in grads]
    if not (recorder.on and capturing()):
        mark_changed(grads)
    at_once(map(setattr, grads, repeat("_data"), clipped))


def _gradients(name: str, params: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """The gradients of the parameters that have one, each once. In a captured step, checks that they may be clipped."""
    listed = (
        [params] if isinstance(params, Tensor) else check.items(name, "params", params, "Tensors")
    )
    for p in listed:
        if not isinstance(p, Tensor):
            raise TypeError(f"{name}: params: expected Tensors, got {type(p).__name__}")
    unique = list({id(p): p for p in listed}.values())
    grads = [p.grad for p in unique if p.grad is not None]
    if recorder.on and capturing():
        begins(name)
        if any([is_older(g._data) for g in grads]):
            refuse("a gradient that is not computed in the step would be clipped in each call")
        note("before", _NoGradients([p for p in unique if p.grad is None]))
    return grads


class _NoGradients(Effect):
    """A captured step that clips is right as long as these have none, which would be clipped or count in the norm."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self.tensors = tensors

    def ready(self) -> bool:
        return all([tensor.grad is None for tensor in self.tensors])
