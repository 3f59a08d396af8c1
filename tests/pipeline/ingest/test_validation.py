"""A row that breaks a rule goes to quarantine with column, value and rule, the good one goes in."""

import json
from pathlib import Path

import pytest

from tests.ingest_examples import Row, reasons, row, stored, take_in

IN_FUTURE = r"in the future (now is 2025-06-01T00:00:00Z)"


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
            f"event_time is 2031-01-01T00:00:00Z, {IN_FUTURE}",
            id="future time",
        ),
        pytest.param(
            {"known_at": "2031-01-01"},
            f"known_at is 2031-01-01T00:00:00Z, {IN_FUTURE}",
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
