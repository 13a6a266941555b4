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


def take(browser: webdriver.Chrome, address: str, wanted: str, name: str) -> None:
    """Takes a picture of a page of MLflow once it shows what is wanted.

    Args:
        browser: The browser.
        address: The page.
        wanted: CSS selector of what it is to show.
        name: Of the picture.
    """
    browser.get("about:blank")  # another part after the # alone would load nothing
    browser.get(address)
    WebDriverWait(browser, 90).until(lambda b: b.find_elements(By.CSS_SELECTOR, wanted))
    time.sleep(8)
    close_assistant(browser)
    time.sleep(3)
    browser.save_screenshot(str(IMAGES / f"{name}.png"))


def take_mlflow(browser: webdriver.Chrome, folder: SweepFolder, uri: str, port: int) -> None:
    """Takes the pictures of MLflow's pages: front, a point's run, report, registry."""
    from mlflow import MlflowClient

    browser.set_window_size(1700, 1150)
    link = tracking.sweep_link(folder, uri, port=port)
    front = folder.front()
    assert link is not None
    assert front is not None
    for _ in range(2):  # the first visit opens the assistant
        take(browser, link, ".scatterlayer .points path.point", "mlflow")
    api = MlflowClient(tracking_uri=uri, registry_uri=uri)
    (experiment,) = api.search_experiments(filter_string="name LIKE 'hoyer/%'")
    runs = api.search_runs([experiment.experiment_id], f"tags.`hoyer.sweep` = '{folder.name}'")
    ids = {run.data.tags.get("hoyer.uid", ""): run.info.run_id for run in runs}
    best = next(point for point in front.operating_points.values() if point is not None)
    own = f"http://127.0.0.1:{port}/#/experiments/{experiment.experiment_id}/runs"
    take(browser, f"{own}/{ids[best.uid]}", "h2, h3, [role=table]", "mlflow-run")
    take(browser, f"{own}/{ids['']}/artifacts/report.html", "iframe#html", "mlflow-report")
    (model,) = api.search_registered_models()
    page = f"http://127.0.0.1:{port}/#/models/{model.name}"
    take(browser, page, "[role=row]", "mlflow-registry")


def take_report(browser: webdriver.Chrome, folder: SweepFolder) -> None:
    """Takes the picture of the whole report."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "report.html"
        tracking.write_report(folder, path)
        browser.get(path.as_uri())
        time.sleep(3)
        height = browser.execute_script("return document.documentElement.scrollHeight")
        browser.set_window_size(1300, min(int(height) + 150, 6000))
        time.sleep(2)
        browser.save_screenshot(str(IMAGES / "report.png"))


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
            take_mlflow(browser, folder, uri, port)
            take_report(browser, folder)
    finally:
        tracking.stop_ui(pages)


if __name__ == "__main__":
    main()
