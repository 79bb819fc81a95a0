"""Layers that join or split channels: Maxout, CReLU, GLU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minidl import check
from minidl import functional as F
from minidl.autograd.tensor import Tensor
from minidl.nn.linear import DEFAULT_INIT
from minidl.nn.module import Module
from minidl.nn.parameter import ParameterMaker


class Maxout(Module):
    """y = max over j of (x W_j^T + b_j): the greatest of `pieces` linear maps, for each output.

    Shapes: x (N, ..., in_features), weight (out_features * pieces, in_features), bias (out_features
    * pieces,), y (N, ..., out_features). The rows of the weight that belong to one output lie side
    by side, so that all maps are one product. Among equal maps the gradient goes to the first.

    Args:
        bias, weight: where the parameters come from (see `ParameterMaker`); ``bias=False`` means
            none. By default both are drawn from U(-1/sqrt(in_features), 1/sqrt(in_features)).
        lr_mult: learning-rate multiplier of both, or a dict by name.
        scope: layers with the same scope name share their parameters.

    Raises:
        ValueError: the last axis of x is not `in_features` long.

    Source: Goodfellow, Warde-Farley, Mirza, Courville & Bengio, Maxout Networks, ICML 2013.

    >>> Maxout(784, 10, 3)
    Maxout(784, 10, pieces=3; weight (30, 784), bias (30,))
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        pieces: int,
        bias: Any = True,
        weight: Any = None,
        lr_mult: float | Mapping[str, float] = 1.0,
        scope: str | None = None,
    ) -> None:
        self.in_features = check.integer("Maxout", "in_features", in_features, 1)
        self.out_features = check.integer("Maxout", "out_features", out_features, 1)
        self.pieces = check.integer("Maxout", "pieces", pieces, 1)
        make = ParameterMaker("Maxout", ("weight", "bias"), lr_mult, scope)
        rows = self.out_features * self.pieces
        fan = (self.in_features, self.out_features)
        self.weight = make("weight", weight, DEFAULT_INIT, (rows, self.in_features), fan)
        self.bias = make("bias", bias, DEFAULT_INIT, (rows,), fan, optional=True)

    def forward(self, x: Any) -> Tensor:
        return F.maxout(F.affine(x, self.weight, self.bias), self.pieces, axis=-1)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, pieces={self.pieces}"


class CReLU(Module):
    """y = [relu(x), relu(-x)], joined along `axis`: twice as many channels.

    Source: Shang, Sohn, Almeida & Lee, Understanding and Improving Convolutional Neural Networks
    via Concatenated Rectified Linear Units, ICML 2016.

    >>> CReLU()([[1.0, -2.0]]).numpy()
    array([[1., 0., 0., 2.]], dtype=float32)
    """

    def __init__(self, axis: int = 1) -> None:
        self.axis = check.integer("CReLU", "axis", axis)

    def forward(self, x: Any) -> Tensor:
        return F.crelu(x, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class GLU(Module):
    """y = a * sigmoid(b), where a and b are the two halves of x along `axis`.

    Raises:
        ValueError: the axis has an odd length.

    Source: Dauphin, Fan, Auli & Grangier, Language Modeling with Gated Convolutional Networks, ICML
    2017.

    >>> GLU()([3.0, 0.0]).numpy()
    array([1.5], dtype=float32)
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = check.integer("GLU", "axis", axis)

    def forward(self, x: Any) -> Tensor:
        return F.glu(x, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"
