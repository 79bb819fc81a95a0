"""Zeros, infinities, NaN, odd lengths, strides: at every CPU level and without a warning."""

from functools import partial

import numpy as np
import pytest

from minidl import Tensor
from minidl import functional as F
from minidl.autograd.engine import grad
from minidl.ops.activations.table import ACTIVATIONS, ROWS

INF, NAN = float("inf"), float("nan")
DTYPES = ["float32", "float64"]
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def special(dtype: str) -> np.ndarray:
    info = np.finfo(dtype)
    small = [
        info.smallest_subnormal,
        100 * info.smallest_subnormal,
        info.tiny,
        info.eps,
        1e-6,
        1e-3,
    ]
    usual = [
        0.1,
        0.5,
        1.0,
        3.0,
        6.0,
        19.9,
        20.1,
        88.0,
        89.0,
        104.0,
        709.0,
        750.0,
        1e30,
        float(info.max),
    ]
    positive = np.array([0.0, *small, *usual, INF], dtype)
    return np.concatenate([positive, -positive, np.array([NAN], dtype)])


def applied(name):
    """F.name with the parameters that its row gives."""
    row = ACTIVATIONS.get(name)
    return partial(getattr(F, name), **(row.params if row else {}))


def apply(row, x, gradient=1.0):
    """The activation with its default parameters: (value, gradient) as arrays."""
    t = Tensor(x, requires_grad=True)
    y = F.FUNCTIONS[row.name](t, **row.params)
    y.backward(np.full(y.shape, gradient, y.dtype))
    return y.data, t.grad.data


def exact(row, x):
    """Value and slope by the NumPy formulas of the row, in float64."""
    params, x = tuple(row.params.values()), x.astype("float64")
    with np.errstate(all="ignore"):
        y = np.asarray(row.value(x, *params))
        return y, np.broadcast_to(row.slope(x if row.slope_from == "x" else y, *params), y.shape)


# ── Activations ───────────────────────────────────────────────────────────────────────────────────


@every_row
@every_dtype
def test_special_values(row, dtype, level):
    x = special(dtype)
    y, gx = apply(row, x)
    expected, slope = exact(row, x)
    with np.errstate(over="ignore", under="ignore"):
        expected, slope = expected.astype(dtype), slope.astype(dtype)
    rtol = 4e-6 if dtype == "float32" else 1e-12  # of both; test_math.py measures one in ulp
    tiny = np.finfo(dtype).tiny  # below it, processors and C libraries may round differently
    np.testing.assert_allclose(y, expected, rtol=rtol, atol=tiny)
    # The slope of a saturated unit is a difference of nearly equal numbers: absolute accuracy.
    finite = ~np.isnan(x)
    np.testing.assert_allclose(gx[finite], slope[finite], rtol=rtol, atol=2 * np.finfo(dtype).eps)
    assert np.isnan(y[-1]), "NaN in, NaN out"


@every_row
@every_dtype
def test_limits(row, dtype, level):
    for at, value in row.limits.items():
        y, gx = apply(row, np.array([at], dtype))
        assert y[0] == value, f"{row.name}({at}) is {y[0]}, its row says {value}"
        assert not np.isnan(gx[0])


@every_row
@every_dtype
def test_higher_derivatives_are_finite_far_out(row, dtype, level):
    """Where the textbook's curvature is inf * 0, at either infinity; and no warning on the way."""
    x = np.array([-INF, -1e30, -1e4, -800, -105, -20, 20, 105, 800, 1e4, 1e30, INF], dtype)
    t = Tensor(x, requires_grad=True)
    g = F.FUNCTIONS[row.name](t, **row.params)
    for order in (1, 2, 3):
        if not g.requires_grad:
            break
        g = grad(g, t, Tensor(np.ones_like(x)), create_graph=True)
        wrong = ~np.isfinite(g.data) if order > 1 else np.isnan(g.data)  # a slope may grow
        assert not wrong.any(), f"derivative {order}: {g.data}"


@every_row
@every_dtype
def test_the_slope_at_a_kink_is_what_the_row_says(row, dtype, level):
    kinks = row.kinks(*row.params.values())
    assert bool(kinks) == bool(row.kink_note)
    for kink, slope in kinks.items():
        at = np.array([kink], dtype)
        np.testing.assert_allclose(apply(row, at)[1], slope, rtol=1e-6)
        if kink == 0:
            np.testing.assert_array_equal(apply(row, -at)[1], apply(row, at)[1])
    other = tuple(1.5 * value for value in row.params.values())  # with alpha = 1 elu has no kink
    for kink in row.kinks(*other):
        sides = Tensor(np.array([kink - 1e-3, kink + 1e-3], dtype), requires_grad=True)
        F.FUNCTIONS[row.name](sides, *other).sum().backward()
        assert abs(np.diff(sides.grad.data)) > 0.1, "no kink there"


@every_row
def test_a_dead_unit_passes_no_infinity_on(row, level):
    x = np.array([-INF, -1e30, INF, 1e30], "float32")
    _, slope = apply(row, x)
    _, gx = apply(row, x, gradient=INF)
    assert (gx[slope == 0] == 0).all()


@every_row
@every_dtype
def test_every_length(row, dtype, level):
    """The vector loop and its remainder give the same bits, wherever an element is."""
    rng = np.random.default_rng(0)
    x = (3 * rng.standard_normal(67)).astype(dtype)
    y, gx = apply(row, x)
    expected, slope = exact(row, x)
    rtol = 4e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(y, expected, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(gx, slope, rtol=rtol, atol=rtol)
    for n in range(67):
        for start in (0, 67 - n):
            part, gradient = apply(row, x[start : start + n])
            assert np.array_equal(part, y[start : start + n])
            assert np.array_equal(gradient, gx[start : start + n])


def layouts(x):
    """x (4, 6) in every kind of memory: (name, array)."""
    wide = np.zeros((8, 18), x.dtype)
    wide[::2, ::3] = x
    turned = np.ascontiguousarray(x[::-1, ::-1])
    frozen = x.copy()
    frozen.flags.writeable = False
    shifted = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    shifted[...] = x
    yield "strided", wide[::2, ::3]
    yield "Fortran order", np.asfortranarray(x)
    yield "reversed", turned[::-1, ::-1]
    yield "read-only", frozen
    yield "not aligned", shifted
    yield "other byte order", x.astype(x.dtype.newbyteorder())


@pytest.mark.parametrize("name", [*F.FUNCTIONS, "softmax", "log_softmax"])
@every_dtype
def test_every_layout(name, dtype, level):
    function = applied(name)
    x = np.random.default_rng(0).standard_normal((4, 6)).astype(dtype)
    gy = np.random.default_rng(1).standard_normal(function(x).shape).astype(dtype)

    def run(array, gradient):
        t = Tensor(array, requires_grad=True)
        y = function(t)
        y.backward(gradient)
        return y.data, t.grad.data

    y, gx = run(x, gy)
    for layout, array in layouts(x):
        for gradient in (gy, np.asfortranarray(gy), np.repeat(gy, 2, axis=1)[:, ::2]):
            again, gradient_again = run(array, gradient)
            assert np.array_equal(again, y), layout
            assert np.array_equal(gradient_again, gx), layout


@pytest.mark.parametrize("name", [*F.FUNCTIONS, "softmax", "log_softmax"])
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4)])
def test_empty(name, shape, level):
    t = Tensor(np.zeros(shape, "float32"), requires_grad=True)
    y = applied(name)(t)
    assert y.shape == shape
    y.backward(np.zeros(shape))
    assert t.grad.shape == shape


@every_row
def test_one_number(row, level):
    y, gx = apply(row, np.array(0.5, "float32"))
    assert y.shape == gx.shape == () and type(y) is type(gx) is np.ndarray


# ── Softmax and losses ────────────────────────────────────────────────────────────────────────────

ROWS_OF_SCORES = [  # scores, softmax, log_softmax
    ([0.0, 0.0], [0.5, 0.5], [-np.log(2), -np.log(2)]),
    ([1e30, 0.0], [1, 0], [0, -1e30]),
    ([-1e30, 0.0, -1e30], [0, 1, 0], [-1e30, 0, -1e30]),
    ([-INF, 0.0], [0, 1], [-INF, 0]),
    ([7.0], [1], [0]),
    ([-INF, -INF], [NAN, NAN], [NAN, NAN]),
    ([INF, 0.0], [NAN, NAN], [NAN, NAN]),
    ([NAN, 0.0, 1.0], [NAN] * 3, [NAN] * 3),
    ([1.0, 0.0, NAN], [NAN] * 3, [NAN] * 3),
    (
        [1000.0, 1000.0, 999.0],
        [0.42231880, 0.42231880, 0.15536240],
        [-0.8619948, -0.8619948, -1.8619948],
    ),
    ([1e-45, -1e-45], [0.5, 0.5], [-np.log(2), -np.log(2)]),
]


@pytest.mark.parametrize(
    ("scores", "softmax", "log_softmax"), ROWS_OF_SCORES, ids=lambda v: str(v)[:20]
)
@every_dtype
def test_softmax(scores, softmax, log_softmax, dtype, level):
    x = np.array(scores, dtype)
    for shape, axis in (((1, -1), 1), ((-1,), 0), ((-1, 1), 0)):
        np.testing.assert_allclose(
            F.softmax(x.reshape(shape), axis).data.ravel(), softmax, rtol=1e-6
        )
        np.testing.assert_allclose(
            F.log_softmax(x.reshape(shape), axis).data.ravel(),
            np.array(log_softmax, dtype),
            rtol=1e-6,
        )


@every_dtype
def test_softmax_of_every_length(dtype, level):
    rng = np.random.default_rng(0)
    for n in range(1, 68):
        x = (5 * rng.standard_normal((3, n))).astype(dtype)
        wide = x.astype("float64")
        expected = np.exp(wide) / np.exp(wide).sum(1, keepdims=True)
        tolerance = 1e-6 if dtype == "float32" else 1e-14
        np.testing.assert_allclose(F.softmax(x).data, expected, rtol=20 * tolerance)
        np.testing.assert_allclose(
            F.log_softmax(x).data, np.log(expected), rtol=20 * tolerance, atol=tolerance
        )
        ids = rng.integers(0, n, 3)
        t = Tensor(x, requires_grad=True)
        F.cross_entropy(t, ids, "sum").backward()
        np.testing.assert_allclose(t.grad.data, expected - np.eye(n)[ids], atol=4 * tolerance)


@every_dtype
def test_cross_entropy(dtype, level):
    cases = [
        ([1e30, 0.0], 0, 0, [0, 0]),
        ([1e30, 0.0], 1, 1e30, [1, -1]),
        ([-1e30, 0.0], 0, 1e30, [-1, 1]),
        ([-INF, 0.0], 1, 0, [0, 0]),
        ([-INF, 0.0], 0, INF, [-1, 1]),
        ([3.0], 0, 0, [0]),
        ([NAN, 0.0], 1, NAN, [NAN, NAN]),
    ]
    for scores, target, loss, gradient in cases:
        t = Tensor(np.array([scores], dtype), requires_grad=True)
        y = F.cross_entropy(t, [target], "none")
        np.testing.assert_allclose(y.data, np.array([loss], dtype), rtol=1e-6)
        y.sum().backward()
        np.testing.assert_allclose(t.grad.data[0], gradient, atol=1e-6)
    assert F.cross_entropy(np.zeros((0, 3), dtype), np.zeros(0, int), "sum").item() == 0
    assert np.isnan(F.cross_entropy(np.zeros((0, 3), dtype), np.zeros(0, int)).item())
    assert F.cross_entropy(np.zeros((0, 3), dtype), np.zeros(0, int), "none").shape == (0,)


@every_dtype
def test_binary_cross_entropy(dtype, level):
    p, t = np.array([0.0, 1.0, 0.0, 1.0, NAN], dtype), np.array([0.0, 1.0, 1.0, 0.0, 1.0], dtype)
    x = Tensor(p, requires_grad=True)
    y = F.binary_cross_entropy(x, t, "none")
    np.testing.assert_array_equal(y.data, np.array([0, 0, 100, 100, NAN], dtype))
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data[:2], [0, 0])
    assert np.isfinite(x.grad.data[:4]).all()
    x = Tensor(np.array([1e30, -1e30, 1e30, -1e30, 0.0, -0.0], dtype), requires_grad=True)
    t = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.0], dtype)
    y = F.binary_cross_entropy_with_logits(x, t, "none")
    np.testing.assert_allclose(
        y.data, np.array([0, 0, 1e30, 1e30, np.log(2), np.log(2)], dtype), rtol=1e-6
    )
    y.sum().backward()
    np.testing.assert_allclose(x.grad.data, [0, 0, 1, -1, -0.5, 0.5])


def test_other_losses_far_out(level):
    x = Tensor(np.array([1e30, -1e30, 1e4, 0.0], "float32"), requires_grad=True)
    zero = np.zeros(4, "float32")
    y = F.huber_loss(x, zero, "none", delta=0.5)
    np.testing.assert_allclose(y.data, [5e29, 5e29, 4999.875, 0], rtol=1e-6)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, [0.5, -0.5, 0.5, 0])
    x.zero_grad()
    F.l1_loss(x, zero, "sum").backward()
    np.testing.assert_array_equal(x.grad.data, [1, -1, 1, 0])
    for loss in (F.mse_loss, F.l1_loss, F.huber_loss, F.binary_cross_entropy):
        nothing = np.zeros((0, 2), "float32")
        assert loss(nothing, nothing, "sum").item() == 0 and np.isnan(loss(nothing, nothing).item())


# ── PReLU and layer normalisation ─────────────────────────────────────────────────────────────────


@every_dtype
@pytest.mark.parametrize("beta", [0.1, 1.0, 7.0])
def test_softplus_with_beta_far_out(beta, dtype, level):
    x = np.array([-INF, -1e30, -1e4, 0, 1e4, 1e30, np.finfo(dtype).max, INF], dtype)
    y = F.softplus(x, beta).data
    np.testing.assert_array_equal(y[[0, 1, 2, 4, 5, 6, 7]], [0, 0, 0, *x[4:]])
    np.testing.assert_allclose(y[3], np.log(2) / beta, rtol=1e-6)


@every_dtype
def test_prelu(dtype, level):
    x = Tensor(np.array([[-INF, -1.0, -0.0, 0.0, 2.0, INF, NAN]], dtype).T, requires_grad=True)
    slope = Tensor(np.array([0.25], dtype), requires_grad=True)
    y = F.prelu(x, slope)
    np.testing.assert_array_equal(y.data[:, 0], [-INF, -0.25, 0, 0, 2, INF, NAN])
    y.backward(np.array([[0], [1], [1], [1], [1], [1], [1]], dtype)[:, :] * 1.0 + 0)
    np.testing.assert_array_equal(x.grad.data[1:, 0], [0.25, 0.25, 0.25, 1, 1, NAN])
    assert np.isnan(slope.grad.data).all()
    for shape in ((0, 3), (2, 3, 0), (0, 3, 2)):
        x = Tensor(np.zeros(shape, dtype), requires_grad=True)
        slope = Tensor(np.ones(3, dtype), requires_grad=True)
        F.prelu(x, slope).backward(np.zeros(shape))
        assert x.grad.shape == shape and np.array_equal(slope.grad.data, np.zeros(3))


@every_dtype
def test_layer_norm(dtype, level):
    x = np.array([[1e4, 1e4 + 1, 1e4 + 2], [5, 5, 5], [-1e15, 0, 1e15]], dtype)
    y = F.layer_norm(x, 3).data
    unit = np.sqrt(1.5)
    np.testing.assert_allclose(y, [[-unit, 0, unit], [0, 0, 0], [-unit, 0, unit]], atol=1e-4)
    for n in range(1, 68):
        x = np.random.default_rng(n).standard_normal((3, n)).astype(dtype)
        wide = x.astype("float64")
        expected = (wide - wide.mean(1, keepdims=True)) / np.sqrt(wide.var(1, keepdims=True) + 0.1)
        np.testing.assert_allclose(
            F.layer_norm(x, n, eps=0.1).data, expected, atol=1e-5 if dtype == "float32" else 1e-13
        )
    assert F.layer_norm(np.zeros((0, 3), dtype), 3).shape == (0, 3)
    assert F.layer_norm(np.zeros((2, 0), dtype), 0).shape == (2, 0)
    for spoilt in (NAN, np.inf, -np.inf):  # no mean, no variance: the whole row, and no other
        x = np.array([[1, spoilt], [1, 2]], dtype)
        assert np.isnan(F.layer_norm(x, 2).data).tolist() == [[True] * 2, [False] * 2]


@every_dtype
def test_layer_norm_of_one_element_is_constant(dtype, level):
    rng = np.random.default_rng(0)
    x, weight, bias, gy = (rng.standard_normal((99, 1)).astype(dtype) for _ in range(4))
    for i in range(99):
        t = Tensor(x, requires_grad=True)
        y = F.layer_norm(t, 1, weight[i], bias[i])
        assert (y.data == bias[i]).all()
        y.backward(gy)
        first = grad((F.layer_norm(t, 1, weight[i], bias[i]) * gy).sum(), t, create_graph=True)
        for g in (t.grad, first, grad(first.sum(), t)):
            np.testing.assert_array_equal(g.data, np.zeros((99, 1)))


@every_dtype
@pytest.mark.parametrize("n", [2, 3, 9, 64, 1000])
def test_constant_rows_have_no_deviation(n, dtype, level):
    """Whatever the number: the rounding error of its mean must not be taken for a deviation."""
    for value in (0.1, 2.7, 1e6 + 0.3, 1e30, 3e38):
        x = np.full((2, 4, n), value, dtype)
        for normalised in (
            F.layer_norm(x, n),
            F.instance_norm(x),
            F.group_norm(x, 2),
            F.batch_norm(x, None, None, training=True),
        ):
            np.testing.assert_array_equal(normalised.data, np.zeros(x.shape))
        t = Tensor(x, requires_grad=True)
        y = t.std(axis=-1)
        y.sum().backward()
        assert not y.data.any() and not t.grad.data.any()


@every_dtype
def test_group_norm(dtype, level):
    x = np.array([[1e4, 1e4 + 1, 1e4 + 2, 5, 5, 5, -1e15, 0, 1e15]], dtype).reshape(1, 3, 3)
    unit = np.sqrt(1.5)
    expected = [[[-unit, 0, unit], [0, 0, 0], [-unit, 0, unit]]]
    np.testing.assert_allclose(F.group_norm(x, 3).data, expected, atol=1e-4)
    for shape in ((0, 6, 2), (2, 6, 0), (2, 0, 3)):
        x = Tensor(np.zeros(shape, dtype), requires_grad=True)
        weight = Tensor(np.ones(shape[1], dtype), requires_grad=True)
        F.group_norm(x, 2, weight).backward(np.zeros(shape, dtype))
        assert x.grad.shape == shape
        np.testing.assert_array_equal(weight.grad.data, np.zeros(shape[1]))
    for spoilt in (NAN, np.inf, -np.inf):  # the whole group, and no other
        x = np.arange(12, dtype=dtype).reshape(1, 4, 3)
        x[0, 1, 2] = spoilt
        bad = np.isnan(F.group_norm(x, 2).data)
        assert bad[:, :2].all() and not bad[:, 2:].any()


def test_max_pool_of_nothing_raises():
    """A window of padding alone has no greatest element, and no place for its gradient."""
    with pytest.raises(ValueError, match="max_pool: expected elements along every axis"):
        F.max_pool(np.ones((2, 1, 0, 4), "float32"), 2, padding=1)
    assert F.max_pool(np.ones((0, 1, 4, 4), "float32"), 2).shape == (0, 1, 2, 2)
