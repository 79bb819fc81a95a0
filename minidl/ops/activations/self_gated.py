"""Activations that multiply x by a gate that x itself opens: a number from 0 to 1 that grows with x."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl._kernels.reference import activations as in_numpy
from minidl.autograd.tensor import Tensor
from minidl.ops import arithmetic as T
from minidl.ops.activations.activation import activation, op_for, selected
from minidl.ops.activations.smooth import inside, near, sigmoid, softplus, tanh

INF = math.inf
GELU_LINE, GELU_CUBE = 2 * math.sqrt(2 / math.pi), 0.044715 * 2 * math.sqrt(2 / math.pi)


def silu_curvature(x: Tensor) -> Tensor:
    x = near(x, 800.0)
    s = sigmoid(x)
    return s * (1 - s) * (2 + x * (1 - 2 * s))


@activation(
    "SiLU",
    slope_from="x",
    value=lambda x: in_numpy.times(x, in_numpy.sigmoid(x)),
    slope=lambda x: (
        in_numpy.sigmoid(x) + in_numpy.times(x, in_numpy.sigmoid(x) * in_numpy.sigmoid(-x))
    ),
    curvature=silu_curvature,
    limits={-INF: 0.0, INF: INF, 0.0: 0.0},
)
def silu(x: Any) -> Tensor:
    """silu(x) = x / (1 + exp(-x)), element by element.

    Source: Elfwing, Uchibe & Doya, Sigmoid-Weighted Linear Units for Neural Network Function Approximation in
    Reinforcement Learning, 2017.

    >>> print(*F.silu([-1.0, 0.0, 2.0]).numpy().round(4))
    -0.2689 0.0 1.7616
    """
    op, inputs = op_for("silu", x)
    return op.run(inputs)


@activation(
    "Hardswish",
    slope_from="x",
    value=lambda x: np.where(x <= -3, 0, np.where(x >= 3, x, x * (x + 3) / 6)),
    slope=lambda x: np.where(x <= -3, 0, np.where(x >= 3, 1, x / 3 + 0.5)),
    curvature=lambda x: inside(x, -3.0, 3.0, 1 / 3),
    kinks=lambda: {-3.0: 0.0, 3.0: 1.0},
    limits={-INF: 0.0, INF: INF, 0.0: 0.0},
)
def hardswish(x: Any) -> Tensor:
    """hardswish(x) = x * min(max(x + 3, 0), 6) / 6, element by element. At -3 the slope is 0, at 3 it is 1, that of
    the straight side.

    Source: Howard et al., Searching for MobileNetV3, ICCV 2019.

    >>> print(*F.hardswish([-4.0, 1.0, 5.0]).numpy().round(4))
    0.0 0.6667 5.0
    """
    op, inputs = op_for("hardswish", x)
    return op.run(inputs)


def mish_curvature(x: Tensor) -> Tensor:
    x = near(x, 800.0)
    s, t = sigmoid(x), tanh(softplus(x))
    return (1 - t) * (1 + t) * s * (2 + x * (1 - s - 2 * t * s))


@activation(
    "Mish",
    slope_from="x",
    value=lambda x: in_numpy.times(x, np.tanh(np.logaddexp(0, x))),
    slope=lambda x: (
        (t := np.tanh(np.logaddexp(0, x)))
        + in_numpy.times(x, in_numpy.sigmoid(x) * (1 - t) * (1 + t))
    ),
    curvature=mish_curvature,
    limits={-INF: 0.0, INF: INF, 0.0: 0.0},
)
def mish(x: Any) -> Tensor:
    """mish(x) = x * tanh(log(1 + exp(x))), element by element.

    Source: Misra, Mish: A Self Regularized Non-Monotonic Activation Function, BMVC 2020.

    >>> print(*F.mish([-1.0, 0.0, 2.0]).numpy().round(4))
    -0.3034 0.0 1.944
    """
    op, inputs = op_for("mish", x)
    return op.run(inputs)


def gelu_curvature(x: Tensor) -> Tensor:
    x = near(x, 40.0)
    return (2 - x * x) * T.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


@activation(
    "GELU",
    slope_from="x",
    value=lambda x: in_numpy.times(x, in_numpy.normal_cdf(x)),
    slope=lambda x: (
        in_numpy.normal_cdf(x) + in_numpy.times(x, np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))
    ),
    curvature=gelu_curvature,
    limits={-INF: 0.0, INF: INF, 0.0: 0.0},
    approximate={"tanh": "gelu_tanh"},
)
def gelu(x: Any, approximate: str = "none") -> Tensor:
    """gelu(x) = x * P(Z <= x), where Z is normal with mean 0 and variance 1, element by element.

    Source: Hendrycks & Gimpel, Gaussian Error Linear Units, 2016.

    >>> print(*F.gelu([-1.0, 0.0, 2.0]).numpy().round(4))
    -0.1587 0.0 1.9545
    """
    op, inputs = op_for(selected("gelu", approximate), x)
    return op.run(inputs)


def gelu_tanh_curvature(x: Tensor) -> Tensor:
    x = near(x, 40.0)
    v1 = GELU_LINE + 3 * GELU_CUBE * x * x  # of v = GELU_LINE x + GELU_CUBE x^3
    s = sigmoid(x * (GELU_LINE + GELU_CUBE * x * x))
    return s * (1 - s) * (2 * v1 + x * ((1 - 2 * s) * v1 * v1 + 6 * GELU_CUBE * x))


@activation(
    slope_from="x",
    value=lambda x: in_numpy.times(x, in_numpy.sigmoid(x * (GELU_LINE + GELU_CUBE * x * x))),
    slope=lambda x: (
        (s := in_numpy.sigmoid(x * (GELU_LINE + GELU_CUBE * x * x)))
        + in_numpy.times(x * (GELU_LINE + 3 * GELU_CUBE * x * x), s * (1 - s))
    ),
    curvature=gelu_tanh_curvature,
    limits={-INF: 0.0, INF: INF, 0.0: 0.0},
)
def gelu_tanh(x: Any) -> Tensor:
    """gelu_tanh(x) = x / (1 + exp(-2 sqrt(2 / pi) (x + 0.044715 x^3))), an approximation of gelu, element by element.

    Source: Hendrycks & Gimpel, Gaussian Error Linear Units, 2016.

    >>> print(*F.gelu_tanh([-1.0, 0.0, 2.0]).numpy().round(4))
    -0.1588 0.0 1.9546
    """
    op, inputs = op_for("gelu_tanh", x)
    return op.run(inputs)
