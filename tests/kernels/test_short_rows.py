"""Short rows of a softmax, which are computed side by side: a row has its bits, whoever its neighbours are."""

import numpy as np
import pytest

from minidl import _kernels as K


@pytest.mark.parametrize("level", [*K.available])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [2, 3, 4, 10, 15, 16, 21])
def test_a_row_has_the_same_bits_alone_and_among_others(level, dtype, n):
    kernels, rng = K.load(level), np.random.default_rng(n)
    x, target = 3 * rng.standard_normal((1061, n)).astype(dtype), rng.integers(0, n, 1061)
    for entry_point in ("softmax_forward", "log_softmax_forward", "logsumexp_forward"):
        kernel = getattr(kernels, entry_point)
        together = kernel(x)
        for row in (0, 37, 1060):
            assert kernel(x[row : row + 1]).tobytes() == together[row].tobytes(), entry_point
    together = kernels.cross_entropy_forward(x, target)
    for row in (0, 37, 1060):
        alone = kernels.cross_entropy_forward(x[row : row + 1], target[row : row + 1])
        assert [y.tobytes() for y in alone] == [y[row].tobytes() for y in together]


@pytest.mark.parametrize("level", [*K.available])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 7, 40), (2, 40, 33), (50, 5), (4, 100)])
def test_losses_are_the_same_where_their_gradients_are_not_kept(level, dtype, shape):
    rng = np.random.default_rng(0)
    x = (5 * rng.standard_normal(shape)).astype(dtype)
    x[0, 1], x[-1, 2] = np.inf, np.nan
    target = rng.integers(0, shape[1], x.size // shape[1])
    kernel = K.load(level).cross_entropy_forward
    assert kernel(x, target, 0.0, False)[0].tobytes() == kernel(x, target)[0].tobytes()
