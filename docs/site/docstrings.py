"""Sphinx extension: minidl's docstrings, which are written to be read as they are, made into reStructuredText.

A star or a bar in them is a multiplication or an absolute value, and an indented paragraph a formula. Names in
backticks lead to the page of what they name: `F.conv`, `Tensor`, `nn.Module.parameters`.
"""

import re
from typing import Any

import reference
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

CODE = re.compile(r"(``.*?``|`[^`]*`)")
ARGUMENT = re.compile(
    r"\s*\*{1,2}\w+(?:, \*{1,2}\w+)*(?: \(.*?\))?:"
)  # napoleon knows what to do with it
LIST = re.compile(r"\s*(?:[-*] |\d+\. )")


def escape(line: str) -> str:
    """A line with its stars, bars and underlines as they are.

    >>> print(escape("y = a * |x| and ``a * b``, with w_"))
    y = a \\* \\|x\\| and ``a * b``, with w\\_
    """
    if ARGUMENT.match(line) or re.match(r"\s*\.\. ", line):
        return line
    parts = CODE.split(line)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"(\w)_(?!\w)", r"\1\\_", re.sub(r"([*|])", r"\\\1", parts[i]))
    return "".join(parts)


def process(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Before napoleon. Examples and indented paragraphs stay as they are, the latter as literal blocks."""
    new: list[str] = []
    state = "text"  # or "example", until an empty line; or "literal" or "list", while lines are indented
    for line in lines:
        indented = line.startswith(" ")
        if state == "example" and not line.strip():
            state = "text"
        if state in ("literal", "list") and line.strip() and not indented:
            if state == "list":
                new.append("")
            state = "text"
        if state == "text" and line.lstrip().startswith(">>>"):
            state = "example"
        elif state == "text" and indented and _begins_a_block(new):
            if not new[-2].rstrip().endswith("::"):
                new += ["::", ""]
            state = "literal"
        elif state == "text" and indented and new and re.fullmatch(r"\S.*[ ,].*:", new[-1]):
            new.append(
                ""
            )  # a sentence with a colon, and what it lists; a heading of napoleon's is one word
            state = "list"
        if state == "list":
            line = re.sub(r"^ {4}(?=\w+: )", "- ", line)
            line = re.sub(r"^ {4,}", "  ", line)
        new.append(escape(line) if state in ("text", "list") else line)
    lines[:] = new


def _begins_a_block(before: list[str]) -> bool:
    """Whether an indented line after these is a paragraph of its own: an empty line, and a paragraph at the margin."""
    return (
        len(before) > 1
        and not before[-1].strip()
        and bool(before[-2].strip())
        and not before[-2].startswith(" ")
        and not LIST.match(before[-2])
    )


def resolve(app: Sphinx, env: Any, node: pending_xref, content: nodes.Node) -> nodes.Node | None:
    """A name that Sphinx does not find: the short one that everyone uses, or the one of where it is defined."""
    if node.get("refdomain") != "py":
        return None
    target = reference.public(node["reftarget"])
    found = env.domains["py"].objects.get(target or "")
    if found is None:
        return None
    return make_refnode(app.builder, node["refdoc"], found.docname, found.node_id, content, target)


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
