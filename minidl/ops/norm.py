"""Normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl.modes import recording
from minidl.op import Op
from minidl.ops.arithmetic import as_float, operands
from minidl.ops.reduction import mean, sum
from minidl.ops.shape import reshape
from minidl.tensor import Tensor, wrap


class LayerNorm(Op):
    """y = (x - mean) / sqrt(var + eps) * weight + bias over the rows of (rows, n)."""

    def __init__(self, eps: float) -> None:
        self.eps = eps

    def forward(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        y, *self.kept = K.layer_norm_forward(x, weight, bias, self.eps)
        return y

    def backward(self, gy: Tensor) -> tuple:
        x, weight = self.input(0), self.input(1)
        if not recording():
            grads = K.layer_norm_backward(x.data, weight.data, gy.data, *self.kept)
            return tuple([wrap(g) for g in grads])
        d = x - mean(x, axis=1, keepdims=True)
        rstd = (mean(d * d, axis=1, keepdims=True) + self.eps) ** -0.5
        z, g = d * rstd, gy * weight
        gx = rstd * (g - mean(g, axis=1, keepdims=True) - z * mean(g * z, axis=1, keepdims=True))
        return gx, sum(gy * z, axis=0), sum(gy, axis=0)


def layer_norm(
    x: Any,
    normalized_shape: int | Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes, whose shape is `normalized_shape`.

    Args:
        x: (..., *normalized_shape).
        weight, bias: of shape `normalized_shape`; None stands for 1 and 0.

    Raises:
        ValueError: shapes that do not fit; names what was expected and what was given.

    Source: Ba, Kiros & Hinton, Layer Normalization, 2016.
    """
    x = as_float(x)
    single = isinstance(normalized_shape, int)
    shape = (normalized_shape,) if single else tuple(normalized_shape)  # type: ignore[arg-type]
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(f"layer_norm: expected last axes {shape}, got x of shape {x.shape}")
    n = int(np.prod(shape))
    scale_shift = []
    for name, v, default in (("weight", weight, 1.0), ("bias", bias, 0.0)):
        v = Tensor(np.full(shape, default, x.dtype)) if v is None else operands(x, v)[1]
        if v.shape != shape:
            raise ValueError(f"layer_norm: {name}: expected shape {shape}, got {v.shape}")
        scale_shift.append(reshape(v if v.dtype == x.dtype else v.astype(x.dtype), (n,)))
    rows = reshape(x, (x.size // n if n else 0, n))
    return reshape(LayerNorm(eps)(rows, *scale_shift), x.shape)
