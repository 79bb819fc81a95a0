"""A browser, and a server for the site that `make docs` has built. Where one is missing, tests are skipped and say so.

MINIDL_SITE names another folder than build/site. ALL_PAGES=1 tries every page where a few do otherwise.
"""

import functools
import http.server
import json
import os
import shutil
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SITE = Path(os.environ.get("MINIDL_SITE", ROOT / "build" / "site"))
ALL_PAGES = os.environ.get("ALL_PAGES") == "1"


@pytest.fixture(scope="session")
def site() -> Path:
    if not (SITE / "index.html").is_file():
        pytest.skip(f"there is no site in {SITE}: make docs")
    built = (SITE / "_static" / "math.woff2").stat().st_mtime  # the last thing that a build writes
    for page in (ROOT / "docs").rglob("*.md"):
        if page.stat().st_mtime > built:
            pytest.skip(f"the site is older than {page.relative_to(ROOT)}: make docs")
    return SITE


@pytest.fixture(scope="session")
def python_in_site(site) -> Path:
    """The site, if Python for the browser is in it."""
    config = json.loads((site / "_static" / "live" / "config.json").read_text(encoding="utf-8"))
    if "://" in config["pyodide"]:
        pytest.skip(
            "the site takes Python from a server: make docs OFFLINE=1 PYODIDE_NUMPY=<wheel>"
        )
    return site


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def address(site):
    """Where the site is served."""
    handler = functools.partial(Handler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Chromium without a window, which reaches this machine only."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no Chromium and its driver: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--window-size=1280,1000",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options, webdriver.ChromeService(driver))
    started.set_page_load_timeout(60)
    started.set_script_timeout(150)
    yield started
    started.quit()


@pytest.fixture
def phone(browser):
    """The browser, as wide as a small phone."""
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    yield browser
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.fixture
def complaints(browser):
    """Asks for what the browser's console has said since the last time, notes aside."""

    def ask() -> list[str]:
        return [
            entry["message"]
            for entry in browser.get_log("browser")
            if entry["level"] in ("SEVERE", "WARNING")
        ]

    ask()
    return ask
