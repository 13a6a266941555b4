"""What a reader sees: MLflow's page and the report in a real browser."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Builder
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

from hoyer_search.tracking import default_uri, start_ui, sync, write_report

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1900,1600",
]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    driver = shutil.which("chromedriver")
    assert driver, "install Chromium and its driver, e.g. apt-get install chromium chromium-driver"
    options = webdriver.ChromeOptions()
    for flag in [*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "SEVERE"})
    with webdriver.Chrome(options=options, service=Service(driver)) as chrome:
        yield chrome


def count(browser: webdriver.Chrome, selector: str) -> int:
    found: int = browser.execute_script(
        "return document.querySelectorAll(arguments[0]).length", selector
    )
    return found


def wait_for_count(browser: webdriver.Chrome, selector: str, expected: int) -> None:
    def seen(_: Any) -> bool:
        return count(browser, selector) == expected

    WebDriverWait(browser, 60).until(seen, f"{count(browser, selector)} of {selector}")


@pytest.mark.browser
@pytest.mark.slow
def test_the_link_opens_on_the_front(stored: Builder, browser: webdriver.Chrome) -> None:
    stored.pretrain()
    for number in range(5):
        stored.trial(number, error="Traceback" if number == 3 else None)
    stored.finish()
    link = sync(stored.folder, running=False).link
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    pages = start_ui(default_uri(stored.folder.path.parent), port=port)
    try:
        browser.get(link.replace(":5000/", f":{port}/"))
        wait_for_count(browser, ".scatterlayer .points path.point", 3 * 4)
        text = browser.find_element("tag name", "body").text
        assert "Pareto front of quick-1" in text
        assert "log2_compression vs. accuracy" in text
    finally:
        pages.terminate()
        pages.wait()


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_draws_without_a_network(
    sweep: Builder, tmp_path: Path, browser: webdriver.Chrome, scheme: str
) -> None:
    sweep.pretrain()
    for number in range(5):
        sweep.trial(number)
    write_report(sweep.folder, tmp_path / "report.html")
    wanted = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [wanted]})
    browser.get((tmp_path / "report.html").as_uri())
    front = sweep.folder.front()
    assert front is not None
    points = len(sweep.folder.points()) + 1  # and the dense network
    wait_for_count(browser, "#front .scatterlayer .points path.point", points)
    wait_for_count(browser, "#hypervolume .scatterlayer .points path.point", 6)
    wait_for_count(browser, "#parallel .y-axis", 5)
    assert not browser.get_log("browser")
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    red = int(
        browser.execute_script(
            "return getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]"
        )
    )
    assert (red > 128) == (scheme == "light")
