"""Signing in opens a session that ends, and leads only within the desk."""

from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from dashboards.app import create_app
from pipeline.casework import alert_page
from tests.casework_examples import NOW, PASSWORD
from tests.desk_client import Clock, post, signed_in


@pytest.mark.parametrize("path", ["/", "/alerts/1", "/holds"])
def test_who_is_not_signed_in_is_sent_to_sign_in_and_back(client: TestClient, path: str) -> None:
    answer = client.get(path, follow_redirects=False)
    assert answer.status_code == 303
    sign_in = client.get(answer.headers["location"]).text
    assert f'name="wanted" value="{path}"' in sign_in
    assert (
        post(client, "/login", name="ann", password=PASSWORD, wanted=path).headers["location"]
        == path
    )


def test_who_is_not_signed_in_gets_neither_twin_nor_change(
    client: TestClient, engine: Engine
) -> None:
    assert client.get("/queue.json").status_code == 401
    assert (
        post(client, "/alerts/1/verdict", verdict="fraud").headers["location"].startswith("/login")
    )
    assert alert_page(engine, 1).alert.state == "open"


@pytest.mark.parametrize("wanted", ["//evil.test", "/\\evil.test", "https://evil.test", "/\nx"])
def test_signing_in_never_leads_to_another_host(client: TestClient, wanted: str) -> None:
    assert (
        post(client, "/login", name="ann", password=PASSWORD, wanted=wanted).headers["location"]
        == "/"
    )


def test_the_cookie_is_for_this_desk_only_and_ends_with_signing_out(client: TestClient) -> None:
    answer = post(client, "/login", name="ann", password=PASSWORD)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    token = client.cookies["strata_session"]
    post(client, "/logout")
    client.cookies.set("strata_session", token)
    assert client.get("/", follow_redirects=False).status_code == 303


def test_a_session_ends_after_twelve_hours(ann: TestClient, clock: Clock) -> None:
    clock.now = NOW + timedelta(hours=12)
    assert ann.get("/", follow_redirects=False).status_code == 303


def test_two_sessions_of_one_person_work_side_by_side(engine: Engine, clock: Clock) -> None:
    app = create_app(engine, clock=clock)
    for _ in range(2):
        with TestClient(app, base_url="http://desk.test") as browser:
            assert signed_in(browser, "ann").get("/").status_code == 200
