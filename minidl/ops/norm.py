"""Normalisation within a sample: layer, group and instance normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl import _kernels as K
from minidl import check
from minidl.autograd.op import Op
from minidl.autograd.tensor import Tensor
from minidl.ops.args import as_float, filled, scale_and_shift
from minidl.ops.reduction import centered, mean, sum
from minidl.ops.shape import reshape


class RowNorm(Op):
    """y = (x - mean) / sqrt(var + eps) * weight + bias for x (samples, groups, parts, inner).

    mean and var are those of each group of each sample; weight and bias are (groups * parts,).
    """

    def __init__(self, eps: float) -> None:
        self.eps = eps

    def forward(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        y, *self.kept = K.row_norm_forward(x, weight, bias, self.eps)
        return y

    def backward(self, gy: Tensor) -> tuple:
        x, weight = self.input(0), self.input(1)
        d = centered(x, (2, 3))
        rstd = (mean(d * d, axis=(2, 3), keepdims=True) + self.eps) ** -0.5
        z, g = d * rstd, gy * reshape(weight, (*x.shape[1:3], 1))
        gz = z * mean(g * z, axis=(2, 3), keepdims=True)
        gx = rstd * (g - mean(g, axis=(2, 3), keepdims=True) - gz)
        gw, gb = sum(gy * z, axis=(0, 3)), sum(gy, axis=(0, 3))
        return gx, reshape(gw, weight.shape), reshape(gb, weight.shape)

    def fused_backward(self, gy: np.ndarray) -> tuple:
        x, weight = self.input(0)._data, self.input(1)._data
        return K.row_norm_backward(x, weight, gy, *self.kept)


class LayerNorm(RowNorm):
    """One group to a sample, parts of one element. (This class and the next two are named in errors.)"""


class GroupNorm(RowNorm):
    """A part is a channel."""


class InstanceNorm(RowNorm):
    """Each channel is a group of its own."""


def layer_norm(
    x: Any,
    normalized_shape: int | Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes, whose shape is `normalized_shape`.

    With z = (x - mean) / sqrt(var + eps) and g = gy weight, the gradient of x is
    (g - mean(g) - z mean(g z)) / sqrt(var + eps), the means over the same axes; the others are Σ gy z and Σ gy.

    Args:
        x: (..., *normalized_shape).
        weight, bias: of shape `normalized_shape`; None stands for 1 and 0.

    Raises:
        ValueError: shapes that do not fit; names what was expected and what was given.

    Source: Ba, Kiros & Hinton, Layer Normalization, 2016.
    """
    x = as_float(x)
    given: Any = normalized_shape
    if type(given) is not tuple and not isinstance(given, Sequence):
        given = (given,)
    shape = tuple([check.integer("layer_norm", "normalized_shape", n) for n in given])
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(f"layer_norm: expected last axes {shape}, got x of shape {x.shape}")
    n, eps = math.prod(shape), check.number("layer_norm", "eps", eps, 0.0)
    parameters = scale_and_shift("layer_norm", x, "the last axes", shape, weight, bias)
    return _normalised(LayerNorm(eps), x, (x.size // n if n else 0, 1, n, 1), parameters)


def group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias, with mean and var of each group of channels of each sample.

    The gradients are those of `layer_norm`, the means over each group.

    Args:
        x: (N, C, ...); the C channels fall into `num_groups` parts of equal size.
        weight, bias: (C,); None stands for 1 and 0.

    Raises:
        ValueError: shapes that do not fit, groups that do not divide C, one value in a group.

    Source: Wu & He, Group Normalization, ECCV 2018.
    """
    x = as_float(x)
    if x.ndim < 2:
        raise ValueError(f"group_norm: expected x (N, C, ...), got shape {x.shape}")
    num_groups = check.integer("group_norm", "num_groups", num_groups)
    if num_groups < 1 or x.shape[1] % num_groups:
        raise ValueError(f"group_norm: {num_groups} groups do not divide {x.shape[1]} channels")
    eps = check.number("group_norm", "eps", eps, 0.0)
    return _each_group("group_norm", GroupNorm(eps), x, num_groups, weight, bias)


def instance_norm(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias, with mean and var of each channel of each sample.

    The gradients are those of `layer_norm`, the means over each channel.

    Args:
        x: (N, C, ...) with at least one axis behind C.
        weight, bias: (C,); None stands for 1 and 0.

    Raises:
        ValueError: shapes that do not fit, one value in a channel.

    Source: Ulyanov, Vedaldi & Lempitsky, Instance Normalization: The Missing Ingredient for Fast Stylization, 2016.
    """
    x = as_float(x)
    if x.ndim < 3:
        raise ValueError(f"instance_norm: expected x (N, C, ...) of 3 axes, got shape {x.shape}")
    eps = check.number("instance_norm", "eps", eps, 0.0)
    return _each_group("instance_norm", InstanceNorm(eps), x, x.shape[1], weight, bias)


def _each_group(name: str, op: Op, x: Tensor, groups: int, weight: Any, bias: Any) -> Tensor:
    samples, channels = x.shape[:2]
    parts, inner = channels // max(groups, 1), math.prod(x.shape[2:])
    if parts * inner == 1:
        raise ValueError(
            f"{name}: expected more than one value in a group, got x of shape {x.shape} "
            f"and {groups} groups"
        )
    parameters = scale_and_shift(name, x, "axis 1", (channels,), weight, bias)
    return _normalised(op, x, (samples, groups, parts, inner), parameters)


def _normalised(op: Op, x: Tensor, rows: tuple, parameters: list) -> Tensor:
    """The op's result for x seen as rows, with a weight of 1 and a bias of 0 where they are not given."""
    numbers = rows[1] * rows[2]
    flat = [
        filled((numbers,), default, x.dtype) if v is None else v if v.ndim == 1 else reshape(v, -1)
        for v, default in zip(parameters, (1.0, 0.0), strict=True)
    ]
    return reshape(op(reshape(x, rows), *flat), x.shape)
