"""A sample of the random cases; run.py says how to run the long ones."""

import subprocess
import sys
from pathlib import Path

RUN = str(Path(__file__).with_name("run.py"))


def run(*arguments):
    return subprocess.run([sys.executable, RUN, *arguments], capture_output=True, text=True)


def test_random_calls_are_right():
    found = run("--cases=1000", "--seed=15", "--valid")
    assert found.returncode == 0, found.stdout + found.stderr


def test_operands_at_the_edge_of_memory():
    found = run("--cases=500", "--seed=16", "--valid", "--guard")
    assert found.returncode == 0, found.stdout + found.stderr
