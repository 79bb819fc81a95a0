"""The benchmark's section `ops` measures every public function, and reports what is slower than it should be."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl import functional as F
from minidl import ops
from minidl.ops.activations.table import ROWS as ACTIVATIONS

from .test_gradients import public_names

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def modules():
    """The benchmark's modules, imported as it does; forgotten afterwards."""
    before, paths = set(sys.modules), [str(FOLDER), str(FOLDER / "workers")]
    sys.path[:0] = paths
    names = ("op_rows", "op_products", "calls", "op_figures", "op_tables", "results")
    yield [importlib.import_module(name) for name in names]
    for path in paths:
        sys.path.remove(path)
    for name in set(sys.modules) - before:
        if str(FOLDER) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def all_rows(op_rows, op_products):
    activations = [{"name": row.name, "params": row.params} for row in ACTIVATIONS]
    return [*op_rows.ROWS, *op_rows.activation_rows(activations), *op_products.ROWS]


def test_every_public_function_is_measured(modules):
    rows = all_rows(*modules[:2])
    covered = {row.covers for row in rows}
    assert public_names() - covered == set(), "no row in benchmarks/op_rows.py"
    assert covered - public_names() == set(), "a row for what does not exist"
    assert len({row.name for row in rows}) == len(rows)


def test_every_row_runs(modules):
    """Forward; a name of PyTorch's is only looked at when the benchmark runs."""
    op_rows, op_products, calls, *_ = modules
    for row in [*op_rows.ROWS, op_products.ROWS[0]]:
        arrays = [calls.drawn(text, i) for i, text in enumerate(row.operands.split(), 1)]
        names = ", ".join(calls.NAMES[: len(arrays)])
        call = eval(f"lambda {names}: {row.ours}", {"md": md, "ops": ops, "F": F})
        with md.no_grad():
            y = call(*map(md.Tensor, arrays))
        assert isinstance(y, md.Tensor) and np.isfinite(y.data).all(), row.name
        compile(row.theirs, row.name, "eval")


def test_every_program_runs(modules):
    worker = importlib.import_module("minidl_").Minidl("")
    programs, named = map(importlib.import_module, ("programs", "op_programs"))
    assert tuple(programs.PROGRAMS) == named.PROGRAMS
    for case in named.CASES:
        task = worker.program(case)
        assert np.isfinite(task.check).all(), case["name"]
        assert set(task.measure(0.002)["times"]) == {f"{task.mode} 1", f"{task.mode} 2"}


def test_an_unknown_way_to_draw(modules):
    with pytest.raises(ValueError, match="odd:3: no such way"):
        modules[2].drawn("odd:3", 1)


def test_report(modules):
    """One row slower than PyTorch, one slower on two threads, one product slower than a larger one."""
    _, op_products, _, op_figures, op_tables, results = modules
    small, (large, *_) = next(iter(op_products.NEIGHBOURS.items()))

    def case(name, ours, theirs):
        keys = ("forward 1", "forward 2")
        rounds = [
            [{"ns": ns[1], "times": dict(zip(keys, ns, strict=True))}] for ns in (ours, theirs)
        ]
        peers = {p: {"rounds": r} for p, r in zip(("minidl", "torch"), rounds, strict=True)}
        return {"name": name, "peers": peers, "rounds": [{"fit": True}]}

    cases = [
        case("slow", (2000.0, 1000.0), (1000.0, 900.0)),
        case("one thread", (1000.0, 1500.0), (3000.0, 3000.0)),
        case(small, (3000.0, 1500.0), (9000.0, 9000.0)),
        case(large, (2000.0, 1500.0), (9000.0, 9000.0)),
    ]
    raw = {"cases": cases, "fma_peak_gflops": {"two": 1.0}, "copy_gb_s": 1.0}
    section = results.Section(raw)
    below = [f for f in op_figures.figures(section) if f.ratio < 1]
    assert [(f.name, f.threads, f.ratio) for f in below] == [("slow", 1, 0.5), ("slow", 2, 0.9)]
    slower = [one.name for gain, one, _ in op_figures.scaling(section) if gain < op_figures.SLOWER]
    assert slower == ["one thread"]
    [(ratio, figure, other)] = op_figures.beaten_by_a_neighbour(section)
    assert (ratio, figure.name, figure.threads, other.name) == (1.5, small, 1, large)
    text = "\n".join(op_tables.op_rows(section))
    assert "| slow | forward | 1 | 2 us | 0.50 |" in text
    assert f"| {small} | forward | 1 | 3 us | {large} | 2 us | 1.50 |" in text
