"""Reasons are stored as they always were, and what is damaged is not taken for reasons."""

import json
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, text

from pipeline.casework import alert_page
from pipeline.casework.database import writer
from pipeline.casework.reasons_json import from_json, to_json
from pipeline.flagged import Fact, NearCase, StageReason

# as release 0.1 wrote them
STAGES = (
    '[{"group": "ip", "increment": 1.5, "facts": [{"name": "ip_country", "text": "IP in RO", '
    '"unusual": true, "share": 0.5}, {"name": "device_id", "text": "Device: new", '
    '"unusual": false, "share": null}]}]'
)
NEAREST = (
    '[{"transaction_id": "c1", "event_time": "2025-03-03T09:00:00+00:00", "amount": 80.0, '
    '"currency": null, "is_fraud": true, "distance": 0.5}]'
)
REASONS = (
    StageReason(
        group="ip",
        increment=1.5,
        facts=(
            Fact(name="ip_country", text="IP in RO", unusual=True, attribution=0.5),
            Fact(name="device_id", text="Device: new", unusual=False),
        ),
    ),
)
CASES = (
    NearCase(
        transaction_id="c1",
        event_time=datetime(2025, 3, 3, 9, tzinfo=UTC),
        amount=80.0,
        currency=None,
        is_fraud=True,
        distance=0.5,
    ),
)


def test_what_release_0_1_stored_is_read() -> None:
    assert from_json(StageReason, json.loads(STAGES)) == REASONS
    assert from_json(NearCase, json.loads(NEAREST)) == CASES


def test_release_0_1_would_read_what_is_stored() -> None:
    assert json.dumps(to_json(REASONS)) == STAGES
    assert json.dumps(to_json(CASES)) == NEAREST


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        ([{"group": "ip", "facts": []}], "at 0.increment: Field required"),
        ([{"group": "ip", "increment": "much", "facts": []}], "0.increment: .* found 'much'"),
        ([{"group": "ip", "increment": 1.0, "fact": []}], "at 0.fact: Unexpected"),
        ({"group": "ip"}, r"at the top: .* found {'group': 'ip'}\); restore the database"),
    ],
    ids=["a value is missing", "a word for a number", "an unknown name", "not a list"],
)
def test_damaged_reasons_are_refused_in_one_sentence(stored: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"a StageReason that cannot be read .*{sentence}"):
        from_json(StageReason, stored)


def test_an_alert_with_damaged_reasons_is_not_shown_without_them(
    engine: Engine, alert_id: int
) -> None:
    with writer(engine).begin() as connection:
        connection.execute(text("UPDATE alert_transaction SET nearest = '[1]'"))
    with pytest.raises(ValueError, match="holds a NearCase that cannot be read"):
        alert_page(engine, alert_id)
