"""No foreign scripts, no forged forms, no endless guessing, no markup from a feed."""

from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from pipeline.casework import labels_after, raise_alerts
from tests.casework_examples import NOW, PASSWORD, flagged
from tests.desk_client import Clock, alert_of, post


def test_guessing_a_password_has_to_wait(client: TestClient, clock: Clock) -> None:
    wrong = [
        post(client, "/login", name="ann", password="not this one").status_code for _ in range(5)
    ]
    assert wrong == [403] * 5
    assert post(client, "/login", name="ann", password=PASSWORD).status_code == 429
    assert post(client, "/login", name="ben", password=PASSWORD).status_code == 303
    clock.now = NOW + timedelta(minutes=5)
    assert post(client, "/login", name="ann", password=PASSWORD).status_code == 303


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://desk.test"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "http://desk.test"}, 303),
        ({"Origin": "http://evil.test"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
    ],
    ids=[
        "own",
        "cross-site",
        "same site",
        "typed",
        "own origin",
        "foreign origin",
        "hidden origin",
        "nothing",
    ],
)
def test_a_form_from_elsewhere_is_refused(
    ann: TestClient, engine: Engine, headers: dict[str, str], status: int
) -> None:
    assert post(ann, "/alerts/1/verdict", headers, verdict="fraud").status_code == status
    assert len(labels_after(engine, "world")) == (1 if status == 303 else 0)


@pytest.mark.parametrize(
    "path", ["/login", "/", "/alerts/99", "/static/desk.css", "/queue.json", "/nowhere"]
)
def test_every_answer_forbids_foreign_scripts_and_frames(ann: TestClient, path: str) -> None:
    headers = ann.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_what_shows_cases_is_kept_by_no_cache(ann: TestClient) -> None:
    assert ann.get("/alerts/1").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/login", "/", "/alerts/1", "/holds", "/alerts/99"])
def test_no_page_has_inline_script_style_or_foreign_address(ann: TestClient, path: str) -> None:
    page = ann.get(path).text
    assert "<style" not in page
    assert " style=" not in page
    assert "://" not in page
    assert page.count("<script") == page.count('<script type="module" src="/static/keys.js">') == 1


def test_what_a_feed_says_is_shown_as_text_never_as_markup(ann: TestClient, engine: Engine) -> None:
    raise_alerts(engine, [flagged("<b>t</b>", "<script>a</script>")], portfolio="<i>p</i>", now=NOW)
    for path in ("/", f"/alerts/{alert_of(engine, '<script>a</script>')}"):
        page = ann.get(path).text
        assert "&lt;script&gt;a&lt;/script&gt;" in page
        assert "<script>a" not in page
        assert "<i>p" not in page
