"""The pages about adding an operation, a loss and an optimizer: their diffs, applied to a copy of the package, work."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .test_adding_an_activation import apply, patches

ROOT = Path(__file__).resolve().parent.parent


def diffs(page: str) -> dict:
    return patches((ROOT / "docs" / page).read_text(encoding="utf-8"))


# page -> (the files that it changes, the tests to run in the copy, which of these)
PAGES = {
    "adding_an_optimizer.md": (
        {"minidl/optim/algorithms.py", "tests/optim/test_algorithms.py"},
        ("tests/optim", "tests/test_every_public_name.py"),
        "Lion",
    ),
}


@pytest.mark.parametrize("page", PAGES)
def test_the_page_changes_few_files(page):
    assert set(diffs(page)) == PAGES[page][0]
    assert len(PAGES[page][0]) <= 4


@pytest.mark.parametrize("page", PAGES)
def test_the_page_in_a_copy(page, tmp_path):
    for name in ("minidl", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", tmp_path)
    for path, hunks in diffs(page).items():
        file = tmp_path / path
        file.write_text(apply(file.read_text(encoding="utf-8"), hunks, path), encoding="utf-8")
    _, tests, chosen = PAGES[page]
    command = [sys.executable, "-m", "pytest", *tests, "-k", chosen, "-p", "no:cacheprovider"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert " passed" in done.stdout
