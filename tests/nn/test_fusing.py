"""Layers that fuse step aside wherever somebody could see the difference."""

import numpy as np
import pytest

from minidl import nn
from minidl.nn import Affine, BatchNorm, Conv, ConvTranspose, Module, ReLU, Sequential
from minidl.training.watching import watch

X = np.random.default_rng(0).standard_normal((6, 3)).astype("float32")
KINDS = {
    "Affine": lambda kind=Affine: kind(3, 3, weight=X[:3], bias=X[3]),
    "BatchNorm": lambda kind=BatchNorm: kind(3),
    "Conv": lambda kind=Conv: kind(3, 3, (1,), weight=X[:3, :, None], bias=X[3]),
    "ConvTranspose": lambda kind=ConvTranspose: kind(3, 3, (1,), weight=X[:3, :, None], bias=X[3]),
}


def given(kind):
    """What a layer of this kind takes."""
    return X.reshape(2, 3, 3) if kind.startswith("Conv") else X


def seen_by(cls, name, seen):
    """A subclass whose method notes what it gives."""
    method = getattr(cls, name)

    def noted(self, x):
        y = method(self, x)
        seen.append(y)
        return y

    return type(cls.__name__ + "Seen", (cls,), {name: noted})


def patched(module, seen):
    forward = module.forward

    def noted(x):
        seen.append(forward(x))
        return seen[-1]

    module.forward = noted
    return module


WAYS = {
    "instance": lambda make, cls, seen: patched(make(cls), seen),
    "subclass": lambda make, cls, seen: make(seen_by(cls, "forward", seen)),
    "call": lambda make, cls, seen: make(seen_by(cls, "__call__", seen)),
}


def expected(kind):
    """What each of the two gives on its own."""
    first = KINDS[kind]()(given(kind))
    return first.data, ReLU()(first).data


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", [0, 1])
def test_who_looks_at_one_sees_that_one(kind, way, place):
    seen = []
    cls, make = [(type(KINDS[kind]()), KINDS[kind]), (ReLU, lambda cls: cls())][place]
    one = WAYS[way](make, cls, seen)
    y = (
        Sequential(one, ReLU())(given(kind))
        if place == 0
        else Sequential(KINDS[kind](), one)(given(kind))
    )
    assert len(seen) == 1
    np.testing.assert_array_equal(seen[0].data, expected(kind)[place])
    np.testing.assert_array_equal(y.data, expected(kind)[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [0, 1])
def test_watched(kind, place):
    model, seen = Sequential(KINDS[kind](), ReLU()), []
    with watch([model[place]], lambda module, x, y: seen.append((module, x, y))):
        y = model(given(kind))
    ((module, x, own),) = seen
    assert module is model[place] and "forward" not in vars(module)
    np.testing.assert_array_equal(own.data, expected(kind)[place])
    np.testing.assert_array_equal(np.asarray(x), given(kind) if place == 0 else expected(kind)[0])
    np.testing.assert_array_equal(y.data, expected(kind)[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [0, 1])
def test_the_class_is_patched(kind, place, monkeypatch):
    seen, cls = [], [type(KINDS[kind]()), nn.activation.Activation][place]
    forward, made = cls.forward, KINDS[kind]()
    monkeypatch.setattr(cls, "forward", lambda self, x: seen.append(forward(self, x)) or seen[-1])
    y = Sequential(made, ReLU())(given(kind))
    assert len(seen) == 1
    monkeypatch.undo()
    np.testing.assert_array_equal(seen[0].data, expected(kind)[place])
    np.testing.assert_array_equal(y.data, expected(kind)[1])


@pytest.mark.parametrize("kind", KINDS)
def test_every_call_is_patched(kind, monkeypatch):
    calls, call, model = [], Module.__call__, Sequential(KINDS[kind](), ReLU())
    monkeypatch.setattr(Module, "__call__", lambda self, *x: calls.append(self) or call(self, *x))
    model(given(kind))
    assert calls == [model, *model]


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_that_comes_twice(kind):
    one, relu, seen = KINDS[kind](), ReLU(), []
    again = KINDS[kind]()
    expected = relu(again(relu(again(given(kind)))))
    with watch([one], lambda module, x, y: seen.append(y.data)):
        y = Sequential(one, relu, one, relu)(given(kind))
    assert len(seen) == 2 and (seen[0] < 0).any() and (seen[1] < 0).any()
    np.testing.assert_array_equal(y.data, expected.data)


@pytest.mark.parametrize("kind", KINDS)
def test_else_they_fuse(kind, monkeypatch):
    model, calls = Sequential(KINDS[kind](), ReLU()), []
    monkeypatch.setattr("minidl.functional.relu", lambda *x: calls.append(x))
    np.testing.assert_array_equal(model(given(kind)).data, expected_fused(kind))
    assert not calls


def expected_fused(kind):
    return np.maximum(KINDS[kind]()(given(kind)).data, 0)
