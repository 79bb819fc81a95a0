"""Gradient clipping: PyTorch's formula, and what it leaves alone."""

import math

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim

RNG = np.random.default_rng(0)


def with_gradients(*arrays):
    params = [nn.Parameter(np.zeros_like(x)) for x in arrays]
    for p, x in zip(params, arrays, strict=True):
        p.grad = md.Tensor(x.copy())
    return params


@pytest.mark.parametrize("max_norm", [0.1, 1.0, 100.0, math.inf])
def test_clip_grad_norm_as_pytorch(max_norm):
    torch = pytest.importorskip("torch")
    arrays = [RNG.normal(size=shape).astype(np.float32) for shape in [(30, 1000), (7,)]]
    params = [*with_gradients(*arrays), nn.Parameter([1.0])]
    theirs = [torch.zeros(x.shape, requires_grad=True) for x in arrays]
    for p, x in zip(theirs, arrays, strict=True):
        p.grad = torch.tensor(x)
    norm = optim.clip_grad_norm(iter([*params, params[0]]), max_norm)
    assert isinstance(norm, float)
    oracle = torch.nn.utils.clip_grad_norm_(theirs, max_norm).item()
    assert norm == pytest.approx(oracle, rel=1e-5)
    for p, q in zip(params[:2], theirs, strict=True):
        np.testing.assert_allclose(p.grad.data, q.grad.numpy(), rtol=1e-5)


@pytest.mark.parametrize("clip_value", [0.0, 0.5, math.inf])
def test_clip_grad_value_as_pytorch(clip_value):
    torch = pytest.importorskip("torch")
    arrays = [RNG.normal(size=shape).astype(np.float32) for shape in [(30, 10), (7,), ()]]
    arrays[1][:3] = np.nan, np.inf, -np.inf
    params = [*with_gradients(*arrays), nn.Parameter([1.0])]
    theirs = [torch.zeros(x.shape, requires_grad=True) for x in arrays]
    for p, x in zip(theirs, arrays, strict=True):
        p.grad = torch.tensor(x)
    assert optim.clip_grad_value(iter([*params, params[0]]), clip_value) is None
    torch.nn.utils.clip_grad_value_(theirs, clip_value)
    for p, q in zip(params[:3], theirs, strict=True):
        np.testing.assert_array_equal(p.grad.data, q.grad.numpy())
    assert params[3].grad is None
    for wrong in (-1.0, math.nan, "1"):
        with pytest.raises(ValueError, match="clip_grad_value: clip_value must be a number >= 0"):
            optim.clip_grad_value(params, wrong)


def test_a_clipped_gradient_counts_as_changed():
    p = md.Tensor([1.0, 2.0], requires_grad=True)
    (p * p * p).sum().backward(create_graph=True)
    second = (p.grad * p.grad).sum()
    optim.clip_grad_value(p, 1.0)
    with pytest.raises(RuntimeError, match="in place"):
        second.backward()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_clip_leaves_gradients_alone_when_the_norm_is_not_finite(bad):
    params = with_gradients(np.array([1.0, bad]), np.array([2.0]))
    norm = optim.clip_grad_norm(params, 1.0)
    assert not math.isfinite(norm)
    np.testing.assert_array_equal(params[0].grad.data, [1.0, bad])
    assert params[1].grad.item() == 2.0


def test_clip_without_gradients_and_with_odd_arrays():
    assert optim.clip_grad_norm([nn.Parameter([1.0])], 1.0) == 0.0
    p = nn.Parameter(np.zeros((2, 2)))
    p.grad = md.Tensor(np.broadcast_to(3.0, (2, 2)))
    assert optim.clip_grad_norm(p, 1.0) == 6.0
    np.testing.assert_allclose(p.grad.data, 0.5, rtol=1e-6)
