"""Initializers: their distributions, fans, seeds and errors."""

import copy
import math

import numpy as np
import pytest

import minidl as md
from minidl import init

WEIGHT = (200, 300)
KERNEL = (20, 30, 5, 5)  # fan_in 750, fan_out 500


def symmetric(bound):
    return -bound, bound


# initializer, shape, mean, standard deviation, bounds (None: there are none)
MOMENTS = [
    (init.Uniform(), WEIGHT, 0.0, 1 / math.sqrt(3), (-1.0, 1.0)),
    (init.Uniform(0.0, 2.0, multiplier=0.25), WEIGHT, 0.25, 0.25 / math.sqrt(3), (0.0, 0.5)),
    (init.Normal(), WEIGHT, 0.0, 1.0, None),
    (init.Normal(3.0, 0.5, multiplier=2.0), WEIGHT, 6.0, 1.0, None),
    (init.TruncatedNormal(), WEIGHT, 0.0, 0.8796, (-2.0, 2.0)),
    (init.TruncatedNormal(1.0, 0.02, bound=1.0), WEIGHT, 1.0, 0.02 * 0.5396, (0.98, 1.02)),
    (init.GlorotUniform(), WEIGHT, 0.0, math.sqrt(2 / 500), symmetric(math.sqrt(6 / 500))),
    (init.GlorotNormal(gain=3.0), WEIGHT, 0.0, 3 * math.sqrt(2 / 500), None),
    (init.HeUniform(), KERNEL, 0.0, math.sqrt(2 / 750), symmetric(math.sqrt(6 / 750))),
    (init.HeNormal(), KERNEL, 0.0, math.sqrt(2 / 750), None),
    (init.HeNormal(negative_slope=1.0), KERNEL, 0.0, math.sqrt(1 / 750), None),
    (init.LecunUniform(), KERNEL, 0.0, math.sqrt(1 / 750), symmetric(math.sqrt(3 / 750))),
    (init.LecunNormal(), WEIGHT, 0.0, math.sqrt(1 / 300), None),
    (init.VarianceScaling(2.0, "fan_out", "uniform"), KERNEL, 0.0, math.sqrt(2 / 500), None),
    (init.VarianceScaling(), WEIGHT, 0.0, math.sqrt(1 / 300), symmetric(2 / 0.8796 / 300**0.5)),
    (init.Orthogonal(gain=2.0), WEIGHT, 0.0, 2 / math.sqrt(300), None),
]
EVERY = [
    init.Constant(0.5),
    *{type(row[0]): row[0] for row in MOMENTS}.values(),
]


@pytest.mark.parametrize(("initializer", "shape", "mean", "std", "bounds"), MOMENTS, ids=repr)
def test_mean_deviation_and_bounds(initializer, shape, mean, std, bounds):
    values = initializer(shape, rng=0, dtype="float64")
    assert values.mean() == pytest.approx(mean, abs=5 * std / math.sqrt(values.size))
    assert values.std() == pytest.approx(std, rel=0.02)
    if bounds is not None:
        low, high = bounds
        near = 0.01 * (high - low)
        assert low <= values.min() < low + near and high - near < values.max() <= high


def test_constant():
    values = init.Constant(1.0, multiplier=0.25)(3)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, [0.25, 0.25, 0.25])


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4), (4, 3, 2, 2), (20, 3, 2)])
def test_orthogonal_rows_or_columns(shape):
    q = init.Orthogonal()(shape, rng=0, dtype="float64").reshape(shape[0], -1)
    q = q if q.shape[0] <= q.shape[1] else q.T
    np.testing.assert_allclose(q @ q.T, np.eye(len(q)), atol=1e-12)


@pytest.mark.parametrize("initializer", EVERY, ids=repr)
def test_seeds_dtypes_and_shapes(initializer):
    shape = (6, 4)
    a = initializer(shape, rng=7)
    assert a.dtype == np.float32 and a.shape == shape and a.flags.c_contiguous and a.flags.writeable
    np.testing.assert_array_equal(a, initializer(shape, rng=np.random.default_rng(7)))
    np.testing.assert_array_equal(a, initializer(list(shape), 7, np.float64).astype(np.float32))
    md.manual_seed(7)
    np.testing.assert_array_equal(a, initializer(shape))
    assert initializer((0, 3)).shape == (0, 3)
    if not isinstance(initializer, init.Constant):
        assert not np.array_equal(a, initializer(shape, rng=8))
    np.testing.assert_array_equal(a, copy.deepcopy(initializer)(shape, rng=7))


def test_the_caller_may_tell_the_fans():
    values = init.HeNormal()((1000, 10), rng=0, dtype="float64", fan=(50, 1))
    assert values.std() == pytest.approx(math.sqrt(2 / 50), rel=0.05)
    assert init.GlorotUniform()((3,), fan=(3, 3)).shape == (3,)


@pytest.mark.parametrize("initializer", [init.HeNormal(), init.GlorotUniform(), init.Orthogonal()])
@pytest.mark.parametrize("shape", [5, (5,), ()])
def test_a_shape_that_tells_no_fans(initializer, shape):
    with pytest.raises(ValueError, match="two axes"):
        initializer(shape)


def test_scalars():
    for initializer in (init.Normal(), init.Uniform(), init.TruncatedNormal(), init.Constant(2.0)):
        assert initializer(()).shape == ()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: init.Constant(math.nan), ValueError, "Constant: value"),
        (lambda: init.Constant("1"), TypeError, "Constant: value"),
        (lambda: init.Constant(1.0, multiplier=math.inf), ValueError, "multiplier"),
        (lambda: init.Uniform(1.0, -1.0), ValueError, "low"),
        (lambda: init.Normal(std=-1.0), ValueError, "Normal: std"),
        (lambda: init.TruncatedNormal(bound=0.0), ValueError, "bound"),
        (lambda: init.VarianceScaling(mode="fan"), ValueError, "mode"),
        (lambda: init.VarianceScaling(distribution="gauss"), ValueError, "distribution"),
        (lambda: init.VarianceScaling(scale=-1.0), ValueError, "scale"),
        (lambda: init.HeNormal(negative_slope=math.nan), ValueError, "HeNormal: negative_slope"),
        (lambda: init.Normal()((2, -1)), ValueError, "shape"),
        (lambda: init.Normal()(2.5), TypeError, "shape"),
        (lambda: init.Normal()(2, dtype="int32"), TypeError, "dtype"),
        (lambda: init.Normal()(2, rng="seed"), TypeError, "rng"),
    ],
)
def test_bad_settings(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_repr_shows_the_settings():
    assert repr(init.Constant(1.0, multiplier=0.25)) == "Constant(value=1.0, multiplier=0.25)"
    assert repr(init.HeNormal()).startswith("HeNormal(scale=2.0, mode='fan_in'")
