"""Kernels that write past the caches where arrays are large: the same numbers as in parts that are not."""

import numpy as np
import pytest

from minidl import _kernels as K

every_level = pytest.mark.parametrize("level", K.available)
LARGE = (1 << 25) + 200  # bytes of each array: no cache line, no block, no task ends where it does


def cut(kernel, *arrays):
    """The kernel applied to 7 parts of flat arrays, each too small to be streamed."""
    parts = zip(*(np.array_split(a, 7) for a in arrays), strict=True)
    return np.concatenate([kernel(*part) for part in parts])


@pytest.fixture(params=["float32", "float64"])
def arrays(request):
    rng = np.random.default_rng(0)
    n = LARGE // np.dtype(request.param).itemsize
    return [rng.standard_normal(n, "float32").astype(request.param) for _ in range(2)]


@every_level
def test_activations(level, arrays):
    kernels, (x, gy) = K.load(level), arrays
    y = kernels.activation_forward("relu", x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    out = np.empty(x.size + 1, x.dtype)[1:]  # which starts between lines
    assert kernels.activation_forward("tanh", x, out=out) is out
    np.testing.assert_array_equal(
        out, cut(lambda part: kernels.activation_forward("tanh", part), x)
    )
    gx = kernels.activation_backward("silu", x, gy)
    expected = cut(lambda *parts: kernels.activation_backward("silu", *parts), x, gy)
    np.testing.assert_array_equal(gx, expected)
    assert kernels.activation_backward("relu", x, gy, out=gy) is gy  # in place
    np.testing.assert_array_equal(gy[x <= 0], 0)


@every_level
@pytest.mark.parametrize("channels", [1, 5])
def test_prelu(level, channels, arrays):
    kernels = K.load(level)
    x, gy = (a[: a.size // channels * channels].reshape(1, channels, -1) for a in arrays)
    slope = np.linspace(0.1, 0.5, channels, dtype=x.dtype)
    gx, gslope = kernels.prelu_backward(x, slope, gy)
    np.testing.assert_array_equal(gx, np.where(x <= 0, slope[:, None] * gy, gy))
    expected = np.minimum(x, 0).astype("float64") * gy
    bound = 1e-6 * np.abs(expected).sum(axis=(0, 2))  # of the terms: they cancel
    np.testing.assert_array_less(np.abs(gslope - expected.sum(axis=(0, 2))), bound)
