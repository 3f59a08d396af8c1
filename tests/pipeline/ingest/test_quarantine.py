"""Failed rows are kept once with their reason, and leave when they come mended."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.ingest.ingest import ingest
from pipeline.lake.tables import Lake
from tests.ingest_examples import NOW, Row, portfolio_of, reasons, row, stored, take_in

NOW_TOLD = r"in the future (now is 2025-06-01T00:00:00Z)"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"amount": "-5"}, "amount is -5.0, below 0", id="negative amount"),
        pytest.param(
            {"amount": "cheap"}, "amount is 'cheap', no finite number", id="text for a number"
        ),
        pytest.param({"amount": "nan"}, "amount is 'nan', no finite number", id="nan"),
        pytest.param({"amount": "inf"}, "amount is 'inf', no finite number", id="infinite"),
        pytest.param(
            {"amount": "1e999"}, "amount is '1e999', no finite number", id="too great a number"
        ),
        pytest.param({"amount": "1,5"}, "amount is '1,5', no finite number", id="decimal comma"),
        pytest.param({"amount": None}, "amount is missing", id="no amount"),
        pytest.param({"amount": "  "}, "amount is missing", id="blank amount"),
        pytest.param({"account_id": " "}, "account_id is missing", id="blank account"),
        pytest.param(
            {"event_time": "yesterday"},
            "event_time is 'yesterday', no ISO 8601 time",
            id="a word for a time",
        ),
        pytest.param({"event_time": "now"}, "event_time is 'now', no ISO 8601 time", id="now"),
        pytest.param({"event_time": "2025"}, "event_time is '2025', no ISO 8601 time", id="a year"),
        pytest.param(
            {"event_time": "2025-02-30"},
            "event_time is '2025-02-30', no ISO 8601 time",
            id="a day that never was",
        ),
        pytest.param(
            {"event_time": "1746093600"},
            "event_time is '1746093600', no ISO 8601 time",
            id="seconds for a time",
        ),
        pytest.param(
            {"event_time": "2031-01-01"},
            f"event_time is 2031-01-01T00:00:00Z, {NOW_TOLD}",
            id="future time",
        ),
        pytest.param(
            {"known_at": "2031-01-01"},
            f"known_at is 2031-01-01T00:00:00Z, {NOW_TOLD}",
            id="known in the future",
        ),
        pytest.param(
            {"known_at": "2025-05-01"},
            "known_at is 2025-05-01T00:00:00Z, before event_time 2025-05-01T10:00:00Z",
            id="known before it was",
        ),
        pytest.param(
            {"label_known_at": "2025-05-01"},
            "label_known_at is 2025-05-01T00:00:00Z, before event_time 2025-05-01T10:00:00Z",
            id="label before it was",
        ),
        pytest.param({"latitude": "90.1"}, "latitude is 90.1, above 90", id="latitude"),
        pytest.param(
            {"merchant_longitude": "-181"},
            "merchant_longitude is -181.0, below -180",
            id="longitude",
        ),
        pytest.param(
            {"country": "Germany"}, "country is 'Germany', not of the form [A-Z]{2}", id="country"
        ),
        pytest.param(
            {"country": "DE\n"},
            "country is 'DE\\n', not of the form [A-Z]{2}",
            id="country with a line end",
        ),
        pytest.param(
            {"merchant_category": "541"},
            "merchant_category is '541', not of the form [0-9]{4}",
            id="category",
        ),
        pytest.param(
            {"currency": "eur"}, "currency is 'eur', not of the form [A-Z]{3}", id="currency"
        ),
        pytest.param(
            {"is_fraud": "maybe"}, "is_fraud is 'maybe', neither true nor false", id="label"
        ),
        pytest.param(
            {"is_fraud": "2"}, "is_fraud is '2', neither true nor false", id="a number for a label"
        ),
        pytest.param(
            {"account_opened_at": "?"},
            "account_opened_at is '?', no ISO 8601 time",
            id="an optional time",
        ),
        pytest.param(
            {"amount": "-5", "country": "x"},
            "amount is -5.0, below 0; country is 'x', not of the form [A-Z]{2}",
            id="two failures",
        ),
    ],
)
def test_a_bad_row_is_held_with_its_reason_and_the_good_one_beside_it_goes_in(
    tmp_path: Path, changes: Row, reason: str
) -> None:
    bad = row("bad", **changes)
    lake, (done,) = take_in(tmp_path, [row("good"), bad])
    assert reasons(lake) == [reason] == list(done.examples)
    (held,) = stored(lake, "quarantine")
    assert held["transaction_id"] == "bad"
    assert {
        name: value for name, value in json.loads(held["row"]).items() if value is not None
    } == {k: v for k, v in bad.items() if v is not None}
    assert [taken["transaction_id"] for taken in stored(lake, "transactions")] == ["good"]


@pytest.mark.parametrize("address", ["not an address", "999.1.1.1", ""])
def test_a_malformed_ip_address_is_no_reason(tmp_path: Path, address: str) -> None:
    lake, (done,) = take_in(tmp_path, [row(ip_address=address)])
    assert (done.taken, reasons(lake)) == (1, [])


def test_the_same_bad_row_twice_is_held_once(tmp_path: Path) -> None:
    lake, (done,) = take_in(tmp_path, [row(amount="-1"), row(amount="-1")])
    assert (done.read, done.known, done.quarantined, len(reasons(lake))) == (2, 1, 1, 1)


def test_the_same_content_under_one_id_is_known_and_other_content_is_held(tmp_path: Path) -> None:
    lake, (done,) = take_in(tmp_path, [row("t1"), row("t1"), row("t1", amount="99")])
    assert (done.taken, done.known, done.quarantined) == (1, 1, 1)
    assert reasons(lake) == [
        "transaction_id is 't1', a duplicate of a row that says something else"
    ]
    assert [taken["amount"] for taken in stored(lake, "transactions")] == [12.5]


def test_a_row_mended_in_the_source_is_taken_in_and_leaves_quarantine(tmp_path: Path) -> None:
    lake, (before, after) = take_in(
        tmp_path,
        [row("t1", amount="-5"), row("t2", amount="-1")],
        [row("t1", amount="5"), row("t2", amount="-1")],
    )
    assert (before.quarantined, after.taken, after.known) == (2, 1, 1)
    assert [held["transaction_id"] for held in stored(lake, "quarantine")] == ["t2"]


def test_a_failed_row_that_the_source_still_has_beside_a_good_one_stays(tmp_path: Path) -> None:
    lake, _ = take_in(
        tmp_path, [row("t1", amount="-5")], [row("t1", amount="-5"), row("t1", amount="5")]
    )
    assert (reasons(lake), lake.count("transactions")) == (["amount is -5.0, below 0"], 1)


def test_a_row_without_an_id_stays_as_a_record_when_it_comes_mended(tmp_path: Path) -> None:
    lake, (_, after) = take_in(tmp_path, [row("")], [row("t1")])
    assert (after.taken, reasons(lake)) == (1, ["transaction_id is missing"])


def test_a_row_whose_time_has_come_leaves_quarantine(tmp_path: Path) -> None:
    rows = [row("t1", event_time="2025-06-02")]
    lake, _ = take_in(tmp_path, rows)
    assert len(reasons(lake)) == 1
    take_in(tmp_path, rows, now=datetime(2025, 6, 3, tzinfo=UTC))
    assert (reasons(lake), lake.count("transactions")) == ([], 1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param('A = "amount"', 'B = "amount"', id="the amount"),
        pytest.param(
            'B = "amount"\nI = "transaction_id"', 'B = "amount"', id="the id, which was null"
        ),
    ],
)
def test_a_row_leaves_quarantine_when_its_portfolio_is_mended(
    tmp_path: Path, before: str, after: str
) -> None:
    rows = [{**row("t1"), "A": "much", "B": "3", "I": ""}]
    lake, _ = take_in(tmp_path, rows, more=f"[columns]\n{before}")
    assert len(reasons(lake)) == 1
    take_in(tmp_path, rows, more=f"[columns]\n{after}")
    assert (reasons(lake), [taken["amount"] for taken in stored(lake, "transactions")]) == (
        [],
        [3.0],
    )


def test_torn_csv_lines_are_held_once_and_the_others_go_in(tmp_path: Path) -> None:
    source = 'path = "rows.csv"'
    portfolio = portfolio_of(tmp_path, source=source)
    (tmp_path / "rows.csv").write_text(
        "transaction_id,event_time,account_id,amount\nt1,2025-05-01,a,1\nt2,2025-05-01\nt3,2025-05-01,a,3\n"
    )
    lake = Lake(str(tmp_path / "lake"), "small")
    first, again = (ingest(portfolio, lake, now=NOW) for _ in range(2))
    assert (first.read, first.taken, first.quarantined) == (3, 2, 1)
    assert (again.read, again.known, again.quarantined) == (3, 3, 0)
    assert reasons(lake) == ["the line has too few or too many fields"]
    assert json.loads(stored(lake, "quarantine")[0]["row"]) == {"line": "t2,2025-05-01"}
