"""Checks for gradients, for minidl's own tests and for anyone's ops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl import check
from minidl.autograd.engine import grad
from minidl.autograd.tensor import Tensor
from minidl.ops import sum
from minidl.random import generator


def check_grads(
    fn: Callable[..., Tensor],
    inputs: Sequence[Any],
    order: int = 2,
    eps: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    seed: int = 0,
) -> None:
    """Compares gradients, up to the `order`-th, with central differences along a random direction.

    With a random v and the weighted sum f(x) = Σ w fn(x), the k-th order check compares

        ⟨∇f(x), v⟩   with   (f(x + eps v) - f(x - eps v)) / (2 eps),

    and then takes ∇f itself for fn. A random direction misses an error with probability 0. The first gradient is also
    compared with the one that ops with a `fused_backward` give when it is not to be differentiated again.

    Args:
        fn: takes the inputs as Tensors and returns a Tensor (smooth near the inputs: keep kinks eps away).
        inputs: float arrays or Tensors; all are computed in float64. Integer and bool ones pass through.
        order: how often to differentiate.
        eps: the step of the difference.
        rtol, atol: allowed relative and absolute difference.

    Raises:
        AssertionError: the order at which they differ (or the input, if the two ways of an op do), both values, and the
            tolerance.

    >>> from minidl import functional as F
    >>> check_grads(F.tanh, [np.array([0.5, -1.0])], order=3)
    """
    if not callable(fn):
        raise TypeError(f"check_grads: fn must be a function, got {fn!r}")
    inputs = check.items("check_grads", "inputs", inputs, "arrays")
    order = check.integer("check_grads", "order", order, 1)
    for name, value in (("eps", eps), ("rtol", rtol), ("atol", atol)):
        check.number("check_grads", name, value, 0.0)
    arrays = [np.array(x._data if isinstance(x, Tensor) else x) for x in inputs]
    arrays = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]
    _check(fn, arrays, order, eps, rtol, atol, generator(seed, "check_grads"), 1)


def _check(
    fn: Callable[..., Any],
    arrays: list[np.ndarray],
    orders: int,
    eps: float,
    rtol: float,
    atol: float,
    rng: np.random.Generator,
    order: int,
) -> None:
    weights: list[np.ndarray] = []

    def weighted(*tensors: Tensor) -> Tensor:
        """fn reduced to a number, with fixed random weights."""
        y = fn(*tensors)
        ys = y if isinstance(y, tuple) else (y,)
        if not weights:
            weights.extend(rng.standard_normal(y.shape) for y in ys)
        total = Tensor(np.zeros(()))
        for y, w in zip(ys, weights, strict=True):
            total = total + sum(y * w)
        return total

    def gradient(*tensors: Tensor, differentiable: bool = True) -> tuple[Tensor | None, ...]:
        wanted = [t for t in tensors if t.dtype.kind == "f"]
        total = weighted(*tensors)
        if not total.requires_grad:  # constant, says the engine: the differences must agree
            return (None,) * len(wanted)
        return grad(total, wanted, create_graph=differentiable, allow_unused=True)

    tensors = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    gradients = gradient(*tensors)
    if order == 1:
        for i, g in enumerate(gradient(*tensors, differentiable=False)):
            _check_fused(i, g, gradients[i], rtol, atol)
    directions = [rng.standard_normal(a.shape) if a.dtype.kind == "f" else None for a in arrays]
    moved = [v for v in directions if v is not None]
    analytic = float(
        np.sum(
            [np.sum(g._data * v) for g, v in zip(gradients, moved, strict=True) if g is not None]
        )
    )
    above = weighted(*_shifted(arrays, directions, eps)).item()
    below = weighted(*_shifted(arrays, directions, -eps)).item()
    numeric = (above - below) / (2 * eps)
    scale = np.sum(
        [
            np.sum(np.abs(g._data * v))
            for g, v in zip(gradients, moved, strict=True)
            if g is not None
        ]
    )
    allowed = atol + rtol * max(abs(numeric), abs(analytic), float(scale) * 1e-2)
    if not abs(analytic - numeric) <= allowed:
        raise AssertionError(
            f"gradient of order {order}: {analytic!r} by backward, {numeric!r} by differences "
            f"(allowed difference {allowed:.3g})"
        )
    if orders > 1:

        def next_fn(*tensors: Tensor) -> tuple[Tensor, ...]:
            return tuple(g for g in gradient(*tensors) if g is not None)

        if next_fn(*tensors):
            _check(next_fn, arrays, orders - 1, eps, rtol, atol, rng, order + 1)


def _check_fused(
    i: int, fused: Tensor | None, textbook: Tensor | None, rtol: float, atol: float
) -> None:
    if fused is None or textbook is None:
        return  # it has no gradient, either way
    allowed = atol + rtol * np.abs(textbook._data).max(initial=0.0)
    difference = np.abs(fused._data - textbook._data).max(initial=0.0)
    if not difference <= allowed:
        raise AssertionError(
            f"gradient of input {i}: fused_backward and backward differ by {difference:.3g} (allowed difference "
            f"{allowed:.3g})"
        )


def _shifted(
    arrays: list[np.ndarray], directions: list[np.ndarray | None], step: float
) -> list[Tensor]:
    return [
        Tensor(a if v is None else a + step * v, requires_grad=v is not None)
        for a, v in zip(arrays, directions, strict=True)
    ]
