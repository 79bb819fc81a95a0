"""Sphinx extension: formulas as MathML, made when the site is built, so that pages need no script to show them.

Browsers draw MathML themselves, with the metrics of a font for mathematics: STIX Two Math, which the build takes from
the package ziamath, is kept in the site's static files.
"""

import html
import re
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import latex2mathml.converter
from docutils import nodes
from fontTools import subset
from sphinx.application import Sphinx
from sphinx.util import logging

FONT = "STIXTwoMath-Regular.ttf"
# What formulas need besides their text. A letter that is a name of its own is drawn with its italic sign (x as U+1D465,
# h as U+210E); the last ones are the signs of roots, accents and braces.
ITALIC = (*range(0x20, 0x7F), 0x210E, *range(0x1D434, 0x1D468), *range(0x1D6E2, 0x1D71C))
ALWAYS = [*map(chr, ITALIC), *"√‾¯ˉˆ˜ˇ˙¨→⃗⏞⏟⎴⎵"]
M = "{http://www.w3.org/1998/Math/MathML}"
ROWS = {M + "math", M + "mrow", M + "mtd", M + "mstyle"}
OPENING = set("=([{,;:<>≤≥→∈≈⟹⇒−+⋅×±∑")
LIMITS = ("max", "min", "sup", "inf", "lim")
ElementTree.register_namespace("", M.strip("{}"))
logger = logging.getLogger(__name__)


def mathml(tex: str, display: bool, node: nodes.Node) -> str:
    try:
        aligned = tex.replace("{aligned}", "{align*}")  # the name that latex2mathml knows
        made = latex2mathml.converter.convert(aligned, display="block" if display else "inline")
    except Exception as error:  # of its many kinds
        logger.warning("formula %r: %s: %s", tex, type(error).__name__, error, location=node)
        return f"<code>{tex}</code>"
    if unknown := re.search(r"\\[a-zA-Z]+", made):
        logger.warning("formula %r: %s is not known", tex, unknown[0], location=node)
    if 'linebreak="newline"' in made:
        logger.warning(r"formula %r: \\ outside of aligned, cases, matrix", tex, location=node)
    tree = ElementTree.fromstring(made)
    for element in list(tree.iter()):
        space(element, display)
    return ElementTree.tostring(tree, encoding="unicode")


def space(row: ElementTree.Element, display: bool) -> None:
    """Spaces what is side by side as TeX does: latex2mathml takes many signs for operators that are none."""
    before = None
    for i, child in reversed(list(enumerate(row))):
        base = child[0] if child.tag in (M + "msub", M + "msup", M + "msubsup") else child
        text = base.text or ""
        if base.tag == M + "mo" and (text in ("∂", "∞") or (text.isalpha() and len(text) > 1)):
            base.tag = M + "mi"
        if display and text in LIMITS and child.tag == M + "msub":
            child.tag = M + "munder"
        if text == "/":
            base.attrib |= {"lspace": "0", "rspace": "0"}
        previous = row[i - 1] if i else None
        after_operator = previous is None or (previous.tag == M + "mo" and previous.text in OPENING)
        if text in ("−", "+", "±") and base.tag == M + "mo" and after_operator:
            base.set("form", "prefix")  # a sign, not a difference
        is_name = base.tag == M + "mi" and len(text) > 1
        if row.tag in ROWS and is_name and before is not None and before.tag != M + "mo":
            row.insert(i + 1, ElementTree.Element(M + "mspace", width="0.17em"))
        before = child


def inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(mathml(node.astext(), False, node))
    raise nodes.SkipNode


def display(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="formula">{mathml(node.astext(), True, node)}</div>')
    raise nodes.SkipNode


def write_font(site: Path) -> None:
    """The font for the built pages, with the signs of their formulas and no others: 400 kB less."""
    signs = set(ALWAYS)
    for page in site.rglob("*.html"):
        for formula in re.findall(
            r"<math\b.*?</math>", page.read_text(encoding="utf-8"), re.DOTALL
        ):
            signs |= set(html.unescape(re.sub(r"<.*?>", "", formula)))
    options = subset.Options(flavor="woff2", layout_features=["*"], notdef_outline=True)
    with resources.as_file(resources.files("ziamath") / "fonts" / FONT) as path:
        font = subset.load_font(str(path), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(text="".join(signs))
    subsetter.subset(font)
    subset.save_font(font, str(site / "_static" / "math.woff2"), options)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
