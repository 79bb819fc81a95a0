"""The example runs as a learner runs it: a few steps, with and without matplotlib."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "mlp.py"


def run(tmp_path, *args, without=None):
    hidden = tmp_path / "hidden"
    if without:
        hidden.mkdir()
        (hidden / f"{without}.py").write_text(
            f"raise ModuleNotFoundError('No module named {without}', name='{without}')"
        )
    paths = [str(hidden), str(EXAMPLE.parents[1]), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, str(EXAMPLE), "--steps", "3", *args],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_few_steps_with_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    done = run(tmp_path, "--activation", "tanh", "--hidden", "16", "--dropout", "0.1")
    assert done.returncode == 0, done.stderr
    assert "val_accuracy" in done.stdout and "test accuracy" in done.stdout
    pictures = {path.name for path in (tmp_path / "out" / "mlp").iterdir()}
    names = ("confusion_matrix", "first_layer", "learning_curves", "predictions")
    assert pictures == {f"{name}.png" for name in names}


def test_without_matplotlib_it_trains_and_says_so(tmp_path):
    done = run(tmp_path, without="matplotlib")
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout and 'pip install "minidl[plot]"' in done.stdout
    assert not (tmp_path / "out").exists()


def test_several_seeds_and_other_settings(tmp_path):
    settings = ("--optimizer", "sgd", "--hidden", "--shift", "0", "--epochs", "1", "--no-plots")
    done = run(tmp_path, "--seeds", "2", *settings)
    assert done.returncode == 0, done.stderr
    assert "over 2 seeds: mean" in done.stdout
