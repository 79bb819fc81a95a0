"""Attention without a mask, or with the causal one, as a single op: some scores at a time, while they are in a cache.

All scores of a batch, (n, L, S), are more memory than any cache has, and as ops of their own each step would go through
all of it: a product, the mask, softmax, a product. Here all steps are done for a block of the scores before the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl._kernels.runtime.prepared import by_numpy
from minidl.autograd.op import Op
from minidl.autograd.tape import will_record
from minidl.autograd.tensor import Tensor, wrap
from minidl.ops.activations.softmax import softmax
from minidl.ops.arithmetic import where
from minidl.ops.linalg import matmul, swap
from minidl.ops.reduction import sum

# Bytes of scores, which caches hold, and of as many weights: so many matrices that each thread has some.
CACHED = 1 << 20
PART = 1 << 17  # bytes of those of one matrix
SHORTEST = 64  # queries of a block, at least
CAUSAL = 4  # blocks of queries that attend to earlier keys only: what no query of a block sees is left out


class Attention(Op):
    """y = softmax(scale q kᵀ) v for q (n, L, D), k (n, S, D), v (n, S, E); causal: query i attends to keys 0 ... i."""

    def __init__(self, scale: float, is_causal: bool, *inputs: Tensor) -> None:
        self.scale, self.is_causal, self.keeps = scale, is_causal, will_record(*inputs)

    def forward(self, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        y, kept = K.empty((*q.shape[:2], v.shape[2]), q.dtype), []
        q = K.binary("mul", q, K.number(self.scale, q))
        triangles: dict[tuple[int, ...], Any] = {}  # the masks, by shape
        for some, queries, keys in self.blocks(q, k):
            scores = K.matmul(q[some, queries], _turned(k[some, keys]))
            if self.is_causal and queries.start < keys.stop:
                late = scores[:, :, queries.start :]  # all may attend to the keys before
                may = triangles.get(late.shape)
                if may is None:
                    may = triangles[late.shape] = by_numpy(np.tri, *late.shape[1:], 0, bool)
                K.assign(late, K.where(may, late, K.number(-np.inf, late)))
            weights = K.softmax_forward(scores.reshape(-1, scores.shape[2])).reshape(scores.shape)
            K.matmul(weights, v[some, keys], out=y[some, queries])
            if self.keeps:
                kept.append(weights)
        self.kept = kept
        return y

    def steps(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The same as operations of their own."""
        return matmul(self.weights(q, k), v)

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        """softmax(scale q kᵀ)."""
        scores = matmul(q * self.scale, swap(k))
        if self.is_causal:
            may = by_numpy(np.tri, *scores.shape[1:], 0, bool)
            scores = where(wrap(may), scores, -np.inf)
        return softmax(scores, -1)

    def backward(self, gy: Tensor) -> tuple:
        q, k, v = self.input(0), self.input(1), self.input(2)
        p, g = self.weights(q, k), matmul(gy, swap(v))
        gs = p * (g - sum(g * p, -1, keepdims=True)) * self.scale
        return matmul(gs, k), matmul(swap(gs), q), matmul(swap(p), gy)

    def fused_backward(self, gy: np.ndarray) -> tuple:
        q, k, v = (self.input(i)._data for i in range(3))
        gq, gk, gv = (K.empty(x.shape, x.dtype) for x in (q, k, v))
        blocks = list(zip(self.blocks(q, k), self.kept, strict=True))
        for (some, queries, keys), p in reversed(blocks):  # those with the most keys first
            g = gy[some, queries]
            gp = K.matmul(g, _turned(v[some, keys]))
            n = p.shape[2]
            gs = K.softmax_backward(p.reshape(-1, n), gp.reshape(-1, n)).reshape(p.shape)
            K.matmul(gs, k[some, keys], out=gq[some, queries])
            for total, a, b in ((gk, gs, q[some, queries]), (gv, p, g)):
                if queries.stop == q.shape[1]:
                    K.matmul(_turned(a), b, out=total[some, keys])
                    if n < k.shape[1]:
                        K.set_all(total[some, n:], 0)
                else:
                    part = total[some, keys]
                    K.binary("add", part, K.matmul(_turned(a), b), part)
        scale = K.number(self.scale, q)
        return K.binary("mul", gq, scale), K.binary("mul", gk, scale), gv

    def blocks(self, q: np.ndarray, k: np.ndarray) -> Iterator[tuple[slice, slice, slice]]:
        """Parts of the scores: which matrices, which of their queries and which keys."""
        (count, queries, _), keys = q.shape, k.shape[1]
        row_bytes = keys * q.itemsize
        step = -(-queries // CAUSAL) if self.is_causal else PART // row_bytes
        step = min(max(step, SHORTEST), queries)
        together = max(CACHED // (step * row_bytes), 1)
        for first in range(0, count, together):
            for start in range(0, queries, step):
                stop = min(start + step, queries)
                seen = min(stop, keys) if self.is_causal else keys
                yield slice(first, min(first + together, count)), slice(start, stop), slice(0, seen)


def _turned(x: np.ndarray) -> Any:
    return x.transpose(0, 2, 1)
