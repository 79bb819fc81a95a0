"""Draws the pictures that pages compute themselves: the value of a Python block that is followed by a picture
(its output may be between them).

The blocks of a page run in order, in one namespace, as they do in the live page; so a picture cannot differ from the
code above it.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent
BLOCK = re.compile(
    r"(?P<skip><!-- not run:[^\n]*-->\n)?^```python\n(?P<code>(?:(?!```).*\n)*)```\n"
    r"(?:```text\n(?:(?!```).*\n)*```\n)?"
    r"(?:\s*!\[[^\]]*\]\([^)]*images/(?P<name>[\w/]+)\.svg\))?",
    re.MULTILINE,
)


def pages() -> list[Path]:
    """Those that draw."""
    every = [DOCS / "start.md", *sorted(DOCS.glob("build/*.md")), *sorted(DOCS.glob("tour/*.md"))]
    return [page for page in every if page.exists()]


def value_of(code: str, scope: dict[str, Any]) -> Any:
    """Runs the code; the value of its last line if that is an expression, else None."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "page", "exec"), scope)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "page", "eval"), scope)


def pictures_of(page: Path) -> dict[str, Any]:
    """{name below docs/images: picture}."""
    scope: dict[str, Any] = {"__name__": "page"}
    found = {}
    blocks = [block for block in BLOCK.finditer(page.read_text(encoding="utf-8"))]
    last = max((i for i, block in enumerate(blocks) if block["name"]), default=-1)
    for block in blocks[: last + 1]:
        if block["skip"]:
            continue
        with contextlib.redirect_stdout(io.StringIO()):
            value = value_of(block["code"], scope)
        if block["name"]:
            found[block["name"]] = value
    return found


def pictures() -> dict[str, Any]:
    return {name: picture for page in pages() for name, picture in pictures_of(page).items()}
