"""Writes through `.data` and `numpy()` after an op ran: backward raises only where its gradient would be wrong."""

import gc
import threading
import weakref

import numpy as np
import pytest

import minidl as md
from minidl import Tensor
from minidl import functional as F
from minidl._kernels.runtime.memory import fingerprint
from minidl.autograd import changes


def leaf(*values, dtype=np.float64):
    return Tensor(np.array(values, dtype), requires_grad=True)


WAYS = {
    "data": lambda t: t.data,
    "numpy": lambda t: t.numpy(),
    "detach": lambda t: t.detach().numpy(),
    "asarray": lambda t: np.asarray(t),
    "a view": lambda t: t.reshape(-1).data,
    "a transpose": lambda t: t.T.numpy(),
    "a slice": lambda t: t[:1].data,
    "a second tensor": lambda t: Tensor(t).data,
    "a tensor of it": lambda t: Tensor(t.data)._data,
}
every_way = pytest.mark.parametrize("fetch", WAYS.values(), ids=list(WAYS))
BY_A_WRITE = r"changed in place by a write through \.data or numpy\(\) after the op ran"


@every_way
@pytest.mark.parametrize("write", [lambda a: a.fill(5), lambda a: np.negative(a, out=a)])
def test_a_write_after_the_op_raises(fetch, write):
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    write(fetch(x))
    with pytest.raises(RuntimeError, match=rf"Mul: input \d \(shape \(2,\)\).*{BY_A_WRITE}"):
        y.backward()
    assert x.grad is None


@every_way
def test_a_write_into_an_output_that_is_needed_raises(fetch):
    x = leaf(1.0, 2.0)
    y = F.tanh(x)
    total = y.sum()
    fetch(y)[0] = 5.0
    with pytest.raises(RuntimeError, match=rf"tanh: the output.*{BY_A_WRITE}"):
        total.backward()


@every_way
@pytest.mark.parametrize("fn", [lambda x: x + 1, md.exp, lambda x: x * 3, F.softmax])
def test_a_write_into_what_is_not_needed_does_not(fetch, fn):
    x, again = leaf(1.0, 2.0), leaf(1.0, 2.0)
    y = fn(x)
    total = y.sum()
    fetch(x)[0] = 5.0
    total.backward()
    fn(again).sum().backward()
    np.testing.assert_array_equal(x.grad.data, again.grad.data)


def test_dlpack():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    capsule = x.detach().__dlpack__()
    x._data[0] = 5.0  # as another library may, that has taken the capsule
    del capsule
    with pytest.raises(RuntimeError, match=BY_A_WRITE):
        y.backward()


@every_way
def test_reading_never_raises(fetch):
    x = leaf(1.0, 2.0)
    fetch(x)
    y = F.tanh(x * x)
    losses = []
    for _ in range(3):
        total = (y * y).sum()
        losses.append(total.data)
        fetch(x), fetch(y), str(x.data), y.numpy().mean(), np.sum(np.asarray(x))
        total.backward(retain_graph=True)
    assert losses[0] == losses[2] and np.isfinite(x.grad.data).all()


@every_way
def test_a_write_before_the_op_is_fine(fetch):
    x = leaf(1.0, 2.0)
    other = (x + 0).sum()  # an op is live
    fetch(x)[...] = 3.0
    (x * x).sum().backward()
    other.backward()
    np.testing.assert_array_equal(x.grad.data, 2 * x.data + 1)


def test_only_the_ops_from_before_the_write_raise():
    x = leaf(1.0, 2.0)
    before = (x * x).sum()
    x.data[0] = 5.0
    after = (x * x).sum()
    after.backward()
    np.testing.assert_array_equal(x.grad.data, [10, 4])
    x.data[1] = 5.0
    with pytest.raises(RuntimeError, match=BY_A_WRITE):
        before.backward()


def test_what_is_written_back_is_as_before():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    x.data[0] = 5.0
    x.data[0] = 1.0
    y.backward()
    np.testing.assert_array_equal(x.grad.data, [2, 4])


@pytest.mark.parametrize("anomaly", [False, True])
@pytest.mark.parametrize("of", ["the user's array", "fetched before the forward pass"])
def test_the_documented_limit(of, anomaly):
    own = np.array([1.0, 2.0])
    x = Tensor(own, requires_grad=True)
    array = own if of == "the user's array" else x.data
    if not anomaly:
        y = (x * x).sum()
        array[0] = 5.0
        y.backward()  # nothing can tell
        return
    with md.detect_anomaly():
        y = (x * x).sum()
        array[0] = 5.0
        with pytest.raises(RuntimeError, match="changed in place"):
            y.backward()


@pytest.mark.parametrize("write", ["augmented", "assigned", "filled", "under no_grad"])
def test_a_loop_by_hand(write):
    gc.collect()
    others = changes.any_live()
    w = leaf(1.0, 2.0)
    for _ in range(3):
        w.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        step = 0.1 * w.grad.data
        if write == "augmented":
            w.data -= step
        elif write == "assigned":
            w.data = w.data - step
        elif write == "filled":
            w.data[...] -= step
        else:
            with md.no_grad():
                w.numpy()[...] -= step
    np.testing.assert_allclose(w.data, np.array([1.0, 2.0]) * 0.8**3)
    assert others or w._changes is None or w._changes.handed is None  # no op was live


def test_clipping_weights_while_another_graph_lives():
    w, v = leaf(0.5, 2.0), leaf(1.0, 1.0)
    unrelated = (v * v).sum()
    through = (w * v).sum()
    np.clip(w.data, -5, 5, out=w.data)  # nothing is clipped
    through.backward()
    through = (w * v).sum()
    (w * w).sum().backward()
    np.clip(w.data, -1, 1, out=w.data)
    unrelated.backward()
    with pytest.raises(RuntimeError, match=BY_A_WRITE):
        through.backward()


def test_a_retained_graph():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    x.data[0] = 5.0
    with pytest.raises(RuntimeError, match=BY_A_WRITE):
        y.backward()


def test_a_gradient_of_a_gradient():
    x = leaf(1.0, 2.0)
    g = md.grad((x**3).sum(), x, create_graph=True)
    x.data[0] = 5.0
    with pytest.raises(RuntimeError, match=BY_A_WRITE):
        g.sum().backward()


def test_a_write_in_another_thread():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    thread = threading.Thread(target=lambda: x.data.fill(5.0))
    thread.start()
    thread.join()
    with pytest.raises(RuntimeError, match=BY_A_WRITE):
        y.backward()


def an_error(y):
    with pytest.raises(ValueError, match="reshape"):
        (y * y).reshape(7)


@pytest.mark.parametrize(
    "die",
    [
        lambda y: y.backward(),
        lambda y: None,
        lambda y: setattr(y, "grad", y),  # in a cycle: collected later
        lambda y: md.grad(y, [y], create_graph=True),
        an_error,
    ],
    ids=["backward", "dropped", "a cycle", "grad", "an error"],
)
def test_no_op_is_live_when_all_are_gone(die):
    gc.collect()
    before = changes.any_live()
    x = leaf(1.0)
    y = F.tanh(x * x).sum()
    assert changes.any_live()
    die(y)
    del y
    gc.collect()
    assert changes.any_live() == before


def test_what_is_noted_is_bounded():
    x, w = leaf(1.0, 2.0), leaf(1.0, 2.0)
    first = (x * x).sum()  # never walked
    for i in range(5 * changes.MOST_HANDED):
        x.data[0] = i + 7
        str(x[:1].data)
        loss = (x * w).sum()
        str(x.data)
        loss.backward()
    assert len(x._changes.handed) == changes.MOST_HANDED
    with pytest.raises(RuntimeError, match=BY_A_WRITE):
        first.backward()
    del first, loss
    gc.collect()
    others = changes.any_live()  # of other tests
    y = (x * x).sum()
    x.data  # noqa: B018
    assert others or len(x._changes.handed) == 1
    y.backward()


def test_arrays_live_no_longer_than_their_tensors():
    y = leaf(1.0) * 2  # an op is live
    x = Tensor(np.zeros(3))
    memory = weakref.ref(x.data)
    x.data = np.ones(3)
    gc.collect()
    assert memory() is None
    memory = weakref.ref(x.data)
    del x
    gc.collect()
    assert memory() is None and y._op is not None


def test_read_only_arrays_need_no_note():
    x = leaf(1.0)
    y = x.broadcast_to((2, 3))
    z = (y * y).sum()
    assert not y.data.flags.writeable and y._changes.handed is None
    z.backward()


LAYOUTS = {
    "C": lambda a: a,
    "F": lambda a: a.T,
    "strided": lambda a: a[::2, 1::2],
    "reversed": lambda a: a[::-1],
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "0-d": lambda a: a[0, 0, ...],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int8, np.bool_])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_every_element_counts_in_the_fingerprint(layout, dtype):
    base = np.arange(63).reshape(7, 9).astype(dtype)
    x = layout(base)
    seen = {fingerprint(x)}
    assert seen == {fingerprint(x)}
    places = {int(i) for i in layout(np.arange(63).reshape(7, 9)).ravel()}
    for i in places:
        old = base.flat[i]
        base.flat[i] = not old if dtype is np.bool_ else 100
        seen.add(fingerprint(x))
        base.flat[i] = old
    assert len(seen) == 1 + len(places)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 64, 1000])
def test_flipped_signs_change_the_fingerprint(size, dtype):
    x = np.ones(size, dtype)
    before = fingerprint(x)
    for every in (1, 2, 4, 8):
        y = x.copy()
        y[::every] *= -1
        assert fingerprint(y) != before
    assert fingerprint(np.empty(0, dtype)) == fingerprint(np.empty((0, 3), dtype))
