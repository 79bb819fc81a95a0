"""docs/activations.md and its pictures are what docs/make_activations.py makes of the table."""

import importlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from minidl import functional as F
from minidl import nn

DOCS = Path(__file__).resolve().parent.parent / "docs"
STALE = "the table has changed: run  python docs/make_activations.py"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(DOCS))
    try:
        yield importlib.import_module("make_activations")
    finally:
        sys.path.remove(str(DOCS))


@pytest.fixture(scope="module")
def listed(script):
    return importlib.import_module("activation_entries")


@pytest.fixture(scope="module")
def costs(script):
    return json.loads(script.COSTS.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def drawn(script):
    return script.pictures()


def test_the_page_is_up_to_date(script, costs):
    assert script.page(costs) == script.PAGE.read_text(encoding="utf-8"), STALE


def test_all_pictures_are_there_and_no_others(script, drawn):
    assert sorted(drawn) == sorted(path.name for path in script.PICTURES.iterdir()), STALE
    assert sum(path.stat().st_size for path in script.PICTURES.iterdir()) < 100_000


def test_the_pictures_are_up_to_date(script, drawn):
    """Number by number, to a third of a pixel: the last bits of a curve differ between processors."""
    numbers = re.compile(r"-?\d+\.?\d*")
    for name, now in drawn.items():
        kept = (script.PICTURES / name).read_text(encoding="utf-8")
        assert numbers.sub("", now) == numbers.sub("", kept), f"{name}: {STALE}"
        np.testing.assert_allclose(
            [float(v) for v in numbers.findall(now)],
            [float(v) for v in numbers.findall(kept)],
            atol=0.3,
            err_msg=f"{name}: {STALE}",
        )


def test_every_activation_is_on_the_page(script, listed):
    names = {entry.name for entry in script.entries()}
    rows = {row.name for row in listed.ROWS if row.class_name}
    assert names == rows | {"prelu", "rrelu", "crelu", "maxout", "glu", "softmax", "log_softmax",
                            "identity"}  # fmt: skip
    for entry in script.entries():
        assert callable(getattr(F, entry.name)) and isinstance(getattr(nn, entry.layer), type)
    assert set(listed.USES) <= rows


def test_every_activation_has_its_cost(script, costs):
    names = {entry.name for entry in script.entries()} - {"identity"}
    assert set(costs["cost"]) == names, "run  python docs/make_activations.py --measure"
    assert costs["cost"]["relu"] == 1 and min(costs["cost"].values()) > 0.5


def test_a_changed_table_is_seen(script, listed, costs, drawn, monkeypatch):
    first, *others = listed.ROWS
    changed = first._replace(formula="something else")
    monkeypatch.setattr(listed, "ROWS", [changed, *others])
    assert script.page(costs) != script.PAGE.read_text(encoding="utf-8")
    monkeypatch.setattr(F, "relu", lambda x: F.leaky_relu(x, 0.05))
    assert script.pictures()["relu.svg"] != drawn["relu.svg"]


@pytest.mark.parametrize(
    ("name", "range_", "kinks", "far"),
    [
        ("relu", "[0, ∞)", "at 0: value 0, slope 0 (left 0, right 1)", "0, 1"),
        ("sigmoid", "(0, 1)", "smooth, at 0: value 0.5, slope 0.25", "0, 0"),
        ("tanh", "(-1, 1)", "smooth, at 0: value 0, slope 1", "0, 0"),
        ("leaky_relu", "(-∞, ∞)", "at 0: value 0, slope 0.01 (left 0.01, right 1)", "0.01, 1"),
        ("silu", "[-0.2785, ∞)", "smooth, at 0: value 0, slope 0.5", "0, 1"),
        ("hardtanh", "[-1, 1]", "at -1: value -1, slope 0 (left 0, right 1)<br>"
                                "at 1: value 1, slope 0 (left 1, right 0)", "0, 0"),
    ],
)  # fmt: skip
def test_facts_that_are_known(script, name, range_, kinks, far):
    entry = next(entry for entry in script.entries() if entry.name == name)
    assert script.range_of(entry) == range_
    assert script.at_kinks(entry) == kinks
    assert script.far(entry) == far
