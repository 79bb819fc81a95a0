"""Names from other frameworks: each raises an error that says what it is here, and what it says is there."""

import importlib.util
import pickle
import re
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl import Tensor, callbacks, data, functional, images, init, nn, optim
from minidl.data import transforms
from minidl.porting import HINTS, PLACES

CASES = [(place, name) for place, names in HINTS.items() for name in names]
MODULES = [(place, name) for place, name in CASES if place in PLACES]
THERE = {"md": md, "nn": nn, "functional": functional, "optim": optim, "data": data, "init": init}
THERE |= {"transforms": transforms, "images": images, "callbacks": callbacks}
THERE |= {"x": Tensor([[1.0, 2.0]]), "model": nn.Affine(2, 3), "numpy": np}


def owner(place):
    if place in PLACES:
        return importlib.import_module(PLACES[place])
    return {"Tensor": THERE["x"], "Module": THERE["model"]}[place]


def test_the_commonest_names_are_there():
    assert len(CASES) >= 120


@pytest.mark.parametrize(("place", "name"), MODULES)
def test_the_error_says_what_it_is_here(place, name):
    hint = HINTS[place][name].removeprefix("nothing: ")
    with pytest.raises(AttributeError, match=f"no attribute '{name}'; .*{re.escape(hint)}"):
        getattr(owner(place), name)


@pytest.mark.parametrize(("place", "name"), CASES)
def test_the_name_is_not_there(place, name):
    assert not hasattr(owner(place), name)


@pytest.mark.parametrize(("place", "name"), CASES)
def test_the_suggestion_exists(place, name):
    for where, what in re.findall(r"\b(\w+)\.(\w+)", HINTS[place][name]):
        if where in THERE:
            assert hasattr(THERE[where], what), f"{where}.{what}"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda: md.concatenat,
            "module 'minidl' has no attribute 'concatenat'; did you mean concatenate",
        ),
        (lambda: nn.Afine, "did you mean Affine"),
        (lambda: md.qqq, "has no attribute 'qqq'$"),
    ],
)
def test_names_that_are_nearly_right(wrong, message):
    with pytest.raises(AttributeError, match=message):
        wrong()


def test_attributes_that_are_methods_elsewhere():
    x, model = Tensor([[1.0, 2.0]]), nn.BatchNorm(2)
    assert x.size == 2 and isinstance(x.size, int)
    with pytest.raises(TypeError, match=r"x.size is the number of elements.*x.shape"):
        x.size()
    assert isinstance(model.buffers, dict)
    with pytest.raises(TypeError, match="buffers is a dict, not a method"):
        model.buffers()


def test_transpose_means_what_it_means_in_numpy():
    x = Tensor(np.zeros((2, 3), "float32"))
    with pytest.warns(UserWarning, match=r"transpose\(0, 1\) leaves the two axes as they are.*x.T"):
        assert x.transpose(0, 1).shape == (2, 3)
    assert x.transpose((0, 1)).shape == (2, 3) and x.transpose(1, 0).shape == (3, 2)
    with pytest.raises(ValueError, match="to swap two of them, list all in their new order"):
        x.reshape(1, 2, 3).transpose(0, 1)


def test_copy_and_pickle_still_work():
    x = pickle.loads(pickle.dumps(deepcopy(Tensor([1.0]))))
    np.testing.assert_array_equal(x.data, [1])
    model = pickle.loads(pickle.dumps(deepcopy(nn.Affine(2, 3))))
    assert model.weight.shape == (3, 2)


def test_the_page_is_up_to_date():
    path = Path(__file__).parent.parent / "docs" / "make_porting.py"
    spec = importlib.util.spec_from_file_location("make_porting", path)
    make_porting = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_porting)
    there = make_porting.PAGE.read_text(encoding="utf-8")
    assert there == make_porting.page(), "run python docs/make_porting.py"
