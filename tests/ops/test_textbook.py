"""Every fused gradient equals the textbook's: `Op.fused_backward` against `Op.backward`, for every op that has both."""

import numpy as np
import pytest

from minidl import Tensor, ops
from minidl.autograd.engine import grad
from minidl.autograd.modes import textbook_gradients
from minidl.autograd.op import Op
from minidl.autograd.tape import fused_backward_of

from .table import ROWS
from .test_gradients import by_name, gradients, inputs, op_classes, recorded

FUSED = {op for op in op_classes() if fused_backward_of(op) is not None}


@by_name
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_both_ways(row, dtype):
    arrays = [a.astype(dtype).astype(a.dtype) for a in inputs(row)]
    fused = gradients(row, arrays, dtype)[1]
    with textbook_gradients():
        textbook = gradients(row, arrays, dtype)[1]
    differentiable = gradients(row, arrays, dtype, create_graph=True)[1]
    for g, expected, again in zip(fused, textbook, differentiable, strict=True):
        if expected is None:
            assert g is None and again is None
            continue
        assert g.dtype == expected.dtype and g.shape == expected.shape
        scale = np.abs(expected.data).max(initial=1e-3)
        atol = scale * (1e-12 if dtype == "float64" else row.single or 1e-5)
        np.testing.assert_allclose(g.data, expected.data, rtol=0, atol=atol)
        assert np.array_equal(again.data, expected.data), "create_graph runs the same formulas"


def test_every_fused_gradient_is_compared():
    reached = set()
    for row in ROWS:
        reached |= recorded(gradients(row, inputs(row), "float64", create_graph=True)[0])
    missing = {op.__name__ for op in FUSED - reached} - {"ElementLoss", "RowNorm"}
    assert not missing, "no row of tests/ops/table.py records these ops"
    assert len(FUSED) > 20


class Twice(Op):
    """y = 2 x, with a fused gradient that says which one ran."""

    def forward(self, x):
        return 2 * x

    def backward(self, gy):
        return gy * 2

    def fused_backward(self, gy):
        return gy * 200


class Thrice(Twice):
    def forward(self, x):
        return 3 * x

    def backward(self, gy):
        return gy * 3


def slope(op, create_graph=False):
    x = Tensor(np.ones(2), requires_grad=True)
    return grad(ops.sum(op(x)), x, create_graph=create_graph).data[0]


def test_the_engine_decides_which_runs():
    assert slope(Twice()) == 200
    assert slope(Twice(), create_graph=True) == 2
    with textbook_gradients():
        assert slope(Twice()) == 2
    assert slope(Twice()) == 200


def test_a_fused_gradient_belongs_to_the_formula_beside_it():
    """Who overrides `backward` alone does not get the other's kernel."""
    assert slope(Thrice()) == 3


def test_a_fused_gradient_is_checked_as_any_other():
    class Wrong(Twice):
        def __init__(self, result):
            self.result = result

        def fused_backward(self, gy):
            return self.result

    with pytest.raises(TypeError, match="Wrong: its fused_backward must return an ndarray, got T"):
        slope(Wrong(Tensor([1.0])))
    with pytest.raises(
        RuntimeError, match="Wrong: its fused_backward gave 2 gradients for 1 inputs"
    ):
        slope(Wrong((None, None)))
    with pytest.raises(ValueError, match="Wrong: its backward gave a gradient of shape"):
        slope(Wrong(np.ones(3)))
    x = Tensor(np.array(1.0), requires_grad=True)
    Wrong(np.float64(7))(x).backward()  # NumPy makes scalars of 0-d arrays
    assert x.grad.data == 7
