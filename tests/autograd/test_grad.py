"""md.grad: what it returns, what it leaves alone, and gradients of gradients."""

import numpy as np
import pytest

import minidl as md
from minidl import Tensor
from minidl import functional as F
from minidl.autograd.engine import walk


def leaf(*values, dtype="float64"):
    return Tensor(np.array(values, dtype), requires_grad=True)


def same(tensor, expected):
    assert isinstance(tensor, Tensor)
    np.testing.assert_allclose(tensor.data, expected, rtol=1e-12)


def test_grad_leaves_grad_alone():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    g = md.grad((x * w).sum(), x)
    same(g, [3, 4])
    assert x.grad is None and w.grad is None and not g.requires_grad


def test_grad_of_inputs_that_are_no_leaves():
    x = leaf(2.0)
    h = x * x
    y = (h * h).sum()
    gh, gx = md.grad(y, [h, x])
    same(gh, [8])
    same(gx, [32])


def test_grad_of_the_output_itself():
    x = leaf(2.0)
    y = x * x
    same(md.grad(y, y), [1])


def test_grad_of_unused_inputs():
    x, unused = leaf(1.0), leaf(1.0)
    y = x * 2
    with pytest.raises(RuntimeError, match=r"do not depend on input 1.*allow_unused"):
        md.grad(y, [x, unused], retain_graph=True)
    gx, gu = md.grad((x * 2), [x, unused], allow_unused=True)
    same(gx, [2])
    assert gu is None
    with pytest.raises(RuntimeError, match="input 0 does not require a gradient"):
        md.grad(x * 2, Tensor([1.0]))


def test_grad_of_several_outputs():
    x = leaf(1.0, 2.0)
    ys = [x * 2, x * x]
    (g,) = md.grad(ys, [x], grad_outputs=[np.ones(2), np.array([1.0, 10.0])])
    same(g, [4, 42])
    with pytest.raises(ValueError, match="2 outputs, but 1 grad_outputs"):
        md.grad([x * 2, x * x], x, grad_outputs=[np.ones(2)])


def test_grad_frees_the_graph_unless_told():
    x = leaf(2.0)
    y = x * x
    md.grad(y, x, retain_graph=True)
    md.grad(y, x)
    with pytest.raises(RuntimeError, match="freed"):
        md.grad(y, x)


def test_grad_leaves_the_graph_before_its_inputs():
    """As in PyTorch: only what was run is freed. A second step from the same weights needs the rest."""
    w = leaf(1.5)
    own = w * 2
    for _ in range(3):  # gradient descent on own², through tensors that are not leaves
        own = own - 0.25 * md.grad(own * own, own)
    own.backward()
    same(w.grad, [2.0])
    same(own, [1.5 * 2 * 0.5**3])


def test_grad_leaves_branches_that_do_not_lead_to_its_inputs():
    x, z = leaf(2.0), leaf(3.0)
    branch = z * z
    same(md.grad(x * branch, x), [9.0])
    branch.backward()
    same(z.grad, [6.0])


def test_create_graph_to_any_order():
    x = leaf(1.5)
    y = x**5
    for factor, power in ((5, 4), (20, 3), (60, 2), (120, 1), (120, 0)):
        (y,) = md.grad(y, [x], create_graph=True)
        same(y, [factor * 1.5**power])


def test_create_graph_works_inside_no_grad_and_with_backward():
    x = leaf(1.5)
    y = x**3
    with md.no_grad():
        g = md.grad(y, x, create_graph=True)
        assert g.requires_grad
    same(md.grad(g, x), [9])
    x = leaf(1.5)
    (x**3).backward(create_graph=True)
    same(md.grad(x.grad, x), [9])
    x.grad = None


def test_slope_zero_everywhere_is_zero_not_unused():
    x = leaf(1.0, -2.0)
    g = md.grad(F.relu(x).sum(), x, create_graph=True)
    same(md.grad(g.sum(), x), [0, 0])


def test_gradient_penalty():
    """WGAN-GP in small: the gradient of a gradient's norm, against the closed form."""
    w = leaf(3.0, 4.0)
    x = leaf(1.0, 1.0)
    score = (w * x).sum()
    g = md.grad(score, x, create_graph=True)
    ((g * g).sum().sqrt() - 1) ** 2  # what is not used does not matter
    penalty = ((g * g).sum().sqrt() - 1) ** 2
    penalty.backward()
    same(w.grad, [2 * 4 * 0.6, 2 * 4 * 0.8])
    assert x.grad is None


def test_a_gradient_arrives_when_its_last_consumer_has_run():
    first, last, unused = leaf(2.0), leaf(3.0), leaf(1.0)
    told, ran = [], []

    class Watched(md.Op):
        def __init__(self, name):
            self.name = name

        def forward(self, x):
            return x * 2

        def backward(self, gy):
            ran.append(self.name)
            return gy * 2

    def arrived(x, g):
        told.append((x, g.data.copy(), list(ran)))

    y = Watched("late")(Watched("early")(first) + first) * last
    found = walk([y.sum()], [None], {first, last, unused}, False, False, arrived)
    (x0, g0, ran0), (x1, g1, ran1) = told
    assert x0 is last and ran0 == [] and x1 is first and ran1 == ["late", "early"]
    np.testing.assert_array_equal([g0, g1], [[12.0], [18.0]])
    assert found[first].data is not None and unused not in found
