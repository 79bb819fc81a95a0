"""Attention: a mean of values, whose weights tell how well their keys fit a query."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl import check
from minidl._kernels.runtime.prepared import by_numpy
from minidl.autograd.tensor import Tensor, plain, wrap
from minidl.ops.activations.noise import dropout as dropped
from minidl.ops.activations.softmax import softmax
from minidl.ops.args import one_float_dtype
from minidl.ops.arithmetic import where
from minidl.ops.linalg import matmul, swap
from minidl.ops.losses.loss import Weigh
from minidl.ops.sequence.attention_op import Attention
from minidl.ops.shape import broadcast_to, reshape, transpose
from minidl.random import generator


def scaled_dot_product_attention(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    is_causal: bool = False,
    dropout: float = 0.0,
    rng: Any = None,
) -> Tensor:
    """softmax(q kᵀ / sqrt(D)) v: for each query the mean of all values, weighted by how well their keys fit it.

    With weights p, the gradient of v is pᵀ gy, that of the scores p (g - Σ g p) for g = gy vᵀ, and those of q and k
    follow by the products.

    Args:
        q, k, v: (..., L, D), (..., S, D) and (..., S, E): queries, keys, values. The axes before, such as batch and
            heads, broadcast.
        mask: broadcasts to (..., L, S). Of bools: True where a query may attend to a key; a query that may attend to
            none gets zeros. Of floats: it is added to the scores, and has a gradient.
        is_causal: query i may attend to keys 0 ... i only, as well.
        dropout: the probability with which a weight is dropped (always: pass 0 when evaluating).
        rng: for dropout: numpy Generator or int seed; None takes the library's.

    Returns:
        (..., L, E).

    Raises:
        ValueError: shapes that do not fit, a dropout outside [0, 1]. TypeError: a mask of integers.

    Source: Vaswani et al., Attention Is All You Need, NeurIPS 2017.

    >>> scaled_dot_product_attention([[1.0, 0.0]], [[0.0, 1.0], [0.0, 2.0]], [[2.0], [4.0]]).numpy()
    array([[3.]], dtype=float32)
    """
    name = "scaled_dot_product_attention"
    q, k, v = _operands(name, q, k, v)
    is_causal = check.flag(name, "is_causal", is_causal)
    dropout = check.number(name, "dropout", dropout, 0.0, 1.0)
    if rng is not None:
        generator(rng, name)  # raises if it is wrong
    shape = (*np.broadcast_shapes(q.shape[:-2], k.shape[:-2]), q.shape[-2], k.shape[-2])
    mask = None if mask is None else mask_of(name, "mask", mask, shape)
    if mask is None and not dropout and all(shape):
        return _in_blocks(q, k, v, is_causal)
    if mask is None or mask.dtype.kind == "f":
        return attention(q, k, v, is_causal, dropout, rng, added=mask)[0]
    return attention(q, k, v, is_causal, dropout, rng, allowed=mask)[0]


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    is_causal: bool,
    dropout: float,
    rng: Any,
    allowed: Tensor | None = None,
    ignored: Sequence[Tensor] = (),
    added: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The result of `scaled_dot_product_attention`, and the weights (..., L, S), some of them dropped.

    Args:
        allowed, ignored: masks of bools, True where a query may attend to a key, or where it may not.
        added: to the scores.
    """
    scores = matmul(q * (1 / math.sqrt(q.shape[-1])), swap(k))
    if added is not None:
        scores = scores + added
    some: Tensor | None = None  # whether a query may attend to any key
    if is_causal or allowed is not None or ignored:
        masks = [None if m is None else m._data for m in (allowed, *ignored)]
        may, any_ = by_numpy(_may_attend, is_causal, scores.shape[-2:], scores.dtype, *masks)
        scores = where(wrap(may), scores, -np.inf)
        if len(masks) > 1 or masks[0] is not None:  # else there is key 0 for all
            some = wrap(any_)
    weights = softmax(scores, -1)
    if some is not None:
        weights = Weigh()(some, weights)
    if dropout:
        weights = dropped(weights, dropout, rng=rng)
    return matmul(weights, v), weights


def _in_blocks(q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> Tensor:
    """Without a mask of the user's."""
    lead = np.broadcast_shapes(*[x.shape[:-2] for x in (q, k, v)])
    each = []
    for x in (q, k, v):
        x = x if x.shape[:-2] == lead else broadcast_to(x, (*lead, *x.shape[-2:]))
        each.append(x if x.ndim == 3 else reshape(x, (math.prod(lead), *x.shape[-2:])))
    y = Attention(1 / math.sqrt(q.shape[-1]), is_causal, *each)(*each)
    return y if len(lead) == 1 else reshape(y, (*lead, q.shape[-2], v.shape[-1]))


def multihead_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    num_heads: int,
    is_causal: bool,
    dropout: float,
    rng: Any,
    padding: Any = None,
    mask: Any = None,
) -> tuple[Tensor, Tensor]:
    """y (N, L, E) and the weights (N, heads, L, S), for q (N, L, E), k and v (N, S, E), of which each head has a part.

    Args:
        padding: (N, S), mask: (L, S) or (N * heads, L, S): of bools, True where a key is ignored (as in PyTorch, and
            the other way round than in `scaled_dot_product_attention`), or of floats, added to the scores.
    """
    name, (n, length, features), keys = "MultiheadAttention", q.shape, k.shape[1]
    q, k, v = (
        transpose(reshape(x, (n, x.shape[1], num_heads, x.shape[2] // num_heads)), (0, 2, 1, 3))
        for x in (q, k, v)
    )
    masks = []
    if padding is not None:
        given = mask_of(name, "key_padding_mask", padding, (n, keys), exact=True)
        masks.append(reshape(given, (n, 1, 1, keys)))
    if mask is not None:
        each = np.ndim(plain(mask)) == 3
        shape = (n * num_heads, length, keys) if each else (length, keys)
        given = mask_of(name, "attn_mask", mask, shape, exact=True)
        masks.append(reshape(given, (n, num_heads, length, keys)) if each else given)
    added = [m for m in masks if m.dtype.kind == "f"]
    ignored = [m for m in masks if m.dtype.kind == "b"]
    both = added[0] + added[1] if len(added) == 2 else added[0] if added else None
    y, weights = attention(q, k, v, is_causal, dropout, rng, ignored=ignored, added=both)
    return reshape(transpose(y, (0, 2, 1, 3)), (n, length, features)), weights


def _operands(name: str, q: Any, k: Any, v: Any) -> tuple[Tensor, ...]:
    tensors = one_float_dtype(q, k, v)
    q, k, v = tensors
    for argument, x in zip("qkv", tensors, strict=True):
        if x.ndim < 2:
            raise ValueError(f"{name}: {argument}: expected two axes or more, got shape {x.shape}")
    if not q.shape[-1]:
        raise ValueError(f"{name}: q: expected features on the last axis, got shape {q.shape}")
    if k.shape[-1] != q.shape[-1]:
        raise ValueError(
            f"{name}: k: expected {q.shape[-1]} features on the last axis, as q {q.shape}, got {k.shape}"
        )
    if v.shape[-2] != k.shape[-2]:
        raise ValueError(
            f"{name}: v: expected as many values as keys, {k.shape[-2]} on axis -2, got {v.shape}"
        )
    try:
        np.broadcast_shapes(*[x.shape[:-2] for x in tensors])
    except ValueError:
        shapes = ", ".join(str(x.shape) for x in tensors)
        raise ValueError(
            f"{name}: the axes before the last two do not broadcast: {shapes}"
        ) from None
    return tensors


def mask_of(
    name: str, argument: str, mask: Any, shape: tuple[int, ...], exact: bool = False
) -> Tensor:
    """A mask as a tensor; ValueError if it does not broadcast to this shape, or does not have exactly it."""
    given = mask if isinstance(mask, Tensor) else wrap(check.array(name, argument, plain(mask)))
    if given.dtype.kind not in "bf":
        raise TypeError(f"{name}: {argument}: expected bools or floats, got {given.dtype}")
    try:
        fits = (given.shape if exact else np.broadcast_shapes(given.shape, shape)) == shape
    except ValueError:
        fits = False
    if not fits:
        how = "shape" if exact else "a shape that broadcasts to"
        raise ValueError(f"{name}: {argument}: expected {how} {shape}, got {given.shape}")
    return given


def _may_attend(
    is_causal: bool,
    shape: tuple[int, ...],
    dtype: Any,
    allowed: np.ndarray | None,
    *ignored: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Which keys a query may attend to (all where that is none: no weight is NaN), and 1 or 0 for any or none."""
    may: Any = np.tril(np.ones(shape, bool)) if is_causal else np.ones(shape, bool)
    for mask in ignored:
        may = may & ~mask
    if allowed is not None:
        may = may & allowed
    some = may.any(-1, keepdims=True)
    return may | ~some, some.astype(dtype)
