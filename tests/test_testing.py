"""check_grads must be able to fail: on a wrong slope, a wrong second derivative, a missing one."""

import numpy as np
import pytest

from minidl import Op, Tensor, ops
from minidl import functional as F
from minidl.testing import check_grads

X = np.array([0.5, -1.2, 2.0])


class Square(Op):
    """y = x², right or wrong by a factor in the first or the second derivative."""

    def __init__(self, first=1.0, second=1.0):
        self.first, self.second = first, second

    def forward(self, x):
        return x * x

    def backward(self, gy):
        return SquareGrad(self.first, self.second)(self.input(0), gy)


class SquareGrad(Op):
    def __init__(self, first, second):
        self.first, self.second = first, second

    def forward(self, x, gy):
        return self.first * 2 * x * gy

    def backward(self, ggx):
        x, gy = self.input(0), self.input(1)
        return self.second * 2 * gy * ggx, 2 * x * ggx


def test_a_right_op_passes():
    check_grads(lambda x: Square()(x), [X], order=3)


@pytest.mark.parametrize("factor", [2.0, -1.0, 0.0, 1.001])
def test_a_wrong_first_derivative(factor):
    with pytest.raises(
        AssertionError, match=r"gradient of order 1: .* by backward, .* by differences"
    ):
        check_grads(lambda x: Square(first=factor)(x), [X], order=1)


@pytest.mark.parametrize("factor", [2.0, -1.0, 0.0, 1.001])
def test_a_wrong_second_derivative(factor):
    check_grads(lambda x: Square(second=factor)(x), [X], order=1)
    with pytest.raises(AssertionError, match="gradient of order 2"):
        check_grads(lambda x: Square(second=factor)(x), [X], order=2)


def test_one_wrong_element_among_many():
    class Tanh(Op):
        def forward(self, x):
            return np.tanh(x)

        def backward(self, gy):
            slope = 1 - np.tanh(self.input(0).data) ** 2
            slope[-1] *= 1.01
            return gy * slope

    with pytest.raises(AssertionError, match="order 1"):
        check_grads(lambda x: Tanh()(x), [np.linspace(-1, 1, 20)], order=1)


def test_a_gradient_that_is_cut_off():
    """The slope is right but constant to the engine: the second derivative is lost."""

    class Cut(Op):
        def forward(self, x):
            return x**3

        def backward(self, gy):
            return gy * Tensor(3 * self.input(0).data ** 2)

    check_grads(lambda x: Cut()(x), [X], order=1)
    with pytest.raises(AssertionError, match="order 2"):
        check_grads(lambda x: Cut()(x), [X], order=2)


def test_a_gradient_that_is_missing():
    class Half(Op):
        def forward(self, a, b):
            return a * b

        def backward(self, gy):
            return gy * self.input(1), None

    with pytest.raises(AssertionError, match="order 1"):
        check_grads(lambda a, b: Half()(a, b), [X, X + 1])


def test_a_kink_under_the_points():
    with pytest.raises(AssertionError):
        check_grads(F.relu, [np.array([0.0, 1.0])])


def test_nan_never_passes():
    with pytest.raises(AssertionError):
        check_grads(ops.log, [np.array([-1.0, 2.0])])


def test_inputs_of_every_kind():
    check_grads(lambda x, ids: x[ids], [X.astype("float32"), np.array([0, 0, 2])])
    check_grads(lambda x, y: x * y, [Tensor(X), 2.0 * X])
    check_grads(lambda x: x * 2, [np.array(1.5)])
    check_grads(lambda x: F.softmax(x), [np.zeros((0, 3))])


def test_a_seed_repeats_the_check():
    values = []

    def fn(x):
        values.append(x.data.copy())
        return x * x

    for _ in range(2):
        check_grads(fn, [X], order=1, seed=5)
    half = len(values) // 2
    for a, b in zip(values[:half], values[half:], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("factor", [1.001, 0.0, np.nan])
def test_a_wrong_fused_gradient(factor):
    class Fused(Square):
        def fused_backward(self, gy):
            return factor * 2 * self.input(0).data * gy

    with pytest.raises(AssertionError, match="gradient of input 0: fused_backward and backward"):
        check_grads(lambda x: Fused()(x), [X])
