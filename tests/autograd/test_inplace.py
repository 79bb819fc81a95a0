"""In-place changes: what backward needs must not have changed; what it does not need may."""

import copy
import pickle

import numpy as np
import pytest

import minidl as md
from minidl import Tensor
from minidl import functional as F


def leaf(*values):
    return Tensor(np.array(values), requires_grad=True)


def assign(t):
    t.data = t.data + 1


def augment(t):
    t.data += 1


def set_item(t):
    with md.no_grad():
        t[0] = 5.0


def set_all(t):
    with md.no_grad():
        t[...] = 5.0


def through_detach(t):
    t.detach()[0] = 5.0


def through_a_view(t):
    with md.no_grad():
        t.reshape(-1)[0] = 5.0


def through_a_slice(t):
    with md.no_grad():
        t[1:][0] = 5.0


def through_transpose(t):
    with md.no_grad():
        t.T[0] = 5.0


def through_a_second_tensor(t):
    Tensor(t)[0] = 5.0


def through_relu(t):
    F.relu(t.detach(), inplace=True)


CHANGES = [
    assign,
    augment,
    set_item,
    set_all,
    through_detach,
    through_a_view,
    through_a_slice,
    through_transpose,
    through_a_second_tensor,
    through_relu,
]
every_change = pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)


@every_change
@pytest.mark.parametrize(
    ("name", "fn"),
    [
        ("Mul", lambda x, w: x * w),
        ("Div", lambda x, w: w / x),
        ("PowNumber", lambda x, w: x**2),
        ("Log", lambda x, w: md.log(x)),
        ("MatMul", lambda x, w: w.reshape(1, 2) @ x.reshape(2, 1)),
        ("Affine", lambda x, w: F.affine(x, w.reshape(1, 2))),
        ("Conv", lambda x, w: F.conv(x.reshape(1, 1, 2), w.reshape(1, 1, 2), padding=1)),
        ("ConvTranspose", lambda x, w: F.conv_transpose(x.reshape(1, 1, 2), w.reshape(1, 1, 2))),
        ("silu", lambda x, w: F.silu(x)),
        ("max", lambda x, w: x.max()),
        ("LayerNorm", lambda x, w: F.layer_norm(x, 2)),
        ("GroupNorm", lambda x, w: F.group_norm(x.reshape(1, 2), 1)),
        ("InstanceNorm", lambda x, w: F.instance_norm(x.reshape(1, 1, 2))),
        ("PReLU", lambda x, w: F.prelu(x, w, 0)),
        ("BinaryCrossEntropy", lambda x, w: F.binary_cross_entropy(x * 0.1, w)),
    ],
    ids=lambda p: p if isinstance(p, str) else "",
)
def test_a_changed_input_raises(name, fn, change):
    x, w = leaf(1.0, 2.0), leaf(0.3, 0.4)
    y = fn(x, w)
    change(w if name == "BinaryCrossEntropy" else x)
    with pytest.raises(RuntimeError, match=rf"{name}: input \d \(shape .*changed in place"):
        y.sum().backward()


@every_change
@pytest.mark.parametrize(
    ("name", "fn"),
    [
        ("Exp", md.exp),
        ("Sqrt", md.sqrt),
        ("tanh", F.tanh),
        ("Softmax", F.softmax),
        ("LogSoftmax", F.log_softmax),
    ],
    ids=lambda p: p if isinstance(p, str) else "",
)
def test_a_changed_output_raises(name, fn, change):
    x = Tensor(np.array([[1.0, 2.0], [3.0, 4.0]]), requires_grad=True)
    y = fn(x)
    total = y.sum()
    change(y)
    with pytest.raises(
        RuntimeError, match=rf"{name}: the output \(shape \(2, 2\)\).*changed in place"
    ):
        total.backward()


@every_change
@pytest.mark.parametrize(
    "fn",
    [
        lambda x: x + 1,
        lambda x: 1 - x,
        lambda x: -x * 3,
        lambda x: x.sum() + x.mean(),
        lambda x: x.reshape(2, 1).T[0],
        lambda x: md.concatenate([x, x]),
        lambda x: md.where(np.array([True, False]), x, 0.0),
        lambda x: md.exp(x),
        lambda x: F.tanh(x),
        lambda x: F.softmax(x),
        lambda x: x.astype("float32"),
        lambda x: md.pad(x, 1),
    ],
)
def test_an_input_that_is_not_needed_may_change(fn, change):
    x, again = leaf(1.0, 2.0), leaf(1.0, 2.0)
    y, expected = fn(x).sum(), fn(again).sum()
    if fn(x).data.base is not None and change is not assign:
        y = y + 0  # a view: its own values change with x, its gradient does not
    change(x)
    y.backward()
    expected.backward()
    np.testing.assert_array_equal(x.grad.data, again.grad.data)


def test_a_factor_that_is_constant_is_needed_too():
    x, c = leaf(1.0, 2.0), Tensor(np.array([3.0, 4.0]))
    y = x * c
    c[0] = 5.0
    with pytest.raises(RuntimeError, match="Mul: input 1"):
        y.sum().backward()


def test_the_gradient_of_a_gradient_checks_too():
    x = leaf(1.0, 2.0)
    g = md.grad((x**3).sum(), x, create_graph=True)
    assign(x)
    with pytest.raises(RuntimeError, match="changed in place"):
        g.sum().backward()


def test_an_optimizer_step_before_backward_raises():
    w = md.nn.Parameter(np.array([1.0, 2.0]))
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    w.data -= 0.1 * w.grad.data
    with pytest.raises(RuntimeError, match="Mul: input"):
        loss.backward()


def test_views_of_views_and_of_results_share_the_counter():
    x = leaf(1.0, 2.0, 3.0, 4.0)
    h = x + 0
    v = h.reshape(2, 2).T[0]
    y = v * v
    with md.no_grad():
        h[0] = 7.0
    with pytest.raises(RuntimeError, match="Mul: input"):
        y.sum().backward()


def test_copies_do_not_share_it():
    x = leaf(1.0, 2.0)
    picked = x[[0, 1]]
    y = picked * picked
    assign(x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, [2, 4])


def test_a_reshape_that_had_to_copy_does_not_share_it():
    x = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    h = x * 1
    flat = h.T.reshape(6)
    y = flat * flat
    with md.no_grad():
        h[0] = 7.0
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, 2 * np.arange(6.0).reshape(2, 3))


def test_set_item_on_what_requires_a_gradient():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="not differentiated"):
        x[0] = 1.0
    buffer = Tensor(np.zeros(2))
    with pytest.raises(RuntimeError, match="not differentiated"):
        buffer[0] = x[0]
    with md.no_grad():
        buffer[0] = x[1]
    buffer[1] = 7
    buffer[Tensor(np.array([False, True]))] += 1
    np.testing.assert_array_equal(buffer.data, [2, 8])


def test_data_keeps_shape_and_dtype():
    x = Tensor([1.0, 2.0])
    with pytest.raises(ValueError, match=r"data: expected shape \(2,\), got \(3,\)"):
        x.data = np.zeros(3)
    x.data = np.array([3, 4])
    assert x.dtype == np.float32 and np.array_equal(x.data, [3, 4])


# ── detect_anomaly ────────────────────────────────────────────────────────────────────────────────


def test_anomaly_names_the_op_and_shows_the_call():
    x = leaf(0.0, 1.0)
    with md.detect_anomaly():
        y = md.log(x)  # the call to be found
        with pytest.raises(
            RuntimeError, match=r"(?s)Log: its backward gave NaN.*the call to be found"
        ):
            y.backward([0, 1])  # 0/0
    y = md.log(x)
    y.backward([0, 1])  # outside nobody minds
    assert np.isnan(x.grad.data[0])


def test_anomaly_catches_raw_writes():
    with md.detect_anomaly():
        x = leaf(1.0, 2.0)
        y = x * x
        x.data[0] = 5.0
        with pytest.raises(RuntimeError, match=r"Mul: input.*changed in place"):
            y.sum().backward()
        array = np.array([1.0, 2.0])
        x = Tensor(array, requires_grad=True)
        y = x * x
        array[0] = 5.0
        with pytest.raises(RuntimeError, match=r"Mul: input.*changed in place"):
            y.sum().backward()
        x = leaf(1.0, 2.0)
        y = md.exp(x)
        y.data[0] = 5.0
        with pytest.raises(RuntimeError, match=r"Exp: the output.*changed in place"):
            y.sum().backward()


def test_anomaly_lets_healthy_code_pass():
    with md.detect_anomaly():
        x = leaf(1.0, 2.0)
        F.cross_entropy(F.relu(x * 2) + F.tanh(x), 1).backward()
        g = md.grad((x**3).sum(), x, create_graph=True)
        g.sum().backward()
    assert np.isfinite(x.grad.data).all()


# ── Copies ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_leaves_can_be_copied(clone, dtype):
    x = Tensor(np.array([1.0, 2.0], dtype), requires_grad=True)
    y = clone(x)
    assert type(y) is Tensor and y.requires_grad and y.dtype == x.dtype
    y.data[0] = 9
    assert x.data[0] == 1
    assert not clone(Tensor(np.arange(3))).requires_grad


@pytest.mark.parametrize("clone", [copy.deepcopy, copy.copy, pickle.dumps])
def test_results_of_ops_cannot(clone):
    with pytest.raises(RuntimeError, match=r"only leaves.*detach"):
        clone(leaf(1.0) * 2)


IDS = [
    ("getitem", lambda x, ids: x[ids]),
    ("list", lambda x, ids: x[ids.tolist() if isinstance(ids, np.ndarray) else ids]),
    ("embedding", lambda x, ids: F.embedding(ids, x)),
    ("cross_entropy", lambda x, ids: F.cross_entropy(x, ids)),
    ("nll_loss", lambda x, ids: F.nll_loss(x, ids)),
]


@pytest.mark.parametrize("kind", [np.asarray, Tensor])
@pytest.mark.parametrize(("name", "fn"), IDS, ids=lambda p: p if isinstance(p, str) else "")
def test_ids_may_be_changed_before_backward(name, fn, kind):
    def gradient(change):
        x = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
        ids = kind(np.array([1, 0]))
        y = fn(x, ids)
        if change:
            ids[...] = 0
        (y * y).sum().backward()
        return x.grad.data

    assert np.array_equal(gradient(False), gradient(True))


def test_a_single_element_is_a_view():
    for index in (0, -2, (0,), (0, ...)):
        x = Tensor([-1.0, 2.0])
        F.relu(x[index], inplace=True)
        assert x.data.tolist() == [0, 2]
