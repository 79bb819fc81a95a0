"""Gathers what Sphinx builds the site from: every Markdown page, with its links made to hold on the site.

The pages of docs/ come first, `docs/prelu.md` as `prelu`; those of other folders keep their path, `minidl/README.md`
is `minidl/index`. Links to other files of the repository lead to pages that show them (see source_pages.py). Python
blocks of live pages become ``live`` directives (see live.py). Files that have not changed keep their time, so that
Sphinx reads again only what has.
"""

import io
import posixpath
import re
from pathlib import Path

import links
import nav
import snippets
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = ("docs", "benchmarks", "minidl")  # whose Markdown pages are on the site
SHOWN = (
    "minidl",
    "examples",
    "docs",
    "benchmarks",
    "tests",
    "tools",
)  # whose other files have pages, if linked to
IMAGES = {".svg", ".png", ".jpg", ".gif", ".webp"}


def docname(path: str) -> str:
    """The name of a Markdown page on the site, from its path in the repository."""
    name = path.removesuffix(".md").removeprefix("docs/")
    folder, _, last = name.rpartition("/")
    return posixpath.join(folder, "index") if last == "README" else name


def pages() -> dict[str, Path]:
    """Every page on the site: its name, and its file."""
    found = {}
    for folder in FOLDERS:
        for page in sorted((ROOT / folder).rglob("*.md")):
            found[docname(page.relative_to(ROOT).as_posix())] = page
    return found


class Stage:
    """Writes into a folder; what it did not write this time is removed at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: set[Path] = set()
        self.pages = pages()
        self.sources: set[str] = set()  # files and folders of the repository that pages link to

    def write(self, name: str, content: str | bytes) -> None:
        path = self.folder / name
        data = content.encode() if isinstance(content, str) else content
        self.written.add(path)
        if not path.is_file() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def remove_the_rest(self, kept: tuple[str, ...] = ()) -> None:
        """Files of former builds; but not what is below the folders `kept`."""
        for path in self.folder.rglob("*"):
            below = path.relative_to(self.folder).parts[0]
            if path.is_file() and path not in self.written and below not in kept:
                path.unlink()

    def page(self, name: str) -> None:
        file = self.pages[name]
        path = file.relative_to(ROOT).as_posix()
        text = file.read_text(encoding="utf-8")
        text = self.link(text, path, name)
        if file in snippets.live_pages(ROOT / "docs"):
            text = with_run(text)
        text = text.replace("\n```math\n", "\n```{math}\n")
        self.write(f"{name}.md", text + nav.below(name, text, self.pages))

    def link(self, text: str, path: str, name: str) -> str:
        """The page with each link to a file made to lead there on the site."""
        parts, end = [], len(text)
        for link in reversed(links.links(text)):
            if not link.path:
                continue
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link.path))
            new = self.on_site(target, link, name)
            parts += [text[link.end : end], new]
            end = link.start
        return "".join(reversed([*parts, text[:end]]))

    def on_site(self, target: str, link: links.Link, name: str) -> str:
        """What a link to the file `target` of the repository is on the site, from the page `name`."""
        here = posixpath.dirname(name)
        anchor = f"#{link.anchor}" if link.anchor else ""
        suffix = posixpath.splitext(target)[1]
        if target == "README.md":
            return posixpath.relpath("index.md", here or ".")
        for page in (target, f"{target}/README.md"):
            if page.endswith(".md") and docname(page) in self.pages:
                return posixpath.relpath(f"{docname(page)}.md", here or ".") + anchor
        if suffix in IMAGES:
            return posixpath.relpath(self.picture(target), here or ".")
        self.sources.add(target)
        if link.symbol:
            anchor = f"#{link.symbol}"
        return f"source:{target}{anchor}"  # source_pages.py knows these

    def picture(self, path: str) -> str:
        """Adds a picture of the repository; says where it is. PNG becomes WebP: the same pixels in half the bytes."""
        staged = path.removeprefix("docs/")
        if not path.endswith(".png"):
            self.write(staged, (ROOT / path).read_bytes())
            return staged
        staged = staged.removesuffix("png") + "webp"
        to = io.BytesIO()
        with Image.open(ROOT / path) as image:
            image.save(to, "WEBP", lossless=True, method=6)
        self.write(staged, to.getvalue())
        return staged


def with_run(text: str) -> str:
    """A live page, with its blocks that run as ``live`` directives, and why others do not run."""
    lines = text.splitlines(keepends=True)
    number = 0
    for block in snippets.blocks(text):
        opening = lines[block.line - 2]
        if block.runs:
            number += 1
            # (An empty line first: Sphinx would take ":name: value" for an option.)
            lines[block.line - 2] = re.sub(r"python.*\n", f"{{live}} {number}\n\n", opening)
        elif block.language == "python":
            indent = re.match(" *", opening)[0]
            lines[block.end - 1] += (
                f'\n{indent}<p class="not-run">Not run here: {block.not_run}.</p>\n\n'
            )
    return "".join(lines)
