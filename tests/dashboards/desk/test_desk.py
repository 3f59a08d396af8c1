"""The review desk: every page answers its question, every form does its one thing, every guard holds."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from dashboards.app import create_app
from pipeline.casework import (
    active_holds,
    alert_page,
    decide,
    freeze,
    labels_after,
    queue,
    raise_alerts,
    take,
)
from tests.casework_examples import NOW, PASSWORD, casework_with_people, flagged, near

OWN = {"Sec-Fetch-Site": "same-origin"}
TOMORROW = NOW + timedelta(days=1)


class Clock:
    """A clock the test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Three open alerts; that of account a2 is worth most."""
    opened = casework_with_people(tmp_path)
    batch = [
        flagged("t1", "a1", loss=20),
        flagged("t2", "a2", loss=70),
        flagged("t3", "a2", score=0.5),
        flagged("t4", "a3", loss=5),
    ]
    raise_alerts(opened, batch, portfolio="world", now=NOW - timedelta(hours=3))
    return opened


@pytest.fixture
def client(engine: Engine, clock: Clock) -> Iterator[TestClient]:
    with TestClient(create_app(engine, clock=clock), base_url="http://desk.test") as opened:
        yield opened


@pytest.fixture
def ann(client: TestClient) -> TestClient:
    return signed_in(client, "ann")


def signed_in(client: TestClient, name: str) -> TestClient:
    assert post(client, "/login", name=name, password=PASSWORD).status_code == 303
    return client


def post(client: TestClient, path: str, headers: dict[str, str] = OWN, **fields: str) -> Any:
    """The answer to a form, redirects not followed."""
    return client.post(path, data=fields, headers=headers, follow_redirects=False)


def alert_of(engine: Engine, account_id: str) -> int:
    return next(alert.id for alert in queue(engine) if alert.account_id == account_id)


def test_the_queue_begins_with_what_is_worth_most(ann: TestClient) -> None:
    page = ann.get("/")
    assert "What should I review next?" in page.text
    assert page.text.index("a2") < page.text.index("a1") < page.text.index("a3")
    assert "90.00 EUR" in page.text


def test_the_queues_twin_has_the_same_facts(ann: TestClient) -> None:
    twin = ann.get("/queue.json").json()
    first = twin["rows"][0]
    assert [row["account_id"] for row in twin["rows"]] == ["a2", "a1", "a3"]
    assert (first["transactions"], first["score"], first["at_risk"], first["age"]) == (
        2,
        "50.0 %",
        "200.00 EUR",
        "3 h",
    )
    assert [(reason["group"], reason["text"]) for reason in first["reasons"]] == [
        ("IP", "+2.00"),
        ("Amount", "+1.00"),
    ]


def test_the_queue_is_filtered_by_portfolio_and_state(ann: TestClient, engine: Engine) -> None:
    raise_alerts(engine, [flagged("t1", "c1")], portfolio="cards & co", now=NOW)
    take(engine, alert_of(engine, "a1"), by="ben", now=NOW)
    cards = ann.get("/queue.json", params={"portfolio": "cards & co"}).json()
    in_review = ann.get("/queue.json", params={"state": "in_review"}).json()
    assert [row["account_id"] for row in cards["rows"]] == ["c1"]
    assert [(row["account_id"], row["reviewer"]) for row in in_review["rows"]] == [("a1", "ben")]
    assert "portfolio=cards+%26+co" in cards["tabs"][1]["href"]


def test_a_long_queue_is_turned_by_pages(ann: TestClient, engine: Engine) -> None:
    raise_alerts(engine, [flagged(f"b{n}", f"b{n}") for n in range(30)], portfolio="world", now=NOW)
    first, second = ann.get("/queue.json").json(), ann.get("/queue.json?page=2").json()
    assert (len(first["rows"]), first["following"], first["previous"]) == (25, "/?page=2", None)
    assert (len(second["rows"]), second["following"], second["previous"]) == (8, None, "/")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [("/?portfolio=none", "Nothing waits for review"), ("/?state=decided", "No alert was decided yet"),
     ("/?state=in_review", "Nobody has taken an alert"), ("/holds", "No account is frozen")],
    ids=["open", "decided", "in review", "holds"],
)  # fmt: skip
def test_an_empty_page_says_what_to_do(ann: TestClient, path: str, sentence: str) -> None:
    assert sentence in ann.get(path).text


def test_an_alerts_page_shows_facts_reasons_and_what_a_weight_means(
    ann: TestClient, engine: Engine
) -> None:
    page = ann.get(f"/alerts/{alert_of(engine, 'a2')}").text
    assert "Is this fraud?" in page
    assert "Country of the IP: RO, card country: DE" in page
    assert 'Amount: 100 EUR <span class="share">+0.75</span>' in page
    assert 'all else <span class="share">+0.25</span>' in page  # of the amount's +1.00
    assert "given the groups before it" in page
    assert page.count("<svg class=") == 3  # base, amount, ip


def test_the_riskiest_transaction_is_shown_first_and_another_on_demand(
    ann: TestClient, engine: Engine
) -> None:
    path = f"/alerts/{alert_of(engine, 'a2')}.json"
    assert ann.get(path).json()["reasons"]["transaction_id"] == "t3"
    assert ann.get(path, params={"transaction": "t2"}).json()["reasons"]["transaction_id"] == "t2"
    assert (
        ann.get(path, params={"transaction": "of another alert"}).json()["reasons"][
            "transaction_id"
        ]
        == "t3"
    )


def test_the_nearest_confirmed_cases_are_told_with_their_alerts(
    ann: TestClient, engine: Engine
) -> None:
    near_ones = (near("t1", distance=0.125), near("<c>", is_fraud=False, distance=2.0))
    raise_alerts(engine, [flagged("t9", "a9", nearest=near_ones)], portfolio="world", now=NOW)
    path, there = (
        f"/alerts/{alert_of(engine, 'a9')}",
        f"/alerts/{alert_of(engine, 'a1')}?transaction=t1#reasons",
    )
    told = [
        (case["transaction_id"], case["verdict"], case["amount"], case["distance"], case["href"])
        for case in ann.get(f"{path}.json").json()["reasons"]["nearest"]
    ]
    assert told == [
        ("t1", "fraud", "80.00 EUR", "0.12", there),
        ("<c>", "legitimate", "80.00 EUR", "2.00", None),
    ]
    page = ann.get(path).text
    assert "Nearest confirmed cases" in page
    assert f'<th scope="row"><a href="{there}">t1</a>' in page
    assert '<th scope="row">&lt;c&gt;' in page


def test_without_near_cases_there_is_no_table_of_them(ann: TestClient, engine: Engine) -> None:
    raise_alerts(engine, [flagged("t9", "a9", nearest=())], portfolio="world", now=NOW)
    assert "Nearest confirmed cases" not in ann.get(f"/alerts/{alert_of(engine, 'a9')}").text


def test_a_verdict_becomes_labels_and_leads_to_the_next_alert(
    ann: TestClient, engine: Engine
) -> None:
    answer = post(ann, f"/alerts/{alert_of(engine, 'a2')}/verdict", verdict="fraud", note="stolen")
    assert answer.headers["location"] == f"/alerts/{alert_of(engine, 'a1')}?decided=2"
    assert [(label.transaction_id, label.is_fraud) for label in labels_after(engine, "world")] == [
        ("t2", True),
        ("t3", True),
    ]
    assert (
        "Alert 2 of a2 is decided: fraud. 2 transactions labelled."
        in ann.get(answer.headers["location"]).text
    )


def test_after_the_last_verdict_the_way_leads_to_the_queue(ann: TestClient, engine: Engine) -> None:
    for account in ("a1", "a2", "a3"):
        answer = post(ann, f"/alerts/{alert_of(engine, account)}/verdict", verdict="legitimate")
    assert answer.headers["location"] == "/?decided=3"


def test_a_line_on_top_cannot_be_made_up_by_a_link(ann: TestClient) -> None:
    for made_up in ("decided=1", "decided=99", "decided=x", "decided=²", "done=hacked"):
        assert 'role="status"' not in ann.get(f"/?{made_up}").text


def test_an_account_is_frozen_until_the_end_of_the_day_chosen(
    ann: TestClient, engine: Engine
) -> None:
    answer = post(ann, "/alerts/1/freeze", kind="debit", reason="stolen", review_by="2025-03-12")
    hold = active_holds(engine)[0]
    assert answer.headers["location"] == "/alerts/1?done=frozen"
    assert (hold.account_id, hold.kind, hold.owner) == ("a1", "debit", "ann")
    assert hold.review_by.isoformat() == "2025-03-12T23:59:59+00:00"


def test_release_is_offered_only_after_the_verdict(ann: TestClient, engine: Engine) -> None:
    freeze(engine, "world", "a1", kind="all", reason="x", owner="ann", review_by=TOMORROW, now=NOW)
    before = ann.get("/alerts/1").text
    refused = post(ann, "/holds/release", portfolio="world", account_id="a1")
    decide(engine, 1, verdict="fraud", by="ann", now=NOW)
    released = post(ann, "/holds/release", portfolio="world", account_id="a1", alert_id="1")
    assert "Alert 1 of this account is not decided yet." in before
    assert "disabled" in before
    assert (refused.status_code, "decide it before the release" in refused.text) == (409, True)
    assert released.headers["location"] == "/alerts/1?done=released"
    assert active_holds(engine) == ()


def test_holds_are_listed_with_what_is_overdue_and_what_blocks(
    ann: TestClient, engine: Engine, clock: Clock
) -> None:
    freeze(engine, "world", "a1", kind="all", reason="x", owner="ann", review_by=TOMORROW, now=NOW)
    freeze(
        engine,
        "world",
        "z9",
        kind="debit",
        reason="y",
        owner="sue",
        review_by=TOMORROW + timedelta(days=1),
        now=NOW,
    )
    clock.now = NOW + timedelta(hours=25)
    post(ann, "/login", name="ann", password=PASSWORD)
    twin = ann.get("/holds.json").json()
    assert [(row["account_id"], row["overdue"], row["blocked"]) for row in twin["rows"]] == [
        ("a1", True, "Alert 1 of this account is not decided yet."),
        ("z9", False, None),
    ]
    assert "overdue" in ann.get("/holds").text


def test_an_alert_is_taken_and_put_back(ann: TestClient, engine: Engine) -> None:
    assert post(ann, "/alerts/1/take").headers["location"] == "/alerts/1?done=taken"
    assert alert_page(engine, 1).alert.reviewer == "ann"
    post(ann, "/alerts/1/return")
    assert alert_page(engine, 1).alert.state == "open"


def test_a_senior_reverses_a_verdict(client: TestClient, engine: Engine) -> None:
    decide(engine, 1, verdict="fraud", by="ann", now=NOW)
    sue = signed_in(client, "sue")
    assert "Reverse to legitimate" in sue.get("/alerts/1").text
    assert post(sue, "/alerts/1/reversal", verdict="legitimate", note="called").status_code == 303
    assert [label.is_fraud for label in labels_after(engine, "world")] == [True, False]


def test_a_viewer_sees_no_form_that_changes_a_case_and_is_refused(
    client: TestClient, engine: Engine
) -> None:
    vic = signed_in(client, "vic")
    page = vic.get("/alerts/1").text
    assert "You are viewer and may look, not decide." in page
    assert '<button id="fraud"' not in page
    refused = post(vic, "/alerts/1/verdict", verdict="fraud")
    assert (
        refused.status_code,
        "vic is viewer and may not decide alerts" in refused.text.replace("Vic", "vic"),
    ) == (403, True)
    assert labels_after(engine, "world") == ()


def test_an_alert_decided_meanwhile_is_told_in_one_sentence(
    ann: TestClient, engine: Engine
) -> None:
    decide(engine, 1, verdict="fraud", by="ben", now=NOW)
    answer = post(ann, "/alerts/1/verdict", verdict="legitimate")
    assert answer.status_code == 409
    assert "Alert 1 was decided as fraud by ben already; a senior can reverse it." in answer.text


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/alerts/99", 404, "There is no alert 99; open one from the queue."),
        ("/alerts/x", 404, "There is no page /alerts/x; begin at the queue."),
        ("/?page=0", 422, "The field page is not right"),
        ("/?state=odd", 422, "The field state is not right"),
        ("/logout", 405, "cannot be asked that way"),
    ],
    ids=["no alert", "no page", "page 0", "odd state", "wrong method"],
)
def test_a_wrong_address_is_answered_with_a_sentence(
    ann: TestClient, path: str, status: int, sentence: str
) -> None:
    answer = ann.get(path)
    assert (answer.status_code, sentence in answer.text) == (status, True)


def test_a_missing_alerts_twin_is_json_too(ann: TestClient) -> None:
    answer = ann.get("/alerts/99.json")
    assert (answer.status_code, answer.json()) == (
        404,
        {"error": "There is no alert 99; open one from the queue."},
    )


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/alerts/1/verdict", {"verdict": "perhaps"}),
        ("/alerts/1/verdict", {}),
        ("/alerts/1/freeze", {"kind": "all", "reason": "x", "review_by": "soon"}),
        ("/alerts/1/verdict", {"verdict": "fraud", "note": "x" * 2001}),
    ],
    ids=["odd verdict", "no verdict", "no date", "endless note"],
)
def test_a_bad_form_changes_nothing_and_says_why(
    ann: TestClient, engine: Engine, path: str, fields: dict[str, Any]
) -> None:
    answer = post(ann, path, **fields)
    assert (answer.status_code, "is not right" in answer.text) == (422, True)
    assert alert_page(engine, 1).alert.state == "open"


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


def test_a_transaction_without_stages_has_a_page(ann: TestClient, engine: Engine) -> None:
    bare = flagged("bare", "a9")
    raise_alerts(
        engine,
        [type(bare)(**{**vars(bare), "stages": (), "currency": None})],
        portfolio="world",
        now=NOW,
    )
    assert ann.get(f"/alerts/{alert_of(engine, 'a9')}").status_code == 200


def test_two_sessions_of_one_person_work_side_by_side(engine: Engine, clock: Clock) -> None:
    app = create_app(engine, clock=clock)
    for _ in range(2):
        with TestClient(app, base_url="http://desk.test") as browser:
            assert signed_in(browser, "ann").get("/").status_code == 200
