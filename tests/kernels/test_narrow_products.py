"""Products of matrices with many rows and few columns: the layers of small networks, and their gradients."""

import numpy as np
import pytest

from minidl import _kernels as K
from minidl._kernels.runtime import pool

from .product_cases import DTYPES, assert_close, load, matrix

WIDTHS = range(1, 34)
ROWS = (1, 2, 3, 5, 8, 9, 17, 40, 131)
FRAME = 64


@pytest.fixture(params=(*K.available, "reference"))
def gemm(request):
    return load(request.param)


def framed(shape, dtype):
    """(an array, all memory around it, which is 7)"""
    room = np.full(int(np.prod(shape)) + 2 * FRAME, 7, dtype)
    return room[FRAME:-FRAME].reshape(shape), room


def assert_frame_untouched(room):
    assert (room[:FRAME] == 7).all() and (room[-FRAME:] == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_in", WIDTHS)
def test_every_width(gemm, dtype, n_in):
    rng = np.random.default_rng(n_in)
    for n_out in WIDTHS:
        rows = rng.choice(ROWS)
        x, gy = (matrix(rng, rows, n, dtype, "rows") for n in (n_in, n_out))
        w, bias = matrix(rng, n_out, n_in, dtype, "rows"), matrix(rng, 1, n_out, dtype, "rows")[0]
        assert_close(gemm.affine_forward(x, w, bias), x, w.T, bias)
        gw, gb = gemm.affine_weight_grad(x, gy)
        assert_close(gw, gy.T, x)
        assert_close(gb[None], np.ones((1, rows), dtype), gy)
        for a, b in ((x, w.T), (gy, w), (gy.T, x)):
            c, room = framed((len(a), b.shape[1]), dtype)
            assert gemm.matmul(a, b, out=c) is c
            assert_close(c, a, b)
            before = c.copy()
            gemm.matmul(a, b, out=c, accumulate=True)
            assert_close(c, a, b, before)
            assert_frame_untouched(room)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["part", "part of columns", "backwards", "one row repeated"])
def test_every_layout(gemm, dtype, layout):
    rng = np.random.default_rng(0)
    for rows, n_in, n_out in ((300, 5, 3), (300, 16, 4), (41, 24, 8), (5000, 3, 17)):
        x, gy = (matrix(rng, rows, n, dtype, layout) for n in (n_in, n_out))
        w = matrix(rng, n_out, n_in, dtype, layout)
        assert_close(gemm.affine_forward(x, w), x, w.T)
        assert_close(gemm.matmul(gy, w), gy, w)
        gw, gb = gemm.affine_weight_grad(x, gy)
        assert_close(gw, gy.T, x)
        assert_close(gb[None], np.ones((1, rows), dtype), gy)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_stays_in_its_row(gemm, dtype):
    """A row's vectors reach into the next row, and those of the last row beyond the matrix."""
    rng = np.random.default_rng(0)
    for n_in, n_out in ((1, 2), (3, 5), (16, 4), (8, 9), (5, 25), (33, 30)):
        x, w = matrix(rng, 150, n_in, dtype, "rows"), matrix(rng, n_out, n_in, dtype, "rows")
        for row, value in ((0, np.nan), (77, np.inf), (143, -np.inf), (149, np.nan)):
            x[row] = value
        with np.errstate(invalid="ignore"):
            truth = x.astype(np.float64) @ w.T.astype(np.float64)
            weight_truth = x.T.astype(np.float64) @ np.ones((150, n_out))
        y = gemm.affine_forward(x, w)
        for finite in (np.isnan, np.isinf):
            np.testing.assert_array_equal(finite(y), finite(truth))
        gw, gb = gemm.affine_weight_grad(x, np.ones((150, n_out), dtype))
        np.testing.assert_array_equal(np.isnan(gw), np.isnan(weight_truth).T)
        np.testing.assert_array_equal(gb, np.full(n_out, 150))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_an_activation_has_the_bits_of_a_pass_of_its_own(gemm, dtype, activation):
    rng = np.random.default_rng(0)
    for rows, n_in, n_out in ((1, 4, 3), (50, 16, 4), (300, 3, 5), (2000, 32, 17), (700, 4, 40)):
        x, w = matrix(rng, rows, n_in, dtype, "rows"), matrix(rng, n_out, n_in, dtype, "rows")
        bias = matrix(rng, 1, n_out, dtype, "rows")[0]
        expected = gemm.activation_forward(activation, gemm.affine_forward(x, w, bias))
        y = gemm.affine_forward(x, w, bias, activation)
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("level", K.available)
@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_any_number_of_threads(level, dtype, keep_thread_count):
    gemm, rng = load(level), np.random.default_rng(0)
    shapes = ((10_000, 32, 16), (10_000, 16, 4), (20_001, 4, 32), (9_999, 3, 5), (5_000, 30, 10))
    for rows, n_in, n_out in shapes:
        x, gy = (matrix(rng, rows, n, dtype, "rows") for n in (n_in, n_out))
        w, bias = matrix(rng, n_out, n_in, dtype, "rows"), matrix(rng, 1, n_out, dtype, "rows")[0]
        results = []
        for threads in (1, 2, 3, 4):
            pool.set_num_threads(threads)
            products = gemm.affine_forward(x, w, bias, "tanh"), gemm.matmul(gy, w)
            results.append([*products, *gemm.affine_weight_grad(x, gy)])
        for other in results[1:]:
            for expected, got in zip(results[0], other, strict=True):
                assert expected.tobytes() == got.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sum_in_shares_is_added_to_what_is_there(gemm, dtype):
    rng = np.random.default_rng(0)
    x, gy = matrix(rng, 8_000, 16, dtype, "rows"), matrix(rng, 8_000, 9, dtype, "rows")
    before = matrix(rng, 9, 16, dtype, "rows")
    c = before.copy()
    gemm.matmul(gy.T, x, out=c, accumulate=True)
    assert_close(c, gy.T, x, before)
