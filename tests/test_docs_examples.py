"""The examples on the pages of docs/ run and print what the pages say."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    page.relative_to(ROOT).as_posix()
    for page in sorted((ROOT / "docs").glob("*.md"))
    if re.search("^>>>", page.read_text(encoding="utf-8"), re.MULTILINE)
]


def test_there_are_pages_with_examples():
    assert {"docs/prelu.md", "docs/pytorch.md"} <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_examples(page, tmp_path, monkeypatch):
    if "import torch" in (ROOT / page).read_text(encoding="utf-8"):
        pytest.importorskip("torch")
        pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)  # some write files
    failed, tried = doctest.testfile(str(ROOT / page), module_relative=False, encoding="utf-8")
    assert tried > 0 and failed == 0


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)
    assert [target for target in targets if not (page.parent / target).exists()] == []
