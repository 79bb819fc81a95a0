"""Activations made of straight lines, up to two kinks in each. Their slopes are constants: they have no curvature."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.autograd.tensor import Tensor
from minidl.ops.activations.activation import SIGN_LOST, FromY, activation, op_for

INF = math.inf


@activation(
    "ReLU",
    slope_from="y",
    sign_only=True,
    value=lambda x: np.where(x <= 0, 0, x),
    slope=lambda y: np.where(y <= 0, 0, 1),
    kinks=lambda: {0.0: 0.0},
    limits={-INF: 0.0, INF: INF, 0.0: 0.0},
)
def relu(x: Any, inplace: bool = False) -> Tensor:
    """relu(x) = max(0, x), element by element. At 0 the slope is 0, that of the negative side.

    Source: Nair & Hinton, Rectified Linear Units Improve Restricted Boltzmann Machines, ICML 2010.

    >>> print(*F.relu([-10.0, 0.0, 3.0]).numpy().round(4))
    0.0 0.0 3.0
    """
    op, inputs = op_for("relu", x, inplace)
    return op.run(inputs)


@activation(
    "LeakyReLU",
    slope_from="x",
    sign_only=True,
    value=lambda x, a: np.where(x <= 0, a * x, x),
    slope=lambda x, a: np.where(x <= 0, a, 1),
    from_y=FromY(check=(lambda a: a >= 0, f"inplace needs negative_slope >= 0 {SIGN_LOST}")),
    kinks=lambda a: {0.0: a} if a != 1 else {},
    limits={-INF: -INF, INF: INF, 0.0: 0.0},
)
def leaky_relu(x: Any, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """leaky_relu(x) = x for x > 0, negative_slope * x otherwise, element by element. At 0 the slope is
    negative_slope, that of the negative side.

    Source: Maas, Hannun & Ng, Rectifier Nonlinearities Improve Neural Network Acoustic Models, ICML 2013.

    >>> print(*F.leaky_relu([1, -10, 0, 15, -20]).numpy().round(4))
    1.0 -0.1 0.0 15.0 -0.2
    """
    op, inputs = op_for("leaky_relu", x, inplace, negative_slope)
    return op.run(inputs)


@activation(
    "ReLU6",
    slope_from="y",
    value=lambda x: np.where(x <= 0, 0, np.minimum(x, 6)),
    slope=lambda y: np.where((y <= 0) | (y >= 6), 0, 1),
    kinks=lambda: {0.0: 0.0, 6.0: 0.0},
    limits={-INF: 0.0, INF: 6.0, 0.0: 0.0},
)
def relu6(x: Any, inplace: bool = False) -> Tensor:
    """relu6(x) = min(max(0, x), 6), element by element. At both edges the slope is 0, that of the flat side.

    Source: Krizhevsky, Convolutional Deep Belief Networks on CIFAR-10, 2010.

    >>> print(*F.relu6([-3.0, 2.0, 7.0]).numpy().round(4))
    0.0 2.0 6.0
    """
    op, inputs = op_for("relu6", x, inplace)
    return op.run(inputs)


@activation(
    "Hardtanh",
    slope_from="y",
    value=lambda x, low, high: np.clip(x, low, high),
    slope=lambda y, low, high: np.where((y <= low) | (y >= high), 0, 1),
    check=(lambda low, high: low <= high, "min_val must not be greater than max_val"),
    kinks=lambda low, high: {low: 0.0, high: 0.0},
    limits={-INF: -1.0, INF: 1.0, 0.0: 0.0},
)
def hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """hardtanh(x) = x limited to [min_val, max_val], element by element. At both edges the slope is 0, that of the
    flat side.

    Source: Collobert, Large Scale Machine Learning, PhD thesis, 2004.

    >>> print(*F.hardtanh([-3.0, 0.5, 2.0]).numpy().round(4))
    -1.0 0.5 1.0
    """
    op, inputs = op_for("hardtanh", x, inplace, min_val, max_val)
    return op.run(inputs)


@activation(
    "Hardsigmoid",
    slope_from="x",
    value=lambda x: np.clip(x + 3, 0, 6) / 6,
    slope=lambda x: np.where((x <= -3) | (x >= 3), 0, 1 / 6),
    kinks=lambda: {-3.0: 0.0, 3.0: 0.0},
    limits={-INF: 0.0, INF: 1.0, 0.0: 0.5},
)
def hardsigmoid(x: Any) -> Tensor:
    """hardsigmoid(x) = min(max(x + 3, 0), 6) / 6, element by element. At both edges the slope is 0, that of the flat
    side.

    Source: Howard et al., Searching for MobileNetV3, ICCV 2019.

    >>> print(*F.hardsigmoid([-4.0, 0.0, 1.5]).numpy().round(4))
    0.0 0.5 0.75
    """
    op, inputs = op_for("hardsigmoid", x)
    return op.run(inputs)


@activation(
    "Softshrink",
    slope_from="y",
    value=lambda x, k: np.where(x > k, x - k, np.where(x < -k, x + k, 0 * x)),
    slope=lambda y, k: np.where(y == 0, 0, 1),
    check=(lambda k: k >= 0, "lambd must not be negative"),
    kinks=lambda k: {-k: 0.0, k: 0.0},
    limits={-INF: -INF, INF: INF, 0.0: 0.0, 0.5: 0.0},
)
def softshrink(x: Any, lambd: float = 0.5) -> Tensor:
    """softshrink(x) = x - lambd for x > lambd, x + lambd for x < -lambd, 0 between, element by element. At -lambd and
    lambd the slope is 0, that of the flat side.

    Source: Donoho, De-Noising by Soft-Thresholding, IEEE Transactions on Information Theory 41, 1995.

    >>> print(*F.softshrink([-2.0, 0.5, 2.0]).numpy().round(4))
    -1.5 0.0 1.5
    """
    op, inputs = op_for("softshrink", x, False, lambd)
    return op.run(inputs)


@activation(
    "Hardshrink",
    slope_from="y",
    value=lambda x, k: np.where(np.abs(x) <= k, 0, x),
    slope=lambda y, k: np.where(y == 0, 0, 1),
    check=(lambda k: k >= 0, "lambd must not be negative"),
    kinks=lambda k: {-k: 0.0, k: 0.0},
    limits={-INF: -INF, INF: INF, 0.0: 0.0, 0.5: 0.0},
)
def hardshrink(x: Any, lambd: float = 0.5) -> Tensor:
    """hardshrink(x) = x for |x| > lambd, 0 otherwise, element by element. At -lambd and lambd, where it jumps, the
    slope is 0.

    Source: Donoho & Johnstone, Ideal Spatial Adaptation by Wavelet Shrinkage, Biometrika 81, 1994.

    >>> print(*F.hardshrink([-2.0, 0.5, 2.0]).numpy().round(4))
    -2.0 0.0 2.0
    """
    op, inputs = op_for("hardshrink", x, False, lambd)
    return op.run(inputs)


@activation(
    "Threshold",
    slope_from="x",
    value=lambda x, t, v: np.where(x <= t, np.asarray(v), x),
    slope=lambda xy, t, v: np.where(xy <= t, 0, 1),
    from_y=FromY(check=(lambda t, v: v <= t, f"inplace needs value <= threshold {SIGN_LOST}")),
    required={"threshold": 0.5, "value": -0.25},
    kinks=lambda t, v: {t: 0.0},
    limits={-INF: -0.25, INF: INF, 0.5: -0.25},
)
def threshold(x: Any, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """threshold(x) = x for x > threshold, value otherwise, element by element. At the threshold the slope is 0.

    Source: McCulloch & Pitts, A Logical Calculus of the Ideas Immanent in Nervous Activity, 1943.

    >>> print(*F.threshold([-2.0, 0.5, 2.0], 0.5, -0.25).numpy().round(4))
    -0.25 -0.25 2.0
    """
    op, inputs = op_for("threshold", x, inplace, threshold, value)
    return op.run(inputs)
