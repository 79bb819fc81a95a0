"""docs/distributed.md: its tables are those of the file that was measured."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def make():
    path = ROOT / "docs" / "make_distributed.py"
    spec = importlib.util.spec_from_file_location("make_distributed", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_those_of_the_file(make):
    page = make.PAGE.read_text(encoding="utf-8")
    figures = json.loads(make.FIGURES.read_text(encoding="utf-8"))
    assert make.rendered(page, figures) == page, "run  python docs/make_distributed.py"


def test_the_tree_takes_at_most_2_5_times_an_allreduce(make):
    """Of a million floats, as measured."""
    sums = json.loads(make.FIGURES.read_text(encoding="utf-8"))["sums"]
    for ranks in ("2", "4", "8"):
        times = sums[ranks][str(1 << 20)]
        for kind in ("least", "median"):
            assert times["tree"][kind] <= 2.5 * times["mpi"][kind], (ranks, kind)


def test_a_table_without_its_place_is_noticed(make):
    figures = json.loads(make.FIGURES.read_text(encoding="utf-8"))
    with pytest.raises(ValueError, match="0 places for the table 'sums'"):
        make.rendered("a page", figures)
