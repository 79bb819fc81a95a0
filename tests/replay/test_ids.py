"""Indices that are arguments of a captured step are looked at in each replay: the same bits, and the same errors."""

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import nn, optim
from minidl._kernels.arrays.buffers import within

from .captured_cases import same

ROWS, WIDTH = 6, 3


def ids(rng, kind, *shape):
    return rng.integers(0, ROWS, shape).astype(kind)


STEPS = {
    "embedding": lambda w, i: F.embedding(i, w),
    "rows": lambda w, i: w[i],
    "nll_loss": lambda w, i: F.nll_loss(F.log_softmax(md.concatenate([w, w], 1).T), i),
    "twice": lambda w, i: F.embedding(i, w * 2) + w[i],
}


def training(name, second=False):
    table = md.Tensor(np.random.default_rng(0).standard_normal((ROWS, WIDTH)), True, "float32")
    optimizer = optim.SGD([table], lr=0.1, momentum=0.9)

    def step(i):
        optimizer.zero_grad()
        y = STEPS[name](table, i)
        loss = (y * y).sum()
        if second:
            g = md.grad(loss, table, create_graph=True)
            loss = loss + (g * g).sum()
        loss.backward()
        optimizer.step()
        return loss

    return table, step


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8"])
@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("name", STEPS)
def test_ids_are_looked_at_anew(name, kind, second):
    (plain, step), (captured, other) = training(name, second), training(name, second)
    again, rng = md.capture(other), np.random.default_rng(1)
    for _ in range(4):
        i = ids(rng, kind, 6)
        if again.records:
            again.plan().spoil()
        same(step(i)._data, again(i)._data)
        same(plain._data, captured._data)
    assert again.records == 1


def test_places_along_two_axes():
    x = md.Tensor(np.random.default_rng(0).standard_normal((ROWS, WIDTH)), True)

    def step(i, j):
        x.zero_grad()
        y = x[i, j] * x[i, 1]
        (y * y).sum().backward()
        return y

    again, rng = md.capture(step), np.random.default_rng(1)
    for _ in range(3):
        i, j = ids(rng, "int64", 5), rng.integers(-WIDTH, WIDTH, 5)
        y, g = step(i, j)._data, x.grad._data.copy()
        same(y, again(i, j)._data)
        same(g, x.grad._data)
    assert again.records == 1


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("embedding", (ValueError, "embedding: id 9 is out of range for 6 classes")),
        ("rows", (IndexError, "index 9 is out of bounds")),
        ("nll_loss", (ValueError, "nll_loss: target 9 of row 0 is out of range")),
    ],
)
def test_an_id_out_of_range_changes_nothing(name, error):
    table, step = training(name)
    again, (kind, text) = md.capture(step), error
    good = np.zeros(6, np.int64)
    again(good)
    before = table._data.copy()
    with pytest.raises(kind, match=text):
        again(good + 9)
    same(table._data, before)
    assert again.records == 1
    again(good)
    assert again.records == 1


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss], ids=lambda f: f.__name__)
def test_a_wrong_argument_is_found_before_statistics_or_the_random_stream_are_changed(loss):
    def make():
        md.manual_seed(0)
        return nn.Sequential(nn.Embedding(ROWS, WIDTH), nn.BatchNorm(WIDTH), nn.Dropout(0.5))

    models = make(), make()
    steps = [md.capture(lambda i, t, model=model: loss(model(i), t)) for model in models]
    good, targets = np.arange(ROWS), np.arange(ROWS) % WIDTH
    outcomes = []
    for i in range(2):
        md.manual_seed(1)
        steps[i](good, targets)
        for wrong in ((good, targets + 1), (good - 1, targets)) if i else ():
            with pytest.raises(ValueError, match="out of range"):
                steps[i](*wrong)
        outcomes.append(steps[i](good, targets))
        assert steps[i].records == 1
    same(outcomes[0]._data, outcomes[1]._data)
    for a, b in zip(models[0].state_dict().values(), models[1].state_dict().values(), strict=True):
        same(np.asarray(a), np.asarray(b))


def test_the_number_that_a_mask_selects_may_change():
    x = md.Tensor(np.ones(3, np.float32), True)
    with pytest.raises(
        md.CaptureError, match=r"GetItem: how many elements a mask selects"
    ) as error:
        md.capture(lambda m: x[m].sum())(np.array([True, False, True]))
    assert "test_ids.py:" in error.value.line


@pytest.mark.parametrize(
    "equation",
    ["ij,kj->ik", "ji,jk->jik", "ij,kj->", "ii,ij->j", "ij,jk,kl->il", "...i,...i->..."],
)
def test_einsum(equation):
    count = equation.count(",") + 1
    plain, captured = (
        [md.Tensor(np.random.default_rng(n).standard_normal((3, 3)), True) for n in range(count)]
        for _ in range(2)
    )

    def stepper(xs):
        def step(x):
            for w in xs:
                w.zero_grad()
            y = md.einsum(equation, xs[0] * x, *xs[1:])
            (y * y).sum().backward()
            return y

        return step

    step, again = stepper(plain), md.capture(stepper(captured))
    for i in range(3):
        x = md.Tensor(np.random.default_rng(9 + i).standard_normal((3, 3)))
        if again.records:
            again.plan().spoil()
        same(step(x)._data, again(x)._data)
        for a, b in zip(plain, captured, strict=True):
            same(a.grad._data, b.grad._data)
    assert again.records == 1


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8"])
def test_the_range_of_ids(kind):
    inside = np.array([0, 4, *range(5), 3] * 10, kind)
    assert within(inside, 5) and within(inside[::3], 5) and within(inside[:0], 0)
    assert not within(inside, 4) and within(inside, 2**40)
    for place in (0, 13, -1):
        outside = inside.copy()
        outside[place] = 5
        assert not within(outside, 5) and not within(outside[:: 1 if place else 2], 5)
    if kind != "uint8":
        assert not within(-inside, 5)


@pytest.mark.parametrize("kind", ["int8", "int32", "int64"])
def test_within_at_the_ends_of_a_dtype(kind):
    x = np.arange(100).astype(kind) % 7
    assert within(x, 7)
    assert not within(x, 6)
    assert within(x[:0], 0)
    assert not within(x, 0)
    for wrong in (-1, 7, np.iinfo(kind).min, np.iinfo(kind).max):
        for place in (0, 50, 99):
            y = x.copy()
            y[place] = wrong
            assert not within(y, 7)
