"""Values of arithmetic, shapes and indexing against NumPy; dtypes."""

import operator

import numpy as np
import pytest

import minidl as md
from minidl import Tensor, ops
from minidl import functional as F

rng = np.random.default_rng(0)


def normal(*shape, dtype="float64"):
    return rng.standard_normal(shape).astype(dtype)


def check(result, expected):
    """The same values, shape and dtype."""
    assert isinstance(result, Tensor)
    assert type(result.data) is np.ndarray, "an array, not a NumPy scalar"
    expected = np.asarray(expected)
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(
        result.data, expected, rtol=1e-6 if result.dtype == np.float32 else 1e-14
    )


SHAPES = [
    ((), ()),
    ((3,), ()),
    ((2, 3), (3,)),
    ((2, 1), (1, 3)),
    ((4, 1, 2), (3, 1)),
    ((0,), (1,)),
    ((2, 0), (2, 1)),
    ((0, 3), (3,)),
    ((1,), (0,)),
]
BINARY = [
    (ops.add, np.add),
    (ops.sub, np.subtract),
    (ops.mul, np.multiply),
    (ops.div, np.divide),
    (ops.maximum, np.maximum),
    (ops.minimum, np.minimum),
    (ops.less, np.less),
    (ops.less_equal, np.less_equal),
    (ops.greater, np.greater),
    (ops.greater_equal, np.greater_equal),
    (ops.equal, np.equal),
    (ops.not_equal, np.not_equal),
]


@pytest.mark.parametrize(("ours", "theirs"), BINARY, ids=lambda f: f.__name__)
@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_binary(ours, theirs, left, right):
    for dtype in ("float32", "float64"):
        a, b = normal(*left, dtype=dtype), normal(*right, dtype=dtype)
        check(ours(Tensor(a), Tensor(b)), theirs(a, b))
        check(ours(a, Tensor(b)), theirs(a, b))
        check(ours(Tensor(a), b), theirs(a, b))


@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_broadcast_gradients_have_the_inputs_shapes(left, right):
    a, b = (Tensor(normal(*s), requires_grad=True) for s in (left, right))
    y = a * b + a - b
    y.backward(np.ones(y.shape))
    ones = np.ones(y.shape)
    for t, slope in ((a, (b.data + 1) * ones), (b, (a.data - 1) * ones)):
        lead = slope.ndim - t.ndim
        axes = (*range(lead), *(i + lead for i, n in enumerate(t.shape) if n == 1))
        np.testing.assert_allclose(t.grad.data, slope.sum(axis=axes).reshape(t.shape), rtol=1e-13)


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "abs"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (3,), (2, 3)])
def test_unary(name, shape):
    x = np.abs(normal(*shape)) + 0.1
    check(getattr(ops, name)(x), getattr(np, name)(x))
    check(getattr(Tensor(x), name)(), getattr(np, name)(x))
    check(-Tensor(x), -x)


def test_no_warnings_at_the_edges():
    x = Tensor([0.0, -1.0, np.inf, -np.inf, np.nan])
    with np.errstate(all="ignore"):
        check(md.log(x), np.log(x.data))
        check(md.sqrt(x), np.sqrt(x.data))
        check(md.exp(x * 1000), np.exp(x.data * 1000))
        check(1 / x, 1 / x.data)
        check(x / x, x.data / x.data)
    check(x**-1, np.array([np.inf, -1, 0, -0.0, np.nan], np.float32))
    assert np.isnan(md.mean(np.zeros((0, 3), np.float32), 0).data).all()


@pytest.mark.parametrize("p", [0, 1, 2, 3, -1, 0.5, -1.5, 2.0, np.float64(2), np.int64(2)])
def test_pow(p):
    x = np.abs(normal(3, dtype="float32")) + 0.1
    check(Tensor(x) ** p, (x ** float(p)).astype("float32"))
    check(Tensor(x) ** Tensor(np.full(3, p, "float32")), x ** np.float32(p))
    check(2 ** Tensor(x), np.float32(2) ** x)


def test_pow_at_zero_has_finite_gradients():
    x, p = (
        Tensor([0.0, 0.0, 2.0], requires_grad=True),
        Tensor([0.0, 2.0, 0.0], requires_grad=True),
    )
    (x**p).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [0, 0, 0])
    np.testing.assert_allclose(p.grad.data, [0, 0, np.log(2)], rtol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(-0.5, 0.5), (None, 0.2), (0.1, None), (-1, 1)])
def test_clip(low, high):
    x = normal(4, 5, dtype="float32")
    check(ops.clip(x, low, high), np.clip(x, low, high))
    ints = np.arange(5)
    check(ops.clip(ints, low, high), np.clip(ints, low, high).astype(ints.dtype))


def test_clip_passes_the_gradient_at_the_limits():
    x = Tensor([-2.0, -1.0, 0.0, 1.0, 2.0], requires_grad=True)
    x.clip(-1, 1).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [0, 1, 1, 1, 0])


def test_equal_extrema_share_the_gradient():
    x = Tensor([[3.0, 1.0, 3.0], [0.0, 0.0, -1.0]], requires_grad=True)
    x.max(axis=1).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [[0.5, 0, 0.5], [0.5, 0.5, 0]])
    a, b = Tensor([1.0, 2.0], requires_grad=True), Tensor([1.0, 3.0], requires_grad=True)
    md.maximum(a, b).sum().backward()
    np.testing.assert_array_equal(a.grad.data, [0.5, 0])
    np.testing.assert_array_equal(b.grad.data, [0.5, 1])


def test_where():
    mask, a, b = np.array([[True], [False]]), normal(2, 3), normal(3)
    check(md.where(mask, a, b), np.where(mask, a, b))
    check(md.where(Tensor(mask), Tensor(a), 0), np.where(mask, a, 0))
    check(md.where(mask, 1.0, 2.0), np.where(mask, np.float32(1), np.float32(2)))


# ── dtypes ────────────────────────────────────────────────────────────────────────────────────────

F32, F64, I64, I32, U8, BOOL = "float32", "float64", "int64", "int32", "uint8", "bool"


@pytest.mark.parametrize(
    "fn", [operator.add, operator.sub, operator.mul, operator.truediv, ops.maximum]
)
@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (F32, F32, F32),
        (F32, F64, F64),
        (F32, I64, F32),
        (F32, U8, F32),
        (F32, BOOL, F32),
        (F64, I64, F64),
        (F64, BOOL, F64),
    ],
)
def test_dtype_of_two_tensors(fn, a, b, expected):
    x, y = Tensor(np.ones(3, a)), Tensor(np.ones(3, b))
    assert fn(x, y).dtype == fn(y, x).dtype == expected
    assert fn(x, y.data).dtype == fn(x.data, y).dtype == expected


@pytest.mark.parametrize(
    "fn", [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]
)
@pytest.mark.parametrize("number", [2, 2.5, True, np.float64(2), [2.0, 3.0, 4.0]], ids=repr)
@pytest.mark.parametrize("dtype", [F32, F64])
def test_python_numbers_are_weak(fn, number, dtype):
    x = Tensor(np.ones(3, dtype))
    assert fn(x, number).dtype == dtype
    assert fn(number, x).dtype == dtype


def test_numbers_keep_their_digits_in_float64():
    assert (Tensor(np.zeros(1)) + 0.1).item() == 0.1
    tenth = [0.1]
    assert (Tensor(np.zeros(1)) + tenth).item() == 0.1


@pytest.mark.parametrize("dtype", [I64, I32, U8, BOOL])
def test_integers_meet_numbers(dtype):
    x = Tensor(np.ones(3, dtype))
    assert (x + 1).dtype == (I64 if dtype == BOOL else dtype)
    assert (x * 0.5).dtype == (x / 2).dtype == (x - 1.0).dtype == F32
    assert md.exp(x).dtype == md.mean(x).dtype == F.relu(x).dtype == F.softmax(x).dtype == F32
    assert (x / x).dtype == F32


def test_integers_stay_integers():
    x = np.arange(6).reshape(2, 3)
    for result, expected in (
        (Tensor(x) + x, x + x),
        (Tensor(x) * x, x * x),
        (Tensor(x).sum(0), x.sum(0)),
        (Tensor(x).max(), x.max()),
        (abs(-Tensor(x)), x),
        (Tensor(x)[1, ::2], x[1, ::2]),
        (Tensor(x) @ x.T, x @ x.T),
        (md.concatenate([x, x]), np.concatenate([x, x])),
    ):
        check(result, expected)


@pytest.mark.parametrize(
    "fn",
    [
        lambda a, b: md.concatenate([a, b]),
        lambda a, b: md.stack([a, b]),
        lambda a, b: md.where([True, False], a, b),
        lambda a, b: md.matmul(a, b),
        lambda a, b: md.einsum("i,i->", a, b),
        lambda a, b: F.affine(a, b.reshape(1, 2)),
    ],
)
def test_mixed_dtypes_everywhere(fn):
    single, double, ints = Tensor(np.ones(2, F32)), Tensor(np.ones(2)), Tensor(np.ones(2, I64))
    single.requires_grad = double.requires_grad = True
    assert fn(single, ints).dtype == F32
    y = fn(single, double)
    assert y.dtype == F64
    y.sum().backward()
    assert (single.grad.dtype, double.grad.dtype) == (F32, F64)


def test_astype():
    x = Tensor([1.5, 2.5], requires_grad=True)
    y = x.astype("float64")
    assert y.dtype == F64 and x.astype(F32) is x
    (y * y).sum().backward()
    assert x.grad.dtype == F32
    assert x.astype("int64").dtype == I64 and not x.astype("int64").requires_grad
    check(Tensor([0.0, 2.0]).astype(bool), np.array([False, True]))


# ── Shapes ────────────────────────────────────────────────────────────────────────────────────────


def test_reshape():
    x = normal(2, 3, 4)
    for shape in ((6, 4), (-1,), (4, -1), (2, 3, 4), (1, 24, 1)):
        check(ops.reshape(x, shape), x.reshape(shape))
        check(Tensor(x).reshape(*shape), x.reshape(shape))
    check(Tensor(np.ones(1)).reshape(()), np.ones(()))
    check(Tensor(np.zeros((0, 3))).reshape(3, 0), np.zeros((3, 0)))
    assert np.shares_memory(Tensor(x).reshape(6, 4).data, x)
    for given in (x, x.T):  # (the latter is no view, whatever the shape)
        with pytest.raises(ValueError, match="reshape: "):
            ops.reshape(given, (10**30,))


def test_transpose():
    x = normal(2, 3, 4)
    check(Tensor(x).T, x.T)
    check(Tensor(x).transpose(), x.T)
    check(ops.transpose(x, None), x.T)
    for axes in ((1, 0, 2), (-1, 0, 1)):
        check(Tensor(x).transpose(*axes), x.transpose(axes))
        check(ops.transpose(x, axes), x.transpose(axes))
    check(Tensor(1.0).T, np.float32(1))


def test_flatten_squeeze_expand():
    x = normal(2, 1, 3, 1)
    check(ops.flatten(x), x.reshape(-1))
    check(ops.flatten(x, 1), x.reshape(2, 3))
    check(ops.flatten(x, -2), x.reshape(2, 1, 3))
    check(ops.flatten(1.0), np.ones(1, F32))
    check(ops.squeeze(x), x.squeeze())
    check(ops.squeeze(x, 1), x.squeeze(1))
    check(ops.squeeze(x, (1, -1)), x.squeeze((1, -1)))
    check(ops.expand_dims(x, 0), x[None])
    check(ops.expand_dims(x, (0, -1)), np.expand_dims(x, (0, -1)))


def test_broadcast_to_and_pad():
    x = normal(3, 1)
    check(ops.broadcast_to(x, (2, 3, 4)), np.broadcast_to(x, (2, 3, 4)))
    for width in (1, (1, 2), [(1, 0), (0, 2)], 0, [(3, 4)]):
        check(ops.pad(x, width, 2.5), np.pad(x, width, constant_values=2.5))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concatenate_and_stack(axis):
    a, b = normal(2, 3), normal(2, 3)
    check(md.concatenate([a, Tensor(b), a], axis), np.concatenate([a, b, a], axis))
    check(md.stack((a, Tensor(b)), axis), np.stack([a, b], axis))
    check(md.concatenate([a, np.zeros((2, 3))[:0]], 0), a)


INDICES = [
    0,
    -1,
    np.int64(1),
    slice(None),
    slice(1, None, 2),
    slice(None, None, -1),
    None,
    Ellipsis,
    (0, 1),
    (slice(1), -1),
    (None, 0, Ellipsis, None),
    [0, 0, 2],
    (),
    np.array([[0, 1], [2, 2]]),
    np.array([], int),
    (0, 2, 2),
    ([0, 1], [1, 2]),
    ((0, 1), (1, 1)),
    (slice(None), [0, 0]),
    ([[0], [1]], slice(1), [0, 3]),
    (Ellipsis, [1, 1, 3]),
    np.array([True, False, True]),
    (np.array([True, False, True]), 1),
    True,
    range(2),
    (np.array(1), slice(None)),
]


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_indexing(index):
    x = normal(3, 4, 5)
    t = Tensor(x, requires_grad=True)
    y = t[index]
    check(y, x[index])
    y.backward(np.full(y.shape, 2.0))
    counts = np.zeros_like(x)
    places = np.arange(x.size).reshape(x.shape)[index]
    np.add.at(counts.reshape(-1), np.ravel(places), 2.0)
    np.testing.assert_array_equal(t.grad.data, counts)


def test_tensors_as_indices():
    x = normal(4, 3)
    ids, mask = Tensor(np.array([0, 2, 2])), Tensor(x[:, 0]) > 0
    check(Tensor(x)[ids], x[[0, 2, 2]])
    check(Tensor(x)[mask], x[x[:, 0] > 0])
    check(Tensor(x)[ids, 1], x[[0, 2, 2], 1])
    check(Tensor(x)[Tensor(np.array(3))], x[3])
