"""Every fused op once more in elementary ops: its textbook definition, and the oracle of its tests.

The fused ops in `minidl.ops` are what the library runs: one kernel, stable and fast. Here each is written as the book
has it, for reading and for `tests/test_composite.py`, which holds value, gradient and second derivative of both against
each other. These take Tensors.
"""

from __future__ import annotations

from minidl.autograd.tensor import Tensor
from minidl.ops import (
    abs,
    einsum,
    exp,
    expand_dims,
    log,
    matmul,
    max,
    mean,
    minimum,
    one_hot,
    pad,
    sqrt,
    sum,
    where,
)


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """y = x Wᵀ + b."""
    return matmul(x, weight.T) + bias


def conv(x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    """y[n, o, i, j] = Σ x[n, c, s i + u, s j + v] w[o, c, u, v] + b[o] over c, u and v, for a padded x of two spatial
    axes: tap by tap."""
    x = pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    rows, columns = (n - k for n, k in zip(x.shape[2:], weight.shape[2:], strict=True))
    y = bias.reshape(-1, 1, 1)
    for u in range(weight.shape[2]):
        for v in range(weight.shape[3]):
            seen = x[:, :, u : u + rows + 1 : stride, v : v + columns + 1 : stride]
            y = y + einsum("nchw,oc->nohw", seen, weight[:, :, u, v])
    return y


def conv_transpose(x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1) -> Tensor:
    """The convolution of x, with zeros between its pixels and around it, with the kernel turned by half a turn."""
    n, c, rows, columns = x.shape
    gap = ((0, 0), (0, 0), (0, 0), (0, stride - 1), (0, 0), (0, stride - 1))
    sparse = pad(expand_dims(x, (3, 5)), gap).reshape(n, c, rows * stride, columns * stride)
    sparse = sparse[:, :, : (rows - 1) * stride + 1, : (columns - 1) * stride + 1]
    around = [(k - 1, k - 1) for k in weight.shape[2:]]
    return conv(
        pad(sparse, ((0, 0), (0, 0), *around)), weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3), bias
    )


def relu(x: Tensor) -> Tensor:
    """max(0, x)."""
    return where(x > 0, x, 0.0)


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """max(0, x) + a min(0, x)."""
    return where(x > 0, x, negative_slope * x)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """max(0, x) + slope min(0, x), with slopes that broadcast against x."""
    return where(x > 0, x, slope * x)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x for x > 0, α (exp(x) - 1) otherwise."""
    return where(x > 0, x, alpha * (exp(minimum(x, 0.0)) - 1))


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + exp(-x))


def tanh(x: Tensor) -> Tensor:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x))."""
    return (exp(x) - exp(-x)) / (exp(x) + exp(-x))


def softplus(x: Tensor, beta: float = 1.0) -> Tensor:
    """log(1 + exp(βx)) / β."""
    return log(1 + exp(beta * x)) / beta


def softmax(x: Tensor) -> Tensor:
    """exp(x) / Σ exp(x) over the last axis."""
    e = exp(x - max(x, axis=-1, keepdims=True).detach())
    return e / sum(e, axis=-1, keepdims=True)


def log_softmax(x: Tensor) -> Tensor:
    """log softmax(x)."""
    return log(softmax(x))


def cross_entropy(x: Tensor, target: Tensor) -> Tensor:
    """-log softmax(x)[target], averaged over the samples."""
    return -mean(sum(one_hot(target, x.shape[-1], x.dtype) * log_softmax(x), axis=-1))


def binary_cross_entropy(p: Tensor, target: Tensor) -> Tensor:
    """-(t log p + (1 - t) log(1 - p)), averaged."""
    return -mean(target * log(p) + (1 - target) * log(1 - p))


def binary_cross_entropy_with_logits(x: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of sigmoid(x)."""
    return binary_cross_entropy(sigmoid(x), target)


def huber_loss(x: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
    """d²/2 for |d| <= δ, δ (|d| - δ/2) beyond, averaged."""
    d = abs(x - target)
    return mean(where(d <= delta, d * d / 2, delta * (d - delta / 2)))


def batch_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(var + ε) · weight + bias over axis 0 of (N, C)."""
    d = x - mean(x, axis=0, keepdims=True)
    return d / sqrt(mean(d * d, axis=0, keepdims=True) + eps) * weight + bias


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(var + ε) · weight + bias over the last axis."""
    d = x - mean(x, axis=-1, keepdims=True)
    return d / sqrt(mean(d * d, axis=-1, keepdims=True) + eps) * weight + bias
