"""One analyst's way through the desk in a real browser: sign in, freeze, decide, release."""

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import uvicorn
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from sqlalchemy import Engine

from dashboards.app import create_app
from pipeline.casework import active_holds, labels_after, queue
from tests.casework_examples import NOW, PASSWORD, casework_with_people
from tests.seeded_desk import seed

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--window-size=1280,800",
)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    opened = casework_with_people(tmp_path)
    seed(opened)
    return opened


@pytest.fixture
def address(engine: Engine) -> Iterator[str]:
    """The desk served on a free port of this machine."""
    listening = socket.create_server(("127.0.0.1", 0))
    app = create_app(engine, clock=lambda: NOW + timedelta(minutes=1))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none"))
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    serving.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    serving.join(timeout=10)
    listening.close()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        missing = (
            "chromium and chromedriver are not installed; apt-get install chromium chromium-driver"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path}/chromium"):
        options.add_argument(flag)
    opened = webdriver.Chrome(options=options, service=Service(driver))
    opened.implicitly_wait(5)
    yield opened
    opened.quit()


def arrive(browser: webdriver.Chrome, by: str, value: str, text: str) -> None:
    """Wait for a loaded page with `text` in such an element.

    A key that submits returns before the page is there.
    """

    def there(page: webdriver.Chrome) -> bool:
        loaded = page.execute_script("return document.readyState") == "complete"
        return loaded and any(text in found.text for found in page.find_elements(by, value))

    WebDriverWait(browser, 20, ignored_exceptions=[StaleElementReferenceException]).until(
        there, f"no {text!r}"
    )


def sign_in(browser: webdriver.Chrome, address: str) -> None:
    browser.get(address)
    browser.find_element(By.ID, "name").send_keys("ann")
    browser.find_element(By.ID, "password").send_keys(PASSWORD, Keys.ENTER)
    arrive(browser, By.CLASS_NAME, "queue", "")


def test_an_analyst_freezes_decides_and_releases(
    browser: webdriver.Chrome, address: str, engine: Engine
) -> None:
    top = queue(engine)[0]

    sign_in(browser, address)
    browser.find_element(By.TAG_NAME, "body").send_keys("j")
    assert browser.switch_to.active_element.text == top.account_id
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    arrive(browser, By.TAG_NAME, "h1", "Is this fraud?")

    browser.find_element(By.ID, "reason").send_keys("stolen card")
    browser.find_element(By.ID, "freeze").click()
    arrive(browser, By.CLASS_NAME, "flash", "The account is frozen.")
    assert not browser.find_element(By.ID, "release").is_enabled()
    assert [hold.owner for hold in active_holds(engine) if hold.account_id == top.account_id] == [
        "ann"
    ]

    browser.find_element(By.TAG_NAME, "body").send_keys("f")
    assert browser.switch_to.active_element.get_attribute("id") == "fraud"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    arrive(browser, By.CLASS_NAME, "flash", f"{top.account_id} is decided: fraud")
    assert f"decided={top.id}" in browser.current_url
    labels = {label.transaction_id: label.is_fraud for label in labels_after(engine, top.portfolio)}
    assert sum(labels.values()) >= top.transactions

    browser.get(f"{address}/alerts/{top.id}")
    browser.find_element(By.ID, "release").click()
    arrive(browser, By.CLASS_NAME, "flash", "The account is released.")
    assert not [hold for hold in active_holds(engine) if hold.account_id == top.account_id]
    logged = browser.get_log("browser")  # type: ignore[no-untyped-call]  # selenium does not type it
    # the CSP blocked nothing
    assert [entry for entry in logged if entry["level"] == "SEVERE"] == []


@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_is_wider_than_its_window(
    browser: webdriver.Chrome, address: str, width: int
) -> None:
    phone = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    sign_in(browser, address)
    for path in ("/", "/alerts/1", "/holds"):
        browser.get(address + path)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
