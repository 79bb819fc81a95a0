"""MultiheadAttention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minidl import check, random
from minidl import functional as F
from minidl.autograd.tensor import Tensor, as_tensor
from minidl.init import Constant, GlorotUniform
from minidl.nn.linear import Affine
from minidl.nn.module import Module
from minidl.nn.parameter import ParameterMaker
from minidl.ops import mean, transpose
from minidl.ops.sequence.attention import multihead_attention


class MultiheadAttention(Module):
    """Attention of several heads, each with a part of the projected q, k, v (see `F.scaled_dot_product_attention`).

    y = [softmax(q_i k_iᵀ / sqrt(d)) v_i, for each head i, joined] W_oᵀ + b_o, with q = query W_qᵀ + b_q and so on, and
    d = embed_dim / num_heads. Called with query, key and value it gives (y, weights), as in PyTorch; key and value may
    be left out, and are the query and the key then: self-attention.

    Shapes: query (L, N, embed_dim), key (S, N, kdim), value (S, N, vdim), y (L, N, embed_dim); with `batch_first` N
    comes first; without a batch there is no N. weights (N, L, S), the mean over heads, or (N, num_heads, L, S) with
    ``average_attn_weights=False``. Parameters have PyTorch's names: in_proj_weight (3 embed_dim, embed_dim) with W_q,
    W_k, W_v below each other, or q_proj_weight, k_proj_weight, v_proj_weight if kdim or vdim differ; in_proj_bias
    (3 embed_dim,); out_proj.weight and out_proj.bias.

    Args:
        dropout: the probability with which a weight is dropped, while training.
        bias: False means no biases.
        kdim, vdim: features of keys and values; None means embed_dim.
        batch_first: inputs and y are (N, L, ...).
        weight: an initializer of the projections; by default GlorotUniform. Biases begin with 0.
        lr_mult: learning-rate multiplier of the projections, or a dict by name.
        rng: for dropout: a `numpy.random.Generator`, an int seed, or None for the library's own.

    Raises:
        ValueError: num_heads that do not divide embed_dim, shapes that do not fit.

    Source: Vaswani et al., Attention Is All You Need, NeurIPS 2017.

    >>> import numpy as np
    >>> layer = MultiheadAttention(8, num_heads=2, batch_first=True)
    >>> y, weights = layer(np.zeros((3, 5, 8), "float32"))
    >>> y.shape, weights.shape
    ((3, 5, 8), (3, 5, 5))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        weight: Any = None,
        lr_mult: float | Mapping[str, float] = 1.0,
        rng: Any = None,
    ) -> None:
        owner = "MultiheadAttention"
        n = self.embed_dim = check.integer(owner, "embed_dim", embed_dim, 1)
        self.num_heads = check.integer(owner, "num_heads", num_heads, 1)
        if n % self.num_heads:
            raise ValueError(
                f"{owner}: num_heads={num_heads} does not divide embed_dim={embed_dim}"
            )
        self.dropout = check.number(owner, "dropout", dropout, 0.0, 1.0)
        bias = check.flag(owner, "bias", bias)
        self.kdim = n if kdim is None else check.integer(owner, "kdim", kdim, 1)
        self.vdim = n if vdim is None else check.integer(owner, "vdim", vdim, 1)
        self.batch_first = check.flag(owner, "batch_first", batch_first)
        self.rng = None if rng is None else random.generator(rng, owner)
        apart = {
            f"{x}_proj_weight": (n, m)
            for x, m in zip("qkv", (n, self.kdim, self.vdim), strict=True)
        }
        shapes = {"in_proj_weight": (3 * n, n)} if self.kdim == self.vdim == n else apart
        make = ParameterMaker(owner, (*shapes, "in_proj_bias"), lr_mult)
        for name, shape in shapes.items():
            setattr(self, name, make(name, weight, GlorotUniform(), shape))
        self.in_proj_bias = make("in_proj_bias", bias, Constant(0.0), (3 * n,), optional=True)
        self.out_proj = Affine(n, n, bias=Constant(0.0) if bias else False)

    def forward(
        self,
        query: Any,
        key: Any = None,
        value: Any = None,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(y, weights), the latter None unless `need_weights`.

        Args:
            key_padding_mask: (N, S), attn_mask: (L, S) or (N * num_heads, L, S): of bools, True for keys that are
                ignored, as in PyTorch (in `F.scaled_dot_product_attention` True means the opposite); of floats, added
                to the scores.
            is_causal: query i attends to keys 0 ... i only.
        """
        query = as_tensor(query)
        key = query if key is None else as_tensor(key)
        value = key if value is None else as_tensor(value)
        single = query.ndim == 2
        self._check(query, key, value)
        if single:
            query, key, value = (x.expand_dims(0) for x in (query, key, value))
            padding = None if key_padding_mask is None else as_tensor(key_padding_mask)
            key_padding_mask = None if padding is None else padding.expand_dims(0)
        elif not self.batch_first:
            query, key, value = (transpose(x, (1, 0, 2)) for x in (query, key, value))
        q, k, v = (self._projected(x, i) for i, x in enumerate((query, key, value)))
        dropout = self.dropout if self.training else 0.0
        y, weights = multihead_attention(
            q, k, v, self.num_heads, check.flag("MultiheadAttention", "is_causal", is_causal), dropout,
            self.rng, key_padding_mask, attn_mask,
        )  # fmt: skip
        y = self.out_proj(y)
        weights = mean(weights, 1) if average_attn_weights else weights
        if single:
            y, weights = y.squeeze(0), weights.squeeze(0)
        elif not self.batch_first:
            y = transpose(y, (1, 0, 2))
        return y, weights if need_weights else None

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        dims = (
            ("query", query, self.embed_dim),
            ("key", key, self.kdim),
            ("value", value, self.vdim),
        )
        batch = 0 if self.batch_first else 1
        for argument, x, features in dims:
            if x.ndim != query.ndim or x.ndim not in (2, 3) or x.shape[-1] != features:
                raise ValueError(
                    f"MultiheadAttention: {argument}: expected 3 axes, or 2 without a batch, the last of {features}, "
                    f"got shape {x.shape}"
                )
            if x.ndim == 3 and x.shape[batch] != query.shape[batch]:
                raise ValueError(
                    f"MultiheadAttention: {argument}: expected {query.shape[batch]} samples on axis {batch}, as the "
                    f"query has, got shape {x.shape}"
                )
        if key.shape[:-1] != value.shape[:-1]:
            raise ValueError(
                f"MultiheadAttention: value: expected as many as keys, {key.shape[:-1]}, got {value.shape}"
            )

    def _projected(self, x: Tensor, i: int) -> Tensor:
        """The queries (0), keys (1) or values (2) of all heads."""
        n = self.embed_dim
        part = slice(i * n, (i + 1) * n)
        together = getattr(self, "in_proj_weight", None)
        weight = getattr(self, f"{'qkv'[i]}_proj_weight") if together is None else together[part]
        bias = None if self.in_proj_bias is None else self.in_proj_bias[part]
        return F.affine(x, weight, bias)

    def extra_repr(self) -> str:
        shown = [f"{self.embed_dim}, num_heads={self.num_heads}"]
        for name, default in (
            ("dropout", 0.0), ("kdim", self.embed_dim), ("vdim", self.embed_dim), ("batch_first", False),
        ):  # fmt: skip
            if getattr(self, name) != default:
                shown.append(f"{name}={getattr(self, name)!r}")
        return ", ".join(shown)
