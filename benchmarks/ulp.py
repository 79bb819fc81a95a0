"""Measures how far each function of ``_kernels/math/elementary.pxd`` and each activation is from the true value in ulp.

    python benchmarks/ulp.py                         prints the table
    python benchmarks/ulp.py --write docs/accuracy.md

An ulp is the distance between the two floating-point numbers around the true value (2^-149 and
2^-1074 at least, so subnormal results count too). float64 is compared with mpmath in 40 digits.
float32 is compared with float64 arithmetic, whose own error is below 1e-5 ulp of float32, and the
worst points are measured again with mpmath. The float64 arithmetic of an activation is its NumPy reference.
"""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import mpmath as mp
import numpy as np

from minidl import _kernels as K
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


def samples(name: str, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """Points from all bit patterns, from the range of finite results, and densely around 1."""
    n = 250_000 if dtype == "float32" else 8_000
    bits = rng.integers(0, 2 ** (32 if dtype == "float32" else 64), n, dtype=np.uint64)
    everywhere = bits.astype(np.uint32 if dtype == "float32" else np.uint64).view(dtype)
    widest = 110 if dtype == "float32" else 750
    wide = rng.uniform(-widest, widest, n)
    dense = np.exp(rng.uniform(math.log(1e-3), math.log(20), 2 * n)) * rng.choice([-1, 1], 2 * n)
    x = np.concatenate([everywhere, wide.astype(dtype), dense.astype(dtype)])
    least = {"log": 0, "log1p": -1}.get(name, -math.inf)
    return x[np.isfinite(x) & (x > least)]


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


def worst(function: Measured, dtype: str, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """(max ulp, at which x)"""
    candidates = np.arange(len(x))
    if dtype == "float32":
        errors = ulps_float32(function.double, x, y)
        candidates = np.argsort(errors)[-20:]
    if function.exact is None:
        errors = errors[candidates]
    else:
        errors = [exact_ulp(function.exact, x[i], y[i], dtype) for i in candidates]
    at = int(np.argmax(errors))
    return errors[at], float(x[candidates[at]])


def table(functions: dict[str, Measured]) -> list[str]:
    levels = list(K.available)
    lines = ["| function | dtype | " + " | ".join(levels) + " |", "|---" * (2 + len(levels)) + "|"]
    for name, function in functions.items():
        for dtype in MANTISSA if function.exact else ["float32"]:
            x = samples(name, dtype, np.random.default_rng(0))
            cells = []
            for level in levels:
                error, at = worst(
                    function, dtype, x, function.run(K.load(level, (*K.MODULES, "mathcheck")), x)
                )
                cells.append(f"{error:.2f} at {at:.6g}")
            lines.append(f"| {name} | {dtype} | " + " | ".join(cells) + " |")
            print(lines[-1], file=sys.stderr, flush=True)
    return lines


HEAD = """# Accuracy of the activations and of the elementary functions

The largest error found, in ulp (units in the last place of the true value), and where. Half an ulp
is the best possible. The points are drawn from all bit patterns (subnormal numbers included), from
the range of finite results and densely around 1: about {n32} for float32, compared in
float64 and the worst of them with mpmath, and {n64} for float64, all compared with mpmath. A
denser search finds slightly more. The levels differ because v3 and v4 round a product and a sum
once where the baseline rounds twice.

Made by `python benchmarks/ulp.py --write docs/accuracy.md`.

## Activations

With their default parameters (threshold: 0.5 and -0.25). The limit is 2 ulp, and 4 for those that
are composed of several functions (elu, selu, celu, logsigmoid, tanh, softplus, silu, mish, both gelu, tanhshrink);
`tests/kernels/test_activation_accuracy.py` checks it. Where the textbook's formula loses digits, the
kernel uses another one: tanhshrink has a polynomial below 1, the tails of silu, mish and gelu avoid
multiplying x by a number that is already subnormal, and gelu_tanh computes its exponent in two
parts.

{activations}

## Elementary functions

The functions that the loops use: `minidl/_kernels/math`. The limit is 2 ulp for `exp expm1 log log1p sigmoid sin
cos` and 4 for the others; `tests/kernels/test_math.py` checks it.

{functions}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="write the table to this file")
    args = parser.parse_args()
    n32, n64 = (len(samples("tanh", d, np.random.default_rng(0))) for d in MANTISSA)
    text = HEAD.format(
        n32=f"{n32:,}",
        n64=f"{n64:,}",
        activations="\n".join(table({row.name: activation(row.name) for row in ROWS})),
        functions="\n".join(table({name: math_function(name) for name in TRUTH})),
    )
    if args.write:
        args.write.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
