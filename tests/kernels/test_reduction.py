"""The sums against NumPy: every choice of axes, layout, dtype and CPU level; their accuracy and their bits."""

import itertools

import numpy as np
import pytest

from minidl import _kernels as K
from minidl._kernels.reference import reduction as reference

LEVELS = [pytest.param(K.load(level), id=level) for level in K.available]
DTYPES = [np.float32, np.float64]
kernels = pytest.mark.parametrize("kernels", LEVELS)
dtypes = pytest.mark.parametrize("dtype", DTYPES)


def array(shape, dtype, seed=0):
    return np.asarray(np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def close(y, x, axes, keepdims=False, divisor=1.0):
    """Against the sum in extended precision, in units of what was added."""
    expected = np.asarray(x.sum(axis=axes, keepdims=keepdims, dtype=np.longdouble) / divisor)
    size = np.asarray(np.abs(x).sum(axis=axes, keepdims=keepdims, dtype=np.longdouble) / divisor)
    assert type(y) is np.ndarray
    assert y.shape == expected.shape
    assert y.dtype == x.dtype
    assert y.flags.c_contiguous
    assert np.all(np.abs(y - expected) <= 4 * np.finfo(x.dtype).eps * size)


def choices(ndim):
    for count in range(ndim + 1):
        yield from itertools.combinations(range(ndim), count)


SHAPES = [
    (), (1,), (4,), (63,), (64,), (65,), (513,), (1000,), (40000,), (3, 5), (32, 10), (300, 7),
    (1, 9), (5, 1), (2, 3, 4),
    (9, 2, 130), (600, 700), (2, 3, 4, 5), (3, 20, 9, 9), (2, 1, 130, 3), (20000, 3), (3, 20000),
    (2, 600, 2, 3), (4, 2, 20, 2),
]  # fmt: skip


@kernels
@dtypes
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_axes(kernels, dtype, shape):
    x = array(shape, dtype)
    for axes in (None, *choices(len(shape))):
        for keepdims in (False, True):
            close(kernels.sum_axes(x, axes, keepdims), x, axes, keepdims)
        close(kernels.sum_axes(x, axes, False, 7.0), x, axes, False, 7.0)
    if shape:
        close(kernels.sum_axes(x, (-1,)), x, (-1,))


@kernels
@dtypes
def test_layouts(kernels, dtype):
    x = array((4, 5, 6, 3), dtype)
    views = [x.transpose(order) for order in itertools.permutations(range(4))]
    views += [
        x[::2],
        x[:, ::-1],
        x[..., ::2],
        x[::-1, ::2, ::-1, ::-2],
        x[:, :1],
        x[1, 1, 1, 1].reshape(()),
    ]
    views += [np.broadcast_to(x[:, :1, :, :1], x.shape), np.broadcast_to(dtype(2), (3, 4))]
    for view in views:
        for axes in choices(view.ndim):
            close(kernels.sum_axes(view, axes), view, axes)


@kernels
@dtypes
@pytest.mark.filterwarnings("error")
def test_no_elements(kernels, dtype):
    for shape in ((0,), (0, 3), (3, 0), (2, 0, 4)):
        x = np.empty(shape, dtype)
        for axes in (None, *choices(len(shape))):
            for divisor in (1.0, 0.0):
                y, expected = (
                    kernels.sum_axes(x, axes, False, divisor),
                    reference.sum_axes(x, axes, False, divisor),
                )
                np.testing.assert_array_equal(y, expected)
                assert y.dtype == dtype


@kernels
@dtypes
@pytest.mark.parametrize(
    ("shape", "to"),
    [
        ((3, 4), (4,)), ((3, 4), (3, 1)), ((3, 4), (1, 4)), ((3, 4), ()), ((3, 4), (1,)), ((3, 4), (3, 4)),
        ((2, 3, 4, 5), (3, 1, 1)), ((2, 3, 4, 5), (1, 3, 1, 5)), ((0, 3), (3,)), ((2, 0), (2, 1)), ((2, 0), (1, 0)),
        ((1, 3), (1, 1)), ((), ()), ((4,), ()), ((4,), (1,)),
    ],
)  # fmt: skip
def test_sum_to(kernels, dtype, shape, to):
    x = array(shape, dtype)
    y, expected = kernels.sum_to(x, to), reference.sum_to(x, to)
    assert y.shape == to
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@kernels
@dtypes
def test_special_values(kernels, dtype):
    for shape in ((3,), (200,), (20, 3), (3, 200), (17, 33)):
        for value in (np.inf, -np.inf, np.nan):
            x = array(shape, dtype)
            x.flat[1] = value
            for axes in (None, *choices(len(shape))):
                y, expected = kernels.sum_axes(x, axes), reference.sum_axes(x, axes)
                np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
                np.testing.assert_array_equal(np.isinf(y), np.isinf(expected))
    x = np.array([np.inf, -np.inf], dtype)
    assert np.isnan(kernels.sum_axes(x))


@kernels
@dtypes
@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_extrema(kernels, dtype, name, shape):
    x = array(shape, dtype)
    spoilt = x.copy()
    spoilt.flat[-1] = np.nan
    views = [x, spoilt, -np.abs(x), x.T, np.asfortranarray(spoilt)[..., ::-1] if shape else x]
    for view in views:
        for axes in (None, *choices(len(shape))):
            for keepdims in (False, True):
                y = kernels.extremum_axes(name, view, axes, keepdims)
                expected = reference.extremum_axes(name, view, axes, keepdims)
                np.testing.assert_array_equal(y, expected)
                assert (type(y), y.dtype, y.shape) == (np.ndarray, dtype, expected.shape)


@kernels
def test_extrema_of_infinities_zeros_and_nothing(kernels):
    for x in ([-np.inf] * 200, [np.inf] * 3, [0.0, -0.0]):
        for name in ("max", "min"):
            expected = reference.extremum_axes(name, np.array(x))
            np.testing.assert_array_equal(kernels.extremum_axes(name, np.array(x)), expected)
    assert np.signbit(kernels.extremum_axes("max", np.full(300, -0.0)))
    assert kernels.extremum_axes("max", np.zeros((0, 3)), (1,)).shape == (0,)
    with pytest.raises(ValueError, match=r"no elements to choose from .* shape \(0, 3\)"):
        kernels.extremum_axes("max", np.zeros((0, 3)), (0,))
    assert kernels.extremum_axes("max", np.arange(5)) == 4  # integers: NumPy's
    with pytest.raises(KeyError):
        kernels.extremum_axes("median", np.zeros(3))


@kernels
@dtypes
def test_as_exact_as_numpy(kernels, dtype):
    """The mean error over many sums, in every case; all terms positive, so that the errors add up."""
    for shape, axes in (
        ((200000,), (0,)),
        ((20000, 10), (0,)),
        ((10, 20000), (1,)),
        ((40, 5, 1000), (0, 2)),
    ):
        errors = []
        for entry_point in (kernels.sum_axes, reference.sum_axes):
            error = []
            for seed in range(5):
                x = np.random.default_rng(seed).uniform(size=shape).astype(dtype)
                exact = x.sum(axis=axes, dtype=np.longdouble)
                error.append(np.abs(entry_point(x, axes) / exact - 1).mean())
            errors.append(np.mean(error))
        assert errors[0] <= max(errors[1] * 1.2, 0.5 * np.finfo(dtype).eps), (shape, errors)


@kernels
@dtypes
def test_the_mean_of_equal_numbers_is_that_number(kernels, dtype):
    for n in range(1, 200):
        x = np.full(n, 0.1, dtype)
        assert kernels.sum_axes(np.ones(n, dtype), None, False, n) == 1
        assert abs(kernels.sum_axes(x, None, False, n) - x[0]) <= 4 * np.spacing(x[0])


@kernels
@dtypes
def test_same_bits_for_any_number_of_threads(kernels, dtype):
    arrays = [array((700, 601), dtype), array((40, 6, 1400), dtype), array((300000, 2), dtype)]
    before, results = K.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 4):
            K.set_num_threads(threads)
            results.append(
                [kernels.sum_axes(x, axes).tobytes() for x in arrays for axes in choices(x.ndim)]
                + [kernels.extremum_axes("max", x, a).tobytes() for x in arrays for a in choices(2)]
            )
    finally:
        K.set_num_threads(before)
    assert all(result == results[0] for result in results)


@kernels
def test_what_numpy_does(kernels):
    ids = np.arange(12).reshape(3, 4)
    for x in (ids, ids.astype(np.int32), ids > 3, ids.astype(">f4")):
        for entry_point in ("sum_axes", "sum_to"):
            second = (0,) if entry_point == "sum_axes" else (4,)
            y, expected = (
                getattr(kernels, entry_point)(x, second),
                getattr(reference, entry_point)(x, second),
            )
            np.testing.assert_array_equal(y, expected)
            assert y.dtype == expected.dtype


@kernels
def test_bad_input(kernels):
    x = array((3, 4), np.float32)
    with pytest.raises(ValueError, match=r"sum: axis 2 for an array of shape \(3, 4\)"):
        kernels.sum_axes(x, (2,))
    with pytest.raises(ValueError, match="sum: duplicate value in 'axis'"):
        kernels.sum_axes(x, (1, -1))
    for shape in ((3,), (1, 3, 4), (2, 4)):
        with pytest.raises(ValueError, match="sum_to: shape"):
            kernels.sum_to(x, shape)
