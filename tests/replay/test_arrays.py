"""Captured steps with parts of tensors, new tensors, and choices: what the table of ops does not have."""

import weakref
from functools import partial

import numpy as np
import pytest

import minidl as md
from minidl import Tensor, nn
from minidl import _kernels as K
from minidl import functional as F
from minidl._source import PURE

from .captured_cases import same


def test_parts_in_a_captured_step():
    def step(x):
        w.grad = None
        sum((i + 1) * (part * part).sum() for i, part in enumerate(x * w)).backward()
        return w.grad * 1.0

    w = Tensor(np.ones((4, 3), "float32"), requires_grad=True)
    again = md.capture(step)
    for seed in range(3):
        x = Tensor(np.random.default_rng(seed).standard_normal((4, 3)).astype("float32"))
        np.testing.assert_array_equal(again(x).data, step(x).data)
    assert again.records == 1


def test_new_tensors_in_a_captured_step():
    def step(x):
        return x * md.randn(3) + md.ones(3) + md.arange(0.0, 3.0) + md.full(3, 2.0) * md.zeros(3)

    again = md.capture(step)
    drawn = []
    for i in range(3):
        md.manual_seed(i)
        expected = step(Tensor(np.ones(3, "float32"))).data
        md.manual_seed(i)
        drawn.append(again(Tensor(np.ones(3, "float32"))).data.copy())
        np.testing.assert_array_equal(drawn[-1], expected)
    assert again.records == 1 and not np.array_equal(drawn[0], drawn[1])


def test_choices_in_a_captured_step():
    def step(x):
        best, order = md.argmax(x, 1), md.argsort(x, 1)
        inside = (x > 0) & ~(x > 1) | (x < -1)
        return md.where(inside, x // 0.25, x % 0.25), best, order

    again = md.capture(step)
    for seed in range(3):
        x = Tensor(np.random.default_rng(seed).standard_normal((3, 5)).astype("float32"))
        for mine, other in zip(again(x), step(x), strict=True):
            np.testing.assert_array_equal(mine.data, other.data)
    assert again.records == 1


def test_a_mask_may_be_an_array():
    again = md.capture(lambda mask, x: md.where(mask & (x > 0), x, 0.0))
    x = Tensor(np.float32([1, -2, 3]))
    for mask, expected in (([True, True, False], [1, 0, 0]), ([False, True, True], [0, 0, 3])):
        np.testing.assert_array_equal(again(np.array(mask), x).data, expected)
    assert again.records == 1


def test_what_numpy_computes_is_computed_again():
    """Rows of an identity matrix, columns that are named twice, and another dtype: backward, too."""

    def step(x, ids):
        w.grad = None
        y = (x.astype("float32") * w)[:, columns] * md.functional.one_hot(ids, 3)
        y.sum().backward()
        return y, w.grad * 1.0

    w, columns = Tensor(np.ones((2, 4), "float32"), requires_grad=True), [3, 0, 3]
    again = md.capture(step)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x, ids = Tensor(rng.standard_normal((2, 4))), rng.integers(0, 3, 2)
        for mine, other in zip(again(x, ids), step(x, ids), strict=True):
            np.testing.assert_array_equal(mine.data, other.data)
    assert again.records == 1


MADE = {
    "NumPy's": lambda: np.ones(3, "float32"),
    "a view": lambda: np.ones(6, "float32")[:3],
    "minidl's": lambda: md.ones(3).data,
}


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
def test_what_was_there_before_must_stay(made):
    """Whoever allocated its memory."""
    weight, last = nn.Parameter(made()), [nn.Parameter(made())]
    again = md.capture(lambda x: x * weight)
    for value in (1.0, 2.0):
        assert again(Tensor([value] * 3)).data.tolist() == [value] * 3
    with pytest.raises(md.CaptureError, match="nobody has after the call"):
        md.capture(lambda x: x * last.pop())(Tensor([1.0] * 3))


@pytest.mark.parametrize("copied", [False, True])
def test_an_argument_that_only_products_read_is_not_copied(copied):
    w = md.Tensor(np.eye(3, dtype=np.float32), requires_grad=True)

    def step(x):
        w.zero_grad()
        y = F.affine(x, w, activation="tanh") + (x.sum() if copied else 1.0)
        y.sum().backward()
        return y, w.grad * 1.0

    again = md.capture(step)
    for i in range(4):
        x = np.random.default_rng(i).standard_normal((5, 3)).astype(np.float32)
        there = weakref.ref(x)
        if i:
            again.plan().spoil()
        results = again(md.Tensor(x))
        by_blas = isinstance(K.matmul, partial)  # it is given arrays, not addresses
        assert i == 0 or np.array_equal(again._records[0].arguments[0].buffer, x) == (
            copied or by_blas
        )
        for a, b in zip(results, step(md.Tensor(x)), strict=True):
            same(a.data, b.data)
        del x
        assert there() is None
    assert again.records == 1


def test_a_kernel_of_numpys_computes_into_an_array():
    """As all products do at the baseline, whose matmul is NumPy's."""
    products = K.load("baseline" if "baseline" in K.available else "reference")

    def step(x):
        y = products.matmul(x._data, x._data)
        assert products.matmul(y, x._data, out=y, accumulate=True) is y
        z = K.empty(y.shape, y.dtype)
        products.matmul(x._data, y, out=z)
        return md.Tensor(z) * 2

    again = md.capture(step)
    for seed in range(3):
        x = Tensor(np.random.default_rng(seed).standard_normal((3, 3)).astype("float32"))
        if again.records:
            again.plan().spoil()
        same(again(x)._data, step(x)._data)
    assert again.records == 1


@pytest.mark.skipif(PURE, reason="nothing is recorded where nothing is compiled")
def test_a_recording_that_cannot_begin_leaves_nothing_behind():
    from minidl._kernels.runtime.prepared import Plan

    memory, failed = pytest.importorskip("_testcapi"), 0
    for allocation in range(12):
        plan, started = Plan(), False
        memory.set_nomemory(allocation, allocation + 1)
        try:
            started = plan.start()
        except MemoryError:
            failed += 1
        finally:
            memory.remove_mem_hooks()
        if started:
            plan.stop()
        other = Plan()
        assert other.start(), f"after allocation {allocation} has failed"
        other.stop()
    assert failed
