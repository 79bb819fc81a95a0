"""Convolutions of random shapes, at every level: small integers, so that sums in any order are exact.

The cases of test_conv.py are chosen by what the code does; these are chosen by nobody.
"""

import importlib

import numpy as np
import pytest

from minidl import _kernels as K

REFERENCE = K.load("reference")
SHAPES = 250


def settings(rng):
    """A random convolution: shapes of x and the weights, and the settings; None if the kernel does not fit."""
    axes = rng.choice([1, 2, 2, 2, 3])
    groups = rng.choice([1, 1, 1, 2, 3])
    c, o = (groups * rng.choice(few) for few in ([1, 1, 2, 3, 4, 8, 17], [1, 1, 2, 3, 5, 6, 16]))
    size = rng.integers(1, 24 if axes < 3 else 9, axes)
    kernel, stride = rng.choice([1, 2, 3, 3, 4, 5], axes), rng.choice([1, 1, 2, 2, 3, 4], axes)
    padding, dilation = (
        rng.integers(0, 9 if axes < 3 else 4, axes),
        rng.choice([1, 1, 1, 2, 3], axes),
    )
    if np.any(size + 2 * padding < dilation * (kernel - 1) + 1):
        return None
    move = [tuple(map(int, a)) for a in (stride, padding, dilation)]
    return (rng.integers(1, 4), c, *size), (o, c // groups, *kernel), (*move, int(groups))


def in_some_order(rng, x):
    """x, in half of the cases with its channels innermost in memory."""
    if rng.integers(2):
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    return x


@pytest.fixture(params=K.available)
def kernels(request):
    """The kernels of a level, without Winograd's algorithm, whose sums are not of integers."""
    level = K.load(request.param)
    module = importlib.import_module(level.conv_forward.__module__)
    module._use_winograd(False)
    yield level
    module._use_winograd(K.winograd)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", [0, 1])
def test_random_shapes(kernels, dtype, seed):
    rng = np.random.default_rng(seed)
    for found in filter(None, (settings(rng) for _ in range(SHAPES))):
        check(kernels, rng, dtype, *found)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [6, 10, 24])
@pytest.mark.parametrize("stride", [2, 3])
def test_rows_that_are_with_their_zeros_as_long_as_some_without(kernels, dtype, width, stride):
    """Every `stride`-th row, each padded to `stride` times its length: the rows do not follow one another in memory."""
    rng, padding = np.random.default_rng(0), width * (stride - 1) // 2
    for weights in ((1, 2, 1, 1), (3, 2, 2, 3)):
        move = (stride, 1), (1, padding), (1, 1), 1
        check(kernels, rng, dtype, (2, 2, 9, width), weights, move)


def check(kernels, rng, dtype, shape, weights, move):
    x = in_some_order(rng, rng.integers(-3, 4, shape).astype(dtype))
    w, bias = (
        rng.integers(-3, 4, weights).astype(dtype),
        rng.integers(-3, 4, weights[0]).astype(dtype),
    )
    y = REFERENCE.conv_forward(x, w, bias, *move)
    gy = in_some_order(rng, rng.integers(-3, 4, y.shape).astype(dtype))
    size, kernel, said = shape[2:], weights[2:], f"x {shape}, weights {weights}, {move}"
    np.testing.assert_array_equal(kernels.conv_forward(x, w, bias, *move), y, said)
    gx = REFERENCE.conv_input_grad(gy, w, size, *move)
    np.testing.assert_array_equal(kernels.conv_input_grad(gy, w, size, *move), gx, said)
    both = REFERENCE.conv_weight_grad(x, gy, kernel, *move)
    for mine, other in zip(kernels.conv_weight_grad(x, gy, kernel, *move), both, strict=True):
        np.testing.assert_array_equal(mine, other, said)
