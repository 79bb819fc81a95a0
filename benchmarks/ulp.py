"""Measures how far each function of ``_kernels/math`` and each activation is from the true value in ulp.

    python benchmarks/ulp.py                      one float32 number in 256, and 10^5 of float64: two minutes
    python benchmarks/ulp.py --all                every float32 number, and 10^7 of float64
    python benchmarks/ulp.py --curved             every float32 number of size 2^-14 to 192, one in 64 of the others,
                                                  and 10^6 of float64
    python benchmarks/ulp.py --curved 16          one block in 16 of these, and one in 1024 of the others: minutes
    python benchmarks/ulp.py --all --only tanh,gelu
    python benchmarks/ulp.py --all --write docs/accuracy.md

An ulp is the distance between the two floating-point numbers around the true value (2^-149 and 2^-1074 at least, so
subnormal results count too). Values and slopes are compared at every CPU level with a wider type (truth.py; ulp.c and
truth.h are its C), which is itself compared with mpmath first. Besides the error: how often the result becomes smaller
from one number to the next, and whether zeros have the right sign and infinities are where they belong. The tests take
the definitions in mpmath and NumPy from here.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import mpmath as mp
import numpy as np

import minidl as md
from minidl import _kernels as K
from minidl.ops.activations.table import ROWS

sys.path.insert(0, str(Path(__file__).parent))
import truth

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


def in_pytorch(name: str) -> Callable[[np.ndarray, float, float], np.ndarray] | None:
    """How PyTorch computes it of x and the parameters; None where PyTorch is not installed."""
    try:
        import torch
    except ModuleNotFoundError:
        return None
    torch.set_num_threads(1)
    special = {
        "gelu_tanh": lambda x, a, b: torch.nn.functional.gelu(x, approximate="tanh"),
        "normal_cdf": lambda x, a, b: torch.special.ndtr(x),
    }
    count = next((len(row.params) for row in ROWS if row.name == name), 0)
    found = getattr(torch.nn.functional if name in ACTIVATIONS else torch, name, None)
    run = special.get(name, lambda x, a, b: found(x, *(a, b)[:count]))
    return lambda x, a, b: run(torch.from_numpy(x), a, b).numpy()


def pytorch_version() -> dict[str, str]:
    try:
        import torch
    except ModuleNotFoundError:
        return {"torch": "was not installed", "capability": "none"}
    return {"torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability()}


# Where the true value never falls. (Of the others most have a minimum.)
MONOTONE = set(ACTIVATIONS) | set(TRUTH) - {"sin", "cos", "tan", "cosh"}
MONOTONE -= {"silu", "hardswish", "mish", "gelu", "gelu_tanh", "hardshrink"}
BLOCK = 1 << 17


CURVED = (
    2.0**-14,
    192.0,
)  # the sizes of x where no function has come to a limit, linear or constant


class Sample(NamedTuple):
    """Which numbers are tried."""

    every: int  # float32: each such block of all numbers,
    curved: int  # each such block of those with numbers of these sizes (0: none),
    float64: int  # and so many of float64

    def blocks(self) -> list[int]:
        """The first float32 number of each block."""
        starts = range(0, truth.FLOATS, BLOCK)
        return [
            first
            for i, first in enumerate(starts)
            if i % self.every == 0
            or (self.curved and i % self.curved == 0 and self._is_curved(first))
        ]

    def _is_curved(self, first: int) -> bool:
        ends = np.abs(truth.floats(first, BLOCK)[[0, -1]])
        return bool(ends.max() >= CURVED[0] and ends.min() <= CURVED[1])

    def __str__(self) -> str:
        everywhere, curved = (
            "every number" if n == 1 else f"one block of {BLOCK:,} numbers in {n}"
            for n in (self.every, self.curved or 1)
        )
        if not self.curved:
            return everywhere
        return f"{curved} of those whose size is 2^-14 to 192, and {everywhere} of the others"


def blocks(dtype: str, sample: Sample, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The numbers, ascending; of float64 every other one is a successor."""
    if dtype == "float32":
        for first in sample.blocks():
            yield truth.floats(first, BLOCK)
        return
    n = sample.float64 // 2
    bits = rng.integers(0, 2**64, n // 4, dtype=np.uint64).view(np.float64)
    wide = rng.uniform(-750, 750, n // 4)
    dense = np.exp(rng.uniform(math.log(1e-3), math.log(40), n // 2)) * rng.choice([-1, 1], n // 2)
    x = np.concatenate([bits[np.isfinite(bits)], wide, dense, [-math.inf, -0.0, 0.0]])
    x = np.sort(np.concatenate([x, np.nextafter(x, math.inf)]))
    yield from np.array_split(x, max(1, len(x) // BLOCK))


def check(name: str, dtype: str, sample: Sample) -> tuple[dict, dict, truth.Findings | None]:
    """{level: what was found} of the values, and of the slopes where it is an activation; and PyTorch's values."""
    md.set_num_threads(1)
    row = next((row for row in ROWS if row.name == name), None)
    a, b = [*(row.params.values() if row else ()), 0.0, 0.0][:2]
    kernels = {level: K.load(level, (*K.MODULES, "mathcheck")) for level in K.available}
    values = {level: truth.Findings() for level in kernels}
    slopes = {level: truth.Findings() for level in kernels}
    torch_values, torch_run = truth.Findings(), in_pytorch(name)
    for x in blocks(dtype, sample, np.random.default_rng(0)):
        t, ones = truth.true(name, x, a, b), np.ones_like(x)
        gradient = truth.true(name, x, a, b, slope=True) if row else t
        for level, kernel in kernels.items():
            y = kernel.activation_forward(name, x, a, b) if row else kernel.math_apply(name, x)
            truth.judge(x, y, t, values[level])
            if row:  # from x or y, as backward has it
                xy, from_y = (y, True) if row.slope_from == "y" else (x, False)
                gx = kernel.activation_backward(name, xy, ones, a, b, from_y)
                truth.judge(x, gx, gradient, slopes[level])
        if torch_run:
            truth.judge(x, torch_run(x, a, b), t, torch_values)
    return values, slopes if row else {}, torch_values if torch_run else None


def line(name: str, dtype: str, sample: Sample) -> str:
    """A row of the table."""
    values, slopes, torch_values = check(name, dtype, sample)
    cells = [f"{v.error:.2f} at {v.at:.9g}" for v in values.values()]
    if torch_values:
        worst = torch_values.error
        cells.append(
            "inf" if math.isinf(worst) else f"{worst:.2f}" if worst < 100 else f"{worst:.1e}"
        )
        cells[-1] += f" at {torch_values.at:.9g}"
    worst = max(values.values(), key=lambda v: v.falls)
    falls = "" if name not in MONOTONE else "yes"
    if falls and worst.falls:
        falls = f"no: {worst.falls:,} ({worst.fall_at:.9g})"
    wrong = [(f"{v.zeros:,} zeros ({v.zero_at:.6g})", v.zeros) for v in values.values()]
    wrong += [
        (f"{v.infinities:,} infinities ({v.infinity_at:.9g})", v.infinities)
        for v in values.values()
    ]
    text, count = max(wrong, key=lambda pair: pair[1])
    slope = max(slopes.values(), key=lambda v: v.near_1, default=None)
    slope_cell = f"{slope.near_1:.2f} at {slope.near_1_at:.6g}" if slope else ""
    return (
        f"| {name} | " + " | ".join([*cells, falls, text if count else "right", slope_cell]) + " |"
    )


def table(names: list[str], dtype: str, sample: Sample, workers: int) -> list[str]:
    levels = list(K.available)
    torch_column = ["PyTorch"] if in_pytorch("tanh") else []
    head = ["function", *levels, *torch_column, "monotone", "zeros, infinities", "slope"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    with ProcessPoolExecutor(workers) as pool:
        for made in pool.map(line, names, [dtype] * len(names), [sample] * len(names)):
            lines.append(made)
            print(dtype, made, file=sys.stderr, flush=True)
    return lines


def check_reference() -> str:
    """How far the wider types are from mpmath, in ulp of the type that is measured."""
    rng, text = np.random.default_rng(1), []
    for dtype in REFERENCE_POINTS:
        n, worst = REFERENCE_POINTS[dtype], 0.0
        x = (np.exp(rng.uniform(math.log(1e-6), math.log(700), n)) * rng.choice([-1, 1], n)).astype(
            dtype
        )
        for row in ROWS:
            exact = activation(row.name).exact
            params = tuple(row.params.values())
            worst = max(worst, truth.against_mpmath(row.name, exact, x, *params) if exact else 0.0)
        for name in set(TRUTH) - {row.name for row in ROWS}:
            inside = x[x > {"log": 0, "log2": 0, "log1p": -1}.get(name, -math.inf)]
            worst = max(worst, truth.against_mpmath(name, TRUTH[name][0], inside))
        text.append(f"{worst:.1g} ulp of {dtype}")
    return " and ".join(text)


REFERENCE_POINTS = {"float32": 300, "float64": 300}
HEAD = """# Accuracy of the activations and of the elementary functions

The largest error found, in ulp (units in the last place of the true value), and where. Half an ulp is the best
possible: the true value, rounded. float32: {share},
from -inf to inf, subnormal ones among them. float64: {n64:,} numbers of all sizes, half of them between 0.001 and 40.
The true values are computed in a wider type, whose own error, against mpmath, is at most {reference}.

* *monotone*: whether the result never becomes smaller from one number to the next; else how often it does, and where.
  Empty: the function itself falls somewhere. float64: for the numbers tried, each with its successor.
* *zeros, infinities*: whether those of the result are where the true value, rounded, has them, with its sign.
* *slope*: the largest error of the gradient at any level, in ulp of the slope or of 1, whichever is larger.

Made by `python benchmarks/ulp.py {arguments} --write docs/accuracy.md` in {minutes:.0f} minutes.

## What to expect

With their default parameters (threshold: 0.5 and -0.25). The limits are 1 ulp for tanh, sigmoid, softplus, logsigmoid,
elu, celu, softsign and hardsigmoid, and 2 ulp for all other activations, which
`tests/kernels/test_activation_accuracy.py` checks on samples. The levels differ because v3 and v4 round a product and a
sum once where the baseline rounds twice.

PyTorch: torch {torch}, on the same numbers, with the instructions that it chose on this machine ({capability}).

Most of them are sums, and each sum that is rounded before it is used costs half an ulp. So what was lost is kept next
to it and added last (`minidl/_kernels/math/compensated.pxd` says how), or the sum is arranged as an exact number and a
smaller one: tanh(x) is x - x^3 / q(x^2) near 0 and 3/4 - (2 - u / 4) / u from there on, u = exp(2x) + 1; mish(x) is
x / 2 + x (d / 2 - 2) / d, d = 1 + (1 + exp(x))^2; softplus(x) near 0 is ln 2 + x / 2 and an even function of x. Where
the textbook's formula loses digits, the kernel uses another one: tanhshrink is x^3 / q(x^2) below 1, the tails of silu,
mish and gelu avoid multiplying x by a number that is already subnormal, and gelu_tanh computes its exponent in two
parts.

**NaN.** The value at NaN is NaN, and so is the slope: also that of relu and the others whose slope is 0 or 1 elsewhere,
and that of PReLU, RReLU, CReLU and GLU. A NaN in the forward pass never becomes a finite gradient.

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--all", action="store_true", help="every float32 number (the same as --every 1)"
    )
    parser.add_argument(
        "--every", type=int, default=256, help="one block of float32 numbers in so many"
    )
    parser.add_argument(
        "--curved",
        type=int,
        nargs="?",
        const=1,
        default=0,
        help="one block of float32 numbers in so many (by default each) where functions are curved",
    )
    parser.add_argument("--only", default="", help="these functions, separated by commas")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--write", type=Path, help="write the tables to this file")
    args = parser.parse_args()
    start = time.perf_counter()
    every = 1 if args.all else 64 * args.curved or args.every
    sample = Sample(every, args.curved, 1_000_000 if args.curved else 10_000_000 // every)
    reference = check_reference()
    print(f"the reference is right to {reference}", file=sys.stderr, flush=True)
    groups = {
        "Activations": [row.name for row in ROWS if row.name in ACTIVATIONS],
        "Elementary functions": [name for name in TRUTH if name not in ACTIVATIONS],
    }
    text = ""
    for title, names in groups.items():
        names = [name for name in names if not args.only or name in args.only.split(",")]
        for dtype in ("float32", "float64") if names else ():
            text += f"## {title}, {dtype}\n\n"
            text += "\n".join(table(names, dtype, sample, args.workers)) + "\n\n"
    head = HEAD.format(
        share=sample,
        n64=sample.float64,
        reference=reference,
        arguments="--all"
        if args.all
        else f"--curved {args.curved}"
        if args.curved
        else f"--every {every}",
        minutes=(time.perf_counter() - start) / 60,
        **pytorch_version(),
    )
    if args.write:
        args.write.write_text(head + text.rstrip() + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
