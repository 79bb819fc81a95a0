"""Products of rows and their gradients where factors are special, and shares of extrema: scan.pyx, at every level."""

import itertools

import numpy as np
import pytest

from minidl import _kernels as K

LEVELS = [pytest.param(K.load(level), id=level) for level in (*K.available, "reference")]
kernels = pytest.mark.parametrize("kernels", LEVELS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def of_others(x):
    """The product of all other factors of a row, in extended precision."""
    columns = [np.delete(x, i, 1).astype(np.longdouble).prod(1) for i in range(x.shape[1])]
    return np.stack(columns, 1)


@kernels
@dtypes
def test_factors_that_are_zero_or_not_finite(kernels, dtype):
    special = (0.0, -0.0, np.inf, -np.inf, np.nan, 2.0, -3.0)
    for n in (3, 20):
        x = np.array(list(itertools.product(special, repeat=3)), dtype)
        x = np.concatenate([x, np.full((len(x), n - 3), 1.5, dtype)], 1)
        with np.errstate(all="ignore"):
            expected = of_others(x).astype(dtype)
            got = kernels.prod_rows_backward(x, np.ones(len(x), dtype))
            products = np.prod(x, 1, dtype=np.float64).astype(dtype)
        np.testing.assert_array_equal(
            np.signbit(got[~np.isnan(got)]), np.signbit(expected[~np.isnan(got)])
        )
        np.testing.assert_allclose(got, expected, rtol=1e-6)
        np.testing.assert_allclose(kernels.prod_rows(x), products, rtol=1e-6)


@pytest.mark.parametrize("kernels", LEVELS[:-1])
def test_products_out_of_range_have_gradients_in_it(kernels):
    rows = [
        [1e-200, 1e-200, 1e300, 1e100],
        [1e200, 1e200, 1e-150, 3.0],
        [1e-300, 1e-300, 1e-5, 2.0],
    ]
    rows += [[5e-324, 1e300, 7.0, 1.0], [-1e-160, 1e-160, 1e-1, -1e20]]
    x = np.array(rows)
    expected = of_others(x)
    got = kernels.prod_rows_backward(x, np.ones(len(x)))
    with np.errstate(over="ignore", under="ignore"):
        np.testing.assert_allclose(got, expected.astype(float), rtol=1e-14)
    single = np.full((2, 100), 0.01, np.float32)  # its product is 0 in float32
    single[1] = 30
    got = kernels.prod_rows_backward(single, np.ones(2, np.float32))
    np.testing.assert_array_equal(got, [[0] * 100, [np.inf] * 100])


@pytest.mark.parametrize("kernels", LEVELS[:-1])
@dtypes
def test_factors_side_by_side_that_overflow_together(kernels, dtype):
    x = np.ones((2, 16 * 20), dtype)
    x[0, ::16], x[0, 1::16] = 1e30, 1e-30  # each lane multiplies every 16th factor
    x[1, ::16], x[1, 1::16], x[1, 2] = 1e-30, 1e30, -2
    np.testing.assert_allclose(kernels.prod_rows(x), [1, -2], rtol=1e-5)
    got = kernels.prod_rows_backward(x, np.ones(2, dtype))
    np.testing.assert_allclose(got, np.array([[1], [-2]]) / x.astype(float), rtol=1e-5)


@kernels
def test_a_gradient_makes_up_for_a_product_that_overflows(kernels):
    x = np.array([[1e25, 1e25, 1e-3]] * 2, np.float32)
    got = kernels.prod_rows_backward(x, np.array([0, 1e-30], np.float32))
    np.testing.assert_allclose(got, [[0, 0, 0], [1e-8, 1e-8, 1e20]], rtol=1e-6)


@pytest.mark.parametrize("kernels", LEVELS[:-1])
@dtypes
def test_no_gradient_where_none_arrives(kernels, dtype):
    x = np.full((1, 100), 1e30, dtype)  # beyond the range of double
    np.testing.assert_array_equal(kernels.prod_rows(x), [np.inf])
    np.testing.assert_array_equal(
        kernels.prod_rows_backward(x, np.zeros(1, dtype)), np.zeros_like(x)
    )


@kernels
@dtypes
def test_equal_extrema_share_the_gradient(kernels, dtype):
    x = np.array(
        [[1, 3, 3, 0], [np.nan, 1, np.nan, 2], [-0.0, 0, -1, -2], [np.inf, 1, 2, 3]], dtype
    )
    y = x.max(1)
    got = kernels.extremum_rows_backward(x, y, np.array([1, 2, 3, 4], dtype))
    expected = [[0, 0.5, 0.5, 0], [1, 0, 1, 0], [1.5, 1.5, 0, 0], [4, 0, 0, 0]]
    np.testing.assert_array_equal(got, np.array(expected, dtype))


@pytest.mark.parametrize("kernels", LEVELS[:-1])
def test_refusals(kernels):
    x = np.ones((3, 2), np.float32)
    for wrong in (np.ones(2, np.float32), np.ones(3), np.ones((3, 1), np.float32)):
        with pytest.raises((ValueError, TypeError), match="rows"):
            kernels.prod_rows_backward(x, wrong)
        with pytest.raises((ValueError, TypeError), match="rows"):
            kernels.extremum_rows_backward(x, np.ones(3, np.float32), wrong)
    with pytest.raises(ValueError, match="prod_rows"):
        kernels.prod_rows(np.ones(3, np.float32))


@kernels
@dtypes
def test_short_rows_of_factors_in_strips_that_are_not_full(kernels, dtype):
    """Among rows that divide their product are some that cannot: of zeros, of what is not finite, out of range."""
    rng = np.random.default_rng(0)
    for rows, n in itertools.product((1, 15, 17, 129, 300), (1, 2, 3, 4, 7, 8, 15, 16, 17)):
        x = (0.5 + rng.random((rows, n))).astype(dtype)
        x *= rng.choice([-1, 1], x.shape).astype(dtype)
        x[::5, 0], x[1::7, -1], x[2::11] = 0, np.inf, 1e-30
        gy = rng.standard_normal(rows).astype(dtype)
        with np.errstate(all="ignore"):
            expected = (gy[:, None] * of_others(x)).astype(dtype)
        np.testing.assert_allclose(kernels.prod_rows_backward(x, gy), expected, rtol=1e-6)
