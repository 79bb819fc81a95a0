"""Ops that a user writes: mistakes in them raise, and say what is wrong."""

import numpy as np
import pytest

import minidl as md
from minidl import Tensor


def leaf(value):
    return Tensor(np.array([value]), requires_grad=True)


class Cube(md.Op):
    def forward(self, x):
        return x * x * x

    def backward(self, gy):
        return gy * 3 * self.input(0) ** 2


def test_an_op_object_records_one_call_even_if_its_graph_was_freed():
    x, cube = leaf(2.0), Cube()
    cube(x).backward()
    with pytest.raises(RuntimeError, match="Cube: an op object records one call"):
        cube(x)
    kept = Cube()
    kept(x)
    with md.no_grad(), pytest.raises(RuntimeError, match="Cube: an op object records one call"):
        kept(x)  # it would overwrite what the graph needs


def test_an_op_called_as_in_pytorch_is_told_how_it_is_called_here():
    x = leaf(2.0)
    for call in (lambda: Cube.apply(x), lambda: Cube.apply(x, 3), lambda: Wrong.apply()):
        with pytest.raises(
            TypeError,
            match=r"(Cube|Wrong)\.apply: an op is an object, made for one call: \w+\(\)\(x\)",
        ):
            call()
    y = Cube().apply((x,))
    y.backward()
    assert y.data == 8 and x.grad.data == 12


class Wrong(md.Op):
    """y = x0 + x1, with a backward that asks for what was not kept, or answers too little."""

    saves = (0,)

    def __init__(self, gradient):
        self.gradient = gradient

    def forward(self, x0, x1=None):
        return x0 + x1

    def backward(self, gy):
        return self.gradient(self, gy)


@pytest.mark.parametrize(
    ("gradient", "message"),
    [
        (lambda op, gy: (gy * op.input(1), gy), "Wrong: input 1 is not kept"),
        (lambda op, gy: (gy * op.output(), gy), "Wrong: the output is not kept"),
        (lambda op, gy: gy, "Wrong: its backward gave 1 gradients for 2 inputs"),
        (lambda op, gy: (gy, gy, None), "Wrong: its backward gave 3 gradients for 2 inputs"),
    ],
)
def test_a_wrong_op_is_told_what_is_wrong(gradient, message):
    y = Wrong(gradient)(leaf(1.0), leaf(2.0))
    with pytest.raises(RuntimeError, match=message):
        y.backward()


def test_none_for_a_tensor_raises():
    with pytest.raises(TypeError, match="Wrong: input 1 must be a Tensor, got NoneType"):
        Wrong(None)(leaf(1.0), None)


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
def test_a_gradient_may_be_changed_though_it_was_broadcast(shape):
    x = Tensor(np.ones(shape), requires_grad=True)
    (x.sum() * 2).backward()
    x.grad.data[...] = 7
    assert np.array_equal(x.grad.data, np.full(shape, 7.0))


class Returning(md.Op):
    def __init__(self, result):
        self.result = result

    def forward(self, x):
        return self.result(x)

    def backward(self, gy):
        return gy * self.result(self.input(0).data)


def test_forward_may_return_a_numpy_scalar_for_a_0d_array():
    x = Tensor(1.0, requires_grad=True)
    y = Returning(np.exp)(x)
    assert y.shape == () and y.dtype == np.float32
    y.backward()
    np.testing.assert_allclose(x.grad.data, np.exp(1), rtol=1e-6)


@pytest.mark.parametrize("result", [Tensor, lambda x: x.tolist(), lambda x: None])
def test_forward_must_return_an_array(result):
    with pytest.raises(TypeError, match="Returning: its forward must return an ndarray, got "):
        Returning(result)(leaf(1.0))
