"""maxout, crelu and glu: axes, ties, special values, layouts, empty arrays."""

import numpy as np
import pytest

from minidl import Tensor
from minidl import functional as F

from .test_special_values import INF, NAN, layouts

every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
GATES = [
    pytest.param(lambda x, axis=1: F.maxout(x, 2, axis), id="maxout"),
    pytest.param(lambda x, axis=1: F.crelu(x, axis), id="crelu"),
    pytest.param(lambda x, axis=1: F.glu(x, axis), id="glu"),
]
every_gate = pytest.mark.parametrize("gate", GATES)


def run(function, x, gradient=None):
    t = Tensor(x, requires_grad=True)
    y = function(t)
    y.backward(np.ones(y.shape, y.dtype) if gradient is None else gradient)
    return y.data, t.grad.data


@every_dtype
def test_definitions(dtype, level):
    x = np.random.default_rng(0).standard_normal((3, 6, 4)).astype(dtype)
    for pieces in (1, 2, 3, 6):
        expected = x.reshape(3, 6 // pieces, pieces, 4).max(axis=2)
        np.testing.assert_array_equal(F.maxout(x, pieces).data, expected)
    np.testing.assert_array_equal(
        F.crelu(x).data, np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis=1)
    )
    expected = x[:, :3] / (1 + np.exp(-x[:, 3:]))
    np.testing.assert_allclose(F.glu(x, 1).data, expected, rtol=2e-6)


@every_gate
def test_any_axis(gate, level):
    x = np.random.default_rng(0).standard_normal((4, 2, 6)).astype("float32")
    for axis in (0, 1, 2, -1, -2, -3):
        expected = np.moveaxis(gate(np.moveaxis(x, axis, 1)).data, 1, axis)
        np.testing.assert_array_equal(gate(x, axis).data, expected)
    np.testing.assert_array_equal(gate(x[0, 0], 0).data, gate(x[:1, 0]).data[0])


@every_gate
def test_what_they_take(gate):
    x = np.ones((2, 4), "float32")
    expected = gate(x).data
    for given in (x.tolist(), Tensor(x), np.ones((2, 4), int)):
        y = gate(given)
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y.data, expected)
    assert gate(x.astype("float64")).dtype == np.float64


@every_dtype
def test_maxout_at_ties_and_special_values(dtype, level):
    groups = [
        ([1, 1, 1], 1, 0),
        ([0, -0.0, 0], 0, 0),
        ([2, 3, 3], 3, 1),
        ([-INF, -INF, -INF], -INF, 0),
        ([-INF, 1, INF], INF, 2),
        ([INF, 1, INF], INF, 0),
        ([NAN, 1, INF], NAN, 0),
        ([INF, NAN, NAN], NAN, 1),
        ([1, 2, NAN], NAN, 2),
    ]
    for x, greatest, which in groups:
        for shape, axis in (((1, 3), 1), ((3, 1), 0), ((1, 3, 1), 1)):
            y, gx = run(
                lambda t, axis=axis: F.maxout(t, 3, axis), np.array(x, dtype).reshape(shape)
            )
            np.testing.assert_array_equal(y.ravel(), [greatest], err_msg=str(x))
            np.testing.assert_array_equal(gx.ravel(), np.eye(3)[which], err_msg=str(x))
        y, gx = run(lambda t: F.maxout(t, 3), np.array([x, x], dtype).T.reshape(1, 3, 2))
        np.testing.assert_array_equal(y.ravel(), [greatest] * 2)
        np.testing.assert_array_equal(gx[0, :, 1], np.eye(3)[which])


def test_maxout_passes_nothing_to_the_others(level):
    _, gx = run(lambda t: F.maxout(t, 2), np.array([[1, 2]], "float32"), np.array([[INF]]))
    np.testing.assert_array_equal(gx, [[0, INF]])


def test_many_pieces(level):
    x = np.random.default_rng(0).standard_normal((5, 900)).astype("float32")
    y, gx = run(lambda t: F.maxout(t, 300), x)
    np.testing.assert_array_equal(y, x.reshape(5, 3, 300).max(axis=2))
    np.testing.assert_array_equal(
        np.flatnonzero(gx.reshape(15, 300)) % 300, x.reshape(15, 300).argmax(1)
    )


def test_the_most_pieces(level):
    """Their numbers are kept in 16 bits: the last one is told from the first, and one more raises."""
    x = np.zeros((1, 1 << 16), "float32")
    x[0, -1] = 1
    _, gx = run(lambda t: F.maxout(t, 1 << 16), x)
    np.testing.assert_array_equal(np.flatnonzero(gx), [x.size - 1])
    with pytest.raises(ValueError, match="maxout: expected 1 to 65536 pieces, got 65537"):
        F.maxout(np.zeros((1, (1 << 16) + 1), "float32"), (1 << 16) + 1)


def test_maxout_is_the_same_without_a_gradient(level):
    x = np.random.default_rng(0).standard_normal((4, 6, 5)).astype("float32")
    for pieces in (1, 2, 3):
        y, _ = run(lambda t, pieces=pieces: F.maxout(t, pieces), x)
        np.testing.assert_array_equal(F.maxout(x, pieces).data, y)


@every_dtype
def test_crelu_at_special_values(dtype, level):
    x = np.array([[-INF, -2, -0.0, 0, 2, INF, NAN]], dtype)
    y, gx = run(F.crelu, x, np.array([[1.0] * 7 + [10.0] * 7], dtype))
    np.testing.assert_array_equal(y[0, :7], [0, 0, 0, 0, 2, INF, NAN])
    np.testing.assert_array_equal(y[0, 7:], [INF, 2, 0, 0, 0, 0, NAN])
    np.testing.assert_array_equal(gx[0, :6], [-10, -10, 0, 0, 1, 1])
    assert not np.signbit(y[0, [2, 3, 9, 10]]).any()


@every_dtype
def test_glu_at_special_values(dtype, level):
    gates = np.array([-INF, -1e30, -1e-44, 0, 1e30, INF, NAN], dtype)
    x = np.stack([np.full(7, 3, dtype), gates], axis=1)
    y, gx = run(F.glu, x)
    np.testing.assert_allclose(y[:, 0], [0, 0, 1.5, 1.5, 3, 3, NAN], rtol=1e-6)
    np.testing.assert_allclose(gx[:6, 0], [0, 0, 0.5, 0.5, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(gx[:6, 1], [0, 0, 0.75, 0.75, 0, 0], rtol=1e-6)
    y, _ = run(F.glu, np.array([[INF, 1], [-INF, 1], [NAN, 1]], dtype))
    np.testing.assert_array_equal(y[:, 0], [INF, -INF, NAN])


@every_gate
@every_dtype
def test_every_layout(gate, dtype, level):
    x = np.random.default_rng(0).standard_normal((4, 6)).astype(dtype)
    gy = np.random.default_rng(1).standard_normal(gate(x).shape).astype(dtype)
    y, gx = run(gate, x, gy)
    for layout, array in layouts(x):
        for gradient in (gy, np.asfortranarray(gy), np.repeat(gy, 2, axis=1)[:, ::2]):
            again, gradient_again = run(gate, array, gradient)
            assert np.array_equal(again, y), layout
            assert np.array_equal(gradient_again, gx), layout


@every_gate
@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0, 4, 5), (2, 4, 0), (2, 0, 3)])
def test_empty(gate, shape, level):
    y, gx = run(gate, np.zeros(shape, "float32"))
    assert gx.shape == shape and y.size == 0 and y.ndim == len(shape)
