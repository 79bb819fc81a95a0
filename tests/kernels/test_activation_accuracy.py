"""Every activation in ulp: float32 against float64 over all bit patterns, both against mpmath."""

import importlib.util
from functools import lru_cache
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest

from minidl import _kernels as K
from minidl.ops.activations.table import ROWS

ULP = Path(__file__).parents[2] / "benchmarks" / "ulp.py"
spec = importlib.util.spec_from_file_location("ulp", ULP)
ulp = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ulp)

# One rounding, or a few that do not add up to more than 2 ulp; the others are allowed 4.
SIMPLE = {
    *("relu", "leaky_relu", "sigmoid", "hardsigmoid", "hardtanh", "relu6", "softsign"),
    *("hardswish", "softshrink", "hardshrink", "threshold"),
}
EVERY = [row.name for row in ROWS]
each_row = pytest.mark.parametrize("name", EVERY)
each_exact_row = pytest.mark.parametrize("name", [n for n in EVERY if n in ulp.ACTIVATIONS])
each_level = pytest.mark.parametrize("level", K.available)


def allowed(name: str) -> float:
    return 2 if name in SIMPLE else 4


@lru_cache
def points(dtype: str, everywhere: int, dense: int) -> np.ndarray:
    """Finite numbers of all bit patterns, as many subnormal ones as everywhere, and some of everyday size."""
    rng = np.random.default_rng(7)
    bits, mantissa = (32, 23) if dtype == "float32" else (64, 52)
    integers = np.dtype(f"uint{bits}")
    x = rng.integers(0, 2**bits, everywhere, dtype=integers).view(dtype)
    small = rng.integers(0, 2**mantissa, everywhere, dtype=integers).view(dtype)
    usual = np.exp(rng.uniform(np.log(1e-3), np.log(110), dense)).astype(dtype)
    x = np.concatenate([x, small, -small, usual, -usual])
    return x[np.isfinite(x)]


@each_level
@each_row
def test_float32_over_the_whole_range(name, level):
    function, x = ulp.activation(name), points("float32", 10_000, 20_000)
    errors = ulp.ulps_float32(function.double, x, function.run(K.load(level), x))
    at = int(np.argmax(errors))
    assert errors[at] <= allowed(name), f"{errors[at]} ulp at x = {x[at]!r}"


@each_exact_row
def test_float64_and_the_reference_against_mpmath(name):
    function, x = ulp.activation(name), points("float64", 40, 100)
    runs = {level: function.run(K.load(level), x) for level in K.available}
    with np.errstate(all="ignore"):
        reference = function.double(x)
    with mp.workdps(40):
        for i, at in enumerate(x):
            true = mp.mpf(function.exact(mp.mpf(float(at))))
            if abs(reference[i]) > np.finfo("float64").tiny:
                assert abs(reference[i] - true) <= 1e-11 * abs(true), f"the reference at x = {at!r}"
            for level, y in runs.items():
                error = ulp.exact_ulp(function.exact, at, y[i], "float64")
                assert error <= allowed(name), f"{level}: {error} ulp at x = {at!r}"


def test_the_rows_of_today_have_a_true_value():
    """A new row may do without: it is measured in float32 then, against the reference."""
    assert set(ulp.ACTIVATIONS) - set(EVERY) == set()
    assert SIMPLE - set(EVERY) == set()


def test_the_meter_sees_five_ulp():
    x = np.array([2.0], "float32")
    y = np.nextafter(np.tanh(x), np.float32(2))
    for _ in range(4):
        y = np.nextafter(y, np.float32(2))
    assert 4 < ulp.ulps_float32(np.tanh, x, y)[0] < 6
