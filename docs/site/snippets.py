"""The code blocks of a Markdown page, and which of them run: the site's Run buttons and the tests read pages with this.

On a page whose snippets run (see `LIVE`), each block that begins with ```python is run, in order, in one namespace. A
```text block right after it is what it prints. `<!-- not run: reason -->` on a line of its own, right before a block,
keeps it from being run.
"""

import re
from dataclasses import dataclass
from pathlib import Path

LIVE = (
    "index.md",
    "start.md",
    "inspecting.md",
    "build/*.md",
    "tour/*.md",
    "concepts/*.md",
)  # in docs/
FENCE = re.compile(r"^( *)(`{3,}|~{3,})[ ]*([^`\n]*)$")
NOT_RUN = re.compile(r"^\s*<!--\s*not run:\s*(.*?)\s*-->\s*$")


@dataclass
class Block:
    """A fenced block: its text begins in line `line` of the page, counted from 1; its last fence is line `end`."""

    language: str
    text: str
    line: int
    end: int
    not_run: str | None = None  # the reason
    prints: str | None = None  # what the page says that it prints

    @property
    def runs(self) -> bool:
        return self.language == "python" and self.not_run is None


def live_pages(docs: Path) -> list[Path]:
    """The pages of docs/ whose snippets run."""
    return sorted(page for pattern in LIVE for page in docs.glob(pattern))


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page, in order.

    >>> [(b.language, b.text, b.prints) for b in blocks("```python\\nprint(1)\\n```\\n\\n```text\\n1\\n```\\n")]
    [('python', 'print(1)\\n', '1\\n'), ('text', '1\\n', None)]
    """
    found: list[Block] = []
    lines = page.splitlines()
    at = 0
    while at < len(lines):
        opening = FENCE.match(lines[at])
        if not opening:
            at += 1
            continue
        indent, fence, info = opening.groups()
        closing = re.compile(rf"^ {{0,{len(indent) + 3}}}{fence[0]}{{{len(fence)},}} *$")
        end = next((i for i in range(at + 1, len(lines)) if closing.match(lines[i])), None)
        if end is None:
            raise ValueError(f"line {at + 1}: the block that begins here has no end")
        body = [re.sub(rf"^ {{0,{len(indent)}}}", "", line) for line in lines[at + 1 : end]]
        text = "".join(line + "\n" for line in body)
        block = Block(
            info.split()[0] if info.strip() else "", text, at + 2, end + 1, _reason(lines[:at])
        )
        before = found[-1] if found else None
        if block.language == "text" and before and before.language == "python":
            between = lines[before.end : at]
            if not "".join(between).strip():
                before.prints = text
        found.append(block)
        at = end + 1
    return found


def _reason(lines: list[str]) -> str | None:
    """Why the block after these lines is not run; None if it is."""
    above = next((line for line in reversed(lines) if line.strip()), "")
    match = NOT_RUN.match(above)
    return match[1] if match else None


def examples(page: str) -> dict[str, str]:
    """The examples of docs/by_example.md by the names above them: `md.exp` and others share one."""
    lines = page.splitlines()
    found = {}
    for block in blocks(page):
        above = next((line for line in reversed(lines[: block.line - 2]) if line.strip()), "")
        if above.startswith("**`"):
            found |= dict.fromkeys(re.findall(r"`([\w.]+)`", above), block.text)
    return found


def without_code(page: str) -> str:
    """The page with its code blocks, comments and code spans blanked: same lines, same columns."""
    lines = page.splitlines(keepends=True)
    for block in blocks(page):
        for i in range(block.line - 2, block.end):
            lines[i] = re.sub(r"[^\n]", " ", lines[i])
    text = re.sub(r"<!--.*?-->", lambda m: re.sub(r"[^\n]", " ", m[0]), "".join(lines), flags=re.S)
    return re.sub(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", lambda m: re.sub(r"[^\n`]", "x", m[0]), text)
