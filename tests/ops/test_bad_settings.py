"""Settings of a kind that cannot be right: the error names the function and the argument, in our words."""

import numpy as np
import pytest

import minidl as md
from minidl import Tensor, ops
from minidl import functional as F

X = Tensor(np.ones((2, 4, 3), np.float32))

ZERO_D, HUGE = np.array(2.5), 10**400

# function, the argument that the error names, what is not taken
CALLS = {
    "sum": (md.sum, "axis", [1.5, "a", b"x", {}]),
    "max": (md.max, "axis", [-0.5, (0, "a")]),
    "softmax": (F.softmax, "axis", [1.5, "", range(2)]),
    "concatenate": (lambda x, axis: md.concatenate([x], axis), "axis", [print, 0.5]),
    "stack": (lambda x, axis: md.stack([x], axis), "axis", [(), 1.0]),
    "flatten": (md.flatten, "axis", [1.5, slice(1)]),
    "squeeze": (md.squeeze, "axis", [1.5, "a"]),
    "expand_dims": (md.expand_dims, "axis", [1.5, (1.5, 2), {}, "a"]),
    "transpose": (md.transpose, "axis", [("a", "b", "c"), "abc", (0, 1, 2.0), {}, ZERO_D]),
    "reshape": (md.reshape, "shape", [1e300, ("a", "b"), "same", [[1, 2]], {}, ZERO_D]),
    "broadcast_to": (md.broadcast_to, "shape", [2.7, [2.7], None, "same", True, b"x", {}]),
    "pad": (md.pad, "pad_width", ["same", 1e300, b"x", [[1], [1, 2]]]),
    "pad/value": (lambda x, value: md.pad(x, 1, value), "value", ["a", None, (None,)]),
    "clip": (md.clip, "min", ["a", print, (), slice(1)]),
    "clip/max": (lambda x, high: md.clip(x, 0.0, high), "max", ["a", [1.0]]),
    "einsum": (lambda x, equation: ops.einsum(equation, x), "equation", [7, None, b"x", ["i"]]),
    "one_hot": (lambda x, n: F.one_hot([0], n), "n", ["same", 1.5, (1, 2), slice(1)]),
    "prelu": (lambda x, axis: F.prelu(x, 0.5, base_axis=axis), "base_axis", [{}, np.inf, "a"]),
    "hardtanh": (lambda x, high: F.hardtanh(x, 0.0, high), "max_val", [int, np.array("x"), "x"]),
    "affine": (lambda x, a: F.affine(x, np.ones((2, 3)), activation=a), "activation", [(), 3, {}]),
    "astype": (md.astype, "dtype", [("a", "b"), ["f4"], {}, None]),
    "pow": (md.pow, "x1", [HUGE]),
    "dropout": (F.dropout, "p", ["a", None, (0.5,)]),
    "rrelu": (F.rrelu, "lower", ["a", None, [0.1]]),
    "huber_loss": (lambda x, delta: F.huber_loss(x, x, delta=delta), "delta", ["a", None, (1,)]),
    "layer_norm": (F.layer_norm, "normalized_shape", [2.5, "a", int, (3.0,)]),
    "layer_norm/eps": (lambda x, eps: F.layer_norm(x, 3, eps=eps), "eps", ["", b"x", -1.0]),
    "group_norm": (F.group_norm, "num_groups", [(), 1j, 2.0]),
    "group_norm/eps": (lambda x, eps: F.group_norm(x, 2, eps=eps), "eps", ["", None]),
    "instance_norm/eps": (lambda x, eps: F.instance_norm(x, eps=eps), "eps", ["", slice(1)]),
    "max_pool": (F.max_pool, "kernel_size", ["same", b"x", b""]),
    "conv": (lambda x, p: F.conv(x, np.ones((1, 4, 1)), padding=p), "padding", ["full", b"x"]),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, (*_, values) in CALLS.items() for value in values]
)
def test_the_error_names_function_and_argument(name, value):
    function, argument, _ = CALLS[name]
    named = rf"(?i)^(Log)?{name.split('/')[0]}: {argument}\b"
    with pytest.raises((TypeError, ValueError), match=named):
        function(X, value)


def test_integers_of_numpy_and_lists_are_taken_where_ints_are():
    assert md.broadcast_to(X, np.array([5, 2, 4, 3])).shape == (5, 2, 4, 3)
    assert md.reshape(X, [np.int64(6), -1]).shape == (6, 4)
    assert md.sum(X, np.int32(1)).shape == (2, 3)
    assert md.expand_dims(X, (0, np.int64(-1))).shape == (1, 2, 4, 3, 1)


@pytest.mark.parametrize("n", [2**63, HUGE])
def test_numbers_that_are_too_large(n):
    with pytest.raises(ValueError, match=r"one_hot: a result of shape .* is too large"):
        F.one_hot([0], n)
    with pytest.raises(IndexError, match=r"getitem: index [0-9]+ is out of range|only integers"):
        X[n]
    with pytest.raises(OverflowError, match="Tensor and a number: int too large"):
        X / HUGE
