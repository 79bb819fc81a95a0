"""Copies and views against NumPy's: orders of the axes, steps, repeats, sizes at the edges of blocks and pieces."""

import itertools
import random

import numpy as np
import pytest

from minidl import _kernels as K

SHAPES = [
    (),
    (1,),
    (0, 3),
    (3, 1),
    (17, 33),  # blocks of 16 x 16 and what is left of them
    (5, 300),
    (300, 5),
    (3, 70000),  # on several threads, from here on
    (70000, 3),
    (513, 257),
    (1000, 100),
    (5, 4, 3),
    (2, 1, 120, 1, 300),
    (2, 3, 16, 16),
    (33, 2, 17, 2, 3),
    (33, 5, 40, 3, 7),
]
DTYPES = [np.float32, np.float64, np.int16, np.int64]  # the last two go to NumPy

shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
dtypes = pytest.mark.parametrize("dtype", DTYPES)


def array(shape, dtype):
    return (np.arange(np.prod(shape, dtype=int)) % 30011).reshape(shape).astype(dtype)


def orders(x):
    """x with its axes in every order; of a large array's 120 orders, some."""
    found = list(itertools.permutations(range(x.ndim)))
    if x.size > 50_000 and len(found) > 24:
        found = random.Random(0).sample(found, 24)
    return [x.transpose(order) for order in found]


def check_assign(x):
    y = np.full(x.shape, -1, x.dtype)
    K.assign(y, x)
    np.testing.assert_array_equal(y, x)


@shapes
@dtypes
def test_every_order_of_axes(shape, dtype):
    for x in orders(array(shape, dtype)):
        check_assign(x)
        backwards = (..., *[slice(None, None, -1)] * x.ndim)
        check_assign(x[backwards])
        y = np.full(x.shape, -1, x.dtype)
        K.assign(y[backwards], x)
        np.testing.assert_array_equal(y[backwards], x)
        copy = K.copy(x)
        assert copy.flags.c_contiguous
        assert not np.shares_memory(copy, x)
        np.testing.assert_array_equal(copy, x)


@shapes
@dtypes
def test_writes_only_where_it_should(shape, dtype):
    for x in orders(array(shape, dtype)):
        inside = (slice(1, None, 2), ...) if x.ndim == 1 else (..., *[slice(1, -1)] * x.ndim)
        around = [2 * n + 1 for n in x.shape] if x.ndim == 1 else [n + 2 for n in x.shape]
        y = np.full(around, -1, dtype)
        expected = y.copy()
        expected[inside] = x
        K.assign(y[inside], x)
        np.testing.assert_array_equal(y, expected)


@shapes
@dtypes
def test_repeated_axes(shape, dtype):
    for x in orders(array(shape, dtype)):
        for axis in range(x.ndim):
            if x.shape[axis]:
                one = x.take([0], axis)
                check_assign(np.broadcast_to(one, x.shape))
                y = np.full(x.shape, -1, dtype)
                K.assign(y, one)
                np.testing.assert_array_equal(y, np.broadcast_to(one, x.shape))


def test_upsampling():
    x = array((4, 3, 16, 20), np.float32)
    check_assign(np.broadcast_to(x[:, :, :, None, :, None], (4, 3, 16, 2, 20, 3)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_keeps_every_bit(dtype):
    """Signalling NaNs and subnormals, too: they are moved, not computed with."""
    bits = np.random.default_rng(0).bytes(40 * 50 * np.dtype(dtype).itemsize)
    x = np.frombuffer(bits, dtype).reshape(40, 50)
    assert K.copy(x.T).tobytes() == x.T.tobytes()


def test_what_numpy_has_to_do():
    y = np.zeros((2, 3), np.float32)
    K.assign(y, np.arange(3))  # another dtype, and broadcast
    np.testing.assert_array_equal(y, [[0, 1, 2]] * 2)
    swapped = np.arange(6, dtype=">f4").reshape(2, 3)
    K.assign(y, swapped)
    np.testing.assert_array_equal(y, swapped)
    odd = np.zeros(25, np.uint8)[1:].view(np.float32)  # not aligned
    K.assign(odd, y.reshape(-1))
    np.testing.assert_array_equal(odd, y.reshape(-1))
    field = np.zeros(6, [("a", "u1"), ("b", "f4")])["b"]  # strides that are not whole elements
    K.assign(field, y.reshape(-1))
    np.testing.assert_array_equal(field, y.reshape(-1))


def test_errors():
    y = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="broadcast"):
        K.assign(y, np.zeros((3, 2), np.float32))
    y.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        K.assign(y, np.zeros((2, 3), np.float32))
    with pytest.raises(TypeError):
        K.assign([1.0], y)


RESHAPES = [(6, 20), (-1,), (2, 3, 4, 5), (5, 4, 3, 2), (2, 60), (24, 5), (3, -1, 4), (1, 120, 1)]


@pytest.mark.parametrize("shape", RESHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_reshape_is_a_view_where_numpy_has_one(shape, dtype):
    base = array((4, 3, 4, 10), dtype)[::2, :, :, ::2]
    for x in (*orders(base), *orders(K.copy(base)), *orders(np.broadcast_to(base[:1], base.shape))):
        y, expected = K.reshape(x, shape), x.reshape(shape)
        np.testing.assert_array_equal(y, expected)
        assert np.shares_memory(y, x) == np.shares_memory(expected, x)


@pytest.mark.parametrize("shape", [(7,), (-1, -1), (0, -1), (2, 4)], ids=str)
def test_reshape_errors_are_numpys(shape):
    for x in (array((2, 3), np.float32), array((3, 2), np.float32).T):
        with pytest.raises(ValueError, match=r"reshape|dimension"):
            K.reshape(x, shape)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("shape", [(), (3,), (0, 4), (1023,), (1024,), (40_000,), (3, 70_001)])
def test_set_all(shape, dtype):
    for value in (0, 1, -2.5, 1e-42, float("inf"), float("nan"), np.float32(7), True):
        if dtype in ("int64", "bool") and value not in (0, 1):
            continue
        y, expected = np.empty(shape, dtype), np.full(shape, value, dtype)
        K.set_all(y, value)
        np.testing.assert_array_equal(y, expected)
        wide = np.zeros((*shape, 2), dtype)
        K.set_all(wide[..., 1], value)
        np.testing.assert_array_equal(wide[..., 1], expected)
        assert not wide[..., 0].any()


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
@pytest.mark.parametrize(
    ("start", "step", "count"), [(0, 1, 0), (3, -2, 7), (5, 3, 70_001), (-(2**62), 1, 3)]
)
def test_evenly(start, step, count, dtype):
    y = K.evenly(start, step, count, np.dtype(dtype))
    expected = np.arange(start, start + count * step, step)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, expected.astype(dtype))
    with pytest.raises(TypeError, match="evenly: expected int64"):
        K.evenly(start, step, count, np.dtype(np.int32))


@pytest.mark.parametrize(
    ("start", "stop", "step"), [(0.1, 5, 0.3), (2, -1, -0.1), (0, 1e4, 0.7), (1e30, 3e30, 1e29)]
)
def test_evenly_spaced_floats_are_numpys(start, stop, step):
    expected = np.arange(start, stop, step)
    np.testing.assert_array_equal(
        K.evenly(start, step, len(expected), np.dtype(np.float64)), expected
    )
