"""Every op of the table of gradient checks, captured: the same bits with other data, or refused by name."""

from fnmatch import fnmatchcase

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from tests.ops.table import ROWS

from .captured_cases import same

# Rows that cannot be recorded yet; those marked with "constant" make an array inside of the step.
REFUSED = (
    "ops.getitem/mask",
    "F.cross_entropy", "F.cross_entropy/one sample", "F.cross_entropy/sum", "F.nll_loss",  # constant
    "ops.add/operators",  # constant
)  # fmt: skip


def step_of(row, zeros):
    """The op's result and the gradients of its inputs, which are the arguments plus tensors that are trained."""

    def step(*arrays):
        for z in zeros:
            z.grad = None
        xs = [x if z is None else x + z for x, z in zip(arrays, zeros, strict=True)]
        y = row.fn(*xs)
        (y * y).sum().backward()
        return y

    return step


def zeros_like(arrays):
    return [md.Tensor(np.zeros_like(a), requires_grad=True) for a in arrays]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_same_bits_or_refused(row):
    refused = any(fnmatchcase(row.name, pattern) for pattern in REFUSED)
    draws = [[a.astype(np.float32) for a in row.inputs(np.random.default_rng(i))] for i in range(3)]
    plain, captured = zeros_like(draws[0]), zeros_like(draws[0])
    step, again = step_of(row, plain), md.capture(step_of(row, captured))
    try:
        for arrays in draws:
            for z in captured:
                z.grad = None
            xs = [md.Tensor(a) for a in arrays]
            if again.records:
                again.plan().spoil()
            same(step(*xs)._data, again(*xs)._data)
            for p, q in zip(plain, captured, strict=True):
                assert (p.grad is None) == (q.grad is None)
                if p.grad is not None:
                    same(p.grad._data, q.grad._data)
        assert again.records == 1
        assert not refused, "it can be captured: take it out of REFUSED"
    except md.CaptureError as error:
        assert refused, error


def reading_arguments(row, zeros, ones):
    """The op of the arguments themselves, but for those with zeros; and a product of each argument."""

    def step(*arrays):
        y = row.fn(*(x if z is None else x + z for x, z in zip(arrays, zeros, strict=True)))
        if y.requires_grad:
            (y * y).sum().backward()
        return y, *(x @ one for x, one in zip(arrays, ones, strict=True) if one is not None)

    return step


@pytest.mark.parametrize("trained", [0, 1])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_reads_arguments_that_a_product_would_read_where_they_lie(row, trained):
    """A replay points its calls to an argument, and copies nothing, only if all that read it can be pointed."""
    draws = [[a.astype(np.float32) for a in row.inputs(np.random.default_rng(i))] for i in range(3)]
    zeros = [z if i % 2 == trained else None for i, z in enumerate(zeros_like(draws[0]))]
    ones = [md.Tensor(np.ones(a.shape[-1:], np.float32)) if a.ndim else None for a in draws[0]]
    steps = reading_arguments(row, zeros, ones), md.capture(reading_arguments(row, zeros, ones))
    for arrays in draws:
        results = []
        for step in steps:
            for z in zeros:
                if z is not None:
                    z.grad = None
            if step is steps[1] and step.records:
                step.plan().spoil()
            try:
                results.append(step(*map(md.Tensor, arrays)))
            except RuntimeError:  # not recorded, or not possible in place
                assert row.name in (*REFUSED, "F.prelu/in place, one"), row.name
                return
            results[-1] += tuple(z.grad for z in zeros if z is not None)
        for a, b in zip(*results, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                same(a._data, b._data)


@pytest.mark.parametrize("index", [1, (1,), (-1,), slice(1, 3)])
def test_the_gradient_of_an_item(index):
    class Row:
        @staticmethod
        def fn(x):
            return x[index] * 2

    plain, captured = zeros_like([np.zeros(3, np.float32)]), zeros_like([np.zeros(3, np.float32)])
    step, again = step_of(Row, plain), md.capture(step_of(Row, captured))
    for i in range(3):
        x = md.Tensor(np.float32([i, 2 * i + 1, 5 - i]))
        if again.records:
            again.plan().spoil()
        same(step(x)._data, again(x)._data)
        same(plain[0].grad._data, captured[0].grad._data)


SLOPE = md.Tensor([0.25])


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: F.relu(x, inplace=True),
        lambda x: F.rrelu(x, training=False, inplace=True),
        lambda x: F.prelu(x, SLOPE, None, inplace=True),
    ],
    ids=["relu", "rrelu", "prelu"],
)
def test_in_place_where_the_memory_has_gaps(fn):
    """A kernel writes dense memory only: the copy into x is part of the record."""

    def step(x):
        z = x * 1.5
        fn(z[:, ::2])
        return z * 1.0

    again = md.capture(step)
    for seed in range(3):
        x = md.Tensor(np.random.default_rng(seed).normal(size=(3, 8)).astype("float32"))
        same(step(x)._data, again(x)._data)
    assert again.records == 1


def test_what_is_chosen_by_comparisons_is_chosen_anew():
    def step(x, limit):
        return md.where(x > limit, x, 0.0) + md.where(x == 2, 1.0, 0.0) * (x <= 2)

    again = md.capture(step)
    for limit in (0, 1, 3):
        x, at = md.Tensor(np.arange(4, dtype="float32")), md.Tensor(float(limit))
        same(step(x, at)._data, again(x, at)._data)
    assert again.records == 1
