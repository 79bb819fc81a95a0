"""The order of the pages in the site's navigation.

Sections of the site are in the order of SECTIONS. In a folder with a README, the pages are in the order in which the
README links to them, and then by name: a new page needs nothing but its file.
"""

import fnmatch
import posixpath
import re
from collections.abc import Collection

import links

SECTIONS = {
    "Learn": (
        "start",
        "build/index",
        "tour/index",
        "concepts/index",
        "playground/*",
        "reading_time",
        "reading",
        "glossary",
    ),
    "Use": (
        "gallery/index",
        "reference/index",
        "by_example",
        "data",
        "porting/index",
        "porting/*",
        "pytorch",
        "capture",
        "distributed",
        "pure_python",
        "settings",
        "pure_python",
        "activations",
        "prelu",
    ),
    "Findings": ("results", "study/index", "benchmarks/RESULTS", "benchmarks/*", "accuracy"),
    "Design": ("minidl/index", "minidl/*", "winograd", "adding_*", "site/index"),
    "More": ("*",),
}
TITLES = {"benchmarks/RESULTS": "Speed", "results": "How well it learns, and how fast"}
GENERATED = ("gallery/index", "reference/index")  # not made from a Markdown file


def folder_pages(folder: str, readme: str, names: Collection[str]) -> list[str]:
    """The pages of a folder, its README aside, in order."""
    linked = [posixpath.normpath(posixpath.join(folder, link.path)) for link in links.links(readme)]
    order = [name.removesuffix(".md") for name in linked]
    own = [n for n in names if posixpath.dirname(n) == folder and n != f"{folder}/index"]
    return sorted(own, key=lambda n: (order.index(n) if n in order else len(order), _natural(n)))


def _natural(name: str) -> list:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def below(name: str, text: str, names: Collection[str]) -> str:
    """What is added to a page for the navigation: for the entry all sections, for a README its folder's pages."""
    if name == "index":
        return "".join(_toctree(caption, pages) for caption, pages in sections(names).items())
    folder, last = posixpath.split(name)
    if last != "index" or folder not in sections_of_folders(names):
        return ""
    children = folder_pages(folder, text, names)
    return _toctree(None, [posixpath.relpath(child, folder) for child in children])


def sections_of_folders(names: Collection[str]) -> set[str]:
    """The folders whose pages hang below their index in the navigation, not beside it."""
    folders = {posixpath.dirname(name) for name in names} - {"", "benchmarks", "minidl"}
    return {
        f for f in folders if f"{f}/index" in names and not f.startswith(("minidl/", "benchmarks/"))
    }


def sections(names: Collection[str]) -> dict[str, list[str]]:
    """The pages of each section; those that hang below another page are not listed."""
    hanging = sections_of_folders(names)
    left = [n for n in [*names, *GENERATED] if n != "index"]
    left = [n for n in left if posixpath.dirname(n) not in hanging or n.endswith("/index")]
    found: dict[str, list[str]] = {}
    for caption, patterns in SECTIONS.items():
        chosen = []
        for pattern in patterns:
            chosen += sorted((n for n in left if fnmatch.fnmatch(n, pattern)), key=_natural)
            left = [n for n in left if n not in chosen]
        if chosen:
            found[caption] = chosen
    return found


def _toctree(caption: str | None, pages: list[str]) -> str:
    if not pages:
        return ""
    options = ":hidden:\n" + (f":caption: {caption}\n" if caption else "")
    return "\n\n```{toctree}\n" + options + "\n" + "\n".join(map(_entry, pages)) + "\n```\n"


def _entry(page: str) -> str:
    return f"{TITLES[page]} <{page}>" if page in TITLES else page
