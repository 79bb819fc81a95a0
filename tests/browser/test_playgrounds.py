"""Both playgrounds train, can be worked with a keyboard, keep their settings in the URL, and fit on a phone."""

import re
import time

import pytest

pytest.importorskip("selenium", reason="selenium is not installed: see docs/site/requirements.txt")
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

PAGES = ("activations", "gan")
SECONDS = 120  # that loading Python and training may take on a slow machine
with_python = pytest.mark.usefixtures("python_in_site")


def visit(browser, address, page, fragment=""):
    """The page anew: a change of the fragment alone would not load it."""
    browser.get("about:blank")
    browser.get(f"{address}/playground/{page}.html{fragment}")
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".pg-control"))


def wait(browser, condition, seconds=SECONDS):
    return WebDriverWait(browser, seconds, 0.1).until(condition)


def steps(browser):
    return int(
        browser.execute_script("return document.querySelector('.playground').dataset.steps ?? 0")
    )


def numbers(browser):
    """{name: what is shown} of the line of numbers."""
    script = """
        return [...document.querySelectorAll('.pg-numbers span')]
            .map(one => [one.firstChild.textContent.trim(), one.lastChild.textContent])
    """
    return dict(browser.execute_script(script))


def press(browser, text):
    for button in browser.find_elements(By.CSS_SELECTOR, ".playground button"):
        if button.text == text:
            return button.click()
    raise AssertionError(f"there is no button {text}")


def control(browser, name):
    return browser.find_element(By.ID, f"playground-{name}")


def values(browser):
    script = """
        return [...document.querySelectorAll('.pg-control select, .pg-control input')]
            .map(one => [one.name, one.value])
    """
    return dict(browser.execute_script(script))


def percent(text):
    return int(text.rstrip("%"))


# ── They train ───────────────────────────────────────────────────────────────────────────────────


@with_python
def test_a_network_trains_and_its_gradient_vanishes_and_is_cured(address, browser, complaints):
    visit(browser, address, "activations", "#activation=tanh&data=circles&depth=2&seed=1")
    press(browser, "Train")
    wait(browser, lambda b: steps(b) >= 300)
    assert percent(numbers(browser)["Right on the points"]) >= 95
    assert percent(numbers(browser)["on points held back"]) >= 90

    def follow(part):  # a link of the page, while it trains
        for link in browser.find_elements(By.CSS_SELECTOR, "a[data-settings]"):
            if link.get_attribute("data-settings") == part:
                browser.execute_script("arguments[0].click()", link)
                wait(browser, lambda b: steps(b) < 100)
                return
        raise AssertionError(f"there is no link to {part}")

    follow("activation=sigmoid&init=glorot&depth=8&optimizer=sgd&lr=0.3")
    wait(browser, lambda b: steps(b) >= 150)
    assert values(browser)["activation"] == "sigmoid" and values(browser)["depth"] == "8"
    assert percent(numbers(browser)["Right on the points"]) <= 60
    said = browser.find_element(By.CSS_SELECTOR, ".pg-spoken").get_attribute("textContent")
    told = re.search(r"first layer has norm (\S+), that of the last (\S+)\.$", said)
    assert float(told[1]) < float(told[2]) / 1000

    follow("activation=tanh&init=glorot&depth=8&optimizer=sgd&lr=0.3")
    wait(browser, lambda b: steps(b) >= 400)
    assert percent(numbers(browser)["Right on the points"]) >= 95
    press(browser, "Pause")
    assert not complaints()


@with_python
def test_a_gan_reaches_the_parts_of_its_data(address, browser, complaints):
    visit(browser, address, "gan", "#seed=0")
    press(browser, "Train")
    best = 0
    end = time.monotonic() + SECONDS
    while steps(browser) < 900 and time.monotonic() < end:
        shown = numbers(browser).get("Parts reached", "0 of 8")
        best = max(best, int(shown.split()[0]))
        time.sleep(0.2)
    press(browser, "Pause")
    assert steps(browser) >= 500
    assert best >= 7 and percent(numbers(browser)["On the data"]) >= 40
    assert not complaints()


# ── Settings and the URL ─────────────────────────────────────────────────────────────────────────


def test_settings_come_from_the_url_and_go_to_it(address, browser, complaints):
    visit(
        browser, address, "activations", "#activation=leaky_relu&negative_slope=0.3&depth=5&init=he"
    )
    shown = values(browser)
    assert shown["activation"] == "leaky_relu" and shown["negative_slope"] == "0.3"
    assert shown["depth"] == "5" and shown["init"] == "he" and shown["data"] == "circles"
    Select(control(browser, "data")).select_by_value("spirals")
    Select(control(browser, "norm")).select_by_value("batch")
    url = browser.current_url
    assert "data=spirals" in url and "norm=batch" in url and "negative_slope=0.3" in url
    assert "optimizer" not in url  # what was not changed is left out
    before = values(browser)
    visit(browser, address, "activations", "#" + url.partition("#")[2])
    assert values(browser) == before

    visit(browser, address, "gan", "#data=ring&penalty=10&d_steps=3")
    assert values(browser)["penalty"] == "10" and values(browser)["data"] == "ring"
    assert not complaints()


def test_wrong_settings_are_left_out(address, browser, complaints):
    visit(
        browser, address, "activations", "#depth=99&activation=none&lr=NaN&seed=-4&own=a_b&what=3"
    )
    assert values(browser)["depth"] == "2" and values(browser)["activation"] == "relu"
    assert values(browser)["lr"] == "0.01"
    assert not complaints()


def test_only_its_own_parameters_are_shown(address, browser):
    visit(browser, address, "activations")
    assert "negative_slope" not in values(browser)
    Select(control(browser, "activation")).select_by_value("hardtanh")
    assert {"min_val", "max_val"} <= set(values(browser))
    assert len(Select(control(browser, "activation")).options) == 29


# ── Keyboard and phone ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", PAGES)
def test_all_can_be_reached_with_tab(address, browser, page):
    visit(browser, address, page)
    inside = """
        return ['button', 'select', 'input']
            .flatMap(tag => [...document.querySelectorAll(`.playground ${tag}`)])
            .filter(one => one.checkVisibility()).length
    """
    count = browser.execute_script(inside)
    browser.execute_script("document.querySelector('.pg-main').focus()")
    seen = set()
    for _ in range(count):
        active = browser.switch_to.active_element
        assert browser.execute_script("return arguments[0].closest('.playground') !== null", active)
        name = active.accessible_name
        assert name, active.get_attribute("outerHTML")
        outline = active.value_of_css_property("outline-style")
        assert outline != "none", f"{name}: that it has the focus cannot be seen"
        seen.add(active.id)
        active.send_keys(Keys.TAB)
    assert len(seen) == count


@with_python
def test_points_are_set_with_the_keyboard(address, browser, complaints):
    visit(browser, address, "activations", "#data=own&depth=1")
    browser.find_element(By.CSS_SELECTOR, ".pg-main").send_keys(Keys.ENTER)
    said = browser.find_element(By.CSS_SELECTOR, ".pg-status")
    wait(browser, lambda b: "at least two points" in said.text)
    plane = browser.find_element(By.CSS_SELECTOR, "canvas[tabindex]")
    browser.execute_script("arguments[0].focus()", plane)
    for key, side in ((Keys.ARROW_RIGHT, "1"), (Keys.ARROW_LEFT, "0")):
        Select(control(browser, "side")).select_by_value(side)
        for _ in range(2):
            plane.send_keys(key * 15, Keys.ARROW_UP, Keys.ENTER)
    plane.send_keys(Keys.ENTER, Keys.BACKSPACE)
    wait(browser, lambda b: b.current_url.count("*") == 3, 10)
    assert "1.5_0.1_1*3_0.2_1*1.5_0.3_0*0_0.4_0" in browser.current_url
    browser.find_element(By.CSS_SELECTOR, ".pg-main").send_keys(Keys.ENTER)
    wait(browser, lambda b: steps(b) >= 500)
    assert percent(numbers(browser)["Right on the points"]) == 100
    control(browser, "depth").send_keys(Keys.ARROW_RIGHT)
    wait(browser, lambda b: "depth" not in b.current_url)  # 2 is the default
    press(browser, "Pause")
    assert not complaints()


@with_python
@pytest.mark.parametrize("page", PAGES)
def test_a_phone_shows_it_without_sideways_scrolling(address, phone, page, complaints):
    visit(phone, address, page)
    width = "return document.documentElement.scrollWidth"
    assert phone.execute_script(width) == 360
    press(phone, "One step")
    wait(phone, lambda b: steps(b) == 1)
    assert phone.execute_script(width) == 360
    canvases = """
        return [...document.querySelectorAll('canvas')].map(one => one.getBoundingClientRect())
            .map(box => [box.left, box.right, box.height])
    """
    for left, right, height in phone.execute_script(canvases):
        assert left >= 0 and right <= 360 and height > 80
    small = """
        return [...document.querySelectorAll('.pg-bar button, .pg-control select')]
            .filter(one => one.offsetHeight < 36).length
    """
    assert phone.execute_script(small) == 0  # a finger hits them
    assert not complaints()


@with_python
def test_wrong_results_are_told(address, browser):
    visit(browser, address, "activations", "#init=large&depth=8&optimizer=sgd&lr=0.1")
    press(browser, "Train")
    wait(browser, lambda b: steps(b) >= 50)
    press(browser, "Pause")
    shown = numbers(browser)
    assert "diverged" in shown["Loss"] or int(shown["Dead units"].split()[0]) > 30
