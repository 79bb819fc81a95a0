"""Updates the line numbers in docs/reading.md: python docs/make_reading.py

In that page a link such as [minidl/autograd/engine.py:258](../minidl/autograd/engine.py#L258) is followed by a
quotation of the lines that begin there. The quotation decides: it is looked up in the file.
"""

import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reading.md"
LINK = re.compile(
    r"\[(?P<path>[\w/.]+):\d+\]\(\.\./(?P=path)#L\d+\)"
    r"(?P<between>[^\n]*\n\n```\w*\n)(?P<code>.*?)\n```",
    re.DOTALL,
)


def place_of(path: str, code: str) -> int:
    """The number of the line at which `code` begins in the file; indentation aside.

    Raises:
        LookupError: it is not there, or more than once.
    """
    wanted = [line.strip() for line in code.splitlines()]
    lines = [line.strip() for line in (ROOT / path).read_text(encoding="utf-8").splitlines()]
    found = [i + 1 for i in range(len(lines)) if lines[i : i + len(wanted)] == wanted]
    if len(found) != 1:
        raise LookupError(
            f"docs/reading.md quotes lines that {path} has {len(found)} times; edit the quotation:\n"
            + textwrap.indent(code, "    ")
        )
    return found[0]


def renewed(page: str) -> str:
    """The page with the right line numbers."""

    def link(match: re.Match) -> str:
        path, between, code = match["path"], match["between"], match["code"]
        line = place_of(path, code)
        return f"[{path}:{line}](../{path}#L{line}){between}{code}\n```"

    return LINK.sub(link, page)


if __name__ == "__main__":
    try:
        PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    except LookupError as error:
        sys.exit(str(error))
