"""Pooling to a size: as many windows along each axis as the result is to have, whatever x's size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minidl import check
from minidl.autograd.tensor import Tensor
from minidl.ops.args import as_float
from minidl.ops.arrays.joining import concatenate
from minidl.ops.reduction import mean
from minidl.ops.spatial.pooling import avg_pool, max_pool

Sizes = int | None | Sequence[int | None]


def adaptive_avg_pool(x: Any, output_size: Sizes) -> Tensor:
    """The mean of each of `output_size` windows along each spatial axis of x: (N, C, *size) to (N, C, *output_size).

    Window i of the m windows of an axis of n elements begins at floor(i n / m) and ends before ceil((i + 1) n / m);
    windows overlap where m does not divide n. The gradient of an element is gy over the number of elements, from each
    window that it is in.

    Args:
        x: (N, C, *size) with 1, 2 or 3 spatial axes.
        output_size: an int, or one for each spatial axis; None keeps the axis as it is.

    Raises:
        ValueError: another number of sizes, or an x without elements.
    """
    return _pooled("adaptive_avg_pool", x, output_size, avg_pool)


def adaptive_max_pool(x: Any, output_size: Sizes) -> Tensor:
    """The greatest value of each of `output_size` windows along each spatial axis of x.

    The first of several equal values takes the gradient; NaN counts as the greatest. Windows, arguments and errors as
    for `adaptive_avg_pool`.
    """
    return _pooled("adaptive_max_pool", x, output_size, max_pool)


def _pooled(name: str, x: Any, output_size: Sizes, pool: Callable[..., Tensor]) -> Tensor:
    x = as_float(x)
    axes = x.ndim - 2
    if not 1 <= axes <= 3:
        raise ValueError(
            f"{name}: expected x (N, C, ...) with 1 to 3 spatial axes, got shape {x.shape}"
        )
    if 0 in x.shape[2:]:
        raise ValueError(f"{name}: expected elements along every spatial axis, got shape {x.shape}")
    wanted = checked_sizes(name, output_size)
    wanted = wanted * axes if len(wanted) == 1 else wanted
    if len(wanted) != axes:
        raise ValueError(
            f"{name}: output_size: expected one size or {axes}, one for each spatial axis, got {output_size!r}"
        )
    sizes = [n if m is None else m for n, m in zip(x.shape[2:], wanted, strict=True)]
    if pool is avg_pool and all(m == 1 for m in sizes):
        return mean(x, tuple(range(2, x.ndim)), keepdims=True)
    if all(n % m == 0 for n, m in zip(x.shape[2:], sizes, strict=True)):
        return pool(x, tuple([n // m for n, m in zip(x.shape[2:], sizes, strict=True)]))
    # Axis by axis; the last one first, so that the first of equal values is found.
    for axis in reversed(range(axes)):
        x = _along(x, axis, sizes[axis], pool)
    return x


def _along(x: Tensor, axis: int, m: int, pool: Callable[..., Tensor]) -> Tensor:
    """m windows along one spatial axis."""
    n = x.shape[2 + axis]
    kernel = [1] * (x.ndim - 2)
    lead = (slice(None),) * (2 + axis)
    if n % m == 0:
        kernel[axis] = n // m
        return pool(x, tuple(kernel))
    parts = []
    for i in range(m):
        start, stop = i * n // m, -(-(i + 1) * n // m)
        kernel[axis] = stop - start
        parts.append(pool(x[(*lead, slice(start, stop))], tuple(kernel)))
    return concatenate(parts, 2 + axis)


def checked_sizes(owner: str, output_size: Any) -> tuple[int | None, ...]:
    """One size for each spatial axis, or one for all: positive, or None."""
    sizes = output_size if isinstance(output_size, tuple | list) else (output_size,)
    if not 1 <= len(sizes) <= 3:
        raise ValueError(f"{owner}: output_size: expected 1 to 3 sizes, got {output_size!r}")
    return tuple(
        [
            None if n is None else check.integer(owner, "output_size", n, 1, check.WINDOW_LIMIT)
            for n in sizes
        ]
    )
