"""Sphinx extension: the ``live`` directive, a block of Python that the reader can change and run in the page.

Without JavaScript it is a block of code like any other. With it, static/live/live.js adds the buttons, and Python runs
in a worker: see static/live.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Live(SphinxDirective):
    required_arguments = 1  # its number on the page
    has_content = True

    def run(self) -> list[nodes.Node]:
        text = "\n".join(self.content)
        block = nodes.literal_block(text, text, language="python", classes=["live"])
        block["classes"].append(f"live-{self.arguments[0]}")
        self.set_source_info(block)
        return [block]


def add_scripts(app: Sphinx, page: str, template: str, context: dict, doctree: Any) -> None:
    """Only pages with live blocks load what runs them, and all of Python only when someone runs one."""
    if doctree and any(
        "live" in block["classes"] for block in doctree.findall(nodes.literal_block)
    ):
        app.add_js_file("live/highlight.js", loading_method="defer")
        app.add_js_file("live/python.js", loading_method="defer")
        app.add_js_file("live/live.js", loading_method="defer")
        app.add_css_file("live/live.css")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("live", Live)
    app.connect("html-page-context", add_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
