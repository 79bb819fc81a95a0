"""What the engine leaves behind: nothing. Graphs are freed as they are walked."""

import gc
import sys
import tracemalloc
import weakref

import numpy as np
import pytest

import minidl as md
from minidl import Tensor
from minidl import functional as F


@pytest.fixture
def no_collector():
    """Only reference counts free memory here; what they leave, gc.collect() finds."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def mlp(seed=0):
    rng = np.random.default_rng(seed)
    shapes = ((8, 5), (8,), (3, 8), (3,))
    return [Tensor(rng.standard_normal(s).astype("float32"), requires_grad=True) for s in shapes]


def step(parameters, x, target):
    w1, b1, w2, b2 = parameters
    loss = F.cross_entropy(F.affine(F.relu(F.affine(x, w1, b1)), w2, b2), target)
    loss.backward()
    for p in parameters:
        p.data -= 0.1 * p.grad.data
        p.zero_grad()
    return loss.item()


DATA = np.random.default_rng(1).standard_normal((4, 5)).astype("float32"), np.array([0, 1, 2, 1])


@pytest.mark.usefixtures("no_collector")
def test_a_training_step_leaves_no_cycles():
    parameters = mlp()
    step(parameters, *DATA)
    gc.collect()
    step(parameters, *DATA)
    assert gc.collect() == 0


@pytest.mark.usefixtures("no_collector")
def test_second_order_and_grad_leave_no_cycles():
    w, *_ = mlp()
    gc.collect()
    for _ in range(2):
        x = Tensor(DATA[0].copy(), requires_grad=True)
        y = F.layer_norm(F.softmax(F.tanh(F.affine(x, w))), 8)
        g = md.grad(md.sum(y**3), x, create_graph=True)
        ((g * g).sum() + md.max(g)).backward()
        w.zero_grad()
        del x, y, g
    assert gc.collect() == 0


@pytest.mark.usefixtures("no_collector")
def test_an_unused_graph_dies_at_once():
    x = Tensor(np.ones(3), requires_grad=True)
    h = x * 2
    dead = weakref.ref(h)
    y = F.sigmoid(h * h)
    del h
    assert dead() is not None
    del y
    assert dead() is None


@pytest.mark.usefixtures("no_collector")
def test_backward_frees_what_was_saved_as_it_goes():
    """While the first op runs backward, all that came after it is gone already."""
    x = Tensor(np.ones(3), requires_grad=True)
    alive = []

    class Look(md.Op):
        def forward(self, a):
            return a + 0

        def backward(self, gy):
            alive.append([ref() is not None for ref in saved])
            return gy

    h = Look()(x)
    saved = []
    for _ in range(4):
        h = h * 1.5
        h = h * h  # saves h
        saved.append(weakref.ref(h))
    y = h.sum()
    del h
    assert all(ref() is not None for ref in saved[:-1])
    y.backward()
    assert alive == [[False] * 4]


@pytest.mark.usefixtures("no_collector")
def test_a_retained_graph_dies_with_its_result():
    x = Tensor(np.ones(3), requires_grad=True)
    h = x * 2
    dead = weakref.ref(h)
    y = (h * h).sum()
    del h
    y.backward(retain_graph=True)
    assert dead() is not None
    del y
    assert dead() is None


@pytest.mark.usefixtures("no_collector")
def test_arrays_are_given_back():
    x = Tensor(np.ones(3), requires_grad=True)
    y = F.tanh(x * 2)
    array = weakref.ref(y.data)
    y.sum().backward()
    del y
    assert array() is None


DEPTH = 100_000


def test_a_chain_of_100_000_ops():
    x = Tensor(np.ones(1), requires_grad=True)
    y = x
    for _ in range(DEPTH):
        y = y + 1.0
    y.backward()
    assert x.grad.item() == 1 and y.item() == DEPTH + 1
    del y


def test_a_chain_of_100_000_ops_dies_unwalked():
    x = Tensor(np.ones(1), requires_grad=True)
    y = x
    for _ in range(DEPTH):
        y = y * 1.0
    del y
    assert x.grad is None


def test_a_deep_chain_twice_differentiated():
    assert sys.getrecursionlimit() < 5000
    x = Tensor(np.ones(1), requires_grad=True)
    y = x
    for _ in range(5000):
        y = y * x
    g = md.grad(y, x, create_graph=True)
    assert g.item() == 5001
    assert md.grad(g, x).item() == 5001 * 5000


def test_memory_is_flat_over_10_000_steps():
    parameters = mlp()
    losses = [step(parameters, *DATA) for _ in range(200)]
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(1000):  # under tracemalloc: slow, and exact
            losses.append(step(parameters, *DATA))
        gc.collect()  # empties Python's own lists of free objects
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after < 60_000, "the list of losses itself takes 32 kB"
    resident = _resident()
    for _ in range(9000):
        step(parameters, *DATA)
    assert _resident() - resident < 2_000_000
    assert losses[-1] < losses[0]


def _resident() -> int:
    """Bytes of this process in memory; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096
    except OSError:
        return 0
