"""The quick assertions say what NumPy's say."""

import itertools

import numpy as np
import pytest

from . import quick

VALUES = (0.0, -0.0, 1.0, 1.0 + 1e-6, -1.0, 1e-30, 3e38, np.inf, -np.inf, np.nan)


def fails(assertion, *args, **options):
    try:
        assertion(*args, **options)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("name", ["assert_array_equal", "assert_allclose"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_the_same_verdict(name, dtype):
    mine = getattr(np.testing, name)
    assert mine is getattr(quick, name)
    settings = [{}, {"rtol": 1e-5}, {"rtol": 0, "atol": 1e-5}] if "close" in name else [{}]
    values = VALUES if dtype != "int64" else (0, 1, 2)
    for pair, options in itertools.product(itertools.product(values, repeat=2), settings):
        x, y = (np.array([0, value, 1], dtype) for value in pair)
        verdict = fails(mine.__wrapped__, x, y, **options)
        assert fails(mine, x, y, **options) == verdict, (pair, options)
        assert fails(mine, x, y[:2], **options)
