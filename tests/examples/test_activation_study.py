"""The page on activations: each of them trains, and the table and the picture show it."""

import sys
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl import nn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))

import activation_study  # noqa: E402

TINY = ["--epochs", "2", "--seeds", "2", "--units", "12"]


def test_each_activation_learns_and_has_a_line(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    activation_study.main([*TINY, "--out", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    table = {line.split()[0]: line.split()[1:] for line in lines[1:-1]}
    assert list(table) == list(activation_study.ACTIVATIONS)
    for name, (accuracy, _, _, dead, _) in table.items():
        assert float(accuracy) > 25, name  # chance is 10
        assert 0 <= float(dead) < 100, name
    assert (tmp_path / "activation_study" / "comparison.png").stat().st_size > 10_000


def test_without_matplotlib_there_is_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(activation_study, "Figure", None)
    activation_study.main([*TINY, "--only", "ReLU", "--seeds", "1", "--out", str(tmp_path)])
    output = capsys.readouterr().out
    assert 'pip install "minidl[plot]"' in output and "ReLU" in output
    assert not list(tmp_path.iterdir())


def test_dead_units_are_those_that_fire_for_no_image():
    model = activation_study.network("ReLU", 2, 4)
    x = np.random.default_rng(0).random((20, 784), np.float32)
    bias = np.array([-1e3, 1e3, -1e3, 1e3], np.float32)  # two of four never fire
    model[0].bias.data[:] = bias
    model[2].bias.data[:] = np.abs(bias)
    assert activation_study.dead_units(model, x) == 0.25
    assert activation_study.dead_units(nn.Sequential(*list(model)[:2], model[-1]), x) == 0.5


def test_all_activations_start_from_the_same_weights():
    weights = []
    for name in activation_study.ACTIVATIONS:
        md.manual_seed(0)
        weights.append(activation_study.network(name, 2, 8)[2].weight.data)
    assert all(np.array_equal(weight, weights[0]) for weight in weights)
