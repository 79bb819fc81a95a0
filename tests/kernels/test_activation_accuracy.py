"""Every activation in ulp, on samples: float32 against float64 over all bit patterns, both against mpmath; and what
must be exact: the order of results, zeros' signs, infinities, NaN. `benchmarks/ulp.py --all` looks at every number.
"""

import shutil
import sys
from functools import lru_cache
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest

from minidl import _kernels as K
from minidl._kernels.reference import activations as in_numpy
from minidl.ops.activations.table import ROWS

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from accuracy import definitions as ulp
from accuracy import truth

EXACT = {
    "relu",
    "leaky_relu",
    "hardtanh",
    "relu6",
    "softshrink",
    "hardshrink",
    "threshold",
}  # at most one rounding
EVERY = [row.name for row in ROWS]
each_row = pytest.mark.parametrize("name", EVERY)
each_exact_row = pytest.mark.parametrize("name", [n for n in EVERY if n in ulp.ACTIVATIONS])
each_level = pytest.mark.parametrize("level", K.available)
each_backend = pytest.mark.parametrize("level", [*K.available, "reference"])


def backend(level: str):
    return in_numpy if level == "reference" else K.load(level)


def allowed(name: str) -> float:
    return 0.85 if name in EXACT else ulp.limit(name)  # leaky_relu: the rounded 0.01 counts, too


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
    assert (EXACT | ulp.ONE_ULP | ulp.MONOTONE) - set(EVERY) - set(ulp.TRUTH) == set()


def test_the_meter_sees_five_ulp():
    x = np.array([2.0], "float32")
    y = np.nextafter(np.tanh(x), np.float32(2))
    for _ in range(4):
        y = np.nextafter(y, np.float32(2))
    assert 4 < ulp.ulps_float32(np.tanh, x, y)[0] < 6


@each_level
@pytest.mark.parametrize("name", sorted(ulp.MONOTONE & set(EVERY)))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_step_down_from_a_number_to_the_next(name, dtype, level):
    x = points(dtype, 3000, 10_000)
    run = ulp.activation(name).run
    y, above = run(K.load(level), x), run(K.load(level), np.nextafter(x, x.dtype.type(np.inf)))
    down = x[~(above >= y)]
    assert not len(down), f"{len(down)} steps down, one at x = {down[0]!r}"


@each_level
@pytest.mark.parametrize("start", [0.75, 0.8], ids=["tail", "where the formulas meet"])
def test_erf_does_not_fall(start, level):
    first = np.float32(start).view(np.int32)
    x = np.arange(first, first + 1_000_000, dtype=np.int32).view(np.float32)
    for side in (x, -x[::-1]):
        y = K.load(level, ("mathcheck",)).math_apply("erf", side)
        down = side[1:][np.diff(y) < 0]
        assert not len(down), f"{len(down)} steps down, one at x = {down[0]!r}"


# name: the sign bits of the zeros at x = -0, 0 and where the result is 0 far on the left and on the right
ZEROS = {
    **dict.fromkeys(("elu", "selu", "celu", "tanh", "softsign", "tanhshrink"), "-+"),
    **dict.fromkeys(("silu", "mish", "gelu", "gelu_tanh"), "-+-"),
    **dict.fromkeys(("relu", "relu6"), "+++"),
}


@each_backend
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_sign_of_zeros_is_that_of_the_limit(dtype, level):
    kernels, far = backend(level), 1e4
    for name, signs in ZEROS.items():
        x = np.array([-0.0, 0.0, -far][: len(signs)], dtype)
        y = ulp.activation(name).run(kernels, x)
        assert [(v, s) for v, s in zip(y, np.signbit(y), strict=True)] == [
            (0, s == "-") for s in signs
        ], name
    for name, x, negative in [
        ("sigmoid", -far, False),
        ("softplus", -far, False),
        ("logsigmoid", far, True),
    ]:
        y = ulp.activation(name).run(kernels, np.full(20, x, dtype))
        assert (y == 0).all() and (np.signbit(y) == negative).all(), name


@each_backend
def test_selu_is_finite_where_its_value_is(level):
    largest = np.float32(np.finfo("float32").max)
    below = np.array([float(largest) / 1.0507009873554805], np.float32)
    x = np.array([below[0], np.nextafter(below[0], np.float32(np.inf))])
    true = x.astype(np.float64) * 1.0507009873554805
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(
            backend(level).activation_forward("selu", x), true.astype("float32")
        )


@each_backend
@each_row
def test_value_and_slope_at_nan_are_nan(name, level):
    row = next(row for row in ROWS if row.name == name)
    a, b = [*row.params.values(), 0.0, 0.0][:2]
    kernels = backend(level)
    for dtype in ("float32", "float64"):
        x = np.array([np.nan, 0.25, -np.nan] * 9, dtype)
        y = kernels.activation_forward(name, x, a, b)
        xy = y if row.slope_from == "y" else x
        gx = kernels.activation_backward(name, xy, np.ones_like(x), a, b, row.slope_from == "y")
        for found in (y, gx):
            np.testing.assert_array_equal(np.isnan(found), np.isnan(x))


def test_the_reference_of_the_full_check():
    """truth.h against mpmath, and a wrong result, which the comparison in C must find."""
    if shutil.which("cc") is None or np.finfo(np.longdouble).nmant < 63:
        pytest.skip("needs a C compiler and a long double of 64 bits")
    x = np.array([-87.5, -5.5, -1.0, -0.01, -1e-30, 0.0, 0.3, 0.99, 7.0, 30.0], np.float32)
    for dtype, allowed_error in (("float32", 1e-6), ("float64", 0.02)):
        for row in ROWS:
            exact, params = ulp.activation(row.name).exact, row.params.values()
            error = truth.against_mpmath(row.name, exact, x.astype(dtype), *params)
            assert error <= allowed_error, (row.name, dtype, error)
            smooth = x[(x != 0) & (x != -1)].astype(dtype)
            error = truth.slope_against_mpmath(row.name, exact, smooth, *params)
            assert error <= allowed_error, (row.name, "slope", dtype, error)
        found, t = truth.Findings(), truth.true("tanh", x.astype(dtype))
        y = t.astype(dtype)
        truth.judge(x.astype(dtype), y, t, found)
        assert found.error <= 0.5 and not (found.falls or found.zeros or found.infinities)
        y[3], y[5], y[7] = y[2] - 1, -0.0, np.inf
        truth.judge(x.astype(dtype), y, t, found)
        assert found.error > 1e6 and found.falls >= 2 and (found.zeros, found.infinities) == (1, 1)
        assert (found.zero_at, found.infinity_at) == (0, x[7])
