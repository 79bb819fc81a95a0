"""Every fused op equals its textbook definition: value, gradient, and the gradient of a gradient."""

import inspect

import numpy as np
import pytest

import minidl as md
from minidl import Tensor, composite
from minidl import functional as F

CLASSES = np.array([2, 0, 1, 1, 3])


def smooth(*shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Numbers that keep away from the kink at 0."""
    x = np.random.default_rng(len(shape)).uniform(low, high, shape)
    return np.where(np.abs(x) < 0.05, x + 0.1, x)


# name -> (fused, textbook, inputs)
CASES = {
    "affine": (F.affine, composite.affine, (smooth(5, 4), smooth(3, 4), smooth(3))),
    "conv": (
        lambda x, w, b: F.conv(x, w, b, 2, 1),
        lambda x, w, b: composite.conv(x, w, b, 2, 1),
        (smooth(2, 3, 5, 6), smooth(2, 3, 3, 2), smooth(2)),
    ),
    "conv_transpose": (
        lambda x, w, b: F.conv_transpose(x, w, b, 2),
        lambda x, w, b: composite.conv_transpose(x, w, b, 2),
        (smooth(2, 3, 3, 2), smooth(3, 2, 3, 4), smooth(2)),
    ),
    "relu": (F.relu, composite.relu, (smooth(5, 4),)),
    "leaky_relu": (F.leaky_relu, composite.leaky_relu, (smooth(5, 4),)),
    "prelu": (
        F.prelu,
        lambda x, slope: composite.prelu(x, slope.reshape(1, 4, 1)),
        (smooth(5, 4, 3), smooth(4)),
    ),
    "elu": (F.elu, composite.elu, (smooth(5, 4),)),
    "sigmoid": (F.sigmoid, composite.sigmoid, (smooth(5, 4),)),
    "tanh": (F.tanh, composite.tanh, (smooth(5, 4),)),
    "softplus": (F.softplus, composite.softplus, (smooth(5, 4),)),
    "softmax": (F.softmax, composite.softmax, (smooth(5, 4),)),
    "log_softmax": (F.log_softmax, composite.log_softmax, (smooth(5, 4),)),
    "cross_entropy": (
        lambda x: F.cross_entropy(x, CLASSES),
        lambda x: composite.cross_entropy(x, Tensor(CLASSES)),
        (smooth(5, 4),),
    ),
    "binary_cross_entropy": (
        F.binary_cross_entropy,
        composite.binary_cross_entropy,
        (smooth(5, low=0.1, high=0.9), smooth(5, low=0.1, high=0.8)),
    ),
    "binary_cross_entropy_with_logits": (
        F.binary_cross_entropy_with_logits,
        composite.binary_cross_entropy_with_logits,
        (smooth(5), smooth(5, low=0.1, high=0.8)),
    ),
    "huber_loss": (F.huber_loss, composite.huber_loss, (3 * smooth(9), 0 * smooth(9) + 0.1)),
    "batch_norm": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        composite.batch_norm,
        (smooth(5, 4), smooth(4), smooth(4)),
    ),
    "layer_norm": (
        lambda x, w, b: F.layer_norm(x, 4, w, b),
        composite.layer_norm,
        (smooth(5, 4), smooth(4), smooth(4)),
    ),
}


def derivatives(fn, arrays):
    """The value, the gradient, and the gradient of the gradient's weighted sum."""
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    y = fn(*tensors)
    weights = np.cos(np.arange(y.size)).reshape(y.shape)
    first = md.grad((y * weights).sum(), tensors, create_graph=True)
    total = sum(((g * g * (i + 1)).sum() for i, g in enumerate(first)), Tensor(np.zeros(())))
    second = [None] * len(tensors)
    if total.requires_grad:
        second = md.grad(total, tensors, allow_unused=True)
    zeros = [np.zeros_like(a) for a in arrays]
    return (
        y.data,
        [g.data for g in first],
        [z if g is None else g.data for g, z in zip(second, zeros, strict=True)],
    )


@pytest.mark.parametrize("name", CASES)
def test_fused_equals_textbook(name):
    fused, textbook, arrays = CASES[name]
    y, first, second = derivatives(fused, arrays)
    expected_y, expected_first, expected_second = derivatives(textbook, arrays)
    np.testing.assert_allclose(y, expected_y, rtol=1e-10, atol=1e-13)
    for ours, theirs in ((first, expected_first), (second, expected_second)):
        for g, expected in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(g, expected, rtol=1e-9, atol=1e-12)


def test_each_definition_is_compared():
    defined = {
        name
        for name, fn in vars(composite).items()
        if inspect.isfunction(fn) and fn.__module__ == composite.__name__
    }
    assert defined == set(CASES)
