"""Augmented assignment: in x's own memory, with the gradients of the plain operator, or an error that says why not."""

import operator

import numpy as np
import pytest

import minidl as md
from minidl import Tensor

torch = pytest.importorskip("torch")

OPERATORS = {
    "+=": (operator.iadd, operator.add),
    "-=": (operator.isub, operator.sub),
    "*=": (operator.imul, operator.mul),
    "/=": (operator.itruediv, operator.truediv),
    "**=": (operator.ipow, operator.pow),
    "@=": (operator.imatmul, operator.matmul),
}
every_operator = pytest.mark.parametrize("symbol", OPERATORS)
RNG = np.random.default_rng(0)
X = RNG.uniform(0.5, 2.0, (3, 3))
OTHERS = {
    "array": RNG.uniform(0.5, 2.0, (3, 3)),
    "row": RNG.uniform(0.5, 2.0, 3),
    "column": RNG.uniform(0.5, 2.0, (3, 1)),
    "number": 1.5,
    "float32": RNG.uniform(0.5, 2.0, (3, 3)).astype("float32"),
    "integers": np.arange(1, 10).reshape(3, 3),
}
FITTING = [
    (symbol, kind)
    for symbol in OPERATORS
    for kind in OTHERS
    if symbol != "@=" or kind in ("array", "float32", "integers")
]


@pytest.mark.parametrize(("symbol", "kind"), FITTING)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_it_writes_into_the_same_memory(symbol, kind, dtype, order):
    array = np.array(X, dtype, order=order)
    x = Tensor(array)
    y = OPERATORS[symbol][0](x, OTHERS[kind])
    assert y is x and x.data is array
    expected = OPERATORS[symbol][1](X.astype(dtype), OTHERS[kind])
    np.testing.assert_allclose(array, expected, 2e-6 if dtype == "float32" else 1e-13)


@every_operator
def test_a_training_loop_by_hand_moves_the_parameter(symbol):
    p = md.nn.Parameter(X.copy())
    (p * p).sum().backward()
    with md.no_grad():
        q = p
        q = OPERATORS[symbol][0](q, 0.1 * p.grad)
    assert q is p and p.requires_grad
    np.testing.assert_allclose(p.data, OPERATORS[symbol][1](X, 0.2 * X))


def leaves(*arrays):
    mine = [Tensor(a.copy(), requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    return mine, theirs


@pytest.mark.parametrize("given", ["both", "x", "other"])
@pytest.mark.parametrize("symbol", [s for s in OPERATORS if s != "@="])
def test_gradients_to_second_order_are_those_of_torch(symbol, given):
    def run(grad, x, w, start):
        h = start
        if given != "other":
            h = x * 1.5
        other = w if given != "x" else w.detach()
        before = h
        h = OPERATORS[symbol][0](h, other)
        assert h is before
        h = h**3  # of what was changed
        wanted = [leaf for leaf, name in ((x, "x"), (w, "other")) if given in (name, "both")]
        first = grad(h.sum(), wanted, create_graph=True)
        second = grad(sum((g * g).sum() for g in first), wanted)
        return [*first, *second]

    (x, w), (tx, tw) = leaves(X, OTHERS["row"])
    mine = run(md.grad, x, w, Tensor(X.copy()))
    theirs = run(torch.autograd.grad, tx, tw, torch.tensor(X))
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a.data, b.detach().numpy(), 1e-10)


def test_matmul_in_place_has_the_gradient_of_the_product():
    (x, w), (tx, tw) = leaves(X, OTHERS["array"])
    h, th = x * 1, tx @ tw
    h @= w
    (h * h).sum().backward()
    (th * th).sum().backward()
    np.testing.assert_allclose(x.grad.data, tx.grad.numpy())
    np.testing.assert_allclose(w.grad.data, tw.grad.numpy())


@every_operator
def test_with_itself_and_with_its_transpose(symbol):
    for other in (lambda x: x, lambda x: x.T, lambda x: x[::-1]):
        x = Tensor(X.copy())
        expected = OPERATORS[symbol][1](X, other(X))
        np.testing.assert_allclose(OPERATORS[symbol][0](x, other(x)).data, expected, 1e-13)
        leaf = Tensor(X.copy(), requires_grad=True)
        h = leaf * 1
        same = other(h) is h
        h = OPERATORS[symbol][0](h, h) if same else h
        if same:
            h.sum().backward()
            again = Tensor(X.copy(), requires_grad=True)
            OPERATORS[symbol][1](again, again).sum().backward()
            np.testing.assert_allclose(leaf.grad.data, again.grad.data)


@pytest.mark.parametrize("index", [0, slice(1, 3), (..., 0), [0, 2], np.array([True, False, True])])
def test_a_part_of_a_tensor(index):
    x, array = Tensor(X.copy()), X.copy()
    x[index] += 1
    x[index] *= 2
    array[index] += 1
    array[index] *= 2
    np.testing.assert_array_equal(x.data, array)
    p = md.nn.Parameter(X.copy())
    with md.no_grad():
        p[index] -= p[index] * 0.5
    expected = X.copy()
    expected[index] /= 2
    np.testing.assert_array_equal(p.data, expected)


def test_a_loop_over_rows_changes_the_tensor():
    x = Tensor(X.copy())
    for row in x:
        row -= row.mean()
    np.testing.assert_allclose(x.data, X - X.mean(1, keepdims=True))


# ── What is refused, before anything is changed ───────────────────────────────────────────────────


def read_only():
    array = np.ones(3)
    array.flags.writeable = False
    return Tensor(array)


def repeated():
    return Tensor(np.lib.stride_tricks.as_strided(np.ones(1), (3,), (0,)))


def needed():
    return Tensor(np.ones(3), requires_grad=True)


REFUSED = {
    "leaf": (needed, 1.0, RuntimeError, "a leaf that requires a gradient"),
    "view of a leaf": (lambda: needed().reshape(3, 1), 1.0, RuntimeError, "a leaf that requires"),
    "part": (lambda: (needed() * 1)[1:], 1.0, RuntimeError, "a part of a tensor that requires"),
    "shares": (
        lambda: Tensor(np.ones((2, 3)))[0],
        needed(),
        RuntimeError,
        "shares its memory with",
    ),
    "grows": (lambda: Tensor(np.ones(3)), np.ones((3, 3)), ValueError, r"shape \(3, 3\).*\(3,\)"),
    "grows with a gradient": (lambda: needed() * 1, np.ones((3, 3)), ValueError, r"\(3, 3\)"),
    "does not fit": (lambda: Tensor(np.ones(3)), np.ones(2), ValueError, r"\(3,\).*\(2,\)"),
    "integers": (lambda: Tensor(np.arange(3)), 0.5, TypeError, "int64 cannot hold.*float32"),
    "unsigned": (
        lambda: Tensor(np.arange(3, dtype="uint8")),
        np.arange(-1, 2, dtype="int8"),
        TypeError,
        "uint8 cannot hold",
    ),
    "read-only": (read_only, 1.0, ValueError, "read-only"),
    "repeated": (repeated, 1.0, ValueError, "repeats its memory"),
    "broadcast": (lambda: Tensor(np.ones(1)).broadcast_to((3,)), 1.0, ValueError, "read-only"),
}


@pytest.mark.parametrize("symbol", ["+=", "*=", "/="])
@pytest.mark.parametrize("name", REFUSED)
def test_it_refuses_and_names_itself(name, symbol):
    make, other, error, message = REFUSED[name]
    x = make()
    before = x.data.copy()
    with pytest.raises(error, match=message) as caught:
        OPERATORS[symbol][0](x, other)
    assert symbol in str(caught.value) or "shapes" in str(caught.value)
    np.testing.assert_array_equal(x.data, before)


def test_integers_are_not_divided_in_place():
    ids = Tensor(np.arange(3))
    with pytest.raises(TypeError, match="/=: a tensor of dtype int64 cannot hold"):
        ids /= 2
    ids += 1
    ids **= 2
    assert ids.data.tolist() == [1, 4, 9] and ids.dtype == np.int64


def test_an_old_value_that_backward_needs():
    x = Tensor(X.copy(), requires_grad=True)
    h = x * 1
    y = h * h
    h += 1
    with pytest.raises(RuntimeError, match=r"Mul: input \d.*changed in place"):
        y.sum().backward()


def test_another_view_of_what_was_changed():
    x = Tensor(X.copy(), requires_grad=True)
    h = x * 1
    flat = h.reshape(9)
    flat += 1
    flat.sum().backward()
    np.testing.assert_array_equal(x.grad.data, np.ones((3, 3)))
    with pytest.raises(RuntimeError, match="overwritten in place through another view"):
        h * 2


def test_an_array_does_not_become_a_tensor():
    array = np.ones(3)
    same = array
    with pytest.raises(TypeError, match="Tensor"):
        array += Tensor([1.0, 2.0, 3.0])
    assert array is same and array.tolist() == [1, 1, 1]
