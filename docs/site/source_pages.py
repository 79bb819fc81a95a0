"""Sphinx extension: pages that show the repository's files, for the links that lead to them.

`source/minidl/autograd/engine.py.html` has an anchor for each line (`#L10`) and for each name that the file defines
(`#walk`, `#Tensor.backward`). Folders have a page that lists what is in them.
"""

import functools
import html
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import links
from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from pygments.lexers.special import TextLexer
from pygments.util import ClassNotFound
from sphinx.application import Sphinx
from stage import IMAGES, ROOT

HIDDEN = {".so", ".pyd", ".pyc", ".c", ".gz", ".npz", *IMAGES}


@functools.cache
def everything() -> list[str]:
    """All files of the package and of the examples."""
    found = []
    for folder in ("minidl", "examples"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix not in HIDDEN:
                found.append(path.relative_to(ROOT).as_posix())
    return found


def with_folders(files: set[str]) -> set[str]:
    """The files, and all folders above them."""
    found = set(files)
    for file in files:
        while file := posixpath.dirname(file):
            found.add(file)
    return found


def file_page(path: str) -> str:
    """The body of the page that shows a file: a line is `<span id="L1">`."""
    file = ROOT / path
    text = file.read_text(encoding="utf-8")
    try:
        lexer = get_lexer_for_filename(path, stripnl=False)
    except ClassNotFound:
        lexer = TextLexer(stripnl=False)
    names: dict[int, list[str]] = {}
    if file.suffix in (".py", ".pyx", ".pxd"):
        for name, line in links.symbols(file).items():
            names.setdefault(line, []).append(name)
    rows = []
    for number, line in enumerate(
        highlight(text, lexer, HtmlFormatter(nowrap=True)).splitlines(), 1
    ):
        anchors = "".join(f'<a id="{html.escape(n)}"></a>' for n in names.get(number, ()))
        rows.append(
            f'<span class="line" id="L{number}">{anchors}<a class="lineno" href="#L{number}" '
            f'aria-label="line {number}">{number}</a>{line}\n</span>'
        )
    return f'<div class="highlight source-file"><pre>{"".join(rows)}</pre></div>'


def folder_page(path: str, shown: set[str]) -> str:
    folder = ROOT / path
    rows = []
    for entry in sorted(folder.iterdir(), key=lambda p: (p.is_file(), p.name)):
        name = entry.relative_to(ROOT).as_posix()
        if entry.is_dir() and name in shown:
            rows.append(f'<li><a href="{entry.name}/index.html">{entry.name}/</a></li>')
        elif name in shown:
            rows.append(f'<li><a href="{entry.name}.html">{entry.name}</a> {_about(entry)}</li>')
    return f'<ul class="source-folder">{"".join(rows)}</ul>'


def _about(file: Path) -> str:
    """The first line of a module's docstring."""
    first = file.read_text(encoding="utf-8").partition("\n")[0]
    return html.escape(first.strip('"# ')) if first.startswith(('"""', "# ")) else ""


def collect(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    shown = with_folders({*everything(), *app.config.source_files})
    for path in sorted(shown):
        name = f"source/{path}/index" if (ROOT / path).is_dir() else f"source/{path}"
        body = folder_page(path, shown) if (ROOT / path).is_dir() else file_page(path)
        above = " / ".join(_crumbs(path, name))
        title = f'<p class="crumbs">{above}</p><h1>{html.escape(posixpath.basename(path))}</h1>'
        context = {"title": path, "body": title + body}
        yield name, context, "page.html"


def navigation(app: Sphinx, page: str, template: str, context: dict, doctree: Any) -> None:
    """Beside a file, the other files of its folder. (The whole site would take its time, for hundreds of pages.)"""
    if not page.startswith("source/"):
        return
    path = page.removeprefix("source/").removesuffix("/index")
    shown = with_folders({*everything(), *app.config.source_files})
    folder = path if (ROOT / path).is_dir() else posixpath.dirname(path)
    rows = []
    for name in sorted(shown):
        if posixpath.dirname(name) == folder:
            slash = "/" if (ROOT / name).is_dir() else ""
            here = " current-page" if name == path else ""
            rows.append(
                f'<li class="toctree-l1{here}"><a class="reference internal" href="{address(name, page)}">'
                f"{posixpath.basename(name)}{slash}</a></li>"
            )
    above = f'<p class="caption"><span class="caption-text">{html.escape(folder)}</span></p>'
    context["toctree"] = lambda **_: f"{above}<ul>{''.join(rows)}</ul>"


def resolve(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """``source:PATH`` becomes the address of the page that shows this file or folder."""
    for reference in doctree.findall(nodes.reference):
        scheme, _, target = reference.get("refuri", "").partition(":")
        if scheme == "source":
            reference["refuri"] = address(target, docname)
            reference["classes"] = ["source-link"]
            reference["internal"] = True


def address(target: str, docname: str) -> str:
    """From the page `docname` to the page that shows a file, which may be followed by # and an anchor."""
    path, _, anchor = target.partition("#")
    page = f"source/{path}/index.html" if (ROOT / path).is_dir() else f"source/{path}.html"
    return posixpath.relpath(page, posixpath.dirname(docname) or ".") + (anchor and f"#{anchor}")


def _crumbs(path: str, page: str) -> list[str]:
    found = []
    parts = path.split("/")[:-1]
    for i, part in enumerate(parts):
        target = f"source/{'/'.join(parts[: i + 1])}/index.html"
        found.append(f'<a href="{posixpath.relpath(target, posixpath.dirname(page))}">{part}</a>')
    return found


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("source_files", [], "html")
    app.connect("html-collect-pages", collect)
    app.connect("doctree-resolved", resolve)
    app.connect("html-page-context", navigation, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
