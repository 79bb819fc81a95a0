"""elementary.pxd and normal.pxd against mpmath: error in ulp, special values, the same bits at every position."""

import math
from functools import lru_cache

import mpmath as mp
import numpy as np
import pytest

from minidl import _kernels as K

INF, NAN, HALF_PI = math.inf, math.nan, math.pi / 2
DTYPES = ("float32", "float64")


def math_apply(level):
    return K.load(level, ("mathcheck",)).math_apply


def ncdf(x):
    return mp.ncdf(max(-60, min(x, 60)))  # beyond, 0 or 1 in either type, and mpmath overflows


# name: (true value, largest error allowed in ulp, domain: x greater than this)
ROWS = {
    "exp": (mp.exp, 2, -INF),
    "expm1": (mp.expm1, 2, -INF),
    "log": (mp.log, 2, 0),
    "log1p": (mp.log1p, 2, -1),
    "sigmoid": (lambda x: 1 / (1 + mp.exp(-x)), 1, -INF),
    "tanh": (mp.tanh, 1, -INF),
    "softplus": (lambda x: mp.log1p(mp.exp(x)), 1, -INF),
    "erf": (mp.erf, 2, -INF),
    "normal_cdf": (ncdf, 4, -INF),
    "gelu": (lambda x: x * ncdf(x), 4, -INF),
    "sin": (mp.sin, 2, -INF),
    "cos": (mp.cos, 2, -INF),
    "tan": (mp.tan, 3, -INF),
    "arctan": (mp.atan, 2, -INF),
    "sinh": (mp.sinh, 2, -INF),
    "cosh": (mp.cosh, 2, -INF),
    "log2": (lambda x: mp.log(x, 2), 2, 0),
}
# name: (x, y) pairs, exact
SPECIAL = {
    "exp": [(0.0, 1), (-0.0, 1), (INF, INF), (-INF, 0), (1e30, INF), (-1e30, 0)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1), (1e30, INF), (-1e30, -1)],
    "log": [(0.0, -INF), (-0.0, -INF), (INF, INF), (-INF, NAN), (-1, NAN), (-1e-40, NAN), (1, 0.0)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1, -INF), (INF, INF), (-INF, NAN), (-2, NAN)],
    "sigmoid": [(0.0, 0.5), (-0.0, 0.5), (INF, 1), (-INF, 0), (1e30, 1), (-1e30, 0)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1), (-INF, -1), (1e30, 1), (-1e30, -1), (30, 1)],
    "softplus": [(INF, INF), (-INF, 0), (1e4, 1e4), (-1e4, 0), (1e30, 1e30), (-1e30, 0)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (INF, 1), (-INF, -1), (1e30, 1), (-1e30, -1), (7, 1)],
    "normal_cdf": [(0.0, 0.5), (-0.0, 0.5), (INF, 1), (-INF, 0), (1e30, 1), (-1e30, 0)],
    "gelu": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, 0), (1e30, 1e30), (-1e30, 0)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "cos": [(0.0, 1), (-0.0, 1), (INF, NAN), (-INF, NAN)],
    "tan": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "arctan": [(0.0, 0.0), (-0.0, -0.0), (INF, HALF_PI), (-INF, -HALF_PI), (1e30, HALF_PI)],
    "sinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (1e30, INF), (-1e30, -INF)],
    "cosh": [(0.0, 1), (-0.0, 1), (INF, INF), (-INF, INF), (1e30, INF), (-1e30, INF)],
    "log2": [(0.0, -INF), (-0.0, -INF), (INF, INF), (-INF, NAN), (-1, NAN), (-1e-40, NAN)]
    + [(2.0**k, k) for k in range(-126, 128)],
}
ODD = (
    "expm1",
    "log1p",
    "tanh",
    "erf",
    "sin",
    "tan",
    "arctan",
    "sinh",
)  # these keep the zero's sign
each_level = pytest.mark.parametrize("level", K.available)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_name = pytest.mark.parametrize("name", ROWS)


def integers(dtype):
    return np.uint32 if dtype == "float32" else np.uint64


@lru_cache
def grid(name: str, dtype: str) -> np.ndarray:
    """Every exponent (every eighth in float64) with both signs, subnormals, where results turn
    subnormal or overflow, and 500 points of everyday size."""
    rng = np.random.default_rng(5)
    info = np.finfo(dtype)
    exponents = np.arange(info.minexp, info.maxexp, 1 if dtype == "float32" else 8)
    every = np.ldexp(rng.uniform(1, 2, len(exponents)).astype(dtype), exponents).astype(dtype)
    low, high = math.log(float(info.smallest_subnormal)), math.log(float(info.max))
    parts = [
        every,
        -every,
        np.array([1, 2, 3, 1000], integers(dtype)).view(dtype),
        -np.array([1, 2, 3, 1000], integers(dtype)).view(dtype),
        np.linspace(low * 1.01, low * 0.8, 60).astype(dtype),
        np.linspace(high * 0.99, high * 1.01, 60).astype(dtype),
        np.linspace(-math.sqrt(-2 * low), -math.sqrt(-2 * low) * 0.9, 60).astype(dtype),
        (np.exp(rng.uniform(-5, 3, 500)) * rng.choice([-1, 1], 500)).astype(dtype),
    ]
    x = np.concatenate(parts)
    return x[x > ROWS[name][2]]


@lru_cache
def truth(name: str, dtype: str) -> list:
    with mp.workdps(40):
        return [ROWS[name][0](mp.mpf(float(x))) for x in grid(name, dtype)]


def ulp_error(y, true, dtype: str) -> float:
    info = np.finfo(dtype)
    if abs(true) > float(info.max):
        return 0 if math.isinf(y) else INF
    with mp.workdps(40):
        _, exponent = mp.frexp(true)
        ulp = mp.mpf(2) ** max(exponent - info.nmant - 1, info.minexp - info.nmant)
        return float(abs(mp.mpf(float(y)) - true) / ulp) if math.isfinite(y) else INF


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal bit by bit."""
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()


@each_level
@each_dtype
@each_name
def test_error_in_ulp(name, dtype, level):
    x = grid(name, dtype)
    y = math_apply(level)(name, x)
    errors = [ulp_error(v, t, dtype) for v, t in zip(y, truth(name, dtype), strict=True)]
    worst = int(np.argmax(errors))
    assert errors[worst] <= ROWS[name][1], f"{errors[worst]} ulp at x = {x[worst]!r}"


@each_dtype
@each_name
def test_the_meter_sees_a_result_that_is_five_ulp_off(name, dtype):
    x = grid(name, dtype)
    y = np.array([float(t) for t in truth(name, dtype)], np.float64)
    with np.errstate(over="ignore"):
        y = y.astype(dtype)
    at = int(np.argmin(np.abs(x - 2)))
    wrong = (y[at : at + 1].view(integers(dtype)) + integers(dtype)(5)).view(dtype)[0]
    assert ulp_error(y[at], truth(name, dtype)[at], dtype) <= 0.51
    assert 4 < ulp_error(wrong, truth(name, dtype)[at], dtype) < 6


@each_level
@each_dtype
@each_name
def test_special_values(name, dtype, level):
    x, want = np.array([*SPECIAL[name], (NAN, NAN), (-NAN, NAN)], dtype).T.copy()
    y = math_apply(level)(name, x)
    np.testing.assert_array_equal(y, want)
    if name in ODD:
        assert list(np.signbit(y[:2])) == [False, True]


@each_level
@each_dtype
@pytest.mark.parametrize("name", ["expm1", "log1p", "tanh", "sin", "tan", "arctan", "sinh"])
def test_subnormal_numbers_pass_unchanged(name, dtype, level):
    x = np.array([1, 2, 77, 4095], integers(dtype)).view(dtype)
    for sign in (1, -1):
        assert same(math_apply(level)(name, sign * x), sign * x)


@each_level
@each_dtype
@each_name
def test_bits_do_not_depend_on_the_position(name, dtype, level):
    # The compiler makes a vector body and a scalar tail: both must round alike.
    apply = math_apply(level)
    rng = np.random.default_rng(3)
    x = (np.exp(rng.uniform(-6, 4.6, 515)) * rng.choice([-1, 1], 515)).astype(dtype)
    x = np.abs(x) if ROWS[name][2] > -INF else x
    whole = apply(name, x)
    alone = np.concatenate([apply(name, x[i : i + 1]) for i in range(len(x))])
    assert same(whole, alone)
    for length in (2, 3, 5, 7, 9, 15, 17, 31, 33, 63, 65, 129):
        for start in (0, 1, 3, 100):
            piece = x[start : start + length].copy()
            assert same(apply(name, piece), whole[start : start + length])


@each_level
def test_out_and_empty_arrays(level):
    apply = math_apply(level)
    x = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)
    want = apply("tanh", x)
    assert apply("tanh", x, x) is x
    assert same(x, want)
    assert apply("exp", np.empty((0, 3))).shape == (0, 3)


def test_bad_input_is_named():
    apply = math_apply("baseline")
    x = np.zeros(4, np.float32)
    with pytest.raises(ValueError, match=r"expected one of exp, .*got 'sec'"):
        apply("sec", x)
    with pytest.raises(TypeError, match="x: expected a float32 or float64 array, got int64"):
        apply("exp", np.zeros(4, np.int64))
    with pytest.raises(TypeError, match=r"x: expected .* got list"):
        apply("exp", [0.0])
    with pytest.raises(ValueError, match="x: expected a C-contiguous array"):
        apply("exp", x[::2])
    with pytest.raises(ValueError, match=r"out: expected a writable float32 array of shape \(4,\)"):
        apply("exp", x, np.zeros(4, np.float64))
