"""What the functions are: their true values in mpmath and NumPy, how they are run, how far a result is off in ulp."""

import math
from collections.abc import Callable
from typing import NamedTuple

import mpmath as mp
import numpy as np

from accuracy import truth
from minidl.ops.activations.table import ROWS

mp.mp.dps = 40


def _each(function, x):
    return np.frompyfunc(function, 1, 1)(x).astype(np.float64)


def _normal_cdf(x):
    return _each(lambda v: 0.5 * math.erfc(-v / math.sqrt(2)), x)


def _exact_normal_cdf(x):
    return mp.ncdf(max(-60, min(x, 60)))  # beyond, 0 or 1 in either type; mpmath would overflow


# name: (true value in mpmath, the same in float64)
TRUTH = {
    "exp": (mp.exp, np.exp),
    "expm1": (mp.expm1, np.expm1),
    "log": (mp.log, np.log),
    "log1p": (mp.log1p, np.log1p),
    "sigmoid": (
        lambda x: 1 / (1 + mp.exp(-x)),
        lambda x: np.where(x < 0, np.exp(-abs(x)), 1) / (1 + np.exp(-abs(x))),
    ),
    "tanh": (mp.tanh, np.tanh),
    "softplus": (lambda x: mp.log1p(mp.exp(x)), lambda x: np.logaddexp(0, x)),
    "erf": (mp.erf, lambda x: _each(math.erf, x)),
    "normal_cdf": (_exact_normal_cdf, _normal_cdf),
    "gelu": (lambda x: x * _exact_normal_cdf(x), lambda x: x * _normal_cdf(x)),
    "sin": (mp.sin, np.sin),
    "cos": (mp.cos, np.cos),
    "tan": (mp.tan, np.tan),
    "arctan": (mp.atan, np.arctan),
    "sinh": (mp.sinh, np.sinh),
    "cosh": (mp.cosh, np.cosh),
    "log2": (lambda x: mp.log(x, 2), np.log2),
}


def _power(x):
    return mp.exp(max(-5000, min(x, 5000)))  # beyond, the result is the same in either type


def _exact_tanhshrink(x):
    if abs(x) > mp.mpf("1e-3"):
        return x - mp.tanh(x)
    series = (mp.mpf(1) / 3, -mp.mpf(2) / 15, mp.mpf(17) / 315, -mp.mpf(62) / 2835)
    return x**3 * sum(c * x ** (2 * i) for i, c in enumerate(series))


_SELU_ALPHA = mp.mpf("1.6732632423543772848170429916717")
_SELU_SCALE = mp.mpf("1.0507009873554804934193349852946")
_LINE = 2 * mp.sqrt(2 / mp.pi)
# name: true value in mpmath of x and the parameters. Rows that are not here are measured in float32 only.
ACTIVATIONS = {
    "relu": lambda x: max(x, 0),
    "leaky_relu": lambda x, a: x if x > 0 else a * x,
    "elu": lambda x, a: x if x > 0 else a * mp.expm1(x),
    "selu": lambda x: _SELU_SCALE * (x if x > 0 else _SELU_ALPHA * mp.expm1(x)),
    "celu": lambda x, a: x if x > 0 else a * mp.expm1(x / a),
    "sigmoid": lambda x: 1 / (1 + _power(-x)),
    "logsigmoid": lambda x: min(x, 0) - mp.log1p(_power(-abs(x))),
    "hardsigmoid": lambda x: min(max(x + 3, 0), 6) / 6,
    "tanh": mp.tanh,
    "hardtanh": lambda x, low, high: min(max(x, low), high),
    "relu6": lambda x: min(max(x, 0), 6),
    "softsign": lambda x: x / (1 + abs(x)),
    "softplus": lambda x, b: max(x, 0) + mp.log1p(_power(-abs(b * x))) / b,
    "silu": lambda x: x / (1 + _power(-x)),
    "hardswish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "mish": lambda x: x * mp.tanh(max(x, 0) + mp.log1p(_power(-abs(x)))),
    "gelu": lambda x: x * _exact_normal_cdf(x),
    "gelu_tanh": lambda x: x / (1 + _power(-_LINE * (x + mp.mpf("0.044715") * x**3))),
    "tanhshrink": _exact_tanhshrink,
    "softshrink": lambda x, k: x - max(-k, min(x, k)),
    "hardshrink": lambda x, k: x if abs(x) > k else 0,
    "threshold": lambda x, t, v: x if x > t else v,
}
MANTISSA = {"float32": 24, "float64": 53}
LEAST = {"float32": -149, "float64": -1074}  # exponent of the smallest subnormal number


class Measured(NamedTuple):
    """A function: its true value, the same in float64, and how a level computes it."""

    exact: Callable | None
    double: Callable
    run: Callable


def math_function(name: str) -> Measured:
    return Measured(*TRUTH[name], lambda kernels, x: kernels.math_apply(name, x))


def activation(name: str) -> Measured:
    row = next(row for row in ROWS if row.name == name)
    params = tuple(row.params.values())
    exact = ACTIVATIONS.get(name)
    return Measured(
        exact and (lambda x: exact(x, *map(mp.mpf, params))),
        lambda x: row.value(x, *params),
        lambda kernels, x: kernels.activation_forward(name, x, *params),
    )


def exact_ulp(exact: Callable, x: float, y: float, dtype: str) -> float:
    true = mp.mpf(exact(mp.mpf(float(x))))
    largest = mp.mpf(float(np.finfo(dtype).max))
    if abs(true) > largest:
        return 0.0 if math.isinf(y) or abs(y) == largest else math.inf
    _, exponent = mp.frexp(true)
    ulp = mp.mpf(2) ** max(exponent - MANTISSA[dtype] if true else -math.inf, LEAST[dtype])
    return float(abs(mp.mpf(float(y)) - true) / ulp) if math.isfinite(y) else math.inf


def ulps_float32(double: Callable, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        true = double(x.astype(np.float64))
        overflow = np.abs(true) > np.finfo(np.float32).max
        _, exponent = np.frexp(np.where(overflow, 1, true))
        exponent = np.where(true == 0, -1000, exponent)
        error = np.abs(y - true) / np.ldexp(1.0, np.maximum(exponent - 24, -149))
    error[overflow] = np.where(np.isinf(y[overflow]), 0, math.inf)
    return np.where(np.isnan(error), math.inf, error)


# Where the true value never falls. (Of the others most have a minimum.)
MONOTONE = set(ACTIVATIONS) | set(TRUTH) - {"sin", "cos", "tan", "cosh"}
MONOTONE -= {"silu", "hardswish", "mish", "gelu", "gelu_tanh", "hardshrink"}
SLOPE_LIMIT = 2.0  # ulp of the slope or of 1, whichever is larger
# Largest error of a value, in ulp; of all other activations it is 2.
ONE_ULP = {"elu", "celu", "sigmoid", "logsigmoid", "hardsigmoid", "tanh", "softsign", "softplus"}


def limit(name: str) -> float:
    return 1.0 if name in ONE_ULP else 2.0


def check_reference(points: int = 300) -> str:
    """How far the wider types are from mpmath, in ulp of the type that is measured, values and slopes."""
    rng, text = np.random.default_rng(1), []
    for dtype in ("float32", "float64"):
        size = np.exp(rng.uniform(math.log(1e-6), math.log(700), points))
        x, worst = (size * rng.choice([-1, 1], points)).astype(dtype), 0.0
        for row in ROWS:
            exact, params = activation(row.name).exact, tuple(row.params.values())
            if exact:
                worst = max(worst, truth.against_mpmath(row.name, exact, x, *params))
                slope = truth.slope_against_mpmath(row.name, exact, x[::10].copy(), *params)
                worst = max(worst, slope)
        for name in set(TRUTH) - {row.name for row in ROWS}:
            inside = x[x > {"log": 0, "log2": 0, "log1p": -1}.get(name, -math.inf)]
            worst = max(worst, truth.against_mpmath(name, TRUTH[name][0], inside))
        text.append(f"{worst:.1g} ulp of {dtype}")
    return " and ".join(text)
