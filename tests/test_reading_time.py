"""docs/reading_time.md: its line counts are about right; docs/make_reading_time.py counts again."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def load():
    spec = importlib.util.spec_from_file_location(
        "reading_time", ROOT / "docs" / "make_reading_time.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load()
PAGE = script.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("target", "lines"), [(m[2], int(m[3])) for m in script.ROW.finditer(PAGE)]
)
def test_a_file_has_about_as_many_lines(target, lines):
    """A small change to a file should not make a page wrong: a tenth is left free."""
    assert abs(script.lines_of(target) - lines) <= max(15, 0.1 * lines), (
        "run  python docs/make_reading_time.py"
    )


def numbers(text):
    return [
        float(n.replace(",", ""))
        for n in re.findall(r"\*\*[^*]*: ([\d,]+) lines, ([\d.]+) hours", text)
        for n in n
    ]


def test_totals_are_sums_of_the_rows():
    sums = [
        sum(int(row[3]) for row in script.ROW.finditer(part[0]))
        for part in script.SECTION.finditer(PAGE)
    ]
    totals = numbers(PAGE)
    assert len(sums) == 3 and totals[::2] == sums
    for i, match in enumerate(script.SECTION.finditer(PAGE)):
        assert totals[2 * i + 1] == pytest.approx(sums[i] / int(match[1]) / 60, abs=0.06)


def test_the_spine_and_the_whole_are_as_large_as_the_page_says():
    spine = numbers(PAGE)[0]
    claimed = int(re.search(r"a spine of about ([\d,]+) lines", PAGE)[1].replace(",", ""))
    assert abs(spine - claimed) <= 150
    kinds = ("*.py", "*.pyx", "*.pxd")
    whole = sum(
        len(p.read_text("utf-8").splitlines()) for k in kinds for p in (ROOT / "minidl").rglob(k)
    )
    said = int(re.search(r"minidl is about ([\d,]+) lines", PAGE)[1].replace(",", ""))
    assert abs(whole - said) <= 0.1 * said
