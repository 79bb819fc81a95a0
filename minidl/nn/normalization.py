"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minidl import check
from minidl import functional as F
from minidl.init import Constant
from minidl.nn.module import Module
from minidl.nn.parameter import ParameterMaker
from minidl.tensor import Tensor, as_tensor


class LayerNorm(Module):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, over the last axes of each sample.

    Args:
        normalized_shape: the lengths of these axes; an int means the last one.
        eps: added to the variance (the biased one).
        affine: False means neither weight nor bias.
        bias, weight: their sources (see `ParameterMaker`), 0 and 1 by default; ``bias=False`` means
            none.
        lr_mult, scope: as for `Affine`.

    Raises:
        ValueError: x does not end in `normalized_shape`.

    Source: Ba, Kiros & Hinton, Layer Normalization, 2016.

    >>> LayerNorm(64)
    LayerNorm((64,), eps=1e-05; weight (64,), bias (64,))
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        affine: bool = True,
        bias: Any = True,
        weight: Any = None,
        lr_mult: float | Mapping[str, float] = 1.0,
        scope: str | None = None,
    ) -> None:
        shape = check.integers("LayerNorm", "normalized_shape", normalized_shape, 1)
        self.normalized_shape = shape
        self.eps = check.number("LayerNorm", "eps", eps, least=0.0)
        self.affine = check.flag("LayerNorm", "affine", affine)
        make = ParameterMaker("LayerNorm", ("weight", "bias"), lr_mult, scope)
        self.weight = make("weight", weight, Constant(1.0), shape) if affine else None
        self.bias = make("bias", bias, Constant(0.0), shape, optional=True) if affine else None

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        if x.shape[-len(self.normalized_shape) :] != self.normalized_shape:
            raise ValueError(
                f"LayerNorm: expected x with last axes {self.normalized_shape}, got shape {x.shape}"
            )
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps:g}"
