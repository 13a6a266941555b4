"""Takes the pictures of docs/images from a real sweep, with a headless Chromium.

    python docs/screenshots.py runs SWEEP

Needs Debian's chromium and chromium-driver and the package's dev extra.
"""

import argparse
import shutil
import socket
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from hoyer_search import tracking
from hoyer_search.store import SweepFolder

IMAGES = Path(__file__).parent / "images"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def open_browser(profile: str) -> webdriver.Chrome:
    """Returns a headless browser with an empty profile."""
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def close_assistant(browser: webdriver.Chrome) -> None:
    """Closes the panel that MLflow opens on a first visit."""
    for button in browser.find_elements(By.CSS_SELECTOR, "button[aria-label*='lose']"):
        if button.is_displayed():
            button.click()


def main() -> None:
    """Takes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("storage", type=Path)
    parser.add_argument("sweep")
    arguments = parser.parse_args()
    folder = SweepFolder.open(arguments.storage, arguments.sweep)
    IMAGES.mkdir(exist_ok=True)
    tracking.write_front_png(folder, IMAGES / "front.png")
    uri = tracking.default_uri(arguments.storage)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    pages = tracking.start_ui(uri, port=port)
    try:
        with tempfile.TemporaryDirectory() as profile, open_browser(profile) as browser:
            browser.set_window_size(1700, 1150)
            link = tracking.sweep_link(folder, uri).replace(":5000/", f":{port}/")
            for _ in range(2):  # the first visit opens the assistant
                browser.get(link)
                WebDriverWait(browser, 90).until(
                    lambda b: b.find_elements(By.CSS_SELECTOR, ".scatterlayer .points path.point")
                )
                time.sleep(5)
                close_assistant(browser)
                time.sleep(3)
            browser.save_screenshot(str(IMAGES / "mlflow.png"))
            with tempfile.TemporaryDirectory() as report:
                path = Path(report) / "report.html"
                tracking.write_report(folder, path)
                browser.get(path.as_uri())
                time.sleep(3)
                height = browser.execute_script("return document.documentElement.scrollHeight")
                browser.set_window_size(1300, min(int(height) + 150, 6000))
                time.sleep(2)
                browser.save_screenshot(str(IMAGES / "report.png"))
    finally:
        tracking.stop_ui(pages)


if __name__ == "__main__":
    main()
