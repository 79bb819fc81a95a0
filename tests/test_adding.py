"""The pages docs/adding_*.md do what they say: their diffs are applied to one copy, compiled and tested."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# page -> (the files that it changes, where its tests are, what is in their names)
PAGES = {
    "adding_an_activation.md": (
        {"minidl/_kernels/loops/activations.pyx", "minidl/ops/activations/smooth.py"},
        (
            "ops/test_gradients.py",
            "ops/test_special_values.py",
            "kernels/test_against_reference.py",
            "nn/test_layers.py",
        ),
        "squared_relu or SquaredReLU",
    ),
    "adding_an_operation.md": (
        {
            "minidl/_kernels/loops/elementwise.pyx",
            "minidl/_kernels/reference/elementwise.py",
            "minidl/ops/arithmetic.py",
            "tests/ops/table.py",
        },
        ("ops", "kernels/test_elementwise.py", "test_every_public_name.py"),
        "logaddexp",
    ),
    "adding_a_loss.md": (
        {
            "minidl/_kernels/loops/losses.pyx",
            "minidl/_kernels/reference/losses.py",
            "minidl/ops/losses/loss.py",
            "tests/ops/table.py",
        },
        ("ops", "kernels/test_against_reference.py", "test_every_public_name.py"),
        "pinball",
    ),
    "adding_an_optimizer.md": (
        {"minidl/optim/algorithms.py", "tests/optim/test_algorithms.py"},
        ("optim", "test_every_public_name.py"),
        "Lion",
    ),
}
# setup.py as it is, but for the modules that the pages change, and quickly: the others are there, compiled.
BUILD = """
import sys
sys.path.insert(0, "")
import setup
setup.modules = lambda: [setup.module(path) for path in %r]
setup.remove_all_but = lambda made, found: None
setup.GNU_LEVELS["baseline"] = setup.LEAN = ["-g0", "-O0"]
sys.argv = ["setup.py", "-q", "build_ext", "--inplace"]
setup.main()
"""
USE = """
import numpy as np, minidl as md
from minidl import functional as F, nn, _kernels as K
assert K.active == "baseline" and md.__file__.startswith(__import__("os").getcwd())
x = np.array([-2.0, -0.0, 0.5, 3.0], "float32")
for y in (F.squared_relu(x), nn.SquaredReLU()(x)):
    np.testing.assert_array_equal(y.numpy(), [0, 0, 0.25, 9])
np.testing.assert_array_equal(K.activation_forward("squared_relu", x),
                              K.load("reference").activation_forward("squared_relu", x))
md.testing.check_grads(F.squared_relu, [np.array([-2.0, -0.7, 0.5, 3.0])], order=3)
t = md.Tensor(x, requires_grad=True)
F.squared_relu(t).sum().backward()
np.testing.assert_array_equal(t.grad.numpy(), [0, 0, 1, 6])
assert "squared_relu(x)" in F.squared_relu.__doc__ and repr(nn.SquaredReLU()) == "SquaredReLU()"
"""


def patches(page: str) -> dict[str, list[tuple[str, str]]]:
    """{file: [(lines before, lines after) of each hunk]}"""
    found = {}
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for block in re.findall(r"```diff\n(.*?)```", text, re.DOTALL):
        head, *hunks = re.split(r"^@@ .*\n", block, flags=re.MULTILINE)
        path = re.search(r"^\+\+\+ b/(.+)$", head, re.MULTILINE)[1]
        assert f"--- a/{path}\n" in head
        found[path] = [
            tuple("".join(s[1:] for s in hunk.splitlines(True) if s[0] in side or s == "\n")
                  for side in (" -", " +"))
            for hunk in hunks
        ]  # fmt: skip
    return found


def changed(path: str, text: str, page: str) -> str:
    for before, after in patches(page).get(path, ()):
        assert text.count(before) == 1, f"{page} does not fit {path} any more:\n{before}"
        text = text.replace(before, after)
    return text


@pytest.mark.parametrize("page", PAGES)
def test_the_page_changes_few_files(page):
    assert set(patches(page)) == PAGES[page][0]
    assert len(PAGES[page][0]) <= 4


@pytest.mark.parametrize("page", PAGES)
def test_the_page_fits(page):
    for path in patches(page):
        text = (ROOT / path).read_text(encoding="utf-8")
        assert changed(path, text, page) != text


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs Python in a copy of the package to which all pages were applied."""
    pytest.importorskip("Cython")
    if not any((ROOT / "minidl/_kernels/baseline").glob("activations.*")):
        pytest.skip("the kernels are not compiled in place")
    copy = tmp_path_factory.mktemp("copy")
    paths = {path for page in PAGES for path in patches(page)}
    compiled = [path for path in sorted(paths) if is_compiled(path)]
    stems = [Path(path).stem for path in compiled]
    old = [f"{stem}.*.{ending}" for stem in stems for ending in ("so", "pyd")]
    leave = shutil.ignore_patterns("v3", "v4", "__pycache__", *old)
    for name in ("minidl", "tests", "benchmarks", "tools"):
        shutil.copytree(ROOT / name, copy / name, ignore=leave)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, copy)
    for path in paths:
        text = (copy / path).read_text(encoding="utf-8")
        for page in PAGES:
            text = changed(path, text, page)
        (copy / path).write_text(text, encoding="utf-8")
    python_path = [str(copy), os.environ.get("PYTHONPATH", "")]
    changes = {"MINIDL_LEVELS": "baseline", "MINIDL_KERNELS": "baseline"}
    changes["PYTHONPATH"] = os.pathsep.join(filter(None, python_path))

    def python(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=copy,
            env=os.environ | changes,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    python("-c", BUILD % compiled)
    return python


def is_compiled(path: str) -> bool:
    """Whether the checkout has compiled modules of this name: kernels of each level, and some Python files."""
    file = ROOT / path
    return file.suffix == ".pyx" or any(file.parent.glob(f"{file.stem}.*.so"))


def test_the_new_activation_in_use(run):
    run("-c", USE)


def test_the_tests_of_what_was_added(run):
    places = sorted({f"tests/{place}" for _, tests, _ in PAGES.values() for place in tests})
    chosen = " or ".join(names for *_, names in PAGES.values())
    told = run("-m", "pytest", "-vv", *places, "-k", chosen, "-p", "no:cacheprovider")
    for page, (*_, names) in PAGES.items():
        pattern = names.replace(" or ", "|")
        assert len(re.findall(rf"(?:{pattern}).* PASSED", told)) > 5, f"{page}: no tests of {names}"
