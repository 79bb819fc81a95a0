"""Links of Markdown pages: where they are, what they lead to, and which symbols a source file defines."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from snippets import without_code

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
HTML = re.compile(r"<(?:img|a|source)\b[^>]*?\b(?:src|href|srcset)=\"([^\"]+)\"")
DEFINITION = re.compile(r"^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
# The first line of something in Cython: its name is the last word before "(", ":" or "=", or at the end.
CYTHON = re.compile(r"(?:cdef|cpdef|def|class|ctypedef)\b[^#(=:]*?(\w+)[ \t]*(?:[(:=#]|$)")


@dataclass
class Link:
    """A link to another file of the repository. start, end: the place of its target in the page's text."""

    text: str
    target: str  # as it is written
    line: int
    start: int
    end: int
    image: bool

    @property
    def path(self) -> str:
        return self.target.partition("#")[0]

    @property
    def anchor(self) -> str:
        return self.target.partition("#")[2]

    @property
    def symbol(self) -> str | None:
        """`name` when the link's text is nothing but a name in backticks, and the target a source file."""
        match = re.fullmatch(r"`([A-Za-z_][\w.]*)(?:\(\))?`", self.text.strip())
        return (
            match[1]
            if match and PurePosixPath(self.path).suffix in (".py", ".pyx", ".pxd")
            else None
        )


def links(page: str) -> list[Link]:
    """All links and pictures of a page that do not lead to another site."""
    blank = without_code(page)
    found = []
    for pattern, group in ((LINK, 3), (HTML, 1), (DEFINITION, 1)):
        for match in pattern.finditer(blank):
            start, end = match.span(group)
            target = page[start:end]
            if re.match(r"[a-z][a-z+.-]*:", target):
                continue
            text = page[match.start(2) : match.end(2)] if pattern is LINK else ""
            image = bool(pattern is LINK and match[1]) or match[0].startswith("<img")
            found.append(Link(text, target, blank.count("\n", 0, start) + 1, start, end, image))
            if pattern is LINK and "](" in text:  # a picture that is a link
                inner = LINK.match(page, match.start(2))
                if inner:
                    at = inner.span(3)
                    found.append(Link(inner[2], inner[3], found[-1].line, *at, True))
    return sorted(found, key=lambda link: link.start)


def symbols(file: Path) -> dict[str, int]:
    """The names that a source file defines, and the line of each: `walk`, `Tensor.backward` and also `backward`."""
    text = file.read_text(encoding="utf-8")
    found: dict[str, int] = {}
    if file.suffix == ".py":
        _python_symbols(ast.parse(text), "", found)
    else:
        _cython_symbols(text.splitlines(), found)
    return found


def _cython_symbols(lines: list[str], found: dict[str, int]) -> None:
    owner, inside = "", False  # of a class; in a class, an enum or another block of declarations
    for number, line in enumerate(lines, 1):
        if match := CYTHON.match(line):
            found.setdefault(match[1], number)
            owner = match[1] if re.match(r"(cdef |cpdef )?class\b", line) else ""
            inside = bool(owner or re.match(r"cdef (enum|extern|struct|nogil)\b", line))
        elif match := re.match(r"(\w+)\s*(?::[^=]+)?=", line):
            found.setdefault(match[1], number)
        elif inside and (match := CYTHON.match(line, 4) or re.compile(r"(\w+) *=").match(line, 4)):
            if line[:4].isspace() and not line[4].isspace():
                for name in (f"{owner}.{match[1]}" if owner else match[1], match[1]):
                    found.setdefault(name, number)
        elif line[:1].strip() and not line.startswith("@"):
            owner, inside = "", False


def _python_symbols(tree: ast.AST, owner: str, found: dict[str, int]) -> None:
    """Functions at any depth; variables of the module and of its classes."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{owner}.{node.name}" if owner else node.name
            found.setdefault(name, node.lineno)
            found.setdefault(node.name, node.lineno)
            _python_symbols(node, name, found)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            if isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        found.setdefault(f"{owner}.{name.id}" if owner else name.id, node.lineno)
                        found.setdefault(name.id, node.lineno)
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.For):
            _python_symbols(node, owner, found)
