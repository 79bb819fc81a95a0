"""docs/build: the code that a page repeats is that of the pages before, and its figures are measured ones."""

import ast
import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs" / "build").glob("[1-9]*.md"))
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
REPEATED = re.compile(r"<details><summary>[^<]*step \d[^<]*</summary>\n(.*?)</details>", re.DOTALL)


def definitions(text: str) -> dict[str, str]:
    """Functions and classes, by name, in all blocks of a page; the last one of a name."""
    return {
        node.name: ast.dump(node)
        for code in FENCE.findall(text)
        for node in ast.parse(code).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


def test_there_are_all_steps():
    assert [page.name[0] for page in PAGES] == list("12345")


@pytest.mark.parametrize("page", PAGES[2:], ids=lambda page: page.stem)
def test_repeated_code_is_that_of_the_pages_before(page):
    earlier: dict[str, str] = {}
    for before in PAGES[: PAGES.index(page)]:
        earlier.update(definitions(before.read_text(encoding="utf-8")))
    match = REPEATED.search(page.read_text(encoding="utf-8"))
    repeated = definitions(match[1]) if match else {}
    assert repeated or page.stem.startswith("5")
    for name, code in repeated.items():
        assert earlier.get(name) == code, f"{name} is not as on an earlier page"


# ── The loops of step 5 ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def times():
    spec = importlib.util.spec_from_file_location("times", ROOT / "docs" / "make_loop_times.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_times_on_the_page_are_those_of_the_file(times):
    page = times.PAGE.read_text(encoding="utf-8")
    figures = json.loads(times.FIGURES.read_text(encoding="utf-8"))
    assert times.rendered(page, figures) == page, "run  python docs/make_loop_times.py --render"
    assert figures["microseconds"].keys() == times.SIZES.keys()


def test_loops_of_the_page_compute_what_it_says(times, tmp_path):
    pytest.importorskip("Cython")
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    code = times.cython_code(times.PAGE.read_text(encoding="utf-8"))
    loop, report = times.build(code, tmp_path, ["-O3"])
    assert any("not vectorized" not in line for line in times.vector_lines(report, code))
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        x, gy = (rng.standard_normal(1600).astype(dtype) for _ in range(2))
        gy[x <= 0] = np.inf  # where NumPy's product would be NaN
        expected, gx = np.where(x > 0, gy, 0), np.full_like(x, np.nan)
        for first in range(0, 1600, 700):
            loop.piece(x, gy, gx, first, min(first + 700, 1600))
        np.testing.assert_array_equal(gx, expected)
        if dtype == np.float32:
            plain = np.empty_like(x)
            loop.plain(x, gy, plain)
            np.testing.assert_array_equal(plain, expected)
            for total in (loop.total(x), loop.total_in_lanes(x)):
                assert total == pytest.approx(x.sum(dtype=np.float64), abs=1e-3)
