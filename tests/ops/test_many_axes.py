"""Arrays of more axes than NumPy's iterators take (32), up to the 64 that its arrays may have."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl.testing import check_grads

INDICES = {
    "a list": lambda n: [2, 0, 2],
    "the last axis": lambda n: (..., [0, 2, 0]),
    "all axes": lambda n: ([0, 0],) * n,
    "two axes apart": lambda n: (np.array([[0, 1]]), ..., np.array([[1], [1]])),
    "with an int": lambda n: ([0, 0], *(slice(None),) * (n - 2), 1),
    "a mask": lambda n: np.arange(9).reshape(shape_of(n)) % 2 == 1,
}
CALLS = {
    "broadcasting": lambda x: x * x.transpose(),
    "sum": lambda x: x.sum(axis=(0, -1)) + x.transpose().mean(axis=0).sum(),
    "max": lambda x: x.transpose().max(axis=0),
    "reshape": lambda x: x.transpose().reshape(-1),
    "concatenate": lambda x: md.concatenate([x, x.transpose()], axis=1),
    "where": lambda x: md.where(x.data > 0, x, x.transpose()),
    "pad": lambda x: (
        md.pad(x, 1)[..., :1] if x.ndim < 8 else md.pad(x, [(0, 1)] + [(0, 0)] * (x.ndim - 1))
    ),
    "matmul": lambda x: x @ x.transpose((*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)),
    "activation": lambda x: F.tanh(x.transpose()),
    "softmax": lambda x: F.softmax(x.transpose(), axis=-1),
    "prelu": lambda x: F.prelu(x, md.Tensor([0.5])),
}


def shape_of(n):
    return (3, *[1] * (n - 2), 3)


@pytest.mark.parametrize("n", [5, 32, 33, 63])
@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_the_gradient_of_indexing(n, index):
    x = np.random.default_rng(0).normal(size=shape_of(n))
    y = md.Tensor(x)[index(n)]
    np.testing.assert_array_equal(y.data, x[index(n)])
    check_grads(lambda x: x[index(n)], [x])


@pytest.mark.parametrize("n", [5, 33, 64])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_gradients_of_the_others(n, call):
    check_grads(call, [np.random.default_rng(0).normal(size=shape_of(n))])


def test_einsum_says_how_many_axes_it_takes():
    x = np.ones(shape_of(60))
    with pytest.raises(
        ValueError, match=r"einsum '\.\.\.a->\.\.\.': operand 0 has 60 axes, .* 52 letters"
    ):
        md.einsum("...a->...", x)
