"""The label ledger holds each word once, from source and analysts, with when it reached us."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.casework import decide, queue, raise_alerts
from pipeline.ingest.verdicts import collect_labels
from pipeline.lake.tables import Lake
from tests.casework_examples import NOW as DESK_NOW
from tests.casework_examples import casework_with_people, flagged
from tests.ingest_examples import FEED, NOW, row, stored, take_in

HAPPENED = datetime(2025, 5, 1, 10, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


def words(lake: Lake) -> list[tuple[bool, datetime]]:
    return [
        (label["is_fraud"], label["known_at"])
        for label in sorted(stored(lake, "labels"), key=lambda label: label["known_at"])
    ]


def test_a_label_is_known_the_delay_after_its_transaction(tmp_path: Path) -> None:
    lake, _ = take_in(tmp_path, [row(is_fraud="1")], more='[labels]\ndelay = "2d"')
    assert words(lake) == [(True, HAPPENED + timedelta(days=2))]


def test_a_feeds_label_is_known_when_it_comes_and_a_stated_time_goes_first(tmp_path: Path) -> None:
    lake, _ = take_in(tmp_path / "feed", [row(is_fraud="1")], source=FEED)
    assert words(lake) == [(True, NOW)]
    lake, _ = take_in(
        tmp_path / "stated", [row(is_fraud="1", label_known_at="2025-05-09")], source=FEED
    )
    end_of_day = datetime(2025, 5, 10, tzinfo=UTC) - timedelta(microseconds=1)
    assert words(lake) == [(True, end_of_day)]


def test_a_label_that_comes_after_its_transaction_is_known_when_it_comes(
    tmp_path: Path,
) -> None:
    lake, (first, second) = take_in(tmp_path, [row(is_fraud=None)], [row(is_fraud="0")])
    assert (first.labels, second.taken, second.known, second.labels) == (0, 0, 1, 1)
    assert words(lake) == [(False, NOW)]


def test_a_label_taken_back_is_known_from_then_on_and_said_again_changes_nothing(
    tmp_path: Path,
) -> None:
    lake, _ = take_in(tmp_path, [row(is_fraud="0")])
    for now in (LATER, LATER + timedelta(days=1)):
        take_in(tmp_path, [row(is_fraud="1")], now=now)
    assert words(lake) == [(False, HAPPENED + timedelta(days=7)), (True, LATER)]


def test_stated_times_can_take_a_word_back_twice(tmp_path: Path) -> None:
    rows = [
        row(is_fraud=value, label_known_at=f"2025-05-{day}")
        for value, day in (("0", "03"), ("1", "05"), ("0", "07"))
    ]
    lake, (first, again) = take_in(tmp_path, rows, rows)
    assert [word for word, _ in words(lake)] == [False, True, False]
    assert (first.taken, first.known, first.labels, again.labels) == (1, 2, 3, 0)


@pytest.mark.parametrize("batch_rows", [1, 10], ids=["in two commits", "in one commit"])
def test_two_words_on_one_transaction_without_times_are_both_kept_and_settle(
    tmp_path: Path, batch_rows: int
) -> None:
    rows = [row(is_fraud="0"), row(is_fraud="1")]
    lake, (first, again) = take_in(tmp_path, rows, rows, batch_rows=batch_rows)
    assert (first.labels, again.labels) == (2, 0)
    assert words(lake) == [(False, HAPPENED + timedelta(days=7)), (True, NOW)]


def test_a_row_in_quarantine_tells_no_label(tmp_path: Path) -> None:
    lake, _ = take_in(
        tmp_path,
        [row("t1", amount="-1", is_fraud="1"), row("t2"), row("t2", amount="9", is_fraud="1")],
    )
    assert [label["transaction_id"] for label in stored(lake, "labels")] == ["t2"]


def test_an_analysts_verdict_is_copied_once_beside_the_sources_word(tmp_path: Path) -> None:
    lake, _ = take_in(tmp_path, [row("t1", is_fraud="0")])
    engine = casework_with_people(tmp_path)
    raise_alerts(engine, [flagged("t1")], portfolio="small", now=DESK_NOW)
    (alert,) = queue(engine, "small")
    decide(engine, alert.id, verdict="fraud", by="ann", now=DESK_NOW)
    assert (collect_labels(lake, engine), collect_labels(lake, engine)) == (1, 0)
    assert {(label["source"], label["is_fraud"]) for label in stored(lake, "labels")} == {
        ("source", False),
        ("review", True),
    }
    _, (again,) = take_in(tmp_path, [row("t1", is_fraud="0")])
    assert again.labels == 0
