"""ModuleList, Sequential, ModuleDict: names, changes, state, and captured steps that notice a change."""

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import minidl as md
from minidl import nn

X = np.random.default_rng(0).standard_normal((5, 3)).astype("float32")


def named():
    return nn.Sequential(
        OrderedDict([("first", nn.Affine(3, 4)), ("act", nn.Tanh()), ("last", nn.Affine(4, 2))])
    )


def names(model):
    return [name for name, _ in model.named_children()]


def test_a_sequential_with_names():
    model = named()
    assert names(model) == ["first", "act", "last"]
    assert list(model.state_dict()) == ["first.weight", "first.bias", "last.weight", "last.bias"]
    assert model.last is model[2] and model.first is model[0]
    plain = nn.Sequential(*model)
    np.testing.assert_array_equal(model(X).data, plain(X).data)
    model.last = nn.Identity()
    assert isinstance(model[2], nn.Identity) and "last" not in vars(model)
    with pytest.raises(TypeError, match="Sequential: expected a Module, got int"):
        model.last = 3
    with pytest.raises(AttributeError, match="'Sequential' object has no attribute 'middle'"):
        model.middle  # noqa: B018
    assert "(act): Tanh()" in repr(model)
    for again in (copy.deepcopy(named()), pickle.loads(pickle.dumps(named()))):
        assert names(again) == ["first", "act", "last"] and again.act is again[1]


def test_a_sequential_is_changed_as_a_list_is():
    model = named()
    assert model.insert(1, nn.ReLU()) is model
    assert names(model) == ["first", "1", "act", "last"]
    model.append(nn.Softmax()).extend([nn.Identity()])
    assert names(model) == ["first", "1", "act", "last", "4", "5"]
    part = model[:3]
    assert names(part) == ["first", "1", "act"] and part.act is model.act
    assert isinstance(model.pop(1), nn.ReLU)
    del model[-2:]
    assert names(model) == ["first", "act", "last"] and model(X).shape == (5, 2)
    unnamed = nn.Sequential(nn.Affine(3, 4), nn.Affine(4, 2))
    unnamed.insert(1, nn.ReLU())
    assert names(unnamed) == ["0", "1", "2"] and len(unnamed) == 3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m: m.append(3), TypeError, "Sequential: expected a Module at position 3, got int"),
        (lambda m: m.insert(1, np.tanh), TypeError, "Sequential: expected a Module at position 1"),
        (lambda m: m.insert("a", nn.ReLU()), TypeError, "Sequential.insert: index must be an int"),
        (lambda m: m.extend([nn.ReLU(), 2]), TypeError, "expected a Module at position 4, got int"),
        (lambda m: m.pop(7), IndexError, "index out of range"),
        (
            lambda m: nn.Sequential({"a.b": nn.ReLU()}),
            ValueError,
            "must not be empty or have a dot",
        ),
        (lambda m: nn.Sequential({"": nn.ReLU()}), ValueError, "must not be empty"),
        (lambda m: nn.Sequential({1: nn.ReLU()}), TypeError, "a name must be a string, got 1"),
        (
            lambda m: nn.Sequential({"1": nn.ReLU()}),
            ValueError,
            "'1' cannot be the name of module 0",
        ),
        (lambda m: nn.Sequential({"append": nn.ReLU()}), ValueError, "'append' cannot be the name"),
    ],
)
def test_what_a_container_refuses_changes_nothing(change, error, message):
    model = named()
    with pytest.raises(error, match=message):
        change(model)
    assert names(model) == ["first", "act", "last"]


def test_module_dict():
    heads = nn.ModuleDict({"age": nn.Affine(3, 1), "act": nn.ReLU()})
    assert list(heads) == list(heads.keys()) == ["age", "act"] and len(heads) == 2
    assert "age" in heads and "size" not in heads
    assert [name for name, _ in heads.named_parameters()] == ["age.weight", "age.bias"]
    heads["size"] = nn.Affine(3, 2)
    heads.update([("act", nn.Tanh())])
    assert [type(m).__name__ for m in heads.values()] == ["Affine", "Tanh", "Affine"]
    assert isinstance(heads.pop("act"), nn.Tanh)
    del heads["size"]
    assert [(name, type(m)) for name, m in heads.items()] == [("age", nn.Affine)]
    assert nn.ModuleDict(heads)["age"] is heads["age"]
    model = nn.Module()
    model.heads = heads
    assert list(model.state_dict()) == ["heads.age.weight", "heads.age.bias"]
    assert not model.eval().heads["age"].training
    again = copy.deepcopy(model)
    again.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(again.heads["age"](X).data, heads["age"](X).data)
    with pytest.raises(KeyError):
        heads["none"]
    with pytest.raises(KeyError):
        del heads["none"]
    with pytest.raises(TypeError, match="ModuleDict: expected a Module 'b', got int"):
        heads.update({"a": nn.ReLU(), "b": 3})
    with pytest.raises(TypeError, match="pairs of a name and a module, got"):
        nn.ModuleDict([nn.ReLU()])
    assert list(heads) == ["age"]


@pytest.mark.parametrize("container", ["Sequential", "ModuleList", "ModuleDict"])
def test_a_captured_step_notices_a_change(container):
    layers = [nn.Affine(3, 3), nn.Tanh()]
    model, key = {
        "Sequential": (nn.Sequential(dict(zip("ab", layers, strict=True))), 1),
        "ModuleList": (nn.ModuleList(layers), 1),
        "ModuleDict": (nn.ModuleDict(zip("ab", layers, strict=True)), "b"),
    }[container]

    class Net(nn.Module):
        def __init__(self):
            self.parts = model

        def forward(self, x):
            parts = self.parts.values() if container == "ModuleDict" else self.parts
            for part in parts:
                x = part(x)
            return x

    net = Net()
    step = md.capture(lambda x: net(x))
    x = md.Tensor(X)
    for _ in range(2):
        np.testing.assert_array_equal(step(x).data, net(x).data)
    model[key] = nn.ReLU()
    np.testing.assert_array_equal(step(x).data, net(x).data)
    assert (step(x).data >= 0).all()
