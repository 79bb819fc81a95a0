"""A function here and in PyTorch: values, gradients and second derivatives are the same."""

import numpy as np
import pytest

import minidl as md
from minidl import Tensor

torch = pytest.importorskip("torch")


def compare(ours, theirs, arrays, rtol=1e-9):
    """In float64; the second derivatives are those of a weighted sum of squares."""
    xs = [Tensor(a, requires_grad=True) for a in arrays]
    zs = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = ours(*xs), theirs(*zs)
    close(y, z, rtol)
    w = np.random.default_rng(1).standard_normal(y.shape)
    gx = md.grad((y * y * w).sum(), xs, create_graph=True)
    gz = torch.autograd.grad((z * z * torch.tensor(w)).sum(), zs, create_graph=True)
    for mine, other in zip(gx, gz, strict=True):
        close(mine, other, rtol)
    ggx = md.grad(sum((g * g).sum() for g in gx), xs)
    ggz = torch.autograd.grad(sum((g * g).sum() for g in gz), zs)
    for mine, other in zip(ggx, ggz, strict=True):
        close(mine, other, rtol)


def close(mine, other, rtol):
    other = other.detach().numpy()
    assert mine.shape == other.shape
    np.testing.assert_allclose(
        mine.data, other, rtol=rtol, atol=rtol * np.abs(other).max(initial=1)
    )
