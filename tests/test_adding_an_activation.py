"""docs/adding_an_activation.md does what it says: its diffs are applied to a copy, compiled and tested."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minidl import _kernels as K

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "adding_an_activation.md"
NAME, CLASS = "squared_relu", "SquaredReLU"

# setup.py as it is, but building one kernel only: the others are there, compiled.
BUILD = """
import sys
sys.path.insert(0, "")
import setup
setup.modules = lambda: [setup.module("minidl/_kernels/loops/activations.pyx")]
setup.remove_all_but = lambda made, found: None
sys.argv = ["setup.py", "build_ext", "--inplace"]
setup.main()
"""
USE = f"""
import numpy as np, minidl as md
from minidl import functional as F, nn, _kernels as K
assert K.active == {K.available[-1]!r} and md.__file__.startswith(__import__("os").getcwd())
x = np.array([-2.0, -0.0, 0.5, 3.0], "float32")
for y in (F.{NAME}(x), nn.{CLASS}()(x)):
    np.testing.assert_array_equal(y.numpy(), [0, 0, 0.25, 9])
np.testing.assert_array_equal(K.activation_forward("{NAME}", x),
                              K.load("reference").activation_forward("{NAME}", x))
md.testing.check_grads(F.{NAME}, [np.array([-2.0, -0.7, 0.5, 3.0])], order=3)
t = md.Tensor(x, requires_grad=True)
F.{NAME}(t).sum().backward()
np.testing.assert_array_equal(t.grad.numpy(), [0, 0, 1, 6])
assert "{NAME}(x)" in F.{NAME}.__doc__ and repr(nn.{CLASS}()) == "{CLASS}()"
"""


def patches(page: str) -> dict[str, list[tuple[str, str]]]:
    """{file: [(lines before, lines after) of each hunk]}"""
    found = {}
    for block in re.findall(r"```diff\n(.*?)```", page, re.DOTALL):
        head, *hunks = re.split(r"^@@ .*\n", block, flags=re.MULTILINE)
        path = re.search(r"^\+\+\+ b/(.+)$", head, re.MULTILINE)[1]
        assert f"--- a/{path}\n" in head
        found[path] = [
            tuple("".join(s[1:] for s in hunk.splitlines(True) if s[0] in side or s == "\n")
                  for side in (" -", " +"))
            for hunk in hunks
        ]  # fmt: skip
    return found


def apply(text: str, hunks: list[tuple[str, str]], path: str) -> str:
    for before, after in hunks:
        assert text.count(before) == 1, f"the page does not fit {path} any more:\n{before}"
        text = text.replace(before, after)
    return text


def test_the_page_changes_two_files():
    assert set(patches(PAGE.read_text(encoding="utf-8"))) == {
        "minidl/_kernels/loops/activations.pyx",
        "minidl/ops/activations/smooth.py",
    }


def test_the_page_in_a_copy(tmp_path):
    if not any((ROOT / "minidl/_kernels/baseline").glob("activations.*")):
        pytest.skip("the kernels are not compiled in place")
    leave = shutil.ignore_patterns("__pycache__", "activations.*.so", "activations.*.pyd")
    shutil.copytree(ROOT / "minidl", tmp_path / "minidl", ignore=leave)
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=leave)
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks", ignore=leave)
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=leave)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, tmp_path)
    for path, hunks in patches(PAGE.read_text(encoding="utf-8")).items():
        file = tmp_path / path
        file.write_text(apply(file.read_text(encoding="utf-8"), hunks, path), encoding="utf-8")

    python_path = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    changes = {"MINIDL_LEVELS": ",".join(K.available), "MINIDL_KERNELS": ""}
    changes["PYTHONPATH"] = os.pathsep.join(filter(None, python_path))

    def run(*command: str) -> None:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=os.environ | changes,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]

    run("-c", BUILD)
    run("-c", USE)
    places = ("ops/test_gradients.py", "ops/test_special_values.py", "kernels", "nn/test_layers.py")
    places = [str(tmp_path / "tests" / place) for place in places]
    run("-m", "pytest", *places, "-k", f"{NAME} or {CLASS}", "-p", "no:cacheprovider")
