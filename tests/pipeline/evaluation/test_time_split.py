"""A model is judged on weeks after all it could know, with labels as they were known on the day."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.schema import LABELS
from pipeline.evaluation.time_split import (
    Split,
    known_labels,
    labelled_rows,
    rows_between,
    split_by_time,
)


def day(number: float) -> datetime:
    return datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=number)


def words(*given: tuple[str, bool, float]) -> pa.Table:
    rows = [
        {"transaction_id": name, "is_fraud": fraud, "known_at": day(at), "source": "source"}
        for name, fraud, at in given
    ]
    return pa.Table.from_pylist(rows, schema=LABELS)


def rows_at(*moments: float) -> pa.Table:
    names = [f"t{place}" for place in range(len(moments))]
    return pa.table(
        {
            "transaction_id": names,
            "as_of": pa.array([day(m) for m in moments], pa.timestamp("us", tz="UTC")),
        }
    )


@given(st.integers(30, 1000), st.integers(1, 7))
def test_train_gap_and_test_follow_one_another(days: int, delay_days: int) -> None:
    delay = timedelta(days=delay_days)
    split = split_by_time(day(0), day(days), label_delay=delay)
    assert split.train_from == day(0) < split.train_until == split.test_from - delay
    assert split.test_until == day(days) - delay
    assert split.test_until - split.test_from >= timedelta(days=7)


def test_too_short_a_history_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"20\.0 days of history are too few .*at least 28 are needed: ingest more"
    ):
        split_by_time(day(0), day(20), label_delay=timedelta(days=7))


@pytest.mark.parametrize(
    "days",
    [
        pytest.param((0, 5, 4, 9), id="the test begins before the training ends"),
        pytest.param((5, 0, 6, 9), id="the training ends before it begins"),
        pytest.param((0, 0, 6, 9), id="no training"),
        pytest.param((0, 5, 6, 6), id="no test"),
    ],
)
def test_spans_in_the_wrong_order_are_refused_with_their_times(
    days: tuple[int, int, int, int],
) -> None:
    with pytest.raises(
        ValueError,
        match=r"must follow one another, not 2025-01-.*; give from before until, train before test",
    ):
        Split(
            train_from=day(days[0]),
            train_until=day(days[1]),
            test_from=day(days[2]),
            test_until=day(days[3]),
        )


@pytest.mark.parametrize(
    ("given", "at", "expected"),
    [
        pytest.param([("t0", True, 3)], 2, None, id="not known yet"),
        pytest.param([("t0", True, 3)], 3, True, id="known at this moment"),
        pytest.param([("t0", True, 3), ("t0", False, 5)], 4, True, id="taken back later"),
        pytest.param([("t0", False, 5), ("t0", True, 3)], 6, False, id="taken back by now"),
        pytest.param(
            [("t0", True, 3), ("t0", False, 3)], 4, True, id="of two words of one moment fraud wins"
        ),
        pytest.param([("t9", True, 3)], 4, None, id="of another"),
    ],
)
def test_a_label_is_what_was_last_told_by_the_moment(
    given: list[tuple[str, bool, float]], at: float, expected: bool | None
) -> None:
    known = known_labels(rows_at(1)["transaction_id"], words(*given), by=day(at))
    assert [
        None if label is not True and label is not False else label
        for label in known.astype("object")
    ] == [expected]


def test_spans_are_half_open() -> None:
    assert rows_between(rows_at(0, 1, 2, 3), day(1), day(3)).tolist() == [False, True, True, False]


def test_only_rows_with_a_known_label_are_given_with_it() -> None:
    rows, labels = labelled_rows(
        rows_at(1, 2, 3, 9),
        words(("t0", True, 4), ("t1", False, 4), ("t2", True, 8)),
        day(0),
        day(5),
        known_by=day(5),
    )
    assert rows["transaction_id"].to_pylist() == ["t0", "t1"]
    assert np.array_equal(labels, [True, False])
