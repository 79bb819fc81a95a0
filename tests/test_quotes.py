"""Code that the pages quote is that of the source; see docs/make_quotes.py."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def load():
    spec = importlib.util.spec_from_file_location("make_quotes", ROOT / "docs" / "make_quotes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


quotes = load()
PAGES = quotes.pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_quoted_code_is_that_of_the_source(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- quote:") == len(quotes.QUOTE.findall(text)), (
        "a quotation without a code block"
    )
    assert quotes.renewed(text) == text, "the source has changed: run  python docs/make_quotes.py"


def test_changed_code_is_put_right():
    page = PAGES[0].read_text(encoding="utf-8")
    match = quotes.QUOTE.search(page)
    changed = page[: match.start("code")] + "something else\n" + page[match.end("code") :]
    assert quotes.renewed(changed) == page


@pytest.mark.parametrize(
    ("path", "symbol", "start"),
    [
        ("minidl/composite.py", "gone", None),
        ("minidl/composite.py", "affine", "gone"),
        ("minidl/_kernels/rows/softmax.pyx", "gone", None),
    ],
)
def test_what_is_gone_is_named(path, symbol, start):
    with pytest.raises(LookupError, match="gone"):
        quotes.quoted(path, symbol, start, start and "x")
