"""Affine, Bilinear and Embedding: layers that are a matrix, or one for each output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minidl import check
from minidl import functional as F
from minidl.autograd.tensor import Tensor
from minidl.init import Normal, VarianceScaling
from minidl.nn.module import Module
from minidl.nn.parameter import ParameterMaker
from minidl.ops.activations.activation import fused_row

# U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for weights and biases, as in PyTorch's Linear and Conv:
# runs of the same script in both start alike. For deep ReLU networks init.HeNormal() is the better
# choice.
DEFAULT_INIT = VarianceScaling(1 / 3, "fan_in", "uniform")


class Affine(Module):
    """y = x W^T + b, on the last axis of x.

    Shapes: x (N, ..., in_features), weight (out_features, in_features), bias (out_features,), y (N,
    ..., out_features).

    Args:
        bias, weight: where the parameters come from (see `ParameterMaker`); ``bias=False`` means
            none. By default both are drawn from U(-1/sqrt(in_features), 1/sqrt(in_features)), as in
            PyTorch.
        lr_mult: learning-rate multiplier of both, or a dict by name.
        scope: layers with the same scope name share their parameters.
        activation: the name of one to apply in the same pass, such as "relu", or (name, *its
            parameters) (see `F.affine`). A `Sequential` does so with the activation that follows.

    Raises:
        ValueError: the last axis of x is not `in_features` long.

    >>> Affine(784, 10)
    Affine(784, 10; weight (10, 784), bias (10,))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: Any = True,
        weight: Any = None,
        lr_mult: float | Mapping[str, float] = 1.0,
        scope: str | None = None,
        activation: str | tuple | None = None,
    ) -> None:
        if activation is not None:
            fused_row(activation, "Affine")  # raises if it is wrong
        self.activation = activation
        self.in_features = check.integer("Affine", "in_features", in_features, 1)
        self.out_features = check.integer("Affine", "out_features", out_features, 1)
        make = ParameterMaker("Affine", ("weight", "bias"), lr_mult, scope)
        fan = (self.in_features, self.out_features)
        self.weight = make("weight", weight, DEFAULT_INIT, (self.out_features, self.in_features))
        self.bias = make("bias", bias, DEFAULT_INIT, (self.out_features,), fan, optional=True)

    @property
    def fuses(self) -> bool:  # type: ignore[override]
        """It takes the activation that follows, unless it has one, is replaced by another layer or is
        watched: who looks at its output wants that, not the activation's.
        """
        return self.activation is None and self.runs(_FORWARD)

    def forward(self, x: Any, activation: str | tuple | None = None) -> Tensor:
        return F.affine(x, self.weight, self.bias, activation or self.activation)

    def extra_repr(self) -> str:
        shape = f"{self.in_features}, {self.out_features}"
        return f"{shape}, activation={self.activation!r}" if self.activation else shape


_FORWARD = Affine.forward


class Bilinear(Module):
    """y[..., o] = x0ᵀ W[o] x1 + b[o]: each output is linear in both inputs (see `F.bilinear`).

    Shapes: x0 (N, ..., in0_features), x1 (N, ..., in1_features), weight (out_features, in0_features,
    in1_features), bias (out_features,), y (N, ..., out_features).

    Args:
        bias, weight: where the parameters come from (see `ParameterMaker`); ``bias=False`` means
            none. By default both are drawn from U(-1/sqrt(in0_features), 1/sqrt(in0_features)), as
            in PyTorch.
        lr_mult, scope: as for `Affine`.

    Raises:
        ValueError: inputs that do not fit.

    >>> Bilinear(2, 3, 4)([[1.0, 2.0]], [[1.0, 2.0, 3.0]]).shape
    (1, 4)
    """

    def __init__(
        self,
        in0_features: int,
        in1_features: int,
        out_features: int,
        bias: Any = True,
        weight: Any = None,
        lr_mult: float | Mapping[str, float] = 1.0,
        scope: str | None = None,
    ) -> None:
        self.in0_features = check.integer("Bilinear", "in0_features", in0_features, 1)
        self.in1_features = check.integer("Bilinear", "in1_features", in1_features, 1)
        self.out_features = check.integer("Bilinear", "out_features", out_features, 1)
        make = ParameterMaker("Bilinear", ("weight", "bias"), lr_mult, scope)
        shape = (self.out_features, self.in0_features, self.in1_features)
        fan = (self.in0_features, self.out_features)
        self.weight = make("weight", weight, DEFAULT_INIT, shape, fan)
        self.bias = make("bias", bias, DEFAULT_INIT, (self.out_features,), fan, optional=True)

    def forward(self, x0: Any, x1: Any) -> Tensor:
        return F.bilinear(x0, x1, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in0_features}, {self.in1_features}, {self.out_features}"


class Embedding(Module):
    """y[...] = weight[ids[...]]: a learned vector for each of `num_embeddings` ids.

    Shapes: ids of any shape, integers in [0, num_embeddings); weight (num_embeddings,
    embedding_dim); y has ids' axes and one more of length `embedding_dim`. The weight is drawn from
    N(0, 1) by default, as in PyTorch.

    Raises:
        ValueError: an id out of range. TypeError: ids that are not integers.

    >>> Embedding(10, 3)([[1, 2]]).shape
    (1, 2, 3)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        weight: Any = None,
        lr_mult: float | Mapping[str, float] = 1.0,
        scope: str | None = None,
    ) -> None:
        self.num_embeddings = check.integer("Embedding", "num_embeddings", num_embeddings, 1)
        self.embedding_dim = check.integer("Embedding", "embedding_dim", embedding_dim, 1)
        make = ParameterMaker("Embedding", ("weight",), lr_mult, scope)
        self.weight = make("weight", weight, Normal(), (self.num_embeddings, self.embedding_dim))

    def forward(self, ids: Any) -> Tensor:
        return F.embedding(ids, self.weight)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}"
