"""The engine: what backward and grad do, what they refuse, and what they leave behind."""

import threading

import numpy as np
import pytest

import minidl as md
from minidl import Tensor
from minidl import functional as F


def leaf(*values, dtype="float64"):
    return Tensor(np.array(values, dtype), requires_grad=True)


def same(tensor, expected):
    assert isinstance(tensor, Tensor)
    np.testing.assert_allclose(tensor.data, expected, rtol=1e-12)


# ── backward ──────────────────────────────────────────────────────────────────────────────────────


def test_backward_twice_raises_and_names_the_reason():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match=r"freed by an earlier backward.*retain_graph"):
        y.backward()
    same(x.grad, [2, 4])


def test_a_part_of_a_freed_graph_cannot_be_walked():
    x = leaf(1.0, 2.0)
    h = x * x
    h.sum().backward()
    with pytest.raises(RuntimeError, match="freed"):
        (h * 2).sum().backward()


def test_retain_graph():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward(retain_graph=True)
    same(x.grad, [4, 8])
    y.backward()
    same(x.grad, [6, 12])
    with pytest.raises(RuntimeError, match="freed"):
        y.backward()


def test_gradients_accumulate_until_zero_grad():
    x = leaf(1.0, 2.0)
    (x * 3).sum().backward()
    (x * x).sum().backward()
    same(x.grad, [5, 7])
    x.zero_grad()
    assert x.grad is None
    (x * 3).sum().backward()
    same(x.grad, [3, 3])


def test_accumulated_gradients_stay_arrays():
    w = Tensor(2.0, requires_grad=True)
    for _ in range(2):
        (w * w).backward()
    assert isinstance(w.grad.data, np.ndarray)
    same(w.grad, 8)


def test_a_leaf_used_many_times():
    x = leaf(2.0)
    y = x
    for _ in range(9):
        y = y * x
    (y + x + x * 3).sum().backward()
    same(x.grad, [10 * 2.0**9 + 4])


def test_diamond_each_op_runs_backward_once():
    calls = []

    class Watch(md.Op):
        def forward(self, x):
            return x + 0

        def backward(self, gy):
            calls.append(gy.data.copy())
            return gy

    x = leaf(3.0)
    h = Watch()(x)
    (h * h + h * 2 + h).sum().backward()
    assert len(calls) == 1
    same(x.grad, [9])


def test_backward_of_a_leaf():
    x = leaf(1.0, 2.0)
    g = np.array([3.0, 4.0])
    x.backward(g)
    same(x.grad, [3, 4])
    x.grad.data[0] = 99
    assert g[0] == 3


def test_not_a_scalar_needs_a_gradient():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"shape \(2,\).*one element"):
        (x * x).backward()
    (x * x).backward([1, 10])
    same(x.grad, [2, 40])
    Tensor(
        [[1.0]], requires_grad=True
    ).exp().backward()  # one element is enough, whatever the shape


@pytest.mark.parametrize("gradient", [np.ones(3), np.ones((2, 1)), 1.0, Tensor(np.ones((1, 2)))])
def test_gradient_of_another_shape(gradient):
    x = leaf(1.0, 2.0)
    y = x * x
    with pytest.raises(ValueError, match=r"expected a gradient of shape \(2,\), got"):
        y.backward(gradient)
    y.backward(np.ones(2))  # nothing was freed
    same(x.grad, [2, 4])


def test_gradient_in_another_dtype_is_cast():
    x = leaf(1.0, 2.0, dtype="float32")
    (x * x).backward(np.array([1, 2]))
    assert x.grad.dtype == np.float32
    same(x.grad, [2, 8])


def test_nothing_requires_a_gradient():
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        Tensor([1.0]).backward()
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        (Tensor([1.0], requires_grad=True) > 0).backward()


def test_grad_only_on_leaves():
    x = leaf(1.0)
    h = x * 2
    (h * h).sum().backward()
    assert h.grad is None and x.grad is not None


def test_no_gradient_for_who_did_not_ask():
    x, c = leaf(2.0), Tensor(np.array([3.0]))
    (x * c).sum().backward()
    assert c.grad is None
    same(x.grad, [3])


def test_gradients_have_their_leafs_dtype_and_shape():
    a = Tensor(np.ones((3, 1), "float32"), requires_grad=True)
    b = Tensor(np.ones((2, 1, 4), "float64"), requires_grad=True)
    y = a * b
    assert y.dtype == np.float64 and y.shape == (2, 3, 4)
    y.sum().backward()
    assert (a.grad.dtype, a.grad.shape) == (np.float32, (3, 1))
    assert (b.grad.dtype, b.grad.shape) == (np.float64, (2, 1, 4))
    same(a.grad, np.full((3, 1), 8))
    same(b.grad, np.full((2, 1, 4), 3))


# ── Each leaf's gradient is its own ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    "combine",
    [
        lambda x, y: x + y,
        lambda x, y: (x + y) * 2,
        lambda x, y: (x.reshape(4) + y.T.reshape(4)) * 2,
        lambda x, y: x.reshape(4) + y.reshape(4),
        lambda x, y: x.T + y,
        lambda x, y: md.concatenate([x, y]),
        lambda x, y: md.stack([x, y])[:, 0],
        lambda x, y: (x + y).sum(0),
        lambda x, y: x - (-y),
    ],
)
def test_changing_one_gradient_changes_no_other(combine, create_graph):
    x, y = (Tensor(np.ones((2, 2)), requires_grad=True) for _ in range(2))
    out = combine(x, y)
    seed = np.ones(out.shape)
    out.backward(seed, create_graph=create_graph)
    before = y.grad.data.copy()
    x.grad.data[...] = 99
    assert np.array_equal(y.grad.data, before)
    assert np.array_equal(seed, np.ones(out.shape))
    assert np.array_equal(x.data, np.ones((2, 2)))


def test_a_gradient_is_not_the_leafs_own_memory():
    x = leaf(1.0, 2.0)
    (x * x).backward(x)
    x.grad.data[...] = 99
    same(x, [1, 2])
    y = leaf(1.0, 2.0)
    (y + 0).backward(y)
    y.grad.data[...] = 99
    same(y, [1, 2])


# ── no_grad ───────────────────────────────────────────────────────────────────────────────────────


def test_no_grad_as_context():
    x = leaf(1.0)
    with md.no_grad():
        y = x * 2
        with md.no_grad():
            pass
        assert not (x * 2).requires_grad
    assert not y.requires_grad
    assert (x * 2).requires_grad


def test_no_grad_ends_with_an_exception_and_may_be_entered_twice():
    x, quiet = leaf(1.0), md.no_grad()
    with pytest.raises(KeyError), quiet:
        raise KeyError
    assert (x * 2).requires_grad
    with quiet:
        with quiet:
            assert not (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_no_grad_as_decorator():
    x = leaf(1.0)

    @md.no_grad()
    def double(n):
        return x * 2 if n == 0 else double(n - 1)

    assert not double(3).requires_grad
    assert (x * 2).requires_grad


def test_no_grad_holds_in_its_own_thread_only():
    x, seen = leaf(1.0), []
    inside, leave = threading.Event(), threading.Event()

    def quiet():
        with md.no_grad():
            inside.set()
            leave.wait(10)
            seen.append((x * 2).requires_grad)

    thread = threading.Thread(target=quiet)
    thread.start()
    inside.wait(10)
    assert (x * 2).requires_grad
    leave.set()
    thread.join()
    assert seen == [False]


def test_threads_train_at_the_same_time():
    def train(seed, results):
        rng = np.random.default_rng(seed)
        w = Tensor(rng.standard_normal((5, 4)), requires_grad=True)
        for _ in range(50):
            loss = F.cross_entropy(F.affine(rng.standard_normal((3, 4)), w), [0, 2, 4])
            loss.backward()
            w.data = w.data - 0.1 * w.grad.data
            w.zero_grad()
        results[seed] = w.data

    alone, together = {}, {}
    for seed in range(4):
        train(seed, alone)
    threads = [threading.Thread(target=train, args=(seed, together)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        assert np.array_equal(alone[seed], together[seed])


# ── Ops of one's own ──────────────────────────────────────────────────────────────────────────────


class Cube(md.Op):
    """y = x³, as a user would write it."""

    def forward(self, x):
        return x * x * x

    def backward(self, gy):
        x = self.input(0)
        return gy * 3 * x * x


def test_an_op_of_ones_own():
    md.testing.check_grads(lambda x: Cube()(x), [np.array([0.5, -1.0])], order=3)


def test_an_op_object_records_one_call():
    x, cube = leaf(2.0), Cube()
    y = cube(x)
    with pytest.raises(RuntimeError, match="Cube: an op object records one call"):
        cube(x)
    y.backward()
    same(x.grad, [12])


def test_an_op_without_backward():
    class Floor(md.Op):
        def forward(self, x):
            return np.floor(x)

    y = Floor()(leaf(1.5))
    with pytest.raises(NotImplementedError, match="Floor has no gradient"):
        y.sum().backward()


def test_needs_tells_whose_gradient_is_wanted():
    asked = []

    class Pair(md.Op):
        def forward(self, a, b):
            return a * b

        def backward(self, gy):
            asked.append((self.needs(0), self.needs(1)))
            return gy * self.input(1), gy * self.input(0)

    a, b = leaf(2.0), leaf(3.0)
    Pair()(a, Tensor(b.data)).sum().backward()
    md.grad(Pair()(a, b).sum(), b)
    assert asked == [(True, False), (False, True)]
