"""Fields: what a captured step must find unchanged, asked in every call."""

import pytest

from minidl._kernels.runtime import fields


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self):
        self.a, self.b = "a", "b"


class Open:
    def __init__(self):
        self.a, self.b = "a", "b"


def closure(value):
    def read():
        return value

    def write(new):
        nonlocal value
        value = new

    def forget():
        nonlocal value
        del value

    return read, write, forget


@pytest.mark.parametrize("kind", [Slotted, Open])
def test_attributes(kind):
    owner, watched = kind(), fields.Fields()
    watched.attribute(owner, "a")
    assert watched.same()
    owner.b = "other"
    assert watched.same()  # nobody asked for b
    owner.a = "other"
    assert not watched.same()
    owner.a = "a"
    assert watched.same()
    del owner.a
    assert not watched.same()
    with pytest.raises(AttributeError):
        watched.attribute(owner, "missing")


def test_a_property_in_a_subclass_is_asked():
    class Told(Slotted):
        a = property(lambda self: self.told)

        def __init__(self):
            self.told = 1000

    owner, watched = Told(), fields.Fields()
    watched.attribute(owner, "a")
    assert watched.same()
    owner.told = 2000
    assert not watched.same()


def test_entries_of_dicts_and_what_is_derived_from_dict():
    for owner in ({"a": 1.5}, type("Own", (dict,), {})(a=1.5)):
        watched = fields.Fields()
        watched.entry(owner, "a")
        assert watched.same()
        owner["b"] = 2
        assert watched.same()
        owner["a"] = 2.5
        assert not watched.same()
        del owner["a"]
        assert not watched.same()
    with pytest.raises(KeyError):
        watched.entry({}, "a")
    with pytest.raises(TypeError, match="expected a dict, got 3"):
        watched.entry(3, "a")


def test_variables_of_a_closure():
    read, write, forget = closure([1])
    watched = fields.Fields()
    watched.cell(read.__closure__[0])
    assert watched.same()
    write([1])  # equal, but another list
    assert not watched.same()
    forget()
    assert not watched.same()
    with pytest.raises(TypeError, match="expected the cell of a closure"):
        watched.cell([])


def test_many_fields_and_values_that_died():
    owners, watched = [Slotted() for _ in range(40)], fields.Fields()
    for owner in owners:
        owner.b = object()
        watched.attribute(owner, "a")
        watched.attribute(owner, "b")
    assert watched.same()
    owners[-1].b = object()  # (not where the old one was: that is kept)
    assert not watched.same()
