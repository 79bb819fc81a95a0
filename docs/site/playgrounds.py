"""Sphinx extension: pages with a playground get its script, and the Python that live code has (docs/playground).

Such a page has ``<div class="playground">`` in it, and its script has its name: playground/gan.md and gan.js.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def add_scripts(app: Sphinx, page: str, template: str, context: dict, doctree: Any) -> None:
    raw = doctree.findall(nodes.raw) if doctree else ()
    if any('class="playground"' in node.astext() for node in raw):
        app.add_js_file("live/python.js", loading_method="defer")
        app.add_js_file(f"{page}.js", type="module")
        app.add_css_file("playground/playground.css")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("html-page-context", add_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
