"""A required value that breaks a rule costs its row; an optional one is missing, and counted."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.disk.turns import LOCKS
from pipeline.ingest.ingest import StoppedError, ingest
from pipeline.lake.tables import Lake
from tests.ingest_examples import NOW, PARQUET, Row, portfolio_of, reasons, row, stored, take_in

HAPPENED = datetime(2025, 5, 1, 10, tzinfo=UTC)

IN_FUTURE = r"in the future (now is 2025-06-01T00:00:00Z)"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"amount": "-5"}, "amount is -5.0, below 0", id="negative amount"),
        pytest.param(
            {"amount": "cheap"}, "amount is 'cheap', no finite number", id="text for a number"
        ),
        pytest.param({"amount": "nan"}, "amount is missing", id="nan"),
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
            f"event_time is 2031-01-01T00:00:00Z, {IN_FUTURE}",
            id="future time",
        ),
        pytest.param(
            {"amount": "-5", "event_time": "x", "country": "x"},
            "event_time is 'x', no ISO 8601 time; amount is -5.0, below 0",
            id="two failures",
        ),
    ],
)
def test_a_bad_row_is_held_with_its_reason_and_the_good_one_beside_it_goes_in(
    tmp_path: Path, changes: Row, reason: str
) -> None:
    bad = row("bad", **changes)
    lake, (done,) = take_in(tmp_path, [row("good"), bad])
    assert reasons(lake) == [reason]
    assert {one.sentence for one in done.reasons} == set(reason.split("; "))
    assert (done.read, done.taken, done.quarantined) == (2, 1, 1)
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


@pytest.mark.parametrize(
    ("changes", "expected", "sentence"),
    [
        pytest.param(
            {"known_at": "2031-01-01"},
            NOW,
            f"known_at is 2031-01-01T00:00:00Z, {IN_FUTURE}",
            id="known in the future",
        ),
        pytest.param(
            {"known_at": "2025-05-01"},
            HAPPENED,
            "known_at is 2025-05-01T00:00:00Z, before event_time 2025-05-01T10:00:00Z",
            id="known before it was",
        ),
        pytest.param({"latitude": "90.1"}, None, "latitude is 90.1, above 90", id="latitude"),
        pytest.param(
            {"merchant_longitude": "-181"},
            None,
            "merchant_longitude is -181.0, below -180",
            id="longitude",
        ),
        pytest.param(
            {"country": "Mordor"},
            None,
            "country is 'Mordor', not of the form [A-Z]{2}",
            id="country",
        ),
        pytest.param(
            {"merchant_category": "54x"},
            None,
            "merchant_category is '54x', not of the form [0-9]{4}",
            id="category",
        ),
        pytest.param(
            {"currency": "E\nR"},
            None,
            r"currency is 'E\nR', not of the form [A-Z]{3}",
            id="currency",
        ),
        pytest.param(
            {"account_opened_at": "?"},
            None,
            "account_opened_at is '?', no ISO 8601 time",
            id="an optional time",
        ),
    ],
)
def test_an_optional_value_that_may_not_be_is_missing_and_counted(
    tmp_path: Path, changes: Row, expected: object, sentence: str
) -> None:
    lake, (done,) = take_in(tmp_path, [row("good"), row("bad", **changes)])
    (name,) = changes
    bad, _ = stored(lake, "transactions")
    assert (done.taken, done.quarantined, bad[name]) == (2, 0, expected)
    assert [(lost.sentence, lost.count) for lost in done.missing] == [(sentence, 1)]


@pytest.mark.parametrize(
    ("changes", "known_at", "sentence"),
    [
        pytest.param(
            {"label_known_at": "2025-05-01T09:00:00Z"},
            HAPPENED + timedelta(days=7),
            "label_known_at is 2025-05-01T09:00:00Z, before event_time 2025-05-01T10:00:00Z",
            id="before its payment",
        ),
        pytest.param(
            {"label_known_at": "2031-01-01"},
            NOW,
            f"label_known_at is 2031-01-01T23:59:59.999999Z, {IN_FUTURE}",
            id="in the future",
        ),
        pytest.param(
            {"is_fraud": "maybe"}, None, "is_fraud is 'maybe', neither true nor false", id="a word"
        ),
        pytest.param(
            {"is_fraud": "2"}, None, "is_fraud is '2', neither true nor false", id="a number"
        ),
    ],
)
def test_a_label_that_may_not_be_never_costs_its_payment(
    tmp_path: Path, changes: Row, known_at: datetime | None, sentence: str
) -> None:
    lake, (done,) = take_in(tmp_path, [row(**{"is_fraud": "1", **changes})])
    assert (done.taken, [lost.sentence for lost in done.missing]) == (1, [sentence])
    assert [label["known_at"] for label in stored(lake, "labels")] == (
        [known_at] if known_at else []
    )


def test_a_report_of_the_same_day_without_a_time_is_known_when_the_day_is_over(
    tmp_path: Path,
) -> None:
    lake, (done,) = take_in(tmp_path, [row(is_fraud="1", label_known_at="2025-05-01")])
    (label,) = stored(lake, "labels")
    end_of_day = datetime(2025, 5, 2, tzinfo=UTC) - timedelta(microseconds=1)
    assert (done.missing, label["known_at"]) == ((), end_of_day)


def failing(count: int, *, good: int, **changes: object) -> list[Row]:
    return [*(row(f"b{n}", **changes) for n in range(count)), *(row(f"g{n}") for n in range(good))]


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        pytest.param(
            failing(20, good=100, amount="$7"),
            r"rows.parquet is stopped: amount is '\$7', no finite number, in 20 of 120 rows; say "
            r"decimal and thousands .*; --accept takes",
            id="a form of numbers",
        ),
        pytest.param(
            failing(30, good=2, event_time="1/5/2025"),
            r"event_time is '1/5/2025', no ISO 8601 time, in 30 of 32 rows; say time_format",
            id="a form of times",
        ),
        pytest.param(
            failing(25, good=9, account_id="nan"),
            r"account_id is missing, in 25 of 34 rows; say where else it stands",
            id="guests",
        ),
        pytest.param(
            failing(5, good=900, amount="1,5", is_fraud="1"),
            r"amount is '1,5', no finite number, in 5 of 905 rows",
            id="the known frauds",
        ),
    ],
)
def test_a_file_of_which_one_reason_hits_many_rows_stops_whole(
    tmp_path: Path, rows: list[Row], sentence: str
) -> None:
    with pytest.raises(StoppedError, match=sentence):
        take_in(tmp_path, rows)
    assert [*(tmp_path / "lake").glob("*")] in ([], [tmp_path / "lake" / LOCKS])
    portfolio = portfolio_of(tmp_path)
    lake = Lake(str(tmp_path / "lake"), portfolio.name)
    done = ingest(portfolio, lake, now=NOW, accept=True)
    assert done.read == done.taken + done.quarantined == len(rows)


def test_fewer_bad_rows_than_twenty_stop_no_file(tmp_path: Path) -> None:
    _, (done,) = take_in(tmp_path, failing(19, good=1, amount="$7"))
    assert (done.taken, done.quarantined) == (1, 19)


def test_a_greater_share_may_be_allowed(tmp_path: Path) -> None:
    rows = failing(30, good=70, amount="$7")
    _, (done,) = take_in(tmp_path, rows, source=f"{PARQUET}\nmax_bad_share = 0.3")
    assert (done.taken, done.quarantined) == (70, 30)
