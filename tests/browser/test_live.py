"""Blocks of Python run in the page and print what the page says; they can be changed, stopped and reset."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="selenium is not installed: see docs/site/requirements.txt")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from .conftest import ALL_PAGES, ROOT

sys.path.insert(0, str(ROOT / "docs" / "site"))
import snippets

LIVE = {
    page.relative_to(ROOT / "docs").as_posix(): page for page in snippets.live_pages(ROOT / "docs")
}
FEW = [
    name for name in ("start.md", "build/3_network.md", "concepts/cross_entropy.md") if name in LIVE
]
with_python = pytest.mark.usefixtures("python_in_site")


def html(name: str) -> str:
    return name.replace("README.md", "index.html").replace(".md", ".html")


def blocks(browser, what: str) -> list:
    """`what` of each block: an expression of JavaScript on the block `b`."""
    return browser.execute_script(f"return liveBlocks.map((b) => {what})")


def finish(browser, number: int, seconds: int = 120) -> None:
    """Waits until block `number` has run, or one before it has failed."""
    state = "b.root.dataset.state"

    def done(_):
        states = blocks(browser, state)
        return states[number] in ("ran", "failed") or "failed" in states

    WebDriverWait(browser, seconds, 0.2).until(done)


@with_python
@pytest.mark.parametrize("name", LIVE if ALL_PAGES else FEW)
def test_snippets_give_what_the_page_prints(name, address, browser, complaints):
    expected = [b for b in snippets.blocks(Path(LIVE[name]).read_text("utf-8")) if b.runs]
    if not expected:
        pytest.skip(f"{name} has no snippets")
    browser.get(f"{address}/{html(name)}")
    assert blocks(browser, "b.original.trim()") == [b.text.strip() for b in expected]
    browser.execute_script("liveBlocks.at(-1).runButton.click()")
    finish(browser, len(expected) - 1)
    errors = blocks(browser, "b.output.querySelector('.live-error')?.textContent ?? ''")
    assert not any(errors), "\n".join(
        errors
    )  # (warnings may be: of threads, which are missing here)
    same = blocks(browser, "b.status.classList.contains('live-same')")
    printed = blocks(browser, "b.printed")
    for number, block in enumerate(expected):
        if block.prints is not None:
            assert same[number], (
                f"{name}, block {number + 1} prints\n{printed[number]}\nnot\n{block.prints}"
            )
        # What has run is shown once.
        hidden = "liveBlocks[arguments[0]].expected?.getClientRects().length === 0"
        assert block.prints is None or browser.execute_script(f"return {hidden}", number)
    assert not complaints()


@with_python
def test_a_block_can_be_changed_stopped_and_reset(address, browser, complaints):
    browser.get(f"{address}/build/1_scalars.html")
    area = browser.find_element(By.CSS_SELECTOR, ".live-block textarea")
    original = area.get_attribute("value")
    browser.execute_script("arguments[0].value = ''; arguments[0].focus()", area)
    area.send_keys("for i in range(2):", Keys.ENTER, "print('number', i)")
    assert area.get_attribute("value") == "for i in range(2):\n    print('number', i)"
    coloured = "return document.querySelector('.live-block pre').innerHTML"
    assert '<span class="k">for</span>' in browser.execute_script(coloured)

    area.send_keys(Keys.CONTROL, Keys.ENTER)
    finish(browser, 0)
    assert blocks(browser, "b.printed")[0] == "number 0\nnumber 1\n"

    put = "liveBlocks[0].area.value = arguments[0]; liveBlocks[0].changed(); liveBlocks[0].runButton.click()"
    browser.execute_script(put, "import svg\nprint('before')\nsvg.plot([(0, 1), (1, 2)])")
    finish(browser, 0)
    assert blocks(browser, "b.output.querySelectorAll('svg').length")[0] == 1

    browser.execute_script(put, "import warnings\nwarnings.warn('careful')")
    finish(browser, 0)
    assert "careful" in blocks(browser, "b.output.querySelector('.live-warning')?.textContent")[0]

    browser.execute_script(put, "import minidl as md\ndef f(x):\n    return md.exp('three')\nf(1)")
    finish(browser, 0)
    error = blocks(browser, "b.output.textContent")[0]
    assert error.startswith("Traceback") and "line 3, in f\n    return md.exp('three')" in error
    assert "minidl/" not in error and "_runner" not in error  # the reader's own lines only

    browser.execute_script(put, "while True:\n    print('on', end=' ')")
    WebDriverWait(browser, 20).until(lambda b: "on on" in blocks(b, "b.printed")[0])
    browser.execute_script("liveBlocks[0].stopButton.click()")
    WebDriverWait(browser, 20).until(lambda b: "stopped" in blocks(b, "b.status.textContent")[0])

    browser.execute_script("liveBlocks[0].resetButton.click()")
    assert area.get_attribute("value") == original
    assert blocks(browser, "b.output.childNodes.length")[0] == 0
    browser.execute_script("liveBlocks[0].runButton.click()")
    finish(browser, 0)
    assert blocks(browser, "b.root.dataset.state")[0] == "ran"
    assert not complaints()


@with_python
def test_without_a_server_the_page_says_how_to_see_it(site, browser):
    browser.get((site / "build" / "1_scalars.html").as_uri())
    browser.execute_script("liveBlocks[0].runButton.click()")
    assert "python -m http.server" in blocks(browser, "b.output.textContent")[0]


def test_python_is_not_loaded_before_a_click(address, browser):
    browser.get(f"{address}/build/1_scalars.html")
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map(r => r.name)"
    )
    assert any("live/live.js" in name for name in loaded)
    assert not [name for name in loaded if "pyodide" in name or name.endswith(".whl")]
