"""Every page of the site loads without an error, is small and fits on a phone; links hold; search works."""

import contextlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("selenium", reason="selenium is not installed: see docs/site/requirements.txt")
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.support.ui import WebDriverWait

from .conftest import ALL_PAGES

MEGABYTE = 1_000_000


def pages(site: Path) -> list[str]:
    """All pages; of those that show a source file, which are made alike, a tenth."""
    found = sorted(page.relative_to(site).as_posix() for page in site.rglob("*.html"))
    found = [page for page in found if not page.startswith("_static/")]
    sources = [page for page in found if page.startswith("source/")]
    rest = [page for page in found if not page.startswith("source/")]
    return rest + (sources if ALL_PAGES else sources[::10])


def test_every_page_loads_and_fits_on_a_phone(site, address, phone, complaints):
    wrong = []
    names = pages(site)
    assert len(names) > 30
    for name in names:
        phone.get(f"{address}/{name}")
        width, loaded, outside = phone.execute_script("""
            const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
            return [document.documentElement.scrollWidth, all.reduce((sum, one) => sum + one.decodedBodySize, 0),
                    all.map(one => one.name).filter(one => !one.startsWith(location.origin))];
        """)
        if width > 360:
            wrong.append(f"{name} is {width} pixels wide")
        if loaded > MEGABYTE:
            wrong.append(f"{name} loads {loaded / MEGABYTE:.2f} MB")
        wrong += [f"{name} loads {url}" for url in outside]
        wrong += [f"{name}: {message}" for message in complaints()]
    assert not wrong, "\n".join(wrong)


class Page(HTMLParser):
    """What a page links to, and the places in it that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value or "")
            elif name in ("href", "src") and value is not None:
                self.links.add(value)


def test_links_hold(site):
    read = {path: Page(path.read_text("utf-8")) for path in site.rglob("*.html")}
    wrong = []
    for path, page in read.items():
        if path.is_relative_to(site / "_static"):
            continue
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                wrong.append(f"{path.relative_to(site)}: {link} is not there")
            elif target in read and unquote(parts.fragment) not in read[target].anchors:
                wrong.append(f"{path.relative_to(site)}: {link}: the page has no such place")
    assert not wrong, f"{len(wrong)} links:\n" + "\n".join(wrong[:100])


def test_search_finds_prelu(address, browser, complaints):
    browser.get(f"{address}/search.html?q=PReLU")
    found = "return [...document.querySelectorAll('#search-results li a')].map(a => a.href)"
    wanted = ("/prelu.html", "minidl.nn.PReLU")

    # Sphinx adds one result after the other, each when its text has been fetched: links that
    # come first say nothing about those that follow.
    def missing():
        links = " ".join(browser.execute_script(found))
        return [link for link in wanted if link not in links]

    with contextlib.suppress(TimeoutException):
        WebDriverWait(browser, 20).until(lambda _: not missing())
    assert not missing(), browser.execute_script(found)
    assert not complaints()


def test_light_and_dark(address, browser):
    browser.get(f"{address}/reading.html")
    background = "return getComputedStyle(document.body).backgroundColor"
    seen = set()
    for _ in range(3):  # light, dark, as the system has it
        browser.execute_script("document.querySelector('.theme-toggle').click()")
        seen.add(browser.execute_script(background))
    assert len(seen) == 2, seen
