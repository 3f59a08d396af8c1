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
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from sqlalchemy import Engine

from dashboards.desk import create_app
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
        missing = "chromium and chromedriver are not installed; apt-get install chromium chromium-driver"
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


def test_an_analyst_freezes_decides_and_releases(browser: webdriver.Chrome, address: str, engine: Engine) -> None:
    top = queue(engine)[0]

    browser.get(address)
    browser.find_element(By.ID, "name").send_keys("ann")
    browser.find_element(By.ID, "password").send_keys(PASSWORD, Keys.ENTER)
    browser.find_element(By.TAG_NAME, "body").send_keys("j")
    assert browser.switch_to.active_element.text == top.account_id
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert "Is this fraud?" in browser.find_element(By.TAG_NAME, "h1").text

    browser.find_element(By.ID, "reason").send_keys("stolen card")
    browser.find_element(By.ID, "freeze").click()
    assert "The account is frozen." in browser.find_element(By.CLASS_NAME, "told").text
    assert not browser.find_element(By.ID, "release").is_enabled()
    assert [hold.owner for hold in active_holds(engine) if hold.account_id == top.account_id] == ["ann"]

    browser.find_element(By.TAG_NAME, "body").send_keys("f")
    assert browser.switch_to.active_element.get_attribute("id") == "fraud"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    WebDriverWait(browser, 5).until(lambda page: f"decided={top.id}" in page.current_url)
    assert f"{top.account_id} is decided: fraud" in browser.find_element(By.CLASS_NAME, "told").text
    labels = {label.transaction_id: label.is_fraud for label in labels_after(engine, top.portfolio)}
    assert sum(labels.values()) >= top.transactions

    browser.get(f"{address}/alerts/{top.id}")
    browser.find_element(By.ID, "release").click()
    assert "The account is released." in browser.find_element(By.CLASS_NAME, "told").text
    assert not [hold for hold in active_holds(engine) if hold.account_id == top.account_id]
    logged = browser.get_log("browser")  # type: ignore[no-untyped-call]  # selenium does not type it
    assert [entry for entry in logged if entry["level"] == "SEVERE"] == []  # the CSP blocked nothing


@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_is_wider_than_its_window(browser: webdriver.Chrome, address: str, width: int) -> None:
    phone = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    browser.get(address)
    browser.find_element(By.ID, "name").send_keys("ann")
    browser.find_element(By.ID, "password").send_keys(PASSWORD, Keys.ENTER)
    browser.find_element(By.CLASS_NAME, "queue")
    for path in ("/", "/alerts/1", "/holds"):
        browser.get(address + path)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
