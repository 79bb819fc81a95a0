"""minidl/ops/arrays and the reductions beside sum: values against NumPy, errors, special values."""

import math

import numpy as np
import pytest

import minidl as md
from minidl import Tensor
from minidl import _kernels as K

INF, NAN = math.inf, math.nan
X = np.random.default_rng(0).standard_normal((3, 4)).astype("float32")
IDS = np.array([[3, 1, 2], [0, 5, 1]])
EMPTY = np.zeros((0, 3), "float32")

# ── Values ───────────────────────────────────────────────────────────────────────────────────────

# What is called alike in NumPy, with the same arguments: (function's name, arguments)
LIKE_NUMPY = [
    ("prod", IDS), ("prod", IDS > 1, 0), ("prod", X, (0, 1)), ("prod", EMPTY, 0), ("prod", EMPTY, 1, True),
    ("cumsum", X), ("cumsum", IDS, 1), ("cumsum", IDS > 1, -1), ("cumsum", EMPTY, 0),
    ("argmax", X), ("argmax", IDS, 1), ("argmin", X, 0), ("argmin", X, 0, True),
    ("argmax", np.array([1, NAN, 3, NAN])), ("argmin", np.array([1, NAN, 3, NAN])),
    ("sort", IDS), ("sort", IDS, 0), ("sort", X, None), ("sort", np.array([2, NAN, -INF, INF, NAN, 0.0])),
    ("argsort", IDS, 0), ("argsort", X, None), ("sort", EMPTY, 0),
    ("repeat", IDS, 2), ("repeat", IDS, 0, 1), ("repeat", IDS, [2, 0], 0), ("repeat", IDS, [3], 1), ("repeat", 3.0, 2),
    ("repeat", EMPTY, [], 0), ("repeat", EMPTY, [2, 0, 1], 1), ("tile", IDS, ()),
    ("tile", IDS, 2), ("tile", IDS, (2, 1, 2)), ("tile", IDS, 0), ("tile", 3.0, (2, 2)), ("tile", EMPTY, 2),
    ("flip", IDS), ("flip", IDS, 1), ("flip", 3.0), ("flip", EMPTY),
    ("roll", IDS, 4), ("roll", IDS, -1, 0), ("roll", IDS, (1, 1), (1, 0)), ("roll", IDS, 2, (0, 1)), ("roll", EMPTY, 1),
    ("outer", IDS[0], IDS), ("outer", EMPTY, X),
    ("tril", IDS), ("tril", IDS, 1), ("triu", IDS, -1), ("triu", X, 9), ("tril", EMPTY), ("tril", IDS > 1),
    ("sign", X), ("floor", 3 * X), ("sin", EMPTY), ("arctan", np.float32([-INF, INF])),
]  # fmt: skip


@pytest.mark.parametrize(
    "call", LIKE_NUMPY, ids=lambda call: f"{call[0]}-{'-'.join(map(str, call[2:]))}"
)
def test_equals_numpy(call):
    name, x, *rest = call
    options = {"keepdims": rest.pop()} if rest and rest[-1] is True else {}
    expected = getattr(np, name)(x, *rest, **options)
    y = getattr(md, name)(x, *rest, **options).data
    assert y.shape == np.shape(expected)
    rounding = 1e-6 if y.dtype == np.float32 else 0
    np.testing.assert_allclose(y, expected, rtol=rounding, atol=rounding)
    if isinstance(x, np.ndarray):
        assert y.dtype == np.asarray(expected).dtype


@pytest.mark.parametrize("name", ["sin", "log2", "erf", "floor", "norm", "logsumexp"])
def test_integers_become_float32(name):
    assert getattr(md, name)(IDS).dtype == np.float32


def test_methods_are_the_functions():
    x = Tensor(X, requires_grad=True)
    for name in ("sin", "tanh", "prod", "norm", "logsumexp", "argmax", "exp", "sqrt", "sort"):
        assert getattr(Tensor, name) is getattr(md, name)
        np.testing.assert_array_equal(getattr(x, name)().data, getattr(md, name)(x).data)
    assert md.tanh is md.functional.tanh
    np.testing.assert_array_equal(x.repeat(2, axis=1).data, X.repeat(2, 1))
    np.testing.assert_array_equal(x.max(0, keepdims=True).data, X.max(0, keepdims=True))


def test_norm_and_logsumexp():
    for axis, ord in ((None, 2), (0, 1), (1, INF), ((0, 1), 2)):
        expected = np.linalg.norm(
            X.ravel() if axis in (None, (0, 1)) else X,
            ord,
            None if axis in (None, (0, 1)) else axis,
        )
        np.testing.assert_allclose(md.norm(X, ord, axis).data, expected, rtol=1e-6)
    np.testing.assert_allclose(md.norm(X, 3).data, (np.abs(X) ** 3).sum() ** (1 / 3), rtol=1e-6)
    np.testing.assert_allclose(md.logsumexp(X, 0).data, np.log(np.exp(X).sum(0)), rtol=1e-6)
    rows = [[-INF, -INF], [INF, 0], [-INF, 5], [NAN, INF], [INF, NAN], [1e4, 1e4]]
    expected = [-INF, INF, 5, NAN, NAN, 1e4 + math.log(2)]
    np.testing.assert_allclose(md.logsumexp(rows, 1).data, expected, rtol=1e-6)
    np.testing.assert_array_equal(md.logsumexp(EMPTY, 0).data, [-INF] * 3)


def test_the_gradient_of_logsumexp_at_infinities():
    x = Tensor([[-INF, -INF], [-INF, 5.0]], requires_grad=True)
    md.logsumexp(x, 1).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [[0, 0], [0, 1]])
    x = Tensor([1.0, INF, -2.0], requires_grad=True)
    md.logsumexp(x).backward()
    np.testing.assert_array_equal(x.grad.data, [0, NAN, 0])


def test_split_is_numpys():
    x = np.arange(12.0).reshape(2, 6)
    for sections in (1, 2, 6, [2, 5], [0, 9], [4, 2], np.array([3])):
        expected = np.split(x, sections, axis=1)
        got = md.split(x, sections, axis=1)
        assert [p.shape for p in got] == [p.shape for p in expected]
        for mine, other in zip(got, expected, strict=True):
            np.testing.assert_array_equal(mine.data, other)
            assert other.size == 0 or np.shares_memory(mine.data, x)
    assert [p.shape for p in md.split(EMPTY, 4)] == [(0, 3)] * 4
    assert [p.shape for p in md.unstack(x, 1)] == [(2,)] * 6


def test_new_tensors():
    for made in (md.zeros(2, 3), md.zeros((2, 3)), md.zeros([2, 3]), md.zeros(np.array([2, 3]))):
        np.testing.assert_array_equal(made.data, np.zeros((2, 3), "float32"))
    assert md.ones().shape == () and md.ones(2, dtype="int64").dtype == np.int64
    y = md.full((2,), 0.5, dtype="float64", requires_grad=True)
    (y * y).sum().backward()
    np.testing.assert_array_equal(y.grad.data, [1, 1])
    for arguments in ((5,), (2, 5), (5, 0, -2), (0, 1, 0.25), (0.0, 2.0), (3, 0)):
        expected = np.arange(*arguments)
        y = md.arange(*arguments).data
        np.testing.assert_array_equal(y, expected)
        assert y.dtype == (np.float32 if expected.dtype.kind == "f" else np.int64)
    assert md.arange(3, dtype="float64").dtype == np.float64
    y = md.randn(200, 300, rng=7)
    assert y.shape == (200, 300) and y.dtype == np.float32
    assert abs(y.data.mean()) < 0.02 and abs(y.data.std() - 1) < 0.02
    md.manual_seed(7)
    np.testing.assert_array_equal(md.randn((200, 300)).data, y.data)
    assert not np.any(md.randn((200, 300)).data == y.data[::-1])
    wide = md.randn(200, 300, dtype="float64", rng=7)
    np.testing.assert_array_equal(wide.data.astype("float32"), y.data)


# ── Operators ────────────────────────────────────────────────────────────────────────────────────


def test_operators_without_a_gradient():
    x = Tensor([7.0, -7.0, 0.5])
    np.testing.assert_array_equal((x // 2).data, [3, -4, 0])
    np.testing.assert_array_equal((x % 2).data, [1, 1, 0.5])
    np.testing.assert_array_equal((5 // x).data, [0, -1, 10])
    np.testing.assert_array_equal((5 % Tensor(IDS)).dtype, IDS.dtype)
    np.testing.assert_array_equal((IDS // Tensor([[2]], dtype="int64")).data, IDS // 2)
    np.testing.assert_array_equal((x % 0).data, [NAN] * 3)
    assert ((x // 2).dtype, (Tensor(IDS) // 2).dtype) == (np.float32, np.int64)
    inside = (x > 0) & (x < 5)
    np.testing.assert_array_equal(inside.data, [False, False, True])
    np.testing.assert_array_equal((~inside | (x < 0)).data, [True, True, False])
    np.testing.assert_array_equal((np.array([True, True, False]) & inside).data, [False] * 3)
    np.testing.assert_array_equal((True & inside).data, inside.data)
    y = Tensor([7.0])
    y //= 2
    assert y.data == [3]


def test_what_they_refuse():
    w, x = Tensor([1.0], requires_grad=True), Tensor([1.0])
    for call in (lambda: w // 2, lambda: 2 % w):
        with pytest.raises(RuntimeError, match=r"(floor_divide|remainder) \(.*requires a gradient"):
            call()
    with md.no_grad():
        assert (w // 2).data == [0]
    with pytest.raises(TypeError, match=r"logical_and \(&\): expected bools.*got float32"):
        x & True
    with pytest.raises(TypeError, match=r"logical_not \(~\): expected bools"):
        ~Tensor(IDS)
    with pytest.raises(ValueError, match=r"logical_or \(\|\): .*broadcast"):
        Tensor([True, False]).astype(bool) | np.ones(3, bool)


ERRORS = [
    (lambda: md.prod(X, 2), ValueError, "prod: axis 2 is out of range for 2 axes"),
    (lambda: md.prod(X, (0, -2)), ValueError, "prod: an axis is named twice"),
    (lambda: md.norm(X, 0), ValueError, "norm: ord must be a number > 0, got 0"),
    (lambda: md.norm(X, "fro"), TypeError, "norm: ord must be a number > 0, got 'fro'"),
    (lambda: md.logsumexp(X, "a"), TypeError, "logsumexp: axis"),
    (lambda: md.argmax(EMPTY), ValueError, "argmax: no elements"),
    (lambda: md.argmax(X, (0, 1)), TypeError, "argmax: axis must be an integer"),
    (lambda: md.sort(X, 2), ValueError, "sort: axis 2"),
    (lambda: md.cumsum(X, 1.5), TypeError, "cumsum: axis must be an integer"),
    (lambda: md.split(X, 3, 1), ValueError, "split: 3 equal parts of axis 1, of length 4"),
    (lambda: md.split(X, 0), ValueError, "split: sections must be an integer >= 1"),
    (lambda: md.split(X, "ab"), TypeError, "split: sections must be a sequence"),
    (lambda: md.repeat(X, -1), ValueError, "repeat: repeats must be an integer >= 0"),
    (lambda: md.repeat(X, [1, 2], 0), ValueError, "repeat: 2 repeats for axis 0, of length 3"),
    (lambda: md.roll(X, (1, 2, 3), (0, 1)), ValueError, "roll: 3 shifts for 2 axes"),
    (lambda: md.flip(X, (0, 0)), ValueError, "flip: an axis is named twice"),
    (lambda: md.tril(X[0]), ValueError, "tril: expected at least 2 axes"),
    (lambda: md.zeros(-1), ValueError, "zeros: shape: lengths must not be negative"),
    (lambda: md.zeros(2, dtype="complex64"), TypeError, "zeros: dtype"),
    (lambda: md.ones(2, dtype=int, requires_grad=True), TypeError, "only float32 and float64"),
    (lambda: md.randn(2, dtype="int64"), TypeError, "randn: dtype: expected float32 or float64"),
    (lambda: md.arange(3, step=0), ValueError, "arange: step must not be 0"),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS, ids=[e[2] for e in ERRORS])
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


# ── Gradients at special places ──────────────────────────────────────────────────────────────────


def test_the_gradient_of_a_product_with_zeros():
    x = Tensor([[2.0, 3.0, 4.0], [2.0, 0.0, 4.0], [0.0, 3.0, 0.0]], requires_grad=True)
    g = md.grad(md.prod(x, 1).sum(), x, create_graph=True)
    np.testing.assert_array_equal(g.data, [[12, 8, 6], [0, 8, 0], [0, 0, 0]])
    np.testing.assert_array_equal(md.grad(g.sum(), x).data, [[7, 6, 5], [4, 6, 2], [3, 0, 3]])


def test_the_gradient_of_a_norm_at_0():
    x = Tensor(np.zeros((2, 3)), requires_grad=True)
    for ord in (1, 1.5, 2, 3):
        np.testing.assert_array_equal(md.grad(md.norm(x, ord, 1).sum(), x).data, np.zeros((2, 3)))


def test_functions_of_steps_have_slope_0():
    x = Tensor([NAN, -INF, 0.0, 2.5], requires_grad=True)
    for fn in (md.sign, md.floor):
        x.zero_grad()
        fn(x).sum().backward()
        np.testing.assert_array_equal(x.grad.data, [0, 0, 0, 0])


def test_equal_elements_are_sorted_in_their_order():
    x = Tensor([2.0, 1.0, 2.0, 1.0], requires_grad=True)
    md.sort(x).backward([10.0, 20.0, 30.0, 40.0])
    np.testing.assert_array_equal(x.grad.data, [30, 10, 40, 20])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axis", [0, 1])
def test_zeros_of_both_signs_keep_their_order(dtype, axis):
    x = np.random.default_rng(0).choice(np.array([0.0, -0.0, 1.0, -1.0], dtype), (200, 200))
    signs = np.signbit(md.sort(Tensor(x), axis).data)
    order = np.argsort(x, axis, kind="stable")
    np.testing.assert_array_equal(signs, np.signbit(np.take_along_axis(x, order, axis)))
    recorded = md.sort(Tensor(x, requires_grad=True), axis).data
    np.testing.assert_array_equal(signs, np.signbit(recorded))


# ── Many parts of one tensor ─────────────────────────────────────────────────────────────────────

PARTS = {
    "iteration": lambda x: list(x),
    "iteration, backward": lambda x: list(x)[::-1],
    "overlapping": lambda x: [x[i : i + 3] for i in range(4)],
    "split": lambda x: md.split(x, 3, 1),
    "single elements": lambda x: [x[i, j] for i in range(6) for j in range(3)],
    "steps": lambda x: [x[::2], x[1::2], x[::-1], x[:, None, 1]],
    "with the whole": lambda x: [x[0], x, x[1], x * x, x[2:], x.T],
    "none of some": lambda x: [x[2], x[3:3], x[4]],
}


def weighted(parts):
    """Σ (i + 1) part²."""
    terms = [(i + 1) * (part * part).sum() for i, part in enumerate(parts)]
    return md.stack(terms).sum()


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("leaf", [True, False])
def test_the_gradients_of_parts(name, leaf):
    """Added in place, they are what the textbook's way gives, which fills an array for each."""

    def gradient(**how):
        x = Tensor(np.random.default_rng(0).standard_normal((6, 3)), requires_grad=True)
        y = weighted(PARTS[name](x if leaf else x * 1.0))
        return [md.grad(y, x, retain_graph=True, **how).data for _ in range(2)]

    first, again = gradient()
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, gradient(create_graph=True)[0], rtol=1e-14)
    with md.detect_anomaly():
        np.testing.assert_allclose(first, gradient()[0], rtol=1e-14)


def test_parts_meet_in_one_array(monkeypatch):
    """The first part's gradient fills an array of x's size, the other 49 are added to it."""
    filled = []
    set_all = K.set_all
    monkeypatch.setattr(K, "set_all", lambda y, value: filled.append(y.shape) or set_all(y, value))
    x = Tensor(np.ones((50, 2)), requires_grad=True)
    weighted(list(x * 1.0)).backward()
    np.testing.assert_array_equal(x.grad.data, 2 * np.arange(1.0, 51)[:, None] * [1, 1])
    assert filled == [(50, 2)]


def test_the_gradient_of_an_intermediate_tensor_of_which_parts_are_taken():
    x = Tensor(np.ones(3), requires_grad=True)
    y = x * 2
    gy, gx = md.grad(weighted([y[0], y[1], y]), [y, x])
    np.testing.assert_array_equal(gy.data, [16, 20, 12])
    np.testing.assert_array_equal(gx.data, [32, 40, 24])


@pytest.mark.parametrize("kind", ["int8", "int32", "int64", "uint8", "uint32", "uint64"])
def test_ids_of_every_kind_of_integer(kind):
    x = md.Tensor(np.arange(6, dtype=np.float32).reshape(3, 2), requires_grad=True)
    y = x[np.array([2, 0, 2], kind)]
    y.sum().backward()
    np.testing.assert_array_equal(y.data, [[4, 5], [0, 1], [4, 5]])
    np.testing.assert_array_equal(x.grad.data, [[1, 1], [0, 0], [2, 2]])


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("least", [-9.0, 0.5, 9.0], ids=["all", "some", "none"])
def test_masks_of_the_first_axes(axes, least):
    """As in NumPy, whatever order x and the mask have in memory; the gradient is gy where the mask is, and 0."""
    rng = np.random.default_rng(0)
    array = rng.standard_normal((4, 5, 6))
    for values in (array, np.asfortranarray(array), array[:, ::-1]):
        mask = values[(..., *[0] * (3 - axes))] > least
        x = Tensor(values, requires_grad=True)
        y = x[np.asfortranarray(mask)]
        np.testing.assert_array_equal(y.data, values[mask])
        gy = rng.standard_normal(y.shape)
        y.backward(gy)
        expected = np.zeros(values.shape)
        expected[mask] = gy
        np.testing.assert_array_equal(x.grad.data, expected)
    with pytest.raises(IndexError):
        Tensor(array)[np.ones((4, 4), bool)]
