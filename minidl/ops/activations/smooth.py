"""Activations that bend: exponential linear units, sigmoids and their relatives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl._kernels.reference import activations as in_numpy
from minidl.autograd.tensor import Tensor
from minidl.ops import arithmetic as T
from minidl.ops.activations.activation import SIGN_LOST, FromY, activation, op_for

INF = math.inf
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
SELU = 1.7580993408473768  # their product, before they are rounded


def inside(x: Tensor, low: float, high: float, slope: float = 1.0) -> Tensor:
    """`slope` where low < x < high, 0 elsewhere; no gradient flows into x."""
    return Tensor((slope * ((x._data > low) & (x._data < high))).astype(x.dtype))


def near(x: Tensor, limit: float) -> Tensor:
    """x within +-limit: beyond, the curvature is 0 in either dtype, and no inf meets a 0."""
    return T.clip(x, -limit, limit)


@activation(
    "ELU",
    slope_from="x",
    value=lambda x, a: np.where(x <= 0, a * np.expm1(np.where(x <= 0, x, 0)), x),
    slope=lambda x, a: np.where(x <= 0, a * np.exp(np.minimum(x, 0)), 1),
    curvature=lambda x, a: T.where(x <= 0, a * T.exp(T.where(x <= 0, x, 0.0)), 0.0),
    from_y=FromY(
        slope=lambda y, a: np.where(y <= 0, y + a, 1),
        curvature=lambda y, a: inside(y, -INF, 0.0),
        check=(lambda a: a >= 0, f"inplace needs alpha >= 0 {SIGN_LOST}"),
    ),
    kinks=lambda a: {0.0: a},
    limits={-INF: -1.0, INF: INF, 0.0: 0.0},
)
def elu(x: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """elu(x) = x for x > 0, alpha * (exp(x) - 1) otherwise, element by element. At 0 the slope is alpha, that of the
    negative side.

    Source: Clevert, Unterthiner & Hochreiter, Fast and Accurate Deep Network Learning by ELUs, ICLR 2016.

    >>> print(*F.elu([-1.0, 0.0, 2.0]).numpy().round(4))
    -0.6321 0.0 2.0
    """
    op, inputs = op_for("elu", x, inplace, alpha)
    return op.run(inputs)


@activation(
    "SELU",
    slope_from="x",
    value=lambda x: np.where(x <= 0, SELU * np.expm1(np.where(x <= 0, x, 0)), SELU_SCALE * x),
    slope=lambda x: np.where(x <= 0, SELU * np.exp(np.minimum(x, 0)), SELU_SCALE),
    curvature=lambda x: T.where(x <= 0, SELU * T.exp(T.where(x <= 0, x, 0.0)), 0.0),
    from_y=FromY(
        slope=lambda y: np.where(y <= 0, y + SELU, SELU_SCALE),
        curvature=lambda y: inside(y, -INF, 0.0),
    ),
    kinks=lambda: {0.0: SELU},
    limits={-INF: -SELU, INF: INF, 0.0: 0.0},
)
def selu(x: Any) -> Tensor:
    """selu(x) = scale * x for x > 0, scale * alpha * (exp(x) - 1) otherwise; scale 1.0507009873554805, alpha
    1.6732632423543772, element by element. At 0 the slope is scale * alpha = 1.7581, that of the negative side.

    Source: Klambauer, Unterthiner, Mayr & Hochreiter, Self-Normalizing Neural Networks, NIPS 2017.

    >>> print(*F.selu([-1.0, 0.0, 2.0]).numpy().round(4))
    -1.1113 0.0 2.1014
    """
    op, inputs = op_for("selu", x)
    return op.run(inputs)


@activation(
    "CELU",
    slope_from="x",
    value=lambda x, a: np.where(x <= 0, a * np.expm1(np.where(x <= 0, x, 0) / a), x),
    slope=lambda x, a: np.exp(np.where(x <= 0, x, 0) / a),
    curvature=lambda x, a: T.where(x <= 0, T.exp(T.where(x <= 0, x, 0.0) / a) / a, 0.0),
    from_y=FromY(
        slope=lambda y, a: np.where(y <= 0, y / a + 1, 1),
        curvature=lambda y, a: inside(y, -INF, 0.0, 1 / a),
    ),
    check=(lambda a: 0 < a < INF, "alpha must be a finite number greater than 0"),
    limits={-INF: -1.0, INF: INF, 0.0: 0.0},
)
def celu(x: Any, alpha: float = 1.0) -> Tensor:
    """celu(x) = x for x > 0, alpha * (exp(x / alpha) - 1) otherwise, element by element.

    Source: Barron, Continuously Differentiable Exponential Linear Units, 2017.

    Raises:
        ValueError: alpha is not a finite number greater than 0.

    >>> print(*F.celu([-1.0, 0.0, 2.0]).numpy().round(4))
    -0.6321 0.0 2.0
    """
    op, inputs = op_for("celu", x, False, alpha)
    return op.run(inputs)


@activation(
    "Sigmoid",
    slope_from="y",
    value=in_numpy.sigmoid,
    slope=lambda y: y * (1 - y),
    curvature=lambda y: 1 - 2 * y,
    limits={-INF: 0.0, INF: 1.0, 0.0: 0.5},
)
def sigmoid(x: Any) -> Tensor:
    """sigmoid(x) = 1 / (1 + exp(-x)), element by element.

    Source: Verhulst, Notice sur la loi que la population suit dans son accroissement, 1838.

    >>> print(*F.sigmoid([-1.0, 0.0, 2.0]).numpy().round(4))
    0.2689 0.5 0.8808
    """
    op, inputs = op_for("sigmoid", x)
    return op.run(inputs)


@activation(
    "LogSigmoid",
    slope_from="y",
    value=lambda x: -np.logaddexp(0, -x),
    slope=lambda y: -np.expm1(y),
    curvature=lambda y: -T.exp(y),
    limits={-INF: -INF, INF: 0.0},
)
def logsigmoid(x: Any) -> Tensor:
    """logsigmoid(x) = log(1 / (1 + exp(-x))), element by element.

    Source: Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs, 1990.

    >>> print(*F.logsigmoid([-100.0, 0.0, 2.0]).numpy().round(4))
    -100.0 -0.6931 -0.1269
    """
    op, inputs = op_for("logsigmoid", x)
    return op.run(inputs)


@activation(
    "Tanh",
    slope_from="y",
    value=np.tanh,
    slope=lambda y: (1 - y) * (1 + y),
    curvature=lambda y: -2 * y,
    limits={-INF: -1.0, INF: 1.0, 0.0: 0.0},
)
def tanh(x: Any) -> Tensor:
    """tanh(x) = (exp(x) - exp(-x)) / (exp(x) + exp(-x)), element by element.

    Source: LeCun, Bottou, Orr & Müller, Efficient BackProp, 1998.

    >>> print(*F.tanh([-1.0, 0.0, 2.0]).numpy().round(4))
    -0.7616 0.0 0.964
    """
    op, inputs = op_for("tanh", x)
    return op.run(inputs)


def softsign_curvature(x: Tensor) -> Tensor:
    d = 1 / (1 + T.abs(x))
    return T.where(x <= 0, 2.0, -2.0) * d * d * d


@activation(
    "Softsign",
    slope_from="x",
    value=lambda x: np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x))),
    slope=lambda x: 1 / (1 + np.abs(x)) ** 2,
    curvature=softsign_curvature,
    limits={-INF: -1.0, INF: 1.0, 0.0: 0.0},
)
def softsign(x: Any) -> Tensor:
    """softsign(x) = x / (1 + |x|), element by element.

    Source: Turian, Bergstra & Bengio, Quadratic Features and Deep Architectures for Chunking, NAACL 2009.

    >>> print(*F.softsign([-1.0, 0.0, 3.0]).numpy().round(4))
    -0.5 0.0 0.75
    """
    op, inputs = op_for("softsign", x)
    return op.run(inputs)


@activation(
    "Softplus",
    slope_from="y",
    value=lambda x, b: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(b * x))) / b,
    slope=lambda y, b: -np.expm1(-b * y),
    curvature=lambda y, b: b * T.exp(-b * y),
    check=(lambda beta: beta > 0, "beta must be greater than 0"),
    limits={-INF: 0.0, INF: INF, 1e4: 1e4, -1e4: 0.0},
)
def softplus(x: Any, beta: float = 1.0) -> Tensor:
    """softplus(x) = log(1 + exp(beta * x)) / beta, element by element.

    Source: Dugas, Bengio, Bélisle, Nadeau & Garcia, Incorporating Second-Order Functional Knowledge, NIPS 2000.

    >>> print(*F.softplus([-1.0, 0.0, 1000.0]).numpy().round(4))
    0.3133 0.6931 1000.0
    """
    op, inputs = op_for("softplus", x, False, beta)
    return op.run(inputs)


def tanhshrink_curvature(x: Tensor) -> Tensor:
    t = tanh(x)
    return 2 * t * (1 - t) * (1 + t)


@activation(
    "Tanhshrink",
    slope_from="x",
    value=in_numpy.tanhshrink,
    slope=lambda x: np.tanh(x) ** 2,
    curvature=tanhshrink_curvature,
    limits={-INF: -INF, INF: INF, 0.0: 0.0},
)
def tanhshrink(x: Any) -> Tensor:
    """tanhshrink(x) = x - tanh(x), element by element.

    Source: Kavukcuoglu, Ranzato & LeCun, Fast Inference in Sparse Coding Algorithms, 2008.

    >>> print(*F.tanhshrink([-1.0, 0.0, 2.0]).numpy().round(4))
    -0.2384 0.0 1.036
    """
    op, inputs = op_for("tanhshrink", x)
    return op.run(inputs)
