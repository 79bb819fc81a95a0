"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl import check
from minidl import functional as F
from minidl.autograd.tensor import Tensor, as_tensor
from minidl.init import Constant
from minidl.nn.module import Module
from minidl.nn.parameter import ParameterMaker
from minidl.ops.activations.activation import fused_row
from minidl.ops.args import check_channels
from minidl.ops.batch_norm import Activation, normalized


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
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps:g}"


class BatchNorm(Module):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, with mean and var of each channel.

    In training mode, mean and (biased) variance are those of x over all axes but the channels'; in
    evaluation mode, they are the running statistics, which training updates: ``r += momentum * (new - r)``,
    with the unbiased variance. All as in PyTorch, whose state has the same names.

    Shapes: x and y (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W) with C = num_features; all
    others (C,). y lies in memory as x does.

    Args:
        eps: added to the variance.
        momentum: None means the plain average of all batches.
        affine: False means neither weight nor bias.
        track_running_stats: False means that x's own statistics are used when evaluating, too.
        bias, weight: their sources (see `ParameterMaker`), 0 and 1 by default; ``bias=False`` means
            none.
        lr_mult, scope: as for `Affine`. Running statistics are never shared.
        activation: the name of one to apply in the same pass, or (name, *its parameters). A
            `Sequential` does so with the activation that follows.

    Raises:
        ValueError: x has other channels or axes, or one value per channel in training.

    Source: Ioffe & Szegedy, Batch Normalization: Accelerating Deep Network Training by Reducing
    Internal Covariate Shift, ICML 2015.

    >>> BatchNorm(64)
    BatchNorm(64, eps=1e-05, momentum=0.1; weight (64,), bias (64,))
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        bias: Any = True,
        weight: Any = None,
        lr_mult: float | Mapping[str, float] = 1.0,
        scope: str | None = None,
        activation: Activation | None = None,
    ) -> None:
        self.num_features = check.integer("BatchNorm", "num_features", num_features, 1)
        self.eps = check.number("BatchNorm", "eps", eps, least=0.0)
        self.momentum = (
            None if momentum is None else check.number("BatchNorm", "momentum", momentum, 0.0, 1.0)
        )
        self.affine = check.flag("BatchNorm", "affine", affine)
        self.track_running_stats = check.flag(
            "BatchNorm", "track_running_stats", track_running_stats
        )
        if activation is not None:
            fused_row(activation, "BatchNorm")  # raises if it is wrong
        self.activation = activation
        shape = (self.num_features,)
        make = ParameterMaker("BatchNorm", ("weight", "bias"), lr_mult, scope)
        self.weight = make("weight", weight, Constant(1.0), shape) if affine else None
        self.bias = make("bias", bias, Constant(0.0), shape, optional=True) if affine else None
        if track_running_stats:
            self.running_mean = np.zeros(shape, np.float32)
            self.running_var = np.ones(shape, np.float32)
            self.num_batches_tracked = np.zeros((), np.int64)

    @property
    def fuses(self) -> bool:  # type: ignore[override]
        """It takes the activation that follows, unless it has one, is another layer or is watched."""
        return self.activation is None and self.runs(_FORWARD)

    def forward(self, x: Any, activation: Activation | None = None) -> Tensor:
        x = as_tensor(x)
        shape = x._data.shape
        if len(shape) > 1 and shape[1] != self.num_features:
            check_channels(f"BatchNorm({self.num_features})", x, self.num_features)
        tracked = self.track_running_stats
        return normalized(
            x,
            self.running_mean if tracked else None,
            self.running_var if tracked else None,
            self.weight,
            self.bias,
            self.training or not tracked,
            self.momentum if tracked else 0.0,
            self.eps,
            activation or self.activation,
            self.num_batches_tracked if tracked else None,
        )

    def extra_repr(self) -> str:
        text = f"{self.num_features}, eps={self.eps:g}, momentum={self.momentum}"
        text += "" if self.track_running_stats else ", track_running_stats=False"
        return text + (f", activation={self.activation!r}" if self.activation else "")


_FORWARD = BatchNorm.forward


class GroupNorm(Module):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, with mean and var of each group of channels
    of each sample.

    Args:
        num_groups, num_channels: x is (N, num_channels, ...), its channels fall into `num_groups`
            parts of equal size.
        eps, affine, bias, weight, lr_mult, scope: as for `BatchNorm`.

    Raises:
        ValueError: groups that do not divide the channels, or x with other channels.

    Source: Wu & He, Group Normalization, ECCV 2018.

    >>> GroupNorm(2, 6)
    GroupNorm(2, 6, eps=1e-05; weight (6,), bias (6,))
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        bias: Any = True,
        weight: Any = None,
        lr_mult: float | Mapping[str, float] = 1.0,
        scope: str | None = None,
    ) -> None:
        self.num_groups = check.integer("GroupNorm", "num_groups", num_groups, 1)
        self.num_channels = check.integer("GroupNorm", "num_channels", num_channels, 1)
        if num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_groups={num_groups} does not divide num_channels={num_channels}"
            )
        self.eps = check.number("GroupNorm", "eps", eps, least=0.0)
        self.affine = check.flag("GroupNorm", "affine", affine)
        make = ParameterMaker("GroupNorm", ("weight", "bias"), lr_mult, scope)
        shape = (self.num_channels,)
        self.weight = make("weight", weight, Constant(1.0), shape) if affine else None
        self.bias = make("bias", bias, Constant(0.0), shape, optional=True) if affine else None

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        check_channels(f"GroupNorm({self.num_groups}, {self.num_channels})", x, self.num_channels)
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps:g}"


class InstanceNorm(Module):
    """y = (x - mean) / sqrt(var + eps), with mean and var of each channel of each sample.

    Args:
        num_features: x is (N, num_features, ...) with at least one axis more.
        affine: True means a weight and a bias for each channel, as `BatchNorm` has them.
        eps, bias, weight, lr_mult, scope: as for `BatchNorm`.

    Raises:
        ValueError: x with other channels or axes, or one value in a channel.

    Source: Ulyanov, Vedaldi & Lempitsky, Instance Normalization: The Missing Ingredient for Fast
    Stylization, 2016.

    >>> InstanceNorm(3)
    InstanceNorm(3, eps=1e-05)
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        affine: bool = False,
        bias: Any = True,
        weight: Any = None,
        lr_mult: float | Mapping[str, float] = 1.0,
        scope: str | None = None,
    ) -> None:
        self.num_features = check.integer("InstanceNorm", "num_features", num_features, 1)
        self.eps = check.number("InstanceNorm", "eps", eps, least=0.0)
        self.affine = check.flag("InstanceNorm", "affine", affine)
        make = ParameterMaker("InstanceNorm", ("weight", "bias"), lr_mult, scope)
        shape = (self.num_features,)
        self.weight = make("weight", weight, Constant(1.0), shape) if affine else None
        self.bias = make("bias", bias, Constant(0.0), shape, optional=True) if affine else None

    def forward(self, x: Any) -> Tensor:
        x = as_tensor(x)
        check_channels(f"InstanceNorm({self.num_features})", x, self.num_features)
        return F.instance_norm(x, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps:g}"
