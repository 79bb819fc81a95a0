"""How many functions a value passes through on its way to the kernel: the table in docs/reading.md, counted."""

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
FUNCTION = re.compile(
    r"^(?:cdef [^\n=]*?|cpdef [^\n=]*?|def )(\w+)\(.*?(?=^[^\s)]|\Z)", re.MULTILINE | re.DOTALL
)
SOURCES = [path for path in (ROOT / "minidl" / "_kernels").rglob("*.p[yx][xd]")]

# In a process of its own: the engine must run as plain Python, so that each of its calls can be seen.
COUNT = """
import sys
import numpy as np
import minidl as md
from minidl import functional as F, nn, optim

def ours(frame):
    return frame.f_globals.get("__name__", "").startswith("minidl")

def count(call, kernel):
    # (functions of minidl that are still running when the kernel is called, functions entered until then), with it
    entered, on_the_way = [], []
    def watch(frame, event, called):
        if on_the_way:
            return
        if event == "call" and ours(frame):
            entered.append(frame.f_code.co_name)
        elif event == "c_call" and (getattr(called, "__module__", "") or "").startswith("minidl._kernels"):
            entered.append(called.__name__)
            if called.__name__ == kernel:
                while frame is not None:
                    on_the_way.extend([frame.f_code.co_name] if ours(frame) else [])
                    frame = frame.f_back
    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(None)
    assert on_the_way, f"{kernel} was not called, but {entered}"
    return len(on_the_way) + 1, len(entered)

md.manual_seed(0)
x = md.Tensor(np.ones((8, 16)), requires_grad=True, dtype="float32")
images = md.Tensor(np.ones((2, 3, 8, 8)), dtype="float32")
target = np.arange(8)
dense = nn.Sequential(nn.Affine(16, 4), nn.ReLU())
conv = nn.Sequential(nn.Conv(3, 4, 3, padding=1), nn.BatchNorm(4), nn.LeakyReLU(0.2))
adam = optim.Adam(dense.parameters())
dense(x).sum().backward()
adam.step()
conv(images)
total, loss = F.relu(x).sum(), F.cross_entropy(x, target)
for name, kernel, call in (
    ("relu forward", "activation_forward", lambda: F.relu(x)),
    ("relu backward", "activation_backward", lambda: total.backward()),
    ("affine and relu in one kernel", "affine_forward", lambda: dense(x)),
    ("conv", "conv_forward", lambda: conv(images)),
    ("conv, then batch_norm and leaky_relu in one kernel", "batch_norm_forward", lambda: conv(images)),
    ("cross_entropy forward", "cross_entropy_forward", lambda: F.cross_entropy(x, target)),
    ("cross_entropy backward", "cross_entropy_backward", lambda: loss.backward()),
    ("Adam step", "adam_step", adam.step),
):
    print(name, *count(call, kernel), sep=" | ")
"""
ROW = re.compile(r"^\| ([^|]+) \| (\d+) \| (\d+) \| ([^|]*?) ?\|$", re.MULTILINE)
TABLE = {name: (int(way), int(entered), inside) for name, way, entered, inside in ROW.findall(PAGE)}


@pytest.fixture(scope="module")
def counted():
    done = subprocess.run(
        [sys.executable, "-c", COUNT],
        cwd=ROOT,
        env=os.environ | {"MINIDL_ENGINE": "python", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = (line.split(" | ") for line in done.stdout.splitlines())
    return {name: (int(way), int(entered)) for name, way, entered in lines}


def test_the_page_has_every_path(counted):
    assert set(TABLE) == set(counted)


@pytest.mark.parametrize("name", TABLE)
def test_functions_on_the_way_to_the_kernel(name, counted):
    way, entered, _ = TABLE[name]
    assert counted[name] == (way, entered), (
        f"docs/reading.md says {(way, entered)}: does the code have to pass through more functions?"
    )


def body(name: str) -> str:
    """The text of all kernel functions of this name."""
    found = [
        match[0]
        for path in SOURCES
        for match in FUNCTION.finditer(path.read_text(encoding="utf-8"))
        if match[1] == name
    ]
    assert found, f"no kernel function is called {name}"
    return "".join(found)


@pytest.mark.parametrize(
    ("name", "most"),
    [("relu forward", 7), ("relu backward", 7), ("affine and relu in one kernel", 11)],
)
def test_functions_of_the_whole_way(name, most):
    """From the call to the formula; the kernel's entry point stands in both columns."""
    way, _, inside = TABLE[name]
    assert way + inside.count("`") // 2 - 1 <= most


@pytest.mark.parametrize("name", [name for name in TABLE if TABLE[name][2]])
def test_functions_of_the_kernel(name):
    """Each is called by the one before, or was handed to it by one further up."""
    way = re.findall(r"`(\w+)`", TABLE[name][2])
    assert len(way) >= 4
    texts = ""
    for function, called in pairwise(way):
        texts += body(function)
        assert re.search(rf"\b{called}\b", texts), f"{function} does not lead to {called} any more"
    body(way[-1])


def test_small_arrays_go_straight_from_the_driver_to_the_loop():
    """As the last column has it; only cutting into tasks, or recording, takes more."""
    assert re.search(
        r"if alone and not capturing\(\):\n.*\n +loop\(NULL, work, 0, rows, to\)\n", body("run")
    )
