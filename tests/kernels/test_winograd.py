"""Winograd's algorithm: its NumPy definition against the plain convolution, and the kernels against both."""

import importlib
import os
import subprocess
import sys

import numpy as np
import pytest

from minidl import _kernels as K
from minidl._kernels.reference import conv as reference

# (N, C, O, size, kernel, stride, padding); the kernels use the algorithm for all but the last two
CASES = {
    "3x3": (2, 16, 17, (8, 9), 3, 1, (1, 1)),
    "3x3, no padding": (3, 20, 17, (7, 10), 3, 1, (0, 0)),
    "3x3, more padding": (3, 17, 17, (6, 5), 3, 1, (2, 3)),
    "4x4": (3, 33, 33, (10, 12), 4, 2, (1, 1)),
    "4x4, no padding": (5, 33, 32, (11, 12), 4, 2, (0, 0)),
    "4x4, odd padding": (4, 36, 34, (9, 10), 4, 2, (2, 3)),
    "2x2": (2, 3, 4, (5, 6), 2, 1, (0, 1)),
    "6x6": (2, 3, 4, (15, 12), 6, 2, (2, 1)),
}
FAST = list(CASES)[:6]
SUMS = ("conv_forward", "conv_input_grad", "conv_weight_grad")
every_sum = pytest.mark.parametrize("name", SUMS)
every_level = pytest.mark.parametrize("level", K.available)


def arguments(name, case, dtype="float64", whole=False):
    """The arrays of a sum, its size if it needs one, and (stride, padding)."""
    n, c, o, size, kernel, stride, padding = CASES[case]
    rng = np.random.default_rng(0)
    y_size = [(m + 2 * p - kernel) // stride + 1 for m, p in zip(size, padding, strict=True)]
    shapes = {"x": (n, c, *size), "w": (o, c, kernel, kernel), "gy": (n, o, *y_size)}
    x, w, gy = (rng.standard_normal(shape).astype(dtype) for shape in shapes.values())
    if whole:
        x, w, gy = (np.round(4 * a) for a in (x, w, gy))
    return {
        "conv_forward": (x, w),
        "conv_input_grad": (gy, w, size),
        "conv_weight_grad": (x, gy, (kernel, kernel)),
    }[name], (stride, padding)


def kernel(level, name, given, settings, on=True):
    """What a level computes, with or without Winograd's algorithm."""
    module = importlib.import_module(f"minidl._kernels.{level}.conv")
    stride, padding = settings
    keywords = {"stride": (stride, stride), "padding": padding}
    module._use_winograd(on)
    try:
        return image_or_weights(getattr(module, name)(*given, **keywords))
    finally:
        module._use_winograd(K.winograd)


def image_or_weights(found):
    """Without the gradient of a bias."""
    return found[0] if isinstance(found, tuple) else found


@every_sum
@pytest.mark.parametrize("case", CASES)
def test_the_definition_is_a_convolution(name, case):
    given, (stride, padding) = arguments(name, case)
    y = getattr(reference, name.replace("conv", "winograd"))(*given, stride, padding)
    expected = getattr(reference, name)(*given, stride=(stride, stride), padding=padding)
    expected = image_or_weights(expected)
    assert y.dtype == expected.dtype
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())


@every_sum
@pytest.mark.parametrize("case", FAST)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_level
def test_the_kernels_compute_what_is_defined(name, case, dtype, level):
    given, settings = arguments(name, case, dtype)
    expected = getattr(reference, name.replace("conv", "winograd"))(*given, *settings)
    rtol = 1e-5 if dtype == "float32" else 1e-13
    y = kernel(level, name, given, settings)
    np.testing.assert_allclose(y, expected, rtol=rtol, atol=rtol * np.abs(expected).max())
    given, settings = arguments(name, case, dtype, whole=True)
    exact = getattr(reference, name.replace("conv", "winograd"))(*given, *settings)
    np.testing.assert_array_equal(kernel(level, name, given, settings), exact)


@every_sum
@pytest.mark.parametrize("case", CASES)
@every_level
def test_the_switch_decides(name, case, level):
    """The two ways round differently, so their bits tell which one ran."""
    given, settings = arguments(name, case, "float32")
    on, off = (kernel(level, name, given, settings, on) for on in (True, False))
    assert np.array_equal(on, off) == (case not in FAST)
    np.testing.assert_allclose(on, off, rtol=1e-5, atol=1e-5 * np.abs(off).max())


def test_the_variable_turns_it_off():
    program = (
        "import numpy as np; from minidl import _kernels as K\n"
        "x, w = np.ones((1, 17, 8, 8), 'f'), np.ones((17, 17, 3, 3), 'f'); x[0, 0, 4, 4] = np.inf\n"
        "print(K.winograd, np.isnan(K.conv_forward(x, w, padding=(1, 1))).any())"
    )
    for value, expected in (("0", "False False"), ("1", "True True")):
        env = os.environ | {"MINIDL_WINOGRAD": value, "MINIDL_KERNELS": K.available[-1]}
        run = subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == expected
    env = os.environ | {"MINIDL_WINOGRAD": "off"}
    run = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
    assert "ImportError: MINIDL_WINOGRAD='off': expected 0 or 1" in run.stderr
