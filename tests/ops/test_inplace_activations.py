"""F.relu(x, inplace=True) and its relatives: what changes, what is differentiated, what raises."""

from functools import partial

import numpy as np
import pytest

import minidl as md
from minidl import Tensor, ops
from minidl import functional as F
from minidl.ops.activations.table import ROWS


def applied(row):
    """The function, with the parameters that its row gives."""
    return partial(F.FUNCTIONS[row.name], **row.params)


every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
INPLACE = [row for row in ROWS if row.inplace]
every_inplace = pytest.mark.parametrize("row", INPLACE, ids=lambda row: row.name)


@every_inplace
@every_dtype
def test_inplace_overwrites_and_differentiates(row, dtype, level):
    function = applied(row)
    x = np.concatenate([np.random.default_rng(0).standard_normal(37), [0.0, -0.0, 30, -30]]).astype(
        dtype
    )
    t, again = (Tensor(x.copy(), requires_grad=True) for _ in range(2))
    h = t + 0
    memory = h.data
    y = function(h, inplace=True)
    assert y is h and y.data is memory
    expected = function(again)
    np.testing.assert_array_equal(y.data, expected.data)
    weights = np.random.default_rng(1).standard_normal(x.shape).astype(dtype)
    y.backward(weights)
    expected.backward(weights)
    np.testing.assert_allclose(t.grad.data, again.grad.data, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(t.data, x)


@pytest.mark.parametrize("dtype", ["int64", "float16", ">f4"])
@pytest.mark.parametrize("name", [row.name for row in INPLACE] + ["prelu", "rrelu"])
def test_what_must_be_converted_cannot_be_changed_in_place(name, dtype):
    arguments = {
        "prelu": {"slope": 0.25},
        "rrelu": {"training": True},
        "threshold": {"threshold": 1, "value": 0},
    }
    x = np.array([-2, 3]).astype(dtype)
    with pytest.raises(TypeError, match=f"{name}: inplace needs float32 or float64, got"):
        getattr(F, name)(x, **arguments.get(name, {}), inplace=True)
    np.testing.assert_array_equal(x, [-2, 3])


@every_inplace
def test_inplace_on_arrays_and_any_strides(row, level):
    function = applied(row)
    x = np.random.default_rng(0).standard_normal((4, 6)).astype("float32")
    expected = function(x).data
    for array in (x.copy(), np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]):
        y = function(array, inplace=True)
        assert np.shares_memory(y.data, array)
        np.testing.assert_array_equal(array, expected)
    frozen = x.copy()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match=r"writ|read-only"):
        function(frozen, inplace=True)
    np.testing.assert_array_equal(frozen, x)


@every_inplace
def test_inplace_raises_where_the_old_value_is_needed(row):
    function = applied(row)
    leaf = Tensor(np.array([-1.0, 2.0]), requires_grad=True)
    with pytest.raises(
        RuntimeError, match="a leaf that requires a gradient cannot be changed in place"
    ):
        function(leaf, inplace=True)
    np.testing.assert_array_equal(leaf.data, [-1, 2])
    h = leaf * 1
    needs_h = (h * h).sum()
    function(h, inplace=True)
    with pytest.raises(RuntimeError, match=r"Mul: input . .*changed in place"):
        needs_h.backward()
    h = ops.exp(leaf)  # its own backward reads its result
    function(h - 0, inplace=True).sum().backward()
    h = ops.exp(leaf)
    y = function(h, inplace=True)
    with pytest.raises(RuntimeError, match=r"Exp: the output .*changed in place"):
        y.sum().backward()


@every_inplace
def test_inplace_without_recording(row):
    leaf = Tensor(np.array([-1.5, 2.0]), requires_grad=True)
    y = (leaf * leaf).sum()
    with md.no_grad():
        applied(row)(leaf, inplace=True)
    assert leaf.requires_grad and leaf.data[0] > -1.5
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()
    (leaf * 2).sum().backward()
    np.testing.assert_array_equal(leaf.grad.data, [2, 2])


@every_inplace
def test_inplace_twice(row):
    leaf = Tensor(np.array([-1.0, 2.0, 0.0]), requires_grad=True)
    function = applied(row)
    y = function(function(leaf * 2, inplace=True) * 3, inplace=True)
    again = Tensor(leaf.data, requires_grad=True)
    function(function(again * 2) * 3).sum().backward()
    y.sum().backward()
    np.testing.assert_allclose(leaf.grad.data, again.grad.data, rtol=1e-12)


VIEWS = [lambda t: t[0], lambda t: t.reshape(-1), lambda t: t.T, lambda t: t[:, :1]]


@pytest.mark.parametrize("view", VIEWS)
def test_a_tensor_overwritten_through_a_view_cannot_be_used(view):
    """Its op does not know of the change: the gradient would be wrong."""
    leaf = Tensor(np.array([[-1.0, 2.0], [3.0, -4.0]]), requires_grad=True)
    h = leaf * 2
    v = view(h)
    F.relu(v, inplace=True)
    for use in (
        lambda: h.sum(),
        lambda: h[1],
        lambda: F.relu(h, inplace=True),
        lambda: h.backward(h.data),
    ):
        with pytest.raises(RuntimeError, match="overwritten in place through another view"):
            use()
    (v * 1).sum().backward()
    expected = Tensor(leaf.data, requires_grad=True)
    F.relu(view(expected * 2)).sum().backward()
    np.testing.assert_array_equal(leaf.grad.data, expected.grad.data)


def test_a_view_of_what_is_overwritten_cannot_be_used():
    leaf = Tensor(np.array([-1.0, 2.0]), requires_grad=True)
    h = leaf * 2
    v, before = h[:1], h[1:] * 1
    F.relu(h, inplace=True)
    with pytest.raises(RuntimeError, match="overwritten in place through another view"):
        v * 2
    assert (v > 0).data.tolist() == [False]  # only gradients are refused
    (h[:1] + before).sum().backward()
    np.testing.assert_array_equal(leaf.grad.data, [0, 2])


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_of_a_leaf_cannot_be_overwritten(view):
    leaf = Tensor(np.array([[-1.0, 2.0], [3.0, -4.0]]), requires_grad=True)
    with pytest.raises(RuntimeError, match="a leaf that requires a gradient cannot be changed"):
        F.relu(view(view(leaf).reshape(2, -1)), inplace=True)
    assert leaf.data[0, 0] == -1


# ── PReLU ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("slopes, axis", [((1,), 1), ((3,), 1), ((4, 2), (2, 0)), ((3, 4), None)])
@every_dtype
def test_prelu(slopes, axis, dtype, level):
    rng = np.random.default_rng(0)
    x, gy = (rng.standard_normal((2, 3, 4)).astype(dtype) for _ in range(2))
    values = rng.uniform(0.1, 2, slopes).astype(dtype)
    ours, slope = Tensor(x, requires_grad=True), Tensor(values, requires_grad=True)
    again, other = Tensor(x, requires_grad=True), Tensor(values, requires_grad=True)
    h = ours * 1
    memory = h.data
    y = F.prelu(h, slope, axis, inplace=True)
    expected = F.prelu(again, other, axis)
    assert y is h and y.data is memory
    np.testing.assert_array_equal(y.data, expected.data)
    y.backward(gy)
    expected.backward(gy)
    rtol = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(ours.grad.data, again.grad.data, rtol=rtol)
    np.testing.assert_allclose(slope.grad.data, other.grad.data, rtol=rtol, atol=rtol)


def test_prelu_on_any_strides_and_with_fixed_slopes(level):
    x = np.random.default_rng(0).standard_normal((4, 6)).astype("float32")
    for slope in (np.array([0.0], "float32"), np.linspace(0, 1, 6, dtype="float32")):
        for array in (x.copy(), np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2]):
            leaf = Tensor(x, requires_grad=True)
            y = F.prelu(array, slope, inplace=True)
            assert np.shares_memory(y.data, array)
            np.testing.assert_array_equal(array, F.prelu(x, slope).data)
            F.prelu(
                leaf * 1, slope, inplace=True
            ).sum().backward()  # a slope of 0 does not matter here
            np.testing.assert_array_equal(leaf.grad.data, np.where(x <= 0, slope, 1))


def test_prelu_raises_where_the_old_value_is_needed():
    leaf, slope = Tensor([-1.0, 2.0], requires_grad=True), Tensor([0.5], requires_grad=True)
    with pytest.raises(RuntimeError, match="a leaf that requires a gradient cannot be changed"):
        F.prelu(leaf, slope, inplace=True)
    h = leaf * 1
    needs_h = (h * h).sum()
    y = F.prelu(h, slope, inplace=True)
    with pytest.raises(RuntimeError, match=r"Mul: input . .*changed in place"):
        needs_h.backward()
    slope.data[...] = 0.25
    slope.data = slope.data
    with pytest.raises(RuntimeError, match=r"PReLUInPlace: input 1 .*changed in place"):
        y.sum().backward()
