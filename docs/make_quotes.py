"""Updates the code that pages quote from the source: python docs/make_quotes.py

A page says in front of a code block where its code is from:

    <!-- quote: minidl/composite.py affine -->                  all of a function or class
    <!-- quote: minidl/ops/linalg.py Affine.backward -->        a method
    <!-- quote: minidl/_kernels/rows/softmax.pyx cross_entropy_rows: inverse = ... y[t] = -->

The last one is an excerpt: from the first line that contains the words before the dots to the next one that contains
those behind them. Docstrings are left out of whole Python functions.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QUOTE = re.compile(
    r"(?P<head><!-- quote: (?P<path>\S+) (?P<symbol>[\w.]+)(?:: (?P<start>.+?) \.\.\. (?P<end>.+?))? -->\n"
    r"(?:<!-- not run:[^\n]*-->\n)?```\w+\n)(?P<code>(?:(?!```).*\n)*)```"
)


def pages() -> list[Path]:
    return [
        p for p in sorted((ROOT / "docs").rglob("*.md")) if "<!-- quote:" in p.read_text("utf-8")
    ]


def python_lines(text: str, symbol: str, whole: bool) -> list[str]:
    """The lines of a function, class or method."""
    nodes: list = [ast.parse(text)]
    for name in symbol.split("."):
        nodes = [n for node in nodes for n in node.body if getattr(n, "name", "") == name]
    if len(nodes) != 1:
        raise LookupError(f"{symbol} is defined {len(nodes)} times")
    node = nodes[0]
    lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
    doc = node.body[0]
    if whole and ast.get_docstring(node) is not None and len(node.body) > 1:
        del lines[doc.lineno - node.lineno : doc.end_lineno - node.lineno + 1]
        while not lines[doc.lineno - node.lineno].strip():
            del lines[doc.lineno - node.lineno]
    return lines


def cython_lines(text: str, symbol: str) -> list[str]:
    """From the line that begins a function to the last line that is indented."""
    lines = text.splitlines()
    begins = [
        i
        for i, line in enumerate(lines)
        if re.match(rf"(cdef|cpdef|def)\b[^(=]*\b{symbol}\(", line)
    ]
    if len(begins) != 1:
        raise LookupError(f"{symbol} is defined {len(begins)} times")
    end = begins[0] + 1
    while end < len(lines) and (not lines[end] or lines[end][0] in " )"):
        end += 1
    while not lines[end - 1].strip():
        end -= 1
    return lines[begins[0] : end]


def quoted(path: str, symbol: str, start: str | None, end: str | None) -> str:
    """The code that is quoted.

    Raises:
        LookupError: there is no such symbol, or no such line in it.
    """
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".py"):
        lines = python_lines(text, symbol, start is None)
    else:
        lines = cython_lines(text, symbol)
    if start is not None and end is not None:
        first = next((i for i, line in enumerate(lines) if start in line), None)
        if first is None:
            raise LookupError(f"{path}: {symbol} has no line with {start!r}")
        last = next((i for i in range(first, len(lines)) if end in lines[i]), None)
        if last is None:
            raise LookupError(f"{path}: {symbol} has no line with {end!r} after {start!r}")
        lines = lines[first : last + 1]
    return textwrap.dedent("\n".join(lines)) + "\n"


def renewed(page: str) -> str:
    """The page with the code as it is in the source now."""
    return QUOTE.sub(
        lambda m: m["head"] + quoted(m["path"], m["symbol"], m["start"], m["end"]) + "```", page
    )


if __name__ == "__main__":
    for page in pages():
        try:
            page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
        except LookupError as error:
            sys.exit(f"{page.relative_to(ROOT)}: {error}")
