"""docs/build: the code that a page repeats from the pages before is the code of those pages."""

import ast
import re
from pathlib import Path

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
    assert [page.name[0] for page in PAGES] == list("123")


@pytest.mark.parametrize("page", PAGES[2:], ids=lambda page: page.stem)
def test_repeated_code_is_that_of_the_pages_before(page):
    earlier: dict[str, str] = {}
    for before in PAGES[: PAGES.index(page)]:
        earlier.update(definitions(before.read_text(encoding="utf-8")))
    match = REPEATED.search(page.read_text(encoding="utf-8"))
    repeated = definitions(match[1]) if match else {}
    assert page.stem.startswith("5") or len(repeated) > 5
    for name, code in repeated.items():
        assert earlier.get(name) == code, f"{name} is not as on an earlier page"
