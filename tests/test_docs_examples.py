"""What the pages of docs/ say holds: their examples run and print what is shown, their links and pictures are there,
and a link whose text is a name leads to a file that defines this name.

docs/site/snippets.py says which pages' snippets run, and how a page marks one that does not.
"""

import contextlib
import difflib
import doctest
import functools
import io
import linecache
import re
import sys
import traceback
from pathlib import Path

import pytest

import minidl as md

from .test_structure import PUBLIC

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
sys.path[:0] = [str(DOCS / "site"), str(DOCS / "pictures")]  # pages may import docs/pictures/svg.py

import links  # noqa: E402
import snippets  # noqa: E402

ALL = sorted(
    {*DOCS.rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md"), *(ROOT / "minidl").rglob("*.md")}
    | {ROOT / "README.md"}
)
DOCTESTS = [
    page for page in sorted(DOCS.rglob("*.md")) if re.search("^>>>", page.read_text("utf-8"), re.M)
]
NEEDED = {  # to run a page
    "import torch": ("torch", "safetensors"),
    "import MLP": ("sklearn",),
    "import onnxruntime": ("onnx", "onnxruntime"),
}
LIVE = snippets.live_pages(DOCS)
OTHERS = ("torch", "matplotlib", "scipy", "sklearn", "keras", "tensorflow", "chainer")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_there_are_pages_with_examples():
    assert {"docs/prelu.md", "docs/pytorch.md"} <= {name(page) for page in DOCTESTS}


@pytest.mark.parametrize("page", DOCTESTS, ids=name)
def test_doctests(page, tmp_path, monkeypatch):
    for text, libraries in NEEDED.items():
        for library in libraries if text in page.read_text("utf-8") else ():
            pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)  # some write files
    # A fence ends what an example prints, as an empty line does.
    text = re.sub(r"^ *```.*$", "", page.read_text("utf-8"), flags=re.MULTILINE)
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    failed, tried = doctest.DocTestRunner(verbose=False).run(examples)
    assert tried > 0 and failed == 0


def test_every_public_name_has_an_example():
    """In its docstring, or in docs/by_example.md."""
    told = snippets.examples((DOCS / "by_example.md").read_text("utf-8"))
    named = {full.removeprefix("md.") for full in told}
    without = [
        full
        for full, thing in PUBLIC.items()
        if ">>>" not in (thing.__doc__ or "")
        and full.removeprefix("md.") not in named
        # What monitor and testing import for themselves is not theirs.
        and (
            full.count(".") == 1
            or thing.__module__ == full.rpartition(".")[0].replace("md", "minidl")
        )
    ]
    assert not without, f"without an example: {without}; add some to docs/by_example.md"


# ── Snippets ──────────────────────────────────────────────────────────────────────────────────────


def run(page: str, text: str) -> list[str]:
    """Runs a page's snippets in one namespace; says what is wrong, beginning with page and line."""
    wrong: list[str] = []
    namespace: dict = {"__name__": "__main__"}
    for number, block in enumerate(b for b in snippets.blocks(text) if b.language == "python"):
        if block.not_run is not None:
            if not block.not_run:
                wrong.append(f"{page}:{block.line}: `not run` without a reason")
            continue
        where = f"{page}:{block.line}: python block {number + 1}"
        if other := re.search(rf"^\s*(?:import|from)\s+({'|'.join(OTHERS)})\b", block.text, re.M):
            wrong.append(f"{where} imports {other[1]}, which the browser does not have")
            continue
        file = f"<{page}, block {number + 1}>"
        # Line numbers of errors are those of the page, and tracebacks show its lines.
        source = "\n" * (block.line - 1) + block.text
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                exec(compile(source, file, "exec", dont_inherit=True), namespace)
        except Exception:
            wrong.append(f"{where} raises\n{traceback.format_exc()}")
            break  # the blocks below build on it
        if block.prints is not None and (different := difference(block.prints, printed.getvalue())):
            wrong.append(f"{where} prints (+) something else than the page says (-)\n{different}")
        if printed.getvalue().strip() and block.prints is None:
            wrong.append(f"{where} prints, but no ```text block follows that says what")
    return wrong


def difference(expected: str, printed: str) -> str:
    """Lines that differ, trailing spaces and empty lines at the end aside."""
    ours, theirs = (
        [line.rstrip() for line in text.rstrip().splitlines()] for text in (expected, printed)
    )
    return "\n".join(line for line in difflib.ndiff(ours, theirs) if line[0] in "+-")


@pytest.fixture
def _as_at_the_start(tmp_path, monkeypatch):
    """Snippets may set the seed and the number of threads; they see neither what other tests set nor leave it."""
    threads, raised = md.get_num_threads(), linecache.cache.copy()
    monkeypatch.chdir(tmp_path)
    md.manual_seed(0)
    yield
    assert not any(tmp_path.iterdir()), "a snippet wrote a file"
    md.set_num_threads(threads)
    linecache.cache.clear()
    linecache.cache.update(raised)


@pytest.mark.usefixtures("_as_at_the_start")
@pytest.mark.parametrize("page", LIVE, ids=name)
def test_snippets_run_and_print_what_the_page_says(page):
    wrong = run(name(page), page.read_text("utf-8"))
    assert not wrong, "\n".join(wrong)


@pytest.mark.usefixtures("_as_at_the_start")
def test_what_is_wrong_with_snippets_is_said():
    page = """
```python
x = 1
print(x)
```

```text
2
```
<!-- not run: needs a file -->
```python
open("gone")
```
```python
print(x)
```
```python
import torch
```
```python
def f():
    return y
f()
```
"""
    wrong = run("page.md", page)
    for message, begin in zip(
        wrong,
        (
            "page.md:3: python block 1 prints (+) something else than the page says (-)\n- 2\n+ 1",
            "page.md:15: python block 3 prints, but no ```text block follows",
            "page.md:18: python block 4 imports torch",
            "page.md:21: python block 5 raises",
        ),
        strict=True,
    ):
        assert message.startswith(begin)
    assert "line 22, in f\n    return y\n" in wrong[-1]


# ── Links ─────────────────────────────────────────────────────────────────────────────────────────


@functools.cache
def anchors(page: Path) -> set[str]:
    """The headings of a Markdown page, as GitHub names them in links, and the names in its HTML."""
    text = page.read_text("utf-8")
    found: set[str] = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))
    code = [range(block.line - 2, block.end) for block in snippets.blocks(text)]
    for number, line in enumerate(text.splitlines()):
        if not any(number in lines for lines in code) and (
            match := re.match(r"#{1,6} +(.*)", line)
        ):
            title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", match[1]).strip().lower()
            slug = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
            count = sum(
                re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other) is not None for other in found
            )
            found.add(f"{slug}-{count}" if count else slug)
    return found


@functools.cache
def symbols(file: Path) -> dict[str, int]:
    return links.symbols(file)


def broken(page: Path, text: str) -> list[str]:
    wrong = []
    for link in links.links(text):
        where = f"{name(page)}:{link.line}: {link.target}"
        target = (page.parent / link.path).resolve() if link.path else page
        if link.path.startswith("/") or not target.is_relative_to(ROOT) or not target.exists():
            wrong.append(f"{where} is not there")
        elif link.anchor and target.suffix == ".md" and link.anchor not in anchors(target):
            wrong.append(f"{where}: the page has no such heading")
        elif link.symbol and link.symbol not in symbols(target):
            wrong.append(f"{where}: {link.symbol} is not defined there")
    return wrong


@pytest.mark.parametrize("page", ALL, ids=name)
def test_links_lead_somewhere(page):
    wrong = broken(page, page.read_text("utf-8"))
    assert not wrong, "\n".join(wrong)


def test_what_is_wrong_with_links_is_said():
    page = DOCS / "reading.md"
    text = """# A page
[good](prelu.md), [`walk`](../minidl/autograd/engine.py), [`Tensor.backward`](../minidl/autograd/tensor.py),
[`rule`](../minidl/_kernels/loops/activations.pyx), `[no](link.md)`, [far](https://example.org/gone.md)
[gone](gone.md) and ![a picture](images/gone.png), [a heading](prelu.md#gone)
[`walks`](../minidl/autograd/engine.py)
[`rules`](../minidl/_kernels/loops/activations.pyx)
"""
    assert [line.partition(": ")[0::2] for line in broken(page, text)] == [
        ("docs/reading.md:4", "gone.md is not there"),
        ("docs/reading.md:4", "images/gone.png is not there"),
        ("docs/reading.md:4", "prelu.md#gone: the page has no such heading"),
        ("docs/reading.md:5", "../minidl/autograd/engine.py: walks is not defined there"),
        (
            "docs/reading.md:6",
            "../minidl/_kernels/loops/activations.pyx: rules is not defined there",
        ),
    ]
