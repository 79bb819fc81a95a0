"""rrelu and dropout: what they draw, when, for which layouts, in place, and at special values."""

import numpy as np
import pytest

import minidl as md
from minidl import Tensor
from minidl import functional as F

from .test_special_values import INF, NAN, layouts

every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def slopes(n=100_000, **options):
    return -F.rrelu(np.full(n, -1.0, "float32"), training=True, **options).data


def run(function, x, gradient=None):
    t = Tensor(x, requires_grad=True)
    y = function(t)
    y.backward(np.ones(y.shape, y.dtype) if gradient is None else gradient)
    return y.data, t.grad.data


# ── RReLU ─────────────────────────────────────────────────────────────────────────────────────────


def test_slopes_are_uniform_between_the_bounds(level):
    s = slopes(rng=0)
    assert s.min() >= np.float32(1 / 8) and s.max() <= np.float32(1 / 3)
    assert s.min() < 0.1251 and s.max() > 0.3332
    width = 1 / 3 - 1 / 8
    assert s.mean() == pytest.approx((1 / 8 + 1 / 3) / 2, abs=4 * width / np.sqrt(12 * s.size))
    assert s.std() == pytest.approx(width / np.sqrt(12), rel=0.01)
    shares = np.histogram(s, 20, (1 / 8, 1 / 3))[0] / s.size
    np.testing.assert_allclose(shares, 1 / 20, atol=0.004)
    assert len(np.unique(s)) > 0.98 * s.size  # one slope an element


def test_what_governs_the_draw():
    s = slopes(rng=7)
    np.testing.assert_array_equal(slopes(rng=7), s)
    assert (slopes(rng=8) != s).mean() > 0.99
    stream = np.random.default_rng(7)
    np.testing.assert_array_equal(slopes(rng=stream), s)
    assert (slopes(rng=stream) != s).mean() > 0.99  # a generator goes on
    md.manual_seed(7)
    np.testing.assert_array_equal(slopes(), s)
    assert (slopes() != s).mean() > 0.99
    md.manual_seed(7)
    F.rrelu([-1.0])  # without training nothing is drawn
    np.testing.assert_array_equal(slopes(), s)
    mersenne = lambda: np.random.Generator(np.random.MT19937(3))  # noqa: E731
    np.testing.assert_array_equal(slopes(rng=mersenne()), slopes(rng=mersenne()))


def test_any_number_of_threads(level):
    before = md.get_num_threads()
    x = np.random.default_rng(0).standard_normal((300, 301)).astype("float32")
    results = []
    try:
        for threads in (1, 2, 3, 4):
            md.set_num_threads(threads)
            results.append(run(lambda t: F.rrelu(t, training=True, rng=1), x))
            results[-1] += run(lambda t: F.dropout(t, 0.3, rng=1), x)
    finally:
        md.set_num_threads(before)
    for again in results[1:]:
        for mine, first in zip(again, results[0], strict=True):
            assert mine.tobytes() == first.tobytes()


@every_dtype
def test_the_gradient_has_the_slopes_of_the_value(dtype, level):
    x = np.random.default_rng(0).standard_normal((50, 31)).astype(dtype)
    y, gx = run(lambda t: F.rrelu(t, training=True, rng=3), x)
    np.testing.assert_array_equal(y, x * gx)
    assert (gx[x > 0] == 1).all() and (gx[x <= 0] < 1).all()


@every_dtype
def test_evaluating_is_leaky_relu_with_the_mean(dtype, level):
    x = np.random.default_rng(0).standard_normal((5, 31)).astype(dtype)
    for y, z in zip(
        run(lambda t: F.rrelu(t, 0.25, 0.75), x),
        run(lambda t: F.leaky_relu(t, 0.5), x),
        strict=True,
    ):
        np.testing.assert_array_equal(y, z)


@every_dtype
def test_rrelu_at_special_values(dtype, level):
    x = np.array([-INF, -1e30, -1e-44, -0.0, 0.0, 1e-44, 1e30, INF, NAN], dtype)
    y, gx = run(lambda t: F.rrelu(t, 0.25, 0.5, training=True, rng=0), x)
    np.testing.assert_array_equal(y[[0, 3, 4, 5, 6, 7, 8]], x[[0, 3, 4, 5, 6, 7, 8]])
    assert (gx[:5] >= 0.25).all() and (gx[:5] <= 0.5).all()  # at 0 the slope of the negative side
    np.testing.assert_array_equal(gx[5:], [1, 1, 1, NAN])
    assert -0.5e30 <= y[1] <= -0.25e30
    _, gx = run(lambda t: F.rrelu(t, 0.0, 0.0, training=True), x, np.full(9, INF, dtype))
    np.testing.assert_array_equal(gx, [0, 0, 0, 0, 0, INF, INF, INF, NAN])


def test_equal_bounds_are_leaky_relu(level):
    x = np.random.default_rng(0).standard_normal(100).astype("float32")
    y, gx = run(lambda t: F.rrelu(t, 0.3, 0.3, training=True), x)
    z, gz = run(lambda t: F.leaky_relu(t, 0.3), x)
    np.testing.assert_allclose(y, z, rtol=1e-6)
    np.testing.assert_allclose(gx, gz, rtol=1e-6)


def test_the_papers_form():
    """As the docstring writes it: x / a with a from U(3, 8)."""
    rng, x = np.random.default_rng(0), Tensor(np.full(100_000, -1.0), requires_grad=True)
    a = md.where(x > 0, 1.0, rng.uniform(3, 8, x.shape).astype(x.dtype))
    y = x / a
    y.backward(np.ones(x.shape))
    np.testing.assert_array_equal(x.grad.data, -y.data)
    assert -y.data.mean() == pytest.approx(np.log(8 / 3) / 5, abs=0.001)
    assert np.log(8 / 3) / 5 == pytest.approx(0.196, abs=5e-4)


# ── In place ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("training", [True, False])
@every_dtype
def test_inplace(training, dtype, level):
    x = np.random.default_rng(0).standard_normal((4, 6)).astype(dtype)
    gy = np.random.default_rng(1).standard_normal((4, 6)).astype(dtype)
    expected, gradient = run(lambda t: F.rrelu(t, training=training, rng=5), x, gy)
    t = Tensor(x.copy(), requires_grad=True)
    h = t + 0
    memory = h.data
    y = F.rrelu(h, training=training, rng=5, inplace=True)
    assert y is h and y.data is memory
    np.testing.assert_array_equal(y.data, expected)
    y.backward(gy)
    np.testing.assert_array_equal(t.grad.data, gradient)
    for array in (x.copy(), np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]):
        y = F.rrelu(array, training=training, rng=5, inplace=True)
        assert np.shares_memory(y.data, array)
        np.testing.assert_array_equal(array, expected)
    frozen = x.copy()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match=r"writ|read-only"):
        F.rrelu(frozen, training=training, inplace=True)
    np.testing.assert_array_equal(frozen, x)


@pytest.mark.parametrize("training", [True, False])
def test_inplace_raises_where_the_old_value_is_needed(training):
    leaf = Tensor(np.array([-1.0, 2.0]), requires_grad=True)
    with pytest.raises(RuntimeError, match="a leaf that requires a gradient cannot be changed"):
        F.rrelu(leaf, training=training, inplace=True)
    np.testing.assert_array_equal(leaf.data, [-1, 2])
    h = leaf * 1
    needs_h = (h * h).sum()
    F.rrelu(h, training=training, inplace=True)
    with pytest.raises(RuntimeError, match=r"Mul: input . .*changed in place"):
        needs_h.backward()
    x = Tensor(np.array([-1.0, 2.0]))
    with pytest.raises(ValueError, match=r"rrelu: inplace needs lower >= 0, got -0\.5"):
        F.rrelu(x, -0.5, 1.0, training=training, inplace=True)
    np.testing.assert_array_equal(x.data, [-1, 2])


# ── Dropout ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_dropout_keeps_the_right_share(p, level):
    n = 200_000
    y, gx = run(lambda t: F.dropout(t, p, rng=11), np.ones(n, "float32"))
    np.testing.assert_array_equal(y, gx)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / (1 - p))}
    assert abs((y == 0).mean() - p) < 5 * np.sqrt(p * (1 - p) / n)


def test_dropout_drops_the_same_in_both_dtypes(level):
    single, double = (F.dropout(np.ones(999, d), 0.4, rng=1).data for d in ("float32", "float64"))
    np.testing.assert_array_equal(single == 0, double == 0)


@every_dtype
def test_what_is_dropped_is_0(dtype, level):
    x = np.tile(np.array([INF, -INF, NAN, 1e30], dtype), 100)
    y, gx = run(lambda t: F.dropout(t, 0.5, rng=1), x, x)
    dropped = y == 0
    assert 120 < dropped.sum() < 280
    assert (gx[dropped] == 0).all()
    np.testing.assert_array_equal(y[~dropped], 2 * x[~dropped])
    for p in (1, 1.0, np.float64(1)):
        y, gx = run(lambda t, p=p: F.dropout(t, p), x, x)
        assert not y.any() and not gx.any()


def test_dropout_draws_once_a_call():
    md.manual_seed(0)
    first, second = (F.dropout(np.ones(100), 0.5).data for _ in range(2))
    assert (first != second).any()
    md.manual_seed(0)
    F.dropout(np.ones(100), 0.5, training=False), F.dropout(np.ones(100), 0.0)
    np.testing.assert_array_equal(F.dropout(np.ones(7), 0.5).data, first[:7])
    np.testing.assert_array_equal(F.dropout(np.ones(100), 0.5).data, second)


# ── Both ──────────────────────────────────────────────────────────────────────────────────────────

BOTH = [
    pytest.param(lambda x: F.rrelu(x, training=True, rng=2), id="rrelu"),
    pytest.param(lambda x: F.dropout(x, 0.5, rng=2), id="dropout"),
]


@pytest.mark.parametrize("function", BOTH)
@every_dtype
def test_every_layout_draws_the_same(function, dtype, level):
    x = np.random.default_rng(0).standard_normal((4, 6)).astype(dtype)
    gy = np.random.default_rng(1).standard_normal((4, 6)).astype(dtype)
    y, gx = run(function, x, gy)
    for layout, array in layouts(x):
        for gradient in (gy, np.asfortranarray(gy), np.repeat(gy, 2, axis=1)[:, ::2]):
            again, gradient_again = run(function, array, gradient)
            assert np.array_equal(again, y), layout
            assert np.array_equal(gradient_again, gx), layout


@pytest.mark.parametrize("function", BOTH)
def test_empty_and_single(function, level):
    for shape in ((), (0,), (0, 3), (2, 0, 4), (1, 1)):
        y, gx = run(function, np.ones(shape, "float32"))
        assert y.shape == gx.shape == shape and type(y) is type(gx) is np.ndarray


@pytest.mark.parametrize("function", BOTH)
def test_a_graph_that_stays_gives_the_same_gradient_again(function, level):
    x = Tensor(np.random.default_rng(0).standard_normal(50), requires_grad=True)
    y = function(x)
    y.sum().backward(retain_graph=True)
    first = x.grad.data.copy()
    x.zero_grad()
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, first)
