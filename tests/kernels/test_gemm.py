"""Matrix products against float64 truth: shapes around the tile, strides, levels, threads, bits."""

import subprocess
import sys

import numpy as np
import pytest

from minidl import _kernels as K
from minidl._kernels.runtime import memory, pool

from .product_cases import DTYPES, Level, Truth, assert_close, load, matrix

LENGTHS = (0, 1, 2, 3, 5, 7, 8, 9, 12, 15, 16, 17, 31, 33, 47, 48, 49, 63, 64, 65, 97, 100, 144)
DEPTHS = (*LENGTHS, 255, 256, 257, 511, 512, 513, 600, 1025, 1100)  # of K: around its parts, too


@pytest.fixture(params=(*K.available, "reference"))
def gemm(request):
    return load(request.param)


LAYOUTS = ("rows", "columns", "part", "part of columns", "every other", "backwards")
ALL_LAYOUTS = (*LAYOUTS, "one row repeated")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [64, 79, 1000, 2049, 4100])
def test_a_vector_times_a_matrix(gemm, dtype, n):
    """Rows of the matrix are added up, a few at a time, in parts, and by tasks of some columns."""
    rng = np.random.default_rng(n)
    for k, rows in ((0, "rows"), (1, "part"), (7, "rows"), (8, "part"), (513, "rows")):
        a, b = matrix(rng, 1, k, dtype, "every other"), matrix(rng, k, n, dtype, rows)
        truth = Truth(a, b)
        truth.assert_close(gemm.matmul(a, b))
        before = rng.standard_normal((1, n)).astype(dtype)
        truth.assert_close(gemm.matmul(a, b, out=before.copy(), accumulate=True), before)
        Truth(b.T, a.T).assert_close(gemm.matmul(b.T, np.ascontiguousarray(a.T)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(6))
def test_random_shapes_and_strides(gemm, dtype, seed):
    rng = np.random.default_rng(seed)
    for _ in range(60):
        m, n, k = rng.choice(LENGTHS), rng.choice(LENGTHS), rng.choice(DEPTHS)
        a = matrix(rng, m, k, dtype, rng.choice(ALL_LAYOUTS))
        b = matrix(rng, k, n, dtype, rng.choice(ALL_LAYOUTS))
        c = gemm.matmul(a, b)
        assert c.shape == (m, n) and c.dtype == dtype
        truth = Truth(a, b)
        truth.assert_close(c)
        before = rng.standard_normal((m, n)).astype(dtype)
        out = before.copy()
        assert gemm.matmul(a, b, out=out, accumulate=True) is out
        truth.assert_close(out, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "m, k, n", [(300, 1200, 700), (1030, 520, 60), (40, 300, 5000), (9, 9000, 9)]
)
def test_large(gemm, dtype, m, k, n):
    rng = np.random.default_rng(0)
    for layout in ("rows", "columns"):
        a, b = matrix(rng, m, k, dtype, "rows"), matrix(rng, k, n, dtype, layout)
        assert_close(gemm.matmul(a, b), a, b)


@pytest.mark.parametrize(
    "a_shape, b_shape",
    [
        ((4,), (4,)),
        ((40,), (40, 7)),
        ((7, 40), (40,)),
        ((40,), (3, 40, 7)),
        ((3, 7, 40), (40,)),
        ((2, 3, 4, 5), (5, 6)),
        ((4, 5), (2, 3, 5, 6)),
        ((2, 1, 4, 5), (3, 5, 6)),
        ((2, 3, 4, 5), (2, 3, 5, 6)),
        ((2, 3, 1, 5), (5, 6)),
        ((1, 3, 4, 5), (1, 1, 5, 6)),
        ((0, 3, 4, 5), (5, 6)),
        ((2, 0, 4, 5), (2, 1, 5, 6)),
        ((2, 3, 0, 5), (5, 6)),
        ((2, 3, 4, 0), (0, 6)),
        ((0,), (0,)),
        ((2, 150, 130), (2, 130, 140)),
    ],
)
def test_matmul_shapes_are_numpys(gemm, a_shape, b_shape):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(a_shape), rng.standard_normal(b_shape)
    truth = np.asarray(a @ b)
    for x in (a, np.asfortranarray(a), np.repeat(a, 2, axis=0)[::2]):
        c = gemm.matmul(x, b)
        assert isinstance(c, np.ndarray) and c.shape == truth.shape
        np.testing.assert_allclose(c, truth, rtol=1e-12, atol=1e-12)
        out = np.ones_like(truth)
        gemm.matmul(x, b, out=out, accumulate=True)
        np.testing.assert_allclose(out, truth + 1, rtol=1e-12, atol=1e-12)


def test_out_may_be_strided_or_an_input(gemm):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((20, 20)), rng.standard_normal((20, 20))
    truth = a @ b
    for out in (np.empty((20, 20)).T, np.empty((40, 60))[::2, ::3]):
        assert gemm.matmul(a, b, out=out) is out
        np.testing.assert_allclose(out, truth, rtol=1e-12, atol=1e-12)
    x = a.copy()
    gemm.matmul(x, b, out=x)
    np.testing.assert_allclose(x, truth, rtol=1e-12, atol=1e-12)
    x = b.copy()
    gemm.matmul(a, x, out=x, accumulate=True)
    np.testing.assert_allclose(x, truth + b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_affine(gemm, dtype):
    rng = np.random.default_rng(0)
    for lead, n_in, n_out in [
        ((32,), 784, 100),
        ((), 50, 9),
        ((2, 3), 40, 70),
        ((0,), 5, 3),
        ((130,), 600, 250),
    ]:
        x = rng.standard_normal((*lead, n_in)).astype(dtype)
        weight = rng.standard_normal((n_out, n_in)).astype(dtype)
        bias = rng.standard_normal(2 * n_out).astype(dtype)[::2]
        gy = rng.standard_normal((*lead, n_out)).astype(dtype)
        y = gemm.affine_forward(x, weight, bias)
        assert y.shape == (*lead, n_out) and y.flags.c_contiguous
        assert_close(y, x, weight.T, bias)
        assert_close(gemm.affine_forward(x, weight), x, weight.T)
        assert_close(gemm.affine_forward(x, np.asfortranarray(weight), bias), x, weight.T, bias)
        gw, gb = gemm.affine_weight_grad(x, gy)
        gy, x = gy.reshape(-1, n_out), x.reshape(-1, n_in)
        assert_close(gw, gy.T, x)
        assert_close(gb[None], np.ones((1, len(gy)), dtype), gy)
        out = np.empty_like(gw)
        assert gemm.affine_weight_grad(x, gy, gw_out=out)[0] is out
        np.testing.assert_array_equal(out, gw)


def test_bias_gradient_rounds_little(gemm):
    gy = np.full((100_000, 3), 0.1, np.float32)
    _, gb = gemm.affine_weight_grad(np.zeros((100_000, 1), np.float32), gy)
    np.testing.assert_allclose(gb, 10_000, rtol=2e-6 if isinstance(gemm, Level) else 1e-7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "m, k, n", [(1, 30, 40), (40, 30, 1), (3, 5, 7), (32, 784, 100), (200, 700, 300)]
)
def test_activation_is_applied_once_everywhere(gemm, dtype, m, k, n):
    """One that is another when applied twice: the bits must be those of the same pass afterwards."""
    rng = np.random.default_rng(0)
    x, weight = (rng.standard_normal(s).astype(dtype) for s in ((m, k), (n, k)))
    bias = rng.standard_normal(n).astype(dtype)
    for w in (weight, np.asfortranarray(weight)):
        plain = gemm.affine_forward(x, w, bias)
        y = gemm.affine_forward(x, w, bias, "softplus", 2.0)
        np.testing.assert_array_equal(y, gemm.activation_forward("softplus", plain, 2.0))


def test_an_unknown_activation_is_named(gemm):
    x = np.zeros((2, 3), "float32")
    with pytest.raises(ValueError, match=r"activation: expected one of .*relu, .*got 'no_such'"):
        gemm.affine_forward(x, x, None, "no_such")


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_inf_go_where_ieee_sends_them(gemm, dtype):
    rng = np.random.default_rng(0)
    for m, k, n in [(9, 20, 50), (1, 20, 50), (50, 20, 1), (33, 600, 17)]:
        for layout in ("rows", "columns"):
            a = matrix(rng, m, k, dtype, layout)
            b = matrix(rng, k, n, dtype, layout)
            a[m // 2, 3], b[4, n // 2] = np.nan, np.inf
            a[0, 5], b[5, :] = -np.inf, 0
            with np.errstate(invalid="ignore"):
                truth = a.astype(np.float64) @ b.astype(np.float64)
            c = gemm.matmul(a, b)
            np.testing.assert_array_equal(np.isnan(c), np.isnan(truth))
            np.testing.assert_array_equal(np.isinf(c), np.isinf(truth))
            assert (np.sign(c[np.isinf(c)]) == np.sign(truth[np.isinf(c)])).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_inf_near_the_end_of_k_stays_inf(gemm, dtype):
    """Where the last vector of a dot product overlaps the one before, nothing may be 0 times inf."""
    rng, k = np.random.default_rng(0), 77
    for place in range(k - 16, k):
        a, b = matrix(rng, 6, k, dtype, "rows"), matrix(rng, k, 9, dtype, "columns")
        a[2, place], b[place, 3] = np.inf, -np.inf
        b[place, 5] = abs(b[place, 5])
        c = gemm.matmul(a, b)
        assert np.isinf(c[2]).all() and np.isinf(c[:, 3]).all() and c[2, 5] == np.inf
        assert np.isinf(c).sum() == 9 + 6 - 1 and not np.isnan(c).any()


SHAPES = [(32, 784, 100), (100, 32, 784), (256, 600, 530), (1, 900, 900), (900, 900, 1), (7, 5, 3)]


@pytest.mark.parametrize("level", K.available)
@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_any_number_of_threads(level, dtype, keep_thread_count):
    gemm, rng = Level(level), np.random.default_rng(0)
    for m, k, n in SHAPES:
        x, w = (rng.standard_normal(s).astype(dtype) for s in ((m, k), (n, k)))
        gy, batch = (rng.standard_normal(s).astype(dtype) for s in ((m, n), (5, k, 20)))
        results = []
        for threads in (1, 2, 3, 4):
            pool.set_num_threads(threads)
            results.append(
                [
                    gemm.affine_forward(x, w),
                    gemm.matmul(gy, w),
                    *gemm.affine_weight_grad(x, gy),
                    gemm.matmul(x, batch),
                ]
            )
        for other in results[1:]:
            for expected, got in zip(results[0], other, strict=True):
                assert expected.tobytes() == got.tobytes()


@pytest.mark.parametrize("level", K.available)
@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_at_any_alignment(level, dtype):
    gemm, rng = Level(level), np.random.default_rng(0)

    def at(x, offset):
        """x in memory that starts `offset` elements after a multiple of 64 bytes."""
        place = memory.empty((x.size + offset,), dtype)[offset:].reshape(x.shape)
        place[...] = x
        return place

    for m, k, n in SHAPES:
        x, w = (rng.standard_normal(s).astype(dtype) for s in ((m, k), (n, k)))
        expected = gemm.affine_forward(x, w)
        for offset in (1, 3, 5):
            assert expected.tobytes() == gemm.affine_forward(at(x, offset), at(w, offset)).tobytes()
            assert expected.tobytes() == gemm.matmul(x, at(w, offset).T).tobytes()


@pytest.mark.parametrize("level", K.available)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_batch_of_products(level, dtype, keep_thread_count):
    """A task has one or more of them: all are there, with the bits that each has alone, for any number of threads."""
    gemm, rng = Level(level), np.random.default_rng(0)
    small = [(8, 8, 8), (3, 5, 7), (16, 16, 16), (1, 65, 1), (9, 4, 2), (2, 3, 17), (5, 0, 4)]
    for m, k, n in [*small, (70, 60, 50)]:
        count = 301 if m * k * n < 10_000 else 9
        a = rng.standard_normal((2, count, m, k)).astype(dtype)
        b = rng.standard_normal((count, 1, n, k)).astype(dtype).swapaxes(0, 1).swapaxes(-1, -2)
        for x, y in ((a, b[0]), (a, b[0].copy()), (a[:, ::-3], b[0, ::-3])):
            results = []
            for threads in (1, 2, 3):
                pool.set_num_threads(threads)
                results.append(gemm.matmul(x, y))
            assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()
            np.testing.assert_allclose(
                results[0],
                x.astype(np.float64) @ y.astype(np.float64),
                rtol=0,
                atol=20 * np.finfo(dtype).eps * (k + 1),
            )
            for i in (0, len(y) // 2, len(y) - 1):
                assert results[0][1, i].tobytes() == gemm.matmul(x[1, i], y[i]).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_of_two_vectors(gemm, dtype):
    rng = np.random.default_rng(0)
    for k in (*LENGTHS, 1000, 100_003, 600_001):
        a, b = (rng.standard_normal(k).astype(dtype) for _ in range(2))
        truth, scale = (np.sum(f(a.astype(np.float64) * b)) for f in (np.asarray, np.abs))
        bound = 30 * np.finfo(dtype).eps * scale
        assert abs(gemm.matmul(a, b) - truth) <= bound
        assert abs(gemm.matmul(a[::-1], b[::-1]) - truth) <= bound
        out = np.ones((), dtype)
        gemm.matmul(a, b, out=out, accumulate=True)
        assert abs(out - 1 - truth) <= bound + 2 * np.finfo(dtype).eps * (1 + abs(truth))


def test_unaligned_and_foreign_bytes_are_copied(gemm):
    rng = np.random.default_rng(0)
    b = rng.standard_normal((9, 11))
    a = np.frombuffer(b"?" + rng.standard_normal((7, 9)).tobytes(), np.uint8)[1:].view(np.float64)
    a = a.reshape(7, 9)
    np.testing.assert_allclose(gemm.matmul(a, b), a @ b, rtol=1e-12)
    foreign = b.astype(b.dtype.newbyteorder())
    np.testing.assert_allclose(gemm.matmul(a, foreign), a @ b, rtol=1e-12)


def test_what_lies_around_an_operand_stays_out(gemm):
    """NaN all around a matrix must not get in, nor may anything but C be written."""
    rng = np.random.default_rng(0)
    for m, k, n in [(5, 7, 3), (33, 50, 19), (1, 50, 60), (65, 515, 49)]:
        frames = [np.full((r + 40, c + 40), np.nan, np.float32) for r, c in ((m, k), (k, n))]
        a, b = (f[20:-20, 20:-20] for f in frames)
        a[...], b[...] = rng.standard_normal(a.shape), rng.standard_normal(b.shape)
        assert_close(gemm.matmul(a, b), a, b)
        assert_close(gemm.matmul(b.T, a.T), b.T, a.T)
        room = np.full(m * n + 64, 7, np.float32)
        gemm.matmul(a, b, out=room[32:-32].reshape(m, n))
        assert (room[:32] == 7).all() and (room[-32:] == 7).all()


BESIDE_FORBIDDEN_MEMORY = """
import ctypes, mmap, sys
from importlib import import_module
import numpy as np

gemm = import_module(f"minidl._kernels.{sys.argv[1]}.gemm")
page = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
kept = []

def at_the_end(x):
    size = -(-x.nbytes // page) * page
    room = mmap.mmap(-1, size + page)
    kept.append(room)
    memory = np.frombuffer(room, np.uint8)
    assert libc.mprotect(memory.ctypes.data + size, page, 0) == 0
    y = memory[size - x.nbytes : size].view(x.dtype).reshape(x.shape)
    y[...] = x
    return y

rng = np.random.default_rng(0)
for m, k, n in [(3, 5, 7), (33, 100, 50), (65, 515, 49), (1, 70, 90), (90, 70, 1), (9, 33, 100)]:
    a, b, c = (rng.standard_normal(s).astype("f") for s in ((m, k), (k, n), (m, n)))
    bias = at_the_end(b[0].copy())
    w = np.ascontiguousarray(b.T)
    for _ in range(2):
        gemm.matmul(a, b, out=c)
        gemm.affine_forward(a, w, bias)
        gemm.affine_weight_grad(a, c)
        a, b, c, w = map(at_the_end, (a, b, c, w))
print("ok", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs mprotect")
@pytest.mark.parametrize("level", K.available)
def test_reads_no_byte_beyond_its_operands(level):
    command = [sys.executable, "-c", BESIDE_FORBIDDEN_MEMORY, level]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.startswith("ok"), done


def test_bad_input_is_named(gemm):
    f = np.zeros
    with pytest.raises(ValueError, match=r"matmul: .*\(2, 3\).*\(4, 5\)"):
        gemm.matmul(f((2, 3)), f((4, 5)))
    with pytest.raises(ValueError, match=r"matmul: .*batch axis"):
        gemm.matmul(f((2, 3, 4)), f((3, 4, 5)))
    with pytest.raises(ValueError, match=r"matmul: .*axis"):
        gemm.matmul(f(()), f((4, 5)))
    with pytest.raises(TypeError, match="float32"):
        gemm.matmul(f((2, 3), np.float32), f((3, 5)))
    with pytest.raises(TypeError, match="int64"):
        gemm.matmul(f((2, 3), np.int64), f((3, 5), np.int64))
    with pytest.raises(TypeError, match="list"):
        gemm.matmul([[1.0]], f((1, 1)))
    with pytest.raises(ValueError, match=r"out must have shape \(2, 5\)"):
        gemm.matmul(f((2, 3)), f((3, 5)), out=f((5, 2)))
    with pytest.raises(ValueError, match="needs out"):
        gemm.matmul(f((2, 3)), f((3, 5)), accumulate=True)
    read_only = f((2, 5))
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        gemm.matmul(f((2, 3)), f((3, 5)), out=read_only)
    with pytest.raises(ValueError, match=r"weight \(out, 3\)"):
        gemm.affine_forward(f((2, 3)), f((3, 5)))
    with pytest.raises(ValueError, match=r"bias \(5,\)"):
        gemm.affine_forward(f((2, 3)), f((5, 3)), f(3))
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(4, 5\)"):
        gemm.affine_weight_grad(f((2, 3)), f((4, 5)))
