"""The kernels that choose, against NumPy: every rule, dtype and CPU level, and all ways to lie in memory."""

import itertools

import numpy as np
import pytest

from minidl import _kernels as K
from minidl._kernels.arrays.buffers import are_signs
from minidl._kernels.reference import selection as reference

from .test_elementwise import CHUNK, array, layouts, same

LEVELS = [pytest.param(K.load(level), id=level) for level in K.available]
DTYPES = [np.float32, np.float64]
SPECIAL = [0.0, -0.0, 1.0, -1.5, np.inf, -np.inf, np.nan, 1e30, 1e-42]
LIMITS = [(-0.5, 0.5), (None, 0.1), (0.1, None), (-np.inf, 0.0), (0.0, np.nan), (2, 2)]

kernels = pytest.mark.parametrize("kernels", LEVELS)
dtypes = pytest.mark.parametrize("dtype", DTYPES)


def calls(x, z, g):
    """Every kernel of the file on three operands: (name, arguments)."""
    yield "where", (x > 0, z, g)
    yield "where", (x, z, g)
    yield "where_same", (x, z, g)
    yield "extremum_backward", ("maximum", x, z, g)
    yield "extremum_backward", ("minimum", x, z, g)


def rounded(shape, dtype, seed=0):
    """Halves, so that some of two arrays are equal."""
    return np.round(2 * array(shape, np.float64, seed)).astype(dtype) / dtype(2)


@kernels
@dtypes
@pytest.mark.filterwarnings("error")
def test_special_values(kernels, dtype):
    with np.errstate(over="ignore"):
        x, z = (np.array(c, dtype) for c in zip(*itertools.product(SPECIAL, SPECIAL), strict=True))
    for g in (np.ones_like(x), z):
        for name, given in calls(x, z, g):
            same(getattr(kernels, name)(*given), getattr(reference, name)(*given))
    for low, high in LIMITS:
        same(kernels.clip(x, low, high), reference.clip(x, low, high))
        got, expected = (
            entry_point.clip_backward(x, z, low, high) for entry_point in (kernels, reference)
        )
        same(got, expected)


SHAPES = [
    ((), (), ()), ((4,), (), ()), ((), (4,), ()), ((3, 1), (4,), ()), ((3, 1), (3, 4), (3, 4)),
    ((2, 1, 4), (3, 1), (1,)),
    ((0,), (1,), ()), ((0, 3), (3,), (1, 3)), ((513,), (513,), (1,)), ((5, 600), (600,), (5, 1)),
    ((CHUNK + 3,), (), (CHUNK + 3,)), ((300, 700), (300, 1), (700,)), ((7, 3, 9001), (3, 1), (7, 1, 1)),
]  # fmt: skip


@kernels
@dtypes
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_broadcasting(kernels, dtype, shapes):
    for order in itertools.permutations(shapes):
        x, z, g = (rounded(shape, dtype, seed) for seed, shape in enumerate(order))
        for name, given in calls(x, z, g):
            same(getattr(kernels, name)(*given), getattr(reference, name)(*given))


@kernels
@dtypes
def test_layouts(kernels, dtype):
    ways = [list(layouts((3, 4, 5), dtype, seed)) for seed in range(3)]
    for x, z, g in zip(ways[0], ways[1][::-1], ways[2][2:] + ways[2][:2], strict=True):
        for name, given in calls(x, z, g):
            same(getattr(kernels, name)(*given), getattr(reference, name)(*given))
        for low, high in LIMITS:
            same(kernels.clip(x, low, high), reference.clip(x, low, high))
            same(kernels.clip_backward(x, g, low, high), reference.clip_backward(x, g, low, high))


@kernels
def test_channels_last_stays_channels_last(kernels):
    x = array((2, 5, 6, 3), np.float32).transpose(0, 3, 1, 2)
    zero = np.zeros((), np.float32)
    for y in (
        kernels.where(x > 0, x, zero),
        kernels.where(x > 0, zero, x),
        kernels.extremum_backward("maximum", x, zero, x),
        kernels.clip(x, -1, 1),
        kernels.clip_backward(x, np.ones(x.shape, np.float32), -1, 1),
    ):
        assert sorted(y.strides) == sorted(x.strides)


@kernels
def test_what_numpy_does(kernels):
    """Integers, mixed kinds, odd strides and limits that are arrays mean what NumPy says."""
    x, ids = array((4,), np.float32), np.arange(4)
    fields = np.zeros(4, [("a", "u1"), ("b", "<f4")])
    fields["b"] = x
    for z in (ids, x.astype(np.float64), x.astype(">f4"), fields["b"]):
        same(kernels.where(ids > 1, x, z), np.where(ids > 1, x, z))
        same(kernels.where(ids, z, x), np.where(ids, z, x))
        same(kernels.clip(z, 0, 2), np.clip(z, 0, 2).astype(z.dtype))
        same(kernels.where_same(x, z, x), np.where(x == z, x, np.float32(0)))
    same(kernels.clip(x, np.zeros(4), None), np.maximum(x, 0))


@kernels
def test_bad_input(kernels):
    x = array((3, 4), np.float32)
    for entry_point in (kernels.where, kernels.where_same):
        with pytest.raises(ValueError, match=r"where.*: shapes \(3, 4\) and \(3,\) do not fit"):
            entry_point(x, x, x[:, 0])
    with pytest.raises(KeyError):
        kernels.extremum_backward("nothing", x, x, x)


@kernels
@dtypes
def test_same_bits_for_any_number_of_threads(kernels, dtype):
    x, z, column = array((700, 501), dtype), array((700, 501), dtype, 1), array((700, 1), dtype)
    before, results = K.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 4):
            K.set_num_threads(threads)
            results.append([getattr(kernels, n)(*a).tobytes() for n, a in calls(x, column, z)])
            results[-1].append(kernels.clip(x, -1.0, 1.0).tobytes())
    finally:
        K.set_num_threads(before)
    assert all(result == results[0] for result in results)


@dtypes
def test_signs(dtype):
    x = np.sign(array((3, 67), dtype))
    assert are_signs(x)
    assert are_signs(x.T)
    assert are_signs(x.astype(int))
    assert are_signs(x[:0])
    for wrong in (0, -0.0, 2, 0.5, np.nextafter(dtype(1), dtype(2)), -np.inf, np.nan):
        for place in (0, 64, 200):
            y = x.copy()
            y.reshape(-1)[place] = wrong
            assert not are_signs(y)
            assert not are_signs(y.T)


@kernels
def test_add_rows_at_equal_ids(kernels):
    """Every row gets its terms in the order of the ids, in whatever range of rows it lies."""
    rng = np.random.default_rng(0)
    x, ids = rng.standard_normal((3000, 40)).astype("float32"), rng.integers(0, 50, 3000)
    expected = K.load("reference").add_rows(x, ids, 5000)
    np.testing.assert_array_equal(kernels.add_rows(x, ids, 5000), expected)
    with pytest.raises(IndexError, match="id 5000 is out of range for 5000 rows"):
        kernels.add_rows(x[:2], [0, 5000], 5000)
    with pytest.raises(ValueError, match="expected 2 ids, got 1"):
        kernels.add_rows(x[:2], [0], 5000)
