"""Values of reductions and products against NumPy."""

import numpy as np
import pytest

import minidl as md
from minidl import Tensor, ops
from minidl import _kernels as K
from minidl import functional as F

from .table import FUSED
from .test_values import F32, F64, check, normal


@pytest.mark.parametrize("name", ["sum", "mean", "var", "std", "max", "min"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2), (-1, 0), (0, 1, 2), ()])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_reductions(name, axis, keepdims, dtype):
    x = normal(2, 3, 4, dtype=dtype)
    expected = getattr(np, name)(x, axis=axis, keepdims=keepdims)
    result = getattr(ops, name)(x, axis, keepdims)
    assert (result.dtype, result.shape) == (dtype, expected.shape)
    tolerance = 1e-5 if dtype == F32 else 1e-12
    np.testing.assert_allclose(result.data, expected, rtol=tolerance, atol=tolerance)


def test_reductions_of_little():
    for name in ("sum", "mean", "max", "min", "var", "std"):
        check(getattr(ops, name)(2.0), getattr(np, name)(np.float32(2)))
    check(ops.sum(np.zeros((0, 3))), np.zeros(()))
    check(ops.sum(np.zeros((0, 3)), 0), np.zeros(3))
    check(ops.max(np.zeros((0, 3)), 1), np.zeros(0))
    x = normal(5)
    check(ops.var(x, ddof=1), np.var(x, ddof=1))
    check(ops.std(x, ddof=1), np.std(x, ddof=1))
    check(ops.sum(np.ones(3, bool)), np.int64(3))


@pytest.mark.parametrize("ddof", [3, 3.5, 4, 2**63])
def test_variance_without_degrees_of_freedom_is_not_negative(ddof):
    x = Tensor([[1.0, 2.0, 4.0], [5.0, 5.0, 5.0]])
    np.testing.assert_array_equal(ops.var(x, 1, ddof=ddof), [np.inf, np.nan])
    np.testing.assert_array_equal(ops.std(x, 1, ddof=ddof), [np.inf, np.nan])


@pytest.mark.parametrize("ddof", ["1", None, (1, 2), np.nan, 10**400])
def test_variance_names_a_ddof_that_is_no_number(ddof):
    with pytest.raises((TypeError, ValueError), match=r"var: ddof must be a (finite )?number"):
        ops.var(Tensor([1.0, 2.0]), ddof=ddof)


def test_variance_of_large_numbers_is_exact():
    x = (1e4 + np.array([1.0, 2.0, 3.0])).astype(F32)
    np.testing.assert_allclose(ops.var(x).item(), 2 / 3, rtol=1e-6)


def test_the_gradient_of_std_is_zero_where_std_is():
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    x.std(axis=1).sum().backward()
    np.testing.assert_array_equal(x.grad.data, 0)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 3), (3, 4)),
        ((3,), (3,)),
        ((3,), (3, 4)),
        ((2, 3), (3,)),
        ((5, 2, 3), (3, 4)),
        ((2, 3), (5, 3, 4)),
        ((5, 1, 2, 3), (4, 3, 2)),
        ((3,), (5, 3, 4)),
        ((5, 2, 3), (3,)),
        ((0, 3), (3, 4)),
        ((2, 0), (0, 4)),
        ((5, 2, 0), (0, 4)),
        ((0, 2, 3), (3, 4)),
        ((2, 3), (3, 0)),
    ],
)
def test_matmul(a, b):
    for dtype in (F32, F64):
        x, y = Tensor(normal(*a, dtype=dtype), True), Tensor(normal(*b, dtype=dtype), True)
        product = x @ y
        assert product.dtype == dtype
        np.testing.assert_allclose(product.data, x.data @ y.data, rtol=1e-4, atol=1e-5)
        product.backward(np.ones(product.shape, dtype))
        assert x.grad.shape == a and y.grad.shape == b


@pytest.mark.parametrize("name", [None, *FUSED])
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (4,), (0, 4), (2, 0, 4), (17, 33), (1, 1)])
def test_affine(name, dtype, shape, level):
    """The product, the bias and the activation one after another, forward and backward."""
    n = shape[-1]
    given = normal(*shape, dtype=dtype), normal(6, n, dtype=dtype), normal(6, dtype=dtype)
    fused, plain = ([Tensor(a, requires_grad=True) for a in given] for _ in range(2))
    y = F.affine(*fused, activation=name)
    z = md.matmul(plain[0], plain[1].T) + plain[2]
    z = getattr(F, name)(z) if name else z
    assert (y.dtype, y.shape) == (z.dtype, z.shape)
    tolerance = 1e-5 if dtype == F32 else 1e-12
    np.testing.assert_allclose(y.data, z.data, rtol=tolerance, atol=tolerance)
    y.sum().backward()  # a gradient that is a broadcast view
    z.sum().backward()
    for a, b in zip(fused, plain, strict=True):
        np.testing.assert_allclose(a.grad.data, b.grad.data, rtol=tolerance, atol=4 * tolerance)


@pytest.mark.parametrize("activation", [None, "tanh"])
@pytest.mark.parametrize(
    ("op", "x", "weight"),
    [
        (F.affine, (5, 4), (3, 4)),
        (F.conv, (2, 4, 6, 6), (3, 4, 3, 3)),
        (F.conv_transpose, (2, 4, 6, 6), (4, 3, 3, 3)),
    ],
)
def test_a_frozen_layer_costs_no_gradients_of_its_own(op, x, weight, activation, monkeypatch):
    wanted, frozen = (Tensor(normal(*x), True) for _ in range(2))
    frozen.data = wanted.data
    w, b = normal(*weight), normal(3)
    op(wanted, Tensor(w, True), Tensor(b, True), activation=activation).sum().backward()
    y = op(frozen, Tensor(w), Tensor(b), activation=activation).sum()

    def unasked(*args, **options):
        raise AssertionError("a gradient that nobody asked for")

    for name in ("sum_axes", "affine_weight_grad", "conv_weight_grad"):
        monkeypatch.setattr(K, name, unasked)
    y.backward()
    np.testing.assert_array_equal(frozen.grad.data, wanted.grad.data)


def test_affine_of_integers_and_of_any_strides(level):
    x, w = np.arange(12).reshape(3, 4), np.arange(8).reshape(2, 4)
    assert F.affine(x.astype(F32), w).dtype == F32
    assert F.affine(x, w).dtype == F32
    np.testing.assert_array_equal(F.affine(x, w).data, x @ w.T)
    x, w = normal(6, 8), normal(10, 4)
    expected = x[::2, ::-2] @ w[::-5].T
    np.testing.assert_allclose(F.affine(x[::2, ::-2], w[::-5]).data, expected, rtol=1e-12)
    np.testing.assert_allclose(md.matmul(x[::2, ::-2], w[::-5].T).data, expected, rtol=1e-12)


def test_affine_with_an_unknown_activation():
    with pytest.raises(
        ValueError, match=r"affine: activation: expected one of relu, .* got 'swish'"
    ):
        F.affine(normal(2, 3), normal(4, 3), activation="swish")
