"""Wrong shapes, axes and arguments: the error names the axis, what was expected and given."""

from inspect import signature

import numpy as np
import pytest

import minidl as md
from minidl import Tensor, ops
from minidl import functional as F
from minidl.ops.activations.table import ACTIVATIONS

X = np.ones((2, 3), "float32")

CASES = [
    (lambda: ops.add(X, np.ones(4)), ValueError, r"\(2,3\) \(4,\)"),
    (lambda: ops.reshape(X, 4), ValueError, r"size 6 into shape \(4,\)"),
    (lambda: ops.transpose(X, 0, 2), ValueError, "transpose: axis 2 is out of range for 2 axes"),
    (lambda: ops.transpose(X, 0, -3), ValueError, "transpose: axis -3 is out of range"),
    (lambda: ops.transpose(X, 0, 0), ValueError, r"transpose: axes \(0, 0\) are no permutation"),
    (
        lambda: ops.transpose(X, 0),
        ValueError,
        r"transpose: axes \(0,\) are no permutation of the 2",
    ),
    (lambda: ops.flatten(X, 2), ValueError, "flatten: axis 2 is out of range for 2 axes"),
    (
        lambda: ops.squeeze(X, 0),
        ValueError,
        r"squeeze: axis 0: expected length 1, got shape \(2, 3\)",
    ),
    (lambda: ops.squeeze(X, 5), ValueError, "squeeze: axis 5 is out of range for 2 axes"),
    (lambda: ops.expand_dims(X, 5), ValueError, "expand_dims: axis 5 is out of range"),
    (lambda: ops.broadcast_to(X, (2, 4)), ValueError, r"\(2, ?3\).*\(2, ?4\)"),
    (
        lambda: ops.pad(X, ((1, 1), (1, 1), (1, 1))),
        ValueError,
        "pad: pad_width: expected .* 2 axes, got",
    ),
    (lambda: ops.pad(X, -1), ValueError, "pad: widths must not be negative, got -1"),
    (lambda: ops.pad(X, ((1,), (1, 2, 3))), TypeError, "pad: pad_width must be integers"),
    (lambda: ops.pad(X, ((0, 1), (0, -1))), ValueError, "pad: widths must not be negative"),
    (lambda: ops.concatenate([]), ValueError, "concatenate: expected at least one tensor"),
    (lambda: ops.concatenate([X, X.T]), ValueError, "axis 1 of tensor 1: expected 3 .* got 2"),
    (lambda: ops.concatenate([X, X[0]]), ValueError, "tensor 1 has 1 axes, tensor 0 has 2"),
    (lambda: ops.concatenate([X], 2), ValueError, "concatenate: axis 2 is out of range for 2 axes"),
    (lambda: ops.stack([]), ValueError, "stack: expected at least one tensor"),
    (lambda: ops.stack([X, X.T]), ValueError, "stack: axis 0 of tensor 1: expected 2 .* got 3"),
    (lambda: ops.stack([X], 3), ValueError, "stack: axis 3 is out of range for 3 axes"),
    (lambda: Tensor(X)[5], IndexError, "index 5 is out of bounds for axis 0 with size 2"),
    (lambda: Tensor(X)[0, 0, 0], IndexError, "too many indices"),
    (lambda: Tensor(X)[[0, 7]], IndexError, "index 7"),
    (lambda: ops.sum(X, 2), ValueError, "sum: axis 2 is out of range for 2 axes"),
    (lambda: ops.sum(X, (0, 0)), ValueError, "duplicate value in 'axis'"),
    (lambda: ops.mean(X, -3), ValueError, "axis -3 is out of range for 2 axes"),
    (lambda: ops.max(X, 2), ValueError, "max: axis 2 is out of range"),
    (
        lambda: ops.max(X[:0], 0),
        ValueError,
        r"max: no elements along axis \(0,\) of shape \(0, 3\)",
    ),
    (lambda: ops.min(X[:0]), ValueError, "min: no elements"),
    (lambda: ops.clip(X), ValueError, "clip: give min, max or both"),
    (lambda: ops.clip(X, 2, 1), ValueError, "clip: min 2 is greater than max 1"),
    (lambda: ops.matmul(X, X), ValueError, "last axis of x0 has 3, axis -2 of x1 has 2"),
    (lambda: ops.matmul(X, X[0, :2]), ValueError, "last axis of x0 has 3, axis -1 of x1 has 2"),
    (lambda: ops.matmul(X, 2.0), ValueError, r"matmul: expected at least one axis"),
    (lambda: ops.einsum("ij,jk->ik", X), ValueError, "2 subscripts, but 1 operands"),
    (lambda: ops.einsum("ijk->i", X), ValueError, "operand 0 has 2 axes, its subscripts name 3"),
    (lambda: ops.einsum("ij,jk->ik", X, X), ValueError, "letter 'j': axis 0 of operand 1 has 2"),
    (lambda: ops.einsum("ii->i", X), ValueError, "letter 'i' names axes of shape"),
    (lambda: ops.einsum("ij->k", X), ValueError, "k"),
    (
        lambda: F.affine(X, np.ones((4, 2))),
        ValueError,
        r"last axis of x: expected 2 .* got shape \(2, 3\)",
    ),
    (lambda: F.affine(X, np.ones(3)), ValueError, r"weight: expected 2 axes .* got shape \(3,\)"),
    (
        lambda: F.affine(X, np.ones((4, 3)), np.ones(3)),
        ValueError,
        r"bias: expected shape \(4,\), got \(3,\)",
    ),
    (lambda: F.affine(1.0, X), ValueError, "affine: last axis of x"),
    (lambda: F.softmax(X, 2), ValueError, "Softmax: axis 2 is out of range for 2 axes"),
    (lambda: F.log_softmax(1.0), ValueError, "axis -1 is out of range for 0 axes"),
    (lambda: F.prelu(X, np.ones(2)), ValueError, r"slope: expected shape \(3,\).*got \(2,\)"),
    (lambda: F.prelu(X, np.ones((2, 3)), None), ValueError, r"slope: expected shape \(3,\)"),
    (lambda: F.prelu(X, np.ones(3), 2), ValueError, "prelu: base_axis: axis 2 is out of range"),
    (lambda: F.prelu(X, np.ones((3, 3)), (1, 1)), ValueError, "names an axis twice"),
    (lambda: F.softplus(X, beta=0), ValueError, "softplus: beta must be greater than 0, got 0"),
    (lambda: F.softplus(X, beta=float("nan")), ValueError, "softplus: beta must be greater than 0"),
    (lambda: F.dropout(X, 1.5), ValueError, r"dropout: p must lie in \[0, 1\], got 1.5"),
    (lambda: F.dropout(X, float("nan")), ValueError, "dropout: p must lie"),
    (
        lambda: F.rrelu(X, training=True, rng="a"),
        TypeError,
        "rng: expected a numpy Generator, an int seed or None",
    ),
    (lambda: F.rrelu(X, 0.5, 0.25), ValueError, "rrelu: expected .*lower <= upper, got 0.5 and"),
    (lambda: F.rrelu(X, float("nan")), ValueError, "rrelu: expected finite lower <= upper"),
    (lambda: F.rrelu(X, 0, float("inf")), ValueError, "rrelu: expected finite lower <= upper"),
    (lambda: F.maxout(X, 2), ValueError, "maxout: axis 1 of x has 3 channels, which 2 pieces do"),
    (lambda: F.maxout(X, 0), ValueError, "maxout: pieces must be an integer >= 1, got 0"),
    (lambda: F.maxout(X, 1.5), TypeError, "maxout: pieces must be an integer"),
    (lambda: F.maxout(X, 1, 2), ValueError, "maxout: axis 2 is out of range for 2 axes"),
    (lambda: F.glu(X), ValueError, r"glu: axis -1 of x has 3 channels, an odd .*\(2, 3\)"),
    (lambda: F.glu(1.0), ValueError, "glu: axis -1 is out of range for 0 axes"),
    (lambda: F.crelu(X[0]), ValueError, "crelu: axis 1 is out of range for 1 axes"),
    (
        lambda: F.dropout(X, rng="a"),
        TypeError,
        "rng: expected a numpy Generator, an int seed or None",
    ),
    (
        lambda: F.layer_norm(X, 4),
        ValueError,
        r"layer_norm: expected last axes \(4,\), got .*\(2, 3\)",
    ),
    (lambda: F.layer_norm(X, ()), ValueError, "layer_norm: expected last axes"),
    (
        lambda: F.layer_norm(X, 3, np.ones(2)),
        ValueError,
        r"layer_norm: weight: expected shape \(3,\), that of the last axes of x \(2, 3\), got \(2,\)",
    ),
    (
        lambda: F.layer_norm(X, 3, None, X),
        ValueError,
        r"bias: expected shape \(3,\), that of the last axes .*, got \(2, 3\)",
    ),
    (
        lambda: F.batch_norm(X[0], None, None),
        ValueError,
        r"expected x \(N, C\) .* got shape \(3,\)",
    ),
    (
        lambda: F.batch_norm(X, None, None),
        ValueError,
        "evaluating needs running_mean and running_var",
    ),
    (
        lambda: F.batch_norm(X[:1], None, None, training=True),
        ValueError,
        r"more than one value per channel, got x of shape \(1, 3\)",
    ),
    (
        lambda: F.batch_norm(X, None, None, X[0, :2], training=True),
        ValueError,
        r"batch_norm: weight: expected shape \(3,\), that of axis 1 of x \(2, 3\), got \(2,\)",
    ),
    (
        lambda: F.batch_norm(X, X[0], X[0], X[0], X, training=False),
        ValueError,
        r"batch_norm: bias: expected shape \(3,\), .* got \(2, 3\)",
    ),
    (
        lambda: F.batch_norm(X, X[0, :2], X[0]),
        ValueError,
        r"running_mean: expected shape \(3,\), that of axis 1 of x \(2, 3\), got \(2,\)",
    ),
    (
        lambda: F.batch_norm(X, X[0].copy(), [1, 1, 1], training=True),
        TypeError,
        "running_var: expected a float32 or float64 array that can be updated in place",
    ),
    (
        lambda: F.batch_norm(X, X[0], X[0], activation="silu"),
        ValueError,
        "batch_norm: activation: expected one of .*'silu'",
    ),
    (
        lambda: F.batch_norm(X, X[0], X[0], activation=("hardtanh", 0.5)),
        ValueError,
        r"activation: expected \(name, min_val, max_val\), got \('hardtanh', 0.5\)",
    ),
    (
        lambda: F.batch_norm(X, X[0], X[0], activation=("leaky_relu", -0.1)),
        ValueError,
        "batch_norm: activation: leaky_relu: .* negative_slope >= 0 .*, got -0.1",
    ),
    (lambda: F.group_norm(X, 2), ValueError, "group_norm: 2 groups do not divide 3 channels"),
    (lambda: F.group_norm(X[0], 1), ValueError, r"group_norm: expected x \(N, C, ...\), got"),
    (lambda: F.group_norm(X, 3), ValueError, "expected more than one value in a group"),
    (
        lambda: F.group_norm(X, 1, X[0, :2]),
        ValueError,
        r"group_norm: weight: expected shape \(3,\)",
    ),
    (lambda: F.instance_norm(X), ValueError, "instance_norm: expected x .* 3 axes"),
    (lambda: F.instance_norm(X[..., None]), ValueError, "expected more than one value in a group"),
    (lambda: F.embedding([3], X), ValueError, "embedding: id 3 is out of range for 2"),
    (lambda: F.embedding([-1], X), ValueError, "embedding: id -1 is out of range"),
    (lambda: F.embedding([0.5], X), TypeError, "embedding: expected integer ids, got float64"),
    (
        lambda: F.embedding([0], X[0]),
        ValueError,
        r"embedding: weight: expected 2 axes, got shape \(3,\)",
    ),
    (lambda: F.one_hot([0, 3], 2**62), ValueError, "one_hot: a result of shape .* is too large"),
    (lambda: F.one_hot([0, 3], 3.0), TypeError, "one_hot: n must be an integer"),
    (
        lambda: F.embedding(np.array([2**63 + 5], "uint64"), X),
        ValueError,
        "embedding: id 9223372036854775813 is out of range",
    ),
    (lambda: md.pad(X, 2**62), ValueError, "pad: a result of shape .* is too large"),
    (lambda: md.broadcast_to(X, (2**70, 2, 3)), ValueError, "broadcast_to: a result of shape"),
    (lambda: F.one_hot([0, 3], 3), ValueError, "one_hot: id 3 is out of range for 3 classes"),
    (lambda: F.one_hot([True], 3), TypeError, "one_hot: expected integer ids, got bool"),
    (
        lambda: F.cross_entropy(X, [0, 3]),
        ValueError,
        "(id|target) 3 .*is out of range for 3 classes",
    ),
    (lambda: F.cross_entropy(X, [0, -1]), ValueError, "(id|target) -1 .*is out of range"),
    (
        lambda: F.cross_entropy(X, [0]),
        ValueError,
        r"expected class ids of shape \(2,\) .* got \(1,\)",
    ),
    (lambda: F.cross_entropy(X, [0.0, 1.0]), TypeError, "expected integer (class )?ids"),
    (lambda: F.cross_entropy(1.0, 0), ValueError, "got a scalar"),
    (
        lambda: F.cross_entropy(X, [0, 1], "avg"),
        ValueError,
        'reduction: expected "mean", "sum" or "none"',
    ),
    (lambda: F.nll_loss(X, [0, 3]), ValueError, "nll_loss: target 3 of row 1 is out of range"),
    (lambda: F.nll_loss(X, [[0, 1]]), ValueError, r"nll_loss: expected class ids of shape \(2,\)"),
    (
        lambda: F.mse_loss(X, X[0]),
        ValueError,
        r"mse_loss: expected a target of shape \(2, 3\), got \(3,\)",
    ),
    (lambda: F.l1_loss(X, X.T), ValueError, "l1_loss: expected a target of shape"),
    (
        lambda: F.huber_loss(X, X, delta=0),
        ValueError,
        "huber_loss: delta must be greater than 0, got 0",
    ),
    (lambda: F.huber_loss(X, X, delta=float("nan")), ValueError, "huber_loss: delta must"),
    (
        lambda: F.binary_cross_entropy(X * 2, X),
        ValueError,
        r"expected probabilities in \[0, 1\], got 2 to 2",
    ),
    (
        lambda: F.binary_cross_entropy(-X, X, "none"),
        ValueError,
        r"expected probabilities in \[0, 1\], got -1 to -1",
    ),
    (
        lambda: F.binary_cross_entropy(X, X[0]),
        ValueError,
        "binary_cross_entropy: expected a target of shape",
    ),
    (lambda: F.binary_cross_entropy_with_logits(X, X, "x"), ValueError, "with_logits: reduction"),
]


CASES += [
    *[
        (lambda a=a: F.celu(X, a), ValueError, f"celu: alpha must be a finite .* than 0, got {a}")
        for a in (0, -0.7, float("inf"), float("nan"))
    ],
    (
        lambda: F.affine(X, X, activation=("celu", -0.7)),
        ValueError,
        "celu: alpha must be a finite number greater than 0, got -0.7",
    ),
    (
        lambda: F.hardtanh(X, 2, 1),
        ValueError,
        "hardtanh: min_val must not be greater than max_val, got min_val=2, max_val=1",
    ),
    (lambda: F.softshrink(X, -1), ValueError, "softshrink: lambd must not be negative, got -1"),
    (lambda: F.hardshrink(X, -0.1), ValueError, "hardshrink: lambd must not be negative"),
    (lambda: F.softshrink(X, float("nan")), ValueError, "lambd must not be negative, got nan"),
    (
        lambda: F.threshold(X, 0.5, 1.0, inplace=True),
        ValueError,
        "threshold: inplace needs value <= threshold .*, got threshold=0.5, value=1",
    ),
    (
        lambda: F.gelu(X, approximate="erf"),
        ValueError,
        "gelu: approximate: expected 'none', 'tanh', got 'erf'",
    ),
    (lambda: F.threshold(X), TypeError, "threshold"),
    (
        lambda: F.prelu(X, [0.5, -0.5, 0.1], inplace=True),
        ValueError,
        "prelu: inplace needs every slope >= 0, got -0.5",
    ),
    (
        lambda: F.prelu(X, Tensor([0.5, 0.0, 0.1], requires_grad=True), inplace=True),
        ValueError,
        r"prelu: inplace needs every slope > 0 \(to be learned\), got 0",
    ),
]


# Where an integer is expected, nothing else is rounded to one, read as one or taken for one.
INTEGERS = {
    "reshape: shape": lambda n: md.reshape(X[0], (n, 3)),
    "broadcast_to: shape": lambda n: md.broadcast_to(X[0], (n, 3)),
    "expand_dims: axis": lambda n: md.expand_dims(X, n),
    "squeeze: axis": lambda n: md.squeeze(X[:, :1], (n,)),
    "transpose: axis": lambda n: md.transpose(X, (n, 0)),
    "flatten: axis": lambda n: md.Tensor(X).flatten(n),
    "concatenate: axis": lambda n: md.concatenate([X, X], n),
    "stack: axis": lambda n: md.stack([X, X], n),
    "sum: axis": lambda n: md.Tensor(X).sum((n,)),
    "max: axis": lambda n: md.Tensor(X).max((n,)),
    "one_hot: n": lambda n: F.one_hot([0], n),
    "pad: pad_width": lambda n: md.pad(X, n),
    "layer_norm: normalized_shape": lambda n: F.layer_norm(X[:, :1], [n]),
    "group_norm: num_groups": lambda n: F.group_norm(X, n),
    "Softmax: axis": lambda n: F.softmax(X, n),
}


@pytest.mark.parametrize("wrong", [1.0, 2.7, np.float32(1), True, "1", None], ids=repr)
@pytest.mark.parametrize("argument", INTEGERS)
def test_only_integers_are_integers(argument, wrong):
    with pytest.raises(TypeError, match=f"^{argument} must be"):
        INTEGERS[argument](wrong)
    INTEGERS[argument](np.int64(1))


@pytest.mark.parametrize(("call", "error", "text"), CASES, ids=[text for _, _, text in CASES])
def test_error(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_slopes_that_are_refused():
    x = Tensor(np.array([-1.0, 2.0]))
    for function, name in ((F.leaky_relu, "negative_slope"), (F.elu, "alpha")):
        said = rf"^{function.__name__}: inplace needs {name} >= 0 .*, got -0.5"
        with pytest.raises(ValueError, match=said):
            function(x, -0.5, inplace=True)
    np.testing.assert_array_equal(x.data, [-1, 2])
    with pytest.raises(TypeError, match="leaky_relu: negative_slope must be a number, got 'a'"):
        F.leaky_relu(x, "a")


APART = (
    "affine",
    "bilinear",
    "conv",
    "conv_transpose",
    "embedding",
    "one_hot",
    "dropout2d",
    "pixel_shuffle",
    "pixel_unshuffle",
    "prelu",
    "gru",
    "lstm",
    "rnn",
    "scaled_dot_product_attention",
    "upsample",
)
FUNCTIONS = [
    name for name in F.__all__ if name not in APART and not name.endswith(("_norm", "_pool"))
]
GATES = ("maxout", "crelu", "glu")  # in test_gates.py
FUNCTIONS = [name for name in FUNCTIONS if name not in GATES]
FUNCTIONS = [name for name in FUNCTIONS if "target" not in signature(getattr(F, name)).parameters]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_tensors_arrays_lists_and_numbers(name):
    function = getattr(F, name)
    options = {"rng": 0} if name == "dropout" else {}
    if name in ACTIVATIONS and ACTIVATIONS[name].required:
        options = ACTIVATIONS[name].params
    axis = {"axis": 0} if "softmax" in name else {}
    expected = function(Tensor(X), **options).data
    for x in (X, X.tolist(), Tensor(X), np.asfortranarray(X)):
        result = function(x, **options)
        assert isinstance(result, Tensor) and result.dtype == np.float32
        np.testing.assert_array_equal(result.data, expected)
    assert function(np.float64(0.5).reshape(1), **options, **axis).dtype == np.float64
    assert function(np.arange(3), **options).dtype == (
        np.int64 if name == "identity" else np.float32
    )
    if not axis:
        assert function(0.5, **options).shape == ()


def test_the_others_take_arrays_and_lists():
    np.testing.assert_array_equal(F.affine([1.0, 2.0], [[1, 1]], [0.5]).data, [3.5])
    np.testing.assert_array_equal(F.conv([[[1.0, 2.0]]], [[[2, 3]]], [0.5]).data, [[[8.5]]])
    np.testing.assert_array_equal(F.conv_transpose([[[2]]], [[[2, 3]]], [1]).data, [[[5, 7]]])
    np.testing.assert_array_equal(F.embedding(1, [[1, 2], [3, 4]]).data, [3, 4])
    np.testing.assert_array_equal(F.one_hot(1, 3).data, [0, 1, 0])
    np.testing.assert_array_equal(F.prelu(-2, 0.5).data, -1)
    np.testing.assert_array_equal(F.layer_norm([1.0, 1.0], 2, [1, 1], [2, 3]).data, [2, 3])
    assert F.mse_loss(3, 1).item() == 4 and F.l1_loss([3, 1], [1, 1]).item() == 1
    assert F.huber_loss(0.5, 0).item() == 0.125 and md.where(True, 1, 2).item() == 1
    np.testing.assert_allclose(F.cross_entropy([0.0, 0.0], 1).item(), np.log(2), rtol=1e-6)
    assert F.cross_entropy(X, [[0.5, 0.5, 0], [1, 0, 0]]).dtype == np.float32
