"""NaN in the operations that select. Where an extremum is NaN its gradient goes to the NaN: the element that the result
was taken from. The slope of every activation at NaN is NaN (tests/kernels has those of one argument).
"""

import numpy as np
import pytest

import minidl as md
from minidl import Tensor
from minidl import functional as F
from minidl.autograd.modes import textbook_gradients

NAN = np.nan


def alone(fn):
    return lambda x, z: fn(x)


# function, x, z, gradient of x, gradient of z (None: z takes no part)
CASES = {
    "max": (alone(md.max), [NAN, 1], None, [1, 0], None),
    "min": (alone(md.min), [2, NAN, 1], None, [0, 1, 0], None),
    "max, two NaNs": (alone(md.max), [NAN, 1, NAN], None, [0.5, 0, 0.5], None),
    "max, no NaN": (alone(md.max), [3, 1, 3], None, [0.5, 0, 0.5], None),
    "max over an axis": (
        alone(lambda x: md.max(x, axis=1)),
        [[NAN, 1], [2, 3]],
        None,
        [[1, 0], [0, 1]],
        None,
    ),
    "maximum": (md.maximum, [NAN, 1, NAN, 2], [0, NAN, NAN, 2], [1, 0, 0.5, 0.5], [0, 1, 0.5, 0.5]),
    "minimum": (md.minimum, [NAN, 1, NAN, 1], [0, NAN, NAN, 2], [1, 0, 0.5, 1], [0, 1, 0.5, 0]),
    "max_pool": (
        alone(lambda x: F.max_pool(x.reshape(1, 1, 4), 2)),
        [NAN, 1, 2, 3],
        None,
        [1, 0, 0, 1],
        None,
    ),
    "crelu": (alone(lambda x: F.crelu(x, axis=0)), [NAN, 2, -2, 0], None, [NAN, 1, -1, 0], None),
    "glu, a": (alone(lambda x: F.glu(x, axis=0)), [NAN, 2, 0, 0], None, [NAN, 0.5, NAN, 0.5], None),
    "glu, b": (alone(lambda x: F.glu(x, axis=0)), [4, 2, NAN, 0], None, [NAN, 0.5, NAN, 0.5], None),
    "rrelu": (
        alone(lambda x: F.rrelu(x, 0.25, 0.25, training=True)),
        [NAN, 2, -2],
        None,
        [NAN, 1, 0.25],
        None,
    ),
    "prelu": (
        lambda x, z: F.prelu(x, z, base_axis=None),
        [NAN, 2, -2],
        [0.25],
        [NAN, 1, 0.25],
        [NAN],
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("textbook", [False, True], ids=["fused", "textbook"])
@pytest.mark.parametrize("name", CASES)
def test_the_gradient_goes_to_the_nan(name, textbook, dtype):
    fn, x, z, gx, gz = CASES[name]
    x = Tensor(x, dtype=dtype, requires_grad=True)
    z = None if z is None else Tensor(z, dtype=dtype, requires_grad=True)
    given = [x] if z is None else [x, z]
    if textbook:
        with textbook_gradients():
            got = md.grad(fn(x, z).sum(), given)
    else:
        got = md.grad(fn(x, z).sum(), given)
    for g, expected in zip(got, [gx, gz], strict=False):
        np.testing.assert_array_equal(g.data, np.array(expected, dtype))
