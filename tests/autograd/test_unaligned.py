"""Memory that no kernel may touch as it is: arrays at odd addresses are copied, and changed in place all the same."""

import numpy as np
import pytest

from minidl import Tensor, nn, optim
from minidl import functional as F


def unaligned(values, dtype="float32"):
    values = np.asarray(values, dtype)
    array = np.zeros(values.nbytes + 1, np.uint8)[1:].view(dtype).reshape(values.shape)
    array[...] = values
    assert not array.flags.aligned
    return array


IN_PLACE = {
    "relu": lambda x, **options: F.relu(x, **options),
    "elu": lambda x, **options: F.elu(x, **options),
    "prelu": lambda x, **options: F.prelu(x, 0.25, **options),
    "rrelu": lambda x, **options: F.rrelu(x, training=True, rng=1, **options),
}


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_in_place_at_an_odd_address(name, dtype, level):
    x = unaligned([[-1.0, 2.0, -3.0], [4.0, -5.0, 6.0]], dtype)
    expected = IN_PLACE[name](Tensor(x.copy())).numpy()
    y = IN_PLACE[name](Tensor(x), inplace=True)
    np.testing.assert_array_equal(y.numpy(), expected)
    np.testing.assert_array_equal(x, expected)


def test_prelu_with_slopes_at_an_odd_address(level):
    values = np.random.default_rng(0).standard_normal((4, 6, 5)).astype(np.float32)
    slopes = np.linspace(0.1, 0.6, 6, dtype=np.float32)

    def results(x, slope):
        x, slope = Tensor(x, requires_grad=True), Tensor(slope, requires_grad=True)
        y = F.prelu(x, slope)
        y.backward(Tensor(values))
        return y.numpy(), x.grad.numpy(), slope.grad.numpy()

    for got, expected in zip(
        results(unaligned(values), unaligned(slopes)), results(values, slopes), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


def test_clipping_a_gradient_at_an_odd_address():
    p = nn.Parameter(np.zeros(2, np.float32))
    p.grad = Tensor(unaligned([3.0, 4.0]))
    assert optim.clip_grad_norm([p], 1.0) == 5
    np.testing.assert_allclose(p.grad.numpy(), [0.6, 0.8], rtol=1e-6)


def test_a_gradient_handed_in_is_not_kept_at_an_odd_address():
    p = nn.Parameter([1.0, 2.0])
    (p + 0).backward(Tensor(unaligned([1.0, 2.0])))
    assert p.grad.numpy().flags.aligned


def test_a_parameter_at_an_odd_address_can_be_trained():
    p = nn.Parameter(unaligned([1.0, 2.0]))
    p.grad = Tensor([1.0, 1.0])
    optim.SGD([p], 0.5).step()
    np.testing.assert_array_equal(p.numpy(), [0.5, 1.5])
