"""The activation functions: one row each. From it follow ``F.name``, ``nn.Name``, tests, benchmark and docs.

To add one, write its row here and its two formulas in `minidl/_kernels/loops/activations.pyx`, and nothing else: see
docs/adding_an_activation.md. See `minidl.ops.activations.activation.Row` for the meaning of the entries. PReLU and the
softmax family are more than a formula of one element: they have files of their own.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from minidl._kernels.reference import activations as twins
from minidl.autograd.tensor import Tensor, as_tensor
from minidl.ops import arithmetic as T
from minidl.ops.activations.activation import Row, function_of, in_y

INF = math.inf
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
GELU_LINE, GELU_CUBE = 2 * math.sqrt(2 / math.pi), 0.044715 * 2 * math.sqrt(2 / math.pi)
SIGN_LOST = "(the side of x is told from the result)"
NEGATIVE_SIDE = "At 0 the slope is {}, that of the negative side."
FLAT_EDGES = "At both edges the slope is 0, that of the flat side."


# ── Curvatures that need more than a line ────────────────────────────────────────────────────────────────────────────


def inside(x: Tensor, low: float, high: float, slope: float = 1.0) -> Tensor:
    """`slope` where low < x < high, 0 elsewhere; no gradient flows into x."""
    return Tensor((slope * ((x._data > low) & (x._data < high))).astype(x.dtype))


def near(x: Tensor, limit: float) -> Tensor:
    """x within +-limit: beyond, the curvature is 0 in either dtype, and no inf meets a 0."""
    return T.clip(x, -limit, limit)


def silu_curvature(x: Tensor) -> Tensor:
    x = near(x, 800.0)
    s = sigmoid(x)
    return s * (1 - s) * (2 + x * (1 - 2 * s))


def mish_curvature(x: Tensor) -> Tensor:
    x = near(x, 800.0)
    s, t = sigmoid(x), tanh(softplus(x))
    return (1 - t) * (1 + t) * s * (2 + x * (1 - s - 2 * t * s))


def gelu_curvature(x: Tensor) -> Tensor:
    x = near(x, 40.0)
    return (2 - x * x) * T.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def gelu_tanh_curvature(x: Tensor) -> Tensor:
    x = near(x, 40.0)
    v1 = GELU_LINE + 3 * GELU_CUBE * x * x  # of v = GELU_LINE x + GELU_CUBE x^3
    s = sigmoid(x * (GELU_LINE + GELU_CUBE * x * x))
    return s * (1 - s) * (2 * v1 + x * ((1 - 2 * s) * v1 * v1 + 6 * GELU_CUBE * x))


def softsign_curvature(x: Tensor) -> Tensor:
    d = 1 / (1 + T.abs(x))
    return T.where(x <= 0, 2.0, -2.0) * d * d * d


def tanhshrink_curvature(x: Tensor) -> Tensor:
    t = tanh(x)
    return 2 * t * (1 - t) * (1 + t)


# ── The table ────────────────────────────────────────────────────────────────────────────────────────────────────────

ROWS = [
    Row(
        "relu",
        "ReLU",
        formula="max(0, x)",
        paper="Nair & Hinton, Rectified Linear Units Improve Restricted Boltzmann Machines, ICML 2010",
        residual="y",
        value=lambda x: np.where(x <= 0, 0, x),
        slope=lambda y: np.where(y <= 0, 0, 1),
        kinks=lambda: {0.0: 0.0},
        kink_note=NEGATIVE_SIDE.format(0),
        limits={-INF: 0.0, INF: INF, 0.0: 0.0},
        inplace=True,
        example=("-10.0, 0.0, 3.0", "0.0 0.0 3.0"),
    ),
    Row(
        "leaky_relu",
        "LeakyReLU",
        formula="x for x > 0, negative_slope * x otherwise",
        paper="Maas, Hannun & Ng, Rectifier Nonlinearities Improve Neural Network Acoustic Models, ICML 2013",
        residual="x",
        value=lambda x, a: np.where(x <= 0, a * x, x),
        slope=lambda x, a: np.where(x <= 0, a, 1),
        params={"negative_slope": 0.01},
        kinks=lambda a: {0.0: a} if a != 1 else {},
        kink_note=NEGATIVE_SIDE.format("negative_slope"),
        limits={-INF: -INF, INF: INF, 0.0: 0.0},
        inplace=True,
        from_y={"check": (lambda a: a >= 0, f"inplace needs negative_slope >= 0 {SIGN_LOST}")},
        example=("1, -10, 0, 15, -20", "1.0 -0.1 0.0 15.0 -0.2"),
    ),
    Row(
        "elu",
        "ELU",
        formula="x for x > 0, alpha * (exp(x) - 1) otherwise",
        paper="Clevert, Unterthiner & Hochreiter, Fast and Accurate Deep Network Learning by ELUs, ICLR 2016",
        residual="x",
        value=lambda x, a: np.where(x <= 0, a * np.expm1(np.minimum(x, 0)), x),
        slope=lambda x, a: np.where(x <= 0, a * np.exp(np.minimum(x, 0)), 1),
        curvature=lambda x, a: T.where(x <= 0, a * T.exp(T.where(x <= 0, x, 0.0)), 0.0),
        params={"alpha": 1.0},
        kinks=lambda a: {0.0: a},
        kink_note=NEGATIVE_SIDE.format("alpha"),
        limits={-INF: -1.0, INF: INF, 0.0: 0.0},
        inplace=True,
        from_y={
            "name": "elu_from_y",
            "slope": lambda y, a: np.where(y <= 0, y + a, 1),
            "curvature": lambda y, a: inside(y, -INF, 0.0),
            "check": (lambda a: a >= 0, f"inplace needs alpha >= 0 {SIGN_LOST}"),
        },
        example=("-1.0, 0.0, 2.0", "-0.6321 0.0 2.0"),
    ),
    Row(
        "selu",
        "SELU",
        formula="scale * x for x > 0, scale * alpha * (exp(x) - 1) otherwise; scale 1.0507009873554805, "
        "alpha 1.6732632423543772",
        paper="Klambauer, Unterthiner, Mayr & Hochreiter, Self-Normalizing Neural Networks, NIPS 2017",
        residual="x",
        value=lambda x: SELU_SCALE * np.where(x <= 0, SELU_ALPHA * np.expm1(np.minimum(x, 0)), x),
        slope=lambda x: SELU_SCALE * np.where(x <= 0, SELU_ALPHA * np.exp(np.minimum(x, 0)), 1),
        curvature=lambda x: T.where(
            x <= 0, SELU_SCALE * SELU_ALPHA * T.exp(T.where(x <= 0, x, 0.0)), 0.0
        ),
        kinks=lambda: {0.0: SELU_SCALE * SELU_ALPHA},
        kink_note=NEGATIVE_SIDE.format("scale * alpha = 1.7581"),
        limits={-INF: -SELU_SCALE * SELU_ALPHA, INF: INF, 0.0: 0.0},
        from_y={
            "name": "selu_from_y",
            "slope": lambda y: np.where(y <= 0, y + SELU_SCALE * SELU_ALPHA, SELU_SCALE),
            "curvature": lambda y: inside(y, -INF, 0.0),
        },
        example=("-1.0, 0.0, 2.0", "-1.1113 0.0 2.1014"),
    ),
    Row(
        "celu",
        "CELU",
        formula="x for x > 0, alpha * (exp(x / alpha) - 1) otherwise",
        paper="Barron, Continuously Differentiable Exponential Linear Units, 2017",
        residual="x",
        value=lambda x, a: np.where(x <= 0, a * np.expm1(np.where(x <= 0, x, 0) / a), x),
        slope=lambda x, a: np.exp(np.where(x <= 0, x, 0) / a),
        curvature=lambda x, a: T.where(x <= 0, T.exp(T.where(x <= 0, x, 0.0) / a) / a, 0.0),
        params={"alpha": 1.0},
        check=(lambda a: a != 0, "alpha must not be 0"),
        limits={-INF: -1.0, INF: INF, 0.0: 0.0},
        from_y={
            "name": "celu_from_y",
            "slope": lambda y, a: np.where(y <= 0, y / a + 1, 1),
            "curvature": lambda y, a: inside(y, -INF, 0.0, 1 / a),
        },
        example=("-1.0, 0.0, 2.0", "-0.6321 0.0 2.0"),
    ),
    Row(
        "sigmoid",
        "Sigmoid",
        formula="1 / (1 + exp(-x))",
        paper="Verhulst, Notice sur la loi que la population suit dans son accroissement, 1838",
        residual="y",
        value=lambda x: twins.sigmoid(x),
        slope=lambda y: y * (1 - y),
        curvature=lambda y: 1 - 2 * y,
        limits={-INF: 0.0, INF: 1.0, 0.0: 0.5},
        example=("-1.0, 0.0, 2.0", "0.2689 0.5 0.8808"),
    ),
    Row(
        "logsigmoid",
        "LogSigmoid",
        formula="log(1 / (1 + exp(-x)))",
        paper="Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs, 1990",
        residual="y",
        value=lambda x: -np.logaddexp(0, -x),
        slope=lambda y: -np.expm1(y),
        curvature=lambda y: -T.exp(y),
        limits={-INF: -INF, INF: 0.0},
        example=("-100.0, 0.0, 2.0", "-100.0 -0.6931 -0.1269"),
    ),
    Row(
        "hardsigmoid",
        "Hardsigmoid",
        formula="min(max(x + 3, 0), 6) / 6",
        paper="Howard et al., Searching for MobileNetV3, ICCV 2019",
        residual="x",
        value=lambda x: np.clip(x + 3, 0, 6) / 6,
        slope=lambda x: np.where((x <= -3) | (x >= 3), 0, 1 / 6),
        kinks=lambda: {-3.0: 0.0, 3.0: 0.0},
        kink_note=FLAT_EDGES,
        limits={-INF: 0.0, INF: 1.0, 0.0: 0.5},
        example=("-4.0, 0.0, 1.5", "0.0 0.5 0.75"),
    ),
    Row(
        "tanh",
        "Tanh",
        formula="(exp(x) - exp(-x)) / (exp(x) + exp(-x))",
        paper="LeCun, Bottou, Orr & Müller, Efficient BackProp, 1998",
        residual="y",
        value=lambda x: np.tanh(x),
        slope=lambda y: (1 - y) * (1 + y),
        curvature=lambda y: -2 * y,
        limits={-INF: -1.0, INF: 1.0, 0.0: 0.0},
        example=("-1.0, 0.0, 2.0", "-0.7616 0.0 0.964"),
    ),
    Row(
        "hardtanh",
        "Hardtanh",
        formula="x limited to [min_val, max_val]",
        paper="Collobert, Large Scale Machine Learning, PhD thesis, 2004",
        residual="y",
        value=lambda x, low, high: np.clip(x, low, high),
        slope=lambda y, low, high: np.where((y <= low) | (y >= high), 0, 1),
        params={"min_val": -1.0, "max_val": 1.0},
        check=(lambda low, high: low <= high, "min_val must not be greater than max_val"),
        kinks=lambda low, high: {low: 0.0, high: 0.0},
        kink_note=FLAT_EDGES,
        limits={-INF: -1.0, INF: 1.0, 0.0: 0.0},
        inplace=True,
        example=("-3.0, 0.5, 2.0", "-1.0 0.5 1.0"),
    ),
    Row(
        "relu6",
        "ReLU6",
        formula="min(max(0, x), 6)",
        paper="Krizhevsky, Convolutional Deep Belief Networks on CIFAR-10, 2010",
        residual="y",
        value=lambda x: np.clip(x, 0, 6),
        slope=lambda y: np.where((y <= 0) | (y >= 6), 0, 1),
        kinks=lambda: {0.0: 0.0, 6.0: 0.0},
        kink_note=FLAT_EDGES,
        limits={-INF: 0.0, INF: 6.0, 0.0: 0.0},
        inplace=True,
        example=("-3.0, 2.0, 7.0", "0.0 2.0 6.0"),
    ),
    Row(
        "softsign",
        "Softsign",
        formula="x / (1 + |x|)",
        paper="Turian, Bergstra & Bengio, Quadratic Features and Deep Architectures for Chunking, NAACL 2009",
        residual="x",
        value=lambda x: np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x))),
        slope=lambda x: 1 / (1 + np.abs(x)) ** 2,
        curvature=softsign_curvature,
        limits={-INF: -1.0, INF: 1.0, 0.0: 0.0},
        example=("-1.0, 0.0, 3.0", "-0.5 0.0 0.75"),
    ),
    Row(
        "softplus",
        "Softplus",
        formula="log(1 + exp(beta * x)) / beta",
        paper="Dugas, Bengio, Bélisle, Nadeau & Garcia, Incorporating Second-Order Functional Knowledge, NIPS 2000",
        residual="y",
        value=lambda x, b: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(b * x))) / b,
        slope=lambda y, b: -np.expm1(-b * y),
        curvature=lambda y, b: b * T.exp(-b * y),
        params={"beta": 1.0},
        check=(lambda beta: beta > 0, "beta must be greater than 0"),
        limits={-INF: 0.0, INF: INF, 1e4: 1e4, -1e4: 0.0},
        example=("-1.0, 0.0, 1000.0", "0.3133 0.6931 1000.0"),
    ),
    Row(
        "silu",
        "SiLU",
        formula="x / (1 + exp(-x))",
        paper="Elfwing, Uchibe & Doya, Sigmoid-Weighted Linear Units for Neural Network Function Approximation in "
        "Reinforcement Learning, 2017",
        residual="x",
        value=lambda x: twins.times(x, twins.sigmoid(x)),
        slope=lambda x: twins.sigmoid(x) + twins.times(x, twins.sigmoid(x) * twins.sigmoid(-x)),
        curvature=silu_curvature,
        limits={-INF: 0.0, INF: INF, 0.0: 0.0},
        example=("-1.0, 0.0, 2.0", "-0.2689 0.0 1.7616"),
    ),
    Row(
        "hardswish",
        "Hardswish",
        formula="x * min(max(x + 3, 0), 6) / 6",
        paper="Howard et al., Searching for MobileNetV3, ICCV 2019",
        residual="x",
        value=lambda x: np.where(x <= -3, 0, np.where(x >= 3, x, x * (x + 3) / 6)),
        slope=lambda x: np.where(x <= -3, 0, np.where(x >= 3, 1, x / 3 + 0.5)),
        curvature=lambda x: inside(x, -3.0, 3.0, 1 / 3),
        kinks=lambda: {-3.0: 0.0, 3.0: 1.0},
        kink_note="At -3 the slope is 0, at 3 it is 1, that of the straight side.",
        limits={-INF: 0.0, INF: INF, 0.0: 0.0},
        example=("-4.0, 1.0, 5.0", "0.0 0.6667 5.0"),
    ),
    Row(
        "mish",
        "Mish",
        formula="x * tanh(log(1 + exp(x)))",
        paper="Misra, Mish: A Self Regularized Non-Monotonic Activation Function, BMVC 2020",
        residual="x",
        value=lambda x: twins.times(x, np.tanh(np.logaddexp(0, x))),
        slope=lambda x: (
            (t := np.tanh(np.logaddexp(0, x)))
            + twins.times(x, twins.sigmoid(x) * (1 - t) * (1 + t))
        ),
        curvature=mish_curvature,
        limits={-INF: 0.0, INF: INF, 0.0: 0.0},
        example=("-1.0, 0.0, 2.0", "-0.3034 0.0 1.944"),
    ),
    Row(
        "gelu",
        "GELU",
        formula="x * P(Z <= x), where Z is normal with mean 0 and variance 1",
        paper="Hendrycks & Gimpel, Gaussian Error Linear Units, 2016",
        residual="x",
        value=lambda x: twins.times(x, twins.normal_cdf(x)),
        slope=lambda x: (
            twins.normal_cdf(x) + twins.times(x, np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))
        ),
        curvature=gelu_curvature,
        limits={-INF: 0.0, INF: INF, 0.0: 0.0},
        approximate={"tanh": "gelu_tanh"},
        example=("-1.0, 0.0, 2.0", "-0.1587 0.0 1.9545"),
    ),
    Row(
        "gelu_tanh",
        "",
        formula="x / (1 + exp(-2 sqrt(2 / pi) (x + 0.044715 x^3))), an approximation of gelu",
        paper="Hendrycks & Gimpel, Gaussian Error Linear Units, 2016",
        residual="x",
        value=lambda x: twins.times(x, twins.sigmoid(x * (GELU_LINE + GELU_CUBE * x * x))),
        slope=lambda x: (
            (s := twins.sigmoid(x * (GELU_LINE + GELU_CUBE * x * x)))
            + twins.times(x * (GELU_LINE + 3 * GELU_CUBE * x * x), s * (1 - s))
        ),
        curvature=gelu_tanh_curvature,
        limits={-INF: 0.0, INF: INF, 0.0: 0.0},
        example=("-1.0, 0.0, 2.0", "-0.1588 0.0 1.9546"),
    ),
    Row(
        "tanhshrink",
        "Tanhshrink",
        formula="x - tanh(x)",
        paper="Kavukcuoglu, Ranzato & LeCun, Fast Inference in Sparse Coding Algorithms, 2008",
        residual="x",
        value=lambda x: twins.tanhshrink(x),
        slope=lambda x: np.tanh(x) ** 2,
        curvature=tanhshrink_curvature,
        limits={-INF: -INF, INF: INF, 0.0: 0.0},
        example=("-1.0, 0.0, 2.0", "-0.2384 0.0 1.036"),
    ),
    Row(
        "softshrink",
        "Softshrink",
        formula="x - lambd for x > lambd, x + lambd for x < -lambd, 0 between",
        paper="Donoho, De-Noising by Soft-Thresholding, IEEE Transactions on Information Theory 41, 1995",
        residual="y",
        value=lambda x, k: np.where(x > k, x - k, np.where(x < -k, x + k, 0 * x)),
        slope=lambda y, k: np.where(y == 0, 0, 1),
        params={"lambd": 0.5},
        check=(lambda k: k >= 0, "lambd must not be negative"),
        kinks=lambda k: {-k: 0.0, k: 0.0},
        kink_note="At -lambd and lambd the slope is 0, that of the flat side.",
        limits={-INF: -INF, INF: INF, 0.0: 0.0, 0.5: 0.0},
        example=("-2.0, 0.5, 2.0", "-1.5 0.0 1.5"),
    ),
    Row(
        "hardshrink",
        "Hardshrink",
        formula="x for |x| > lambd, 0 otherwise",
        paper="Donoho & Johnstone, Ideal Spatial Adaptation by Wavelet Shrinkage, Biometrika 81, 1994",
        residual="y",
        value=lambda x, k: np.where(np.abs(x) <= k, 0, x),
        slope=lambda y, k: np.where(y == 0, 0, 1),
        params={"lambd": 0.5},
        check=(lambda k: k >= 0, "lambd must not be negative"),
        kinks=lambda k: {-k: 0.0, k: 0.0},
        kink_note="At -lambd and lambd, where it jumps, the slope is 0.",
        limits={-INF: -INF, INF: INF, 0.0: 0.0, 0.5: 0.0},
        example=("-2.0, 0.5, 2.0", "-2.0 0.0 2.0"),
    ),
    Row(
        "threshold",
        "Threshold",
        formula="x for x > threshold, value otherwise",
        paper="McCulloch & Pitts, A Logical Calculus of the Ideas Immanent in Nervous Activity, 1943",
        residual="x",
        value=lambda x, t, v: np.where(x <= t, np.asarray(v), x),
        slope=lambda xy, t, v: np.where(xy <= t, 0, 1),
        params={"threshold": 0.5, "value": -0.25},
        required=True,
        kinks=lambda t, v: {t: 0.0},
        kink_note="At the threshold the slope is 0.",
        limits={-INF: -0.25, INF: INF, 0.5: -0.25},
        inplace=True,
        from_y={"check": (lambda t, v: v <= t, f"inplace needs value <= threshold {SIGN_LOST}")},
        example=("-2.0, 0.5, 2.0", "-0.25 -0.25 2.0"),
    ),
]
ACTIVATIONS = {row.name: row for row in ROWS}
FUNCTIONS = {row.name: function_of(row, ACTIVATIONS) for row in ROWS}
sigmoid, tanh, softplus = (FUNCTIONS[name] for name in ("sigmoid", "tanh", "softplus"))

# What the kernels have: each row, and the forms written in y whose slope is another formula.
KERNEL_ROWS = {row.name: row for row in [*(in_y(row) for row in ROWS if row.from_y), *ROWS]}
twins.ACTIVATIONS.update({row.name: (row.value, row.slope) for row in KERNEL_ROWS.values()})


def identity(x: Any) -> Tensor:
    """identity(x) = x."""
    return as_tensor(x)


def fused_row(activation: str | tuple, owner: str = "affine") -> tuple[Row, float, float]:
    """The row and the parameters of an activation that another op applies to its result: the slope is found from y.

    `activation`: a name, which means its default parameters, or (name, *parameters). ValueError: there is no such
    activation, its slope is not found from y, or its parameters do not fit.
    """
    return _fused_row(
        activation if isinstance(activation, (str, tuple)) else (repr(activation),), owner
    )


@cache
def _fused_row(activation: str | tuple, owner: str) -> tuple[Row, float, float]:
    name, *values = (activation,) if isinstance(activation, str) else activation
    row = ACTIVATIONS.get(name)
    fits = row is not None and (row.residual == "y" or row.from_y)
    if row is None or not fits or (row.required and isinstance(activation, str)):
        names = [r.name for r in ROWS if not r.required and (r.residual == "y" or r.from_y)]
        raise ValueError(f"{owner}: activation: expected one of {', '.join(names)}, got {name!r}")
    if isinstance(activation, str):
        values = list(row.params.values())
    if len(values) != len(row.params):
        expected = ", ".join(("name", *row.params))
        raise ValueError(f"{owner}: activation: expected ({expected}), got {activation!r}")
    values = row.as_floats(*values, owner=f"{owner}: activation: {name}")
    for form in (row, in_y(row)):
        form.check_params(*values, owner=f"{owner}: activation: {name}")
    return in_y(row), values[0] if values else 0.0, values[1] if len(values) > 1 else 0.0
