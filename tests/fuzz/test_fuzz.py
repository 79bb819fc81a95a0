"""A sample of the random cases; run.py says how to run the long ones."""

import subprocess
import sys
from pathlib import Path

RUN = str(Path(__file__).with_name("run.py"))


def test_random_calls_are_right_and_touch_nothing_beyond_their_operands():
    """In one process, because importing PyTorch takes longer than the cases."""
    command = [
        sys.executable,
        RUN,
        "--cases=1000",
        "--seed=17",
        "--valid",
        "--guard=3",
        "--timeout=120",
    ]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "1000 cases, 0 findings" in found.stdout
