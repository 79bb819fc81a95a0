"""Sphinx extension: formulas as MathML, made when the site is built, so that pages need no script to show them.

Browsers draw MathML themselves, with the metrics of a font for mathematics: STIX Two Math, which the build takes from
the package ziamath, is kept in the site's static files.
"""

import re
from importlib import resources
from pathlib import Path
from typing import Any

import latex2mathml.converter
from docutils import nodes
from fontTools import subset
from sphinx.application import Sphinx
from sphinx.util import logging

FONT = "STIXTwoMath-Regular.ttf"
# What formulas are made of: Latin, Greek, arrows, operators, brackets and mathematical letters.
SIGNS = [range(0x20, 0x250), range(0x2B0, 0x400), range(0x2000, 0x2400), range(0x25A0, 0x2600), range(0x27C0, 0x2A00),
         range(0x2A00, 0x2B00), range(0x1D400, 0x1D800)]  # fmt: skip
logger = logging.getLogger(__name__)


def mathml(tex: str, display: bool, node: nodes.Node) -> str:
    try:
        made = latex2mathml.converter.convert(tex, display="block" if display else "inline")
    except Exception as error:  # of its many kinds
        logger.warning("formula %r: %s: %s", tex, type(error).__name__, error, location=node)
        return f"<code>{tex}</code>"
    if unknown := re.search(r"\\[a-zA-Z]+", made):
        logger.warning("formula %r: %s is not known", tex, unknown[0], location=node)
    # As TeX spaces them: a slash is no operator with space on both sides, and a partial d no operator at all.
    made = made.replace("<mo>&#x0002F;</mo>", '<mo lspace="0" rspace="0">/</mo>')
    return made.replace("<mo>&#x02202;</mo>", "<mi>&#x02202;</mi>")


def inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(mathml(node.astext(), False, node))
    raise nodes.SkipNode


def display(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="formula">{mathml(node.astext(), True, node)}</div>')
    raise nodes.SkipNode


def write_font(folder: Path) -> None:
    """The font, without the signs of other uses, as the web has fonts."""
    options = subset.Options(flavor="woff2", layout_features=["*"], notdef_outline=True)
    with resources.as_file(resources.files("ziamath") / "fonts" / FONT) as path:
        font = subset.load_font(str(path), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[sign for signs in SIGNS for sign in signs])
    subsetter.subset(font)
    subset.save_font(font, str(folder / "math.woff2"), options)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
