"""What the docstrings of the activations say: examples that run, parameters, kinks, papers."""

import doctest
import inspect

import pytest

from minidl import functional as F
from minidl import nn
from minidl.ops.activations.table import ACTIVATIONS, ROWS

each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@each_row
def test_examples(row):
    text = F.FUNCTIONS[row.name].__doc__
    test = doctest.DocTestParser().get_doctest(text, {"F": F}, row.name, None, None)
    assert test.examples, f"{row.name} has no example"
    output = []
    doctest.DocTestRunner(verbose=False).run(test, out=output.append)
    assert not output, "".join(output)


@each_row
def test_what_is_said(row):
    text = F.FUNCTIONS[row.name].__doc__
    assert row.formula and row.paper and text.startswith(f"{row.name}(x) = ")
    assert row.kink_note or not row.kinks(*[1.5 * value for value in row.params.values()])
    assert ("inplace=True" in text) == row.inplace
    assert ("Raises" in text) == bool(
        row.check or (row.inplace and row.from_y and row.from_y.check)
    )
    if row.class_name:
        assert row.kink_note in getattr(nn, row.class_name).__doc__


@each_row
def test_signatures(row):
    parameters = inspect.signature(F.FUNCTIONS[row.name]).parameters
    expected = {name: inspect.Parameter.empty if row.required else value
                for name, value in row.params.items()}  # fmt: skip
    expected |= {"approximate": "none"} if row.approximate else {}
    expected |= {"inplace": False} if row.inplace else {}
    assert {name: p.default for name, p in parameters.items() if name != "x"} == expected
    if row.class_name:
        layer = inspect.signature(getattr(nn, row.class_name)).parameters
        assert {name: p.default for name, p in layer.items()} == expected


def test_python_numbers():
    assert F.relu(-10.0).item() == 0.0
    printed = [f"{F.leaky_relu(x, 0.01).item():.1f}" for x in (1, -10, 0, 15, -20)]
    assert printed == ["1.0", "-0.1", "0.0", "15.0", "-0.2"]
    for row in ROWS:
        assert F.FUNCTIONS[row.name](2, **row.params).shape == ()


def test_gelu_both_ways():
    x = [-3.0, -0.5, 0.0, 2.0]
    assert (
        F.gelu(x).data.tolist()
        == F.gelu(x, "none").data.tolist()
        != F.gelu(x, "tanh").data.tolist()
    )
    assert F.gelu(x, approximate="tanh").data.tolist() == F.gelu_tanh(x).data.tolist()
    assert nn.GELU("tanh")(x).data.tolist() == F.gelu_tanh(x).data.tolist()
    assert repr(nn.GELU("tanh")) == "GELU(approximate='tanh')"
    with pytest.raises(ValueError, match=r"GELU: approximate: expected 'none', 'tanh', got 'x'"):
        nn.GELU("x")


def test_rows_that_name_others():
    for row in ROWS:
        assert set(row.approximate.values()) <= set(ACTIVATIONS)
        assert not row.inplace or row.has_slope_from_y
