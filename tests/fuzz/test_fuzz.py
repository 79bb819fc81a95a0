"""A sample of the random cases; run.py says how to run the long ones."""

import subprocess
import sys
from pathlib import Path

import pytest

RUN = str(Path(__file__).with_name("run.py"))


@pytest.mark.parametrize(
    "options",
    [
        [
            "--seed=17",
            "--valid",
            "--guard=3",
        ],  # values, and nothing beyond their operands is touched
        ["--seed=18", "--wrong"],  # wrong operands and settings: errors that name what is wrong
        ["--seed=19", "--wrong", "--family=setitem"],
        ["--seed=20", "--wrong", "--family=compare"],
    ],
    ids=" ".join,
)
def test_random_calls_give_what_they_must(options):
    """In one process, because importing PyTorch takes longer than the cases."""
    cases = 1000 if "--family" not in " ".join(options) else 300
    command = [sys.executable, RUN, f"--cases={cases}", "--timeout=120", *options]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    assert f"{cases} cases, 0 findings" in found.stdout
