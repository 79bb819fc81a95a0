"""docs/reading.md leads from loss.backward() to a loop in 4 hops; its line numbers hold."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_reading", ROOT / "docs" / "make_reading.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_quoted_lines_are_where_the_page_says(script):
    assert script.renewed(PAGE) == PAGE, "lines have moved: run  python docs/make_reading.py"


def test_the_path_has_4_hops_and_3_files(script):
    hops = re.findall(r"^## Hop (\d)", PAGE, re.MULTILINE)
    files = {match["path"] for match in script.LINK.finditer(PAGE)}
    assert hops == ["1", "2", "3", "4"]
    assert len(files) == 3
    assert len(script.LINK.findall(PAGE)) >= len(hops)


def test_every_file_that_the_page_names_is_there():
    targets = re.findall(r"\]\(\.\./([^)#]+)", PAGE)
    assert targets
    assert [target for target in targets if not (ROOT / target).is_file()] == []


def test_a_moved_line_is_found_again(script):
    shifted = re.sub(r":(\d+)\]", lambda match: f":{int(match[1]) + 7}]", PAGE)
    assert shifted != PAGE
    assert script.renewed(shifted) == PAGE


def test_a_line_that_is_gone_is_named(script):
    with pytest.raises(LookupError, match="has 0 times"):
        script.renewed(PAGE.replace("= declared.backward(op", "= op.backwards(op"))
