"""A page of headings, paragraphs, tables and pictures, written as Markdown or as one HTML file."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; font-size: 0.9em; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #ccc; padding: 0.25em 0.7em; text-align: left; vertical-align: top; }
img { max-width: 100%; } figcaption { color: #555; font-size: 0.9em; } figure { margin: 1.5em 0; }
code { background: #f2f2f2; padding: 0.1em 0.3em; }
"""


class Page:
    """Texts may contain `code` and **bold**."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.blocks: list[tuple] = []

    def heading(self, text: str) -> None:
        self.blocks.append(("heading", text))

    def text(self, text: str) -> None:
        self.blocks.append(("text", text))

    def list(self, items: Sequence[str]) -> None:
        self.blocks.append(("list", list(items)))

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        self.blocks.append(("table", list(head), [[str(cell) for cell in row] for row in rows]))

    def picture(self, file: str, caption: str) -> None:
        self.blocks.append(("picture", file, caption))

    def markdown(self) -> str:
        parts = [f"# {self.title}"]
        for kind, *content in self.blocks:
            if kind == "heading":
                parts.append(f"## {content[0]}")
            elif kind == "text":
                parts.append(content[0])
            elif kind == "list":
                parts.append("\n".join(f"- {item}" for item in content[0]))
            elif kind == "table":
                head, rows = content
                lines = [head, ["---"] * len(head), *rows]
                parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
            else:
                parts.append(f"![{content[1]}]({content[0]})\n\n*{content[1]}*")
        return "\n\n".join(parts) + "\n"

    def html(self, folder: Path) -> str:
        """One file: the pictures of the folder are in it."""
        parts = [f"<h1>{_inline(self.title)}</h1>"]
        for kind, *content in self.blocks:
            if kind == "heading":
                parts.append(f"<h2>{_inline(content[0])}</h2>")
            elif kind == "text":
                parts.append(f"<p>{_inline(content[0])}</p>")
            elif kind == "list":
                items = "".join(f"<li>{_inline(item)}</li>" for item in content[0])
                parts.append(f"<ul>{items}</ul>")
            elif kind == "table":
                head, *rows = ["".join(f"<{tag}>{_inline(cell)}</{tag}>" for cell in line)
                               for tag, line in (("th", content[0]), *(("td", r) for r in content[1]))]  # fmt: skip
                rows_html = "".join(f"<tr>{row}</tr>\n" for row in rows)
                parts.append(f"<table><tr>{head}</tr>\n{rows_html}</table>")
            else:
                data = base64.b64encode((folder / content[0]).read_bytes()).decode()
                caption = _inline(content[1])
                parts.append(
                    f'<figure><img alt="{html.escape(content[1])}" src="data:image/png;base64,{data}">'
                    f"<figcaption>{caption}</figcaption></figure>"
                )
        body = "\n".join(parts)
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f"<title>{html.escape(self.title)}</title><style>{STYLE}</style></head>\n"
            f"<body>\n{body}\n</body></html>\n"
        )


def _inline(text: str) -> str:
    text = html.escape(text, quote=False)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)
