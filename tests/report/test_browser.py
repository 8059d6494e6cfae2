"""The page in a browser: what it shows, by mouse, by keyboard, in print and without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.report.chrome import INSTALL, find

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)


FOUND = find()

pytestmark = pytest.mark.skipif(FOUND is None, reason=INSTALL)


@contextmanager
def started() -> Iterator[webdriver.Chrome]:
    """A browser without a window, which keeps what its console says."""
    assert FOUND is not None
    options = webdriver.ChromeOptions()
    options.binary_location = FOUND.browser
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=Service(FOUND.driver)) as chrome:
        yield chrome


@pytest.fixture(scope="module")
def browser():
    with started() as chrome:
        yield chrome


def test_the_page_opens_in_a_browser_without_errors_and_with_all_figures_visible(run_dir, browser):
    browser.get((run_dir / "report.html").as_uri())
    assert browser.get_log("browser") == []
    images = browser.find_elements(By.TAG_NAME, "img")
    assert len(images) == len(list((run_dir / "figures").glob("*.png")))
    assert all(browser.execute_script("return arguments[0].naturalWidth > 100", image) for image in images)
    elsewhere = [image for image in images if "map" not in image.find_element(By.XPATH, "..").get_attribute("class")]
    assert elsewhere and all(browser.execute_script("return arguments[0].offsetWidth > 100", image) for image in elsewhere)
    assert len(shown_maps(browser)) == 1
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def shown_maps(browser) -> list[tuple[str, str]]:
    """What the visible maps are views of, and their thresholds."""
    maps = [own for own in browser.find_elements(By.CSS_SELECTOR, "figure.map") if own.is_displayed()]
    return [(own.get_attribute("data-view"), own.get_attribute("data-threshold")) for own in maps]


def test_the_maps_switch_by_setting_and_by_threshold_with_the_keyboard_alone(run_dir, browser):
    browser.get((run_dir / "report.html").as_uri())
    view = browser.find_element(By.ID, "view")
    names = [option.text for option in view.find_elements(By.TAG_NAME, "option")]
    assert names[-1] == "all of these"
    (first,) = shown_maps(browser)
    assert first == (names[0], "own")
    view.send_keys(Keys.DOWN)
    assert shown_maps(browser) == [(names[1], "own")]
    browser.find_element(By.CSS_SELECTOR, "input[name=threshold][value=own]").send_keys(Keys.UP)
    assert shown_maps(browser) == [(names[1], "0.5")]
    view.send_keys(Keys.END)
    assert shown_maps(browser) == [(name, "0.5") for name in names[:-1]]
    figures = len(browser.find_elements(By.CSS_SELECTOR, "figure.map"))
    assert browser.find_element(By.ID, "maps-shown").text == f"{len(names) - 1} of {figures} figures shown"


def test_print_shows_the_maps_of_every_setting_at_its_own_threshold_and_no_controls(run_dir, browser):
    browser.get((run_dir / "report.html").as_uri())
    everything = [option.text for option in browser.find_elements(By.CSS_SELECTOR, "#view option")][:-1]
    browser.find_element(By.CSS_SELECTOR, "input[name=threshold][value='0.5']").click()
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert shown_maps(browser) == [(name, "own") for name in everything]
        hidden = browser.find_elements(By.CSS_SELECTOR, ".switch, nav, .cells")
        assert len(hidden) >= 3 and not any(element.is_displayed() for element in hidden)
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_without_javascript_the_maps_of_every_setting_show_at_its_own_threshold(run_dir, browser):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get((run_dir / "report.html").as_uri())
        maps = browser.find_elements(By.CSS_SELECTOR, "figure.map")
        shown = [own.get_attribute("data-threshold") for own in maps if own.is_displayed()]
        assert shown == ["own"] * sum(own.get_attribute("data-threshold") == "own" for own in maps) != []
        assert not browser.find_element(By.CSS_SELECTOR, ".switch").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_search_of_the_table_of_cells_keeps_the_cells_that_hold_the_words(run_dir, browser):
    browser.get((run_dir / "report.html").as_uri())
    search = WebDriverWait(browser, 20).until(lambda page: page.find_element(By.CSS_SELECTOR, ".cells input[type=search]"))
    search.send_keys("diverged")
    assert (
        browser.find_element(By.CSS_SELECTOR, ".cells .dt-info").text
        == "Showing 1 to 2 of 2 entries (filtered from 34 total entries)"
    )
    rows = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "#cells tbody tr")]
    assert len(rows) == 2 and all("diverged" in row for row in rows)
    assert browser.get_log("browser") == []


def test_every_control_has_a_label_and_every_section_a_heading(run_dir, browser):
    browser.get((run_dir / "report.html").as_uri())
    WebDriverWait(browser, 20).until(lambda page: page.find_element(By.CSS_SELECTOR, ".cells input[type=search]"))
    controls = browser.find_elements(By.CSS_SELECTOR, "input, select")
    assert len(controls) >= 5
    assert all(browser.execute_script("return arguments[0].labels.length", control) for control in controls)
    headings = browser.execute_script(
        "return [...document.querySelectorAll('section')].map(s => document.getElementById(s.getAttribute('aria-labelledby')).tagName)"
    )
    assert headings and set(headings) == {"H2"}
