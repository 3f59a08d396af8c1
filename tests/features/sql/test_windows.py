"""What a window sees, against plain loops over the same rows, and by hand at its edges."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from features.build import shown_features
from features.declarations import (
    Feature,
    Function,
    Group,
    aggregate,
    from_row,
    last_row,
    newly_seen,
    seconds_since,
)
from tests.features.streams import (
    ALL_GROUPS,
    DAY,
    MICROSECOND,
    START,
    Stream,
    built,
    built_both_ways,
    stream_of,
    streams,
)

WEEK = 7 * DAY


def of_week(
    name: str, function: Function, *, key: str = "account_id", of: str = "", where: str = ""
) -> Feature:
    return aggregate(name, function, key, "7d", name, of=of, where=where)


WINDOWS = Group(
    name="windows",
    meaning="one of each kind",
    needs=(),
    features=(
        of_week("count_7d", "count"),
        of_week("sum_7d", "sum", of="amount"),
        of_week("mean_7d", "mean", of="amount"),
        of_week("most_7d", "max", of="amount"),
        of_week("least_7d", "min", of="amount"),
        of_week("spread_7d", "stddev", of="amount * 2"),
        newly_seen("new_7d", "account_id+merchant_id", "new", span="7d"),
        seconds_since("seconds_7d", "account_id", "time since", span="7d"),
        last_row("last_online", "account_id", where="channel = 'online'", span="7d"),
        from_row("last_online_amount", "amount", "last_online", "the last online payment"),
        aggregate("large_1d", "count", "account_id", "1d", "large ones", where="amount >= 3"),
        of_week("online_sum_7d", "sum", of="amount", where="channel = 'online'"),
        of_week("online_mean_7d", "mean", of="amount", where="channel = 'online'"),
        of_week("online_seconds_7d", "seconds_since", where="channel = 'online'"),
        of_week("online_new_7d", "newly_seen", where="channel = 'online'"),
    ),
)


def by_hand(row: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """The features of WINDOWS for one row, by looking at every other."""
    if row["account_id"] is None:
        return dict.fromkeys(feature.name for feature in shown_features([WINDOWS]))

    def earlier(span: timedelta) -> list[dict[str, Any]]:
        own = [other for other in rows if other["account_id"] == row["account_id"]]
        return [other for other in own if row["as_of"] - span <= other["as_of"] < row["as_of"]]

    week = earlier(WEEK)
    amounts = [other["amount"] for other in week]
    online = [other for other in week if other["channel"] == "online"]
    paid_online = [other["amount"] for other in online]
    seen = any(other["merchant_id"] == row["merchant_id"] for other in week)
    return {
        "count_7d": len(week),
        "sum_7d": sum(amounts),
        "mean_7d": mean(amounts),
        "most_7d": max(amounts, default=None),
        "least_7d": min(amounts, default=None),
        "spread_7d": 2 * float(np.std(amounts)) if week else None,
        "new_7d": None if row["merchant_id"] is None else float(not seen),
        "seconds_7d": seconds_between(week, row),
        "last_online_amount": paid_online[-1] if online else None,
        "large_1d": sum(other["amount"] >= 3 for other in earlier(DAY)),
        "online_sum_7d": sum(paid_online),
        "online_mean_7d": mean(paid_online),
        "online_seconds_7d": seconds_between(online, row),
        "online_new_7d": float(not online),
    }


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def seconds_between(earlier: list[dict[str, Any]], row: dict[str, Any]) -> float | None:
    return (row["as_of"] - earlier[-1]["as_of"]).total_seconds() if earlier else None


@settings(deadline=None, max_examples=15)
@given(stream=streams(least=1, most=40))
def test_every_kind_of_window_equals_a_loop_over_the_rows(stream: Stream) -> None:
    rows = stream.transactions.to_pylist()
    expected = pd.DataFrame([by_hand(row, rows) for row in rows], dtype="float64")
    for found in built_both_ways(stream, (WINDOWS,)):
        np.testing.assert_allclose(
            found[expected.columns].to_numpy("float64"), expected.to_numpy(), rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize(
    ("before", "seen"),
    [(timedelta(0), 0), (MICROSECOND, 1), (WEEK, 1), (WEEK + MICROSECOND, 0)],
    ids=["the same microsecond", "one before", "the whole span before", "one microsecond more"],
)
def test_a_window_reaches_from_its_span_before_to_one_microsecond_before(
    before: timedelta, seen: int
) -> None:
    row = {"account_id": "a", "merchant_id": "m", "amount": 5.0, "channel": None}
    stream = stream_of([row | {"as_of": START - before}, row | {"as_of": START}], [])
    assert built(stream, (WINDOWS,)).loc["t001", "count_7d"] == seen


def test_a_late_row_is_seen_from_its_arrival_on_and_sees_what_had_arrived() -> None:
    row = {"account_id": "a", "merchant_id": "m", "amount": 5.0, "channel": None}
    late = row | {"as_of": START + 3 * DAY, "late": 3 * DAY}
    stream = stream_of([late, row | {"as_of": START + DAY}, row | {"as_of": START + 4 * DAY}], [])
    assert built(stream, (WINDOWS,))["count_7d"].to_dict() == {"t001": 0, "t000": 1, "t002": 2}


OF_OTHERS: tuple[Function, ...] = ("count", "newly_seen", "seconds_since")


def test_a_row_that_asks_what_others_did_does_not_count_among_them() -> None:
    asked = [
        aggregate(name, name, "counterparty_id", "7d", "", as_key="account_id")
        for name in OF_OTHERS
    ]
    paying = {"account_id": "a", "amount": 5.0}
    rows = [
        paying | {"as_of": START, "counterparty_id": "b"},
        paying | {"as_of": START + DAY, "counterparty_id": "b"},
        paying | {"as_of": START + 2 * DAY, "counterparty_id": "a"},
    ]
    group = Group(name="own", meaning="", needs=(), features=tuple(asked))
    for found in built_both_ways(stream_of(rows, []), (group,)):
        assert found["count"].tolist() == [0, 0, 2]
        assert found["newly_seen"].tolist() == [1, 1, 0]
        assert found["seconds_since"].dropna().tolist() == [86_400]


PLACES: dict[str, Callable[[], tuple[Any, Any, float]]] = {
    "London to Paris": lambda: ((51.5074, -0.1278), (48.8566, 2.3522), 343.56),
    "a quarter of the equator": lambda: ((0.0, 0.0), (0.0, 90.0), 10007.543),
    "across the date line": lambda: ((0.0, 179.5), (0.0, -179.5), 111.195),
    "the same place": lambda: ((48.9, 2.4), (48.9, 2.4), 0.0),
    "a metre": lambda: ((0.0, 0.0), (0.0, 0.000009), 0.00100075),
    "the other side of the earth": lambda: ((90.0, 0.0), (-90.0, 0.0), 20015.087),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_distances_are_those_of_the_great_circle(
    place: Callable[[], tuple[Any, Any, float]],
) -> None:
    then, now, kilometres = place()
    row = {"account_id": "a", "amount": 5.0, "merchant_place": then}
    stream = stream_of(
        [
            row | {"as_of": START, "place": then},
            row | {"as_of": START + timedelta(hours=1), "place": now},
        ],
        [],
    )
    found = built(stream, tuple(group for group in ALL_GROUPS if group.name == "location")).loc[
        "t001"
    ]
    for name in ("distance_from_home", "distance_from_last", "distance_to_retailer"):
        assert found[name] == pytest.approx(kilometres, rel=1e-4, abs=1e-9)
    assert found["travel_speed"] == pytest.approx(kilometres / 1.05, rel=1e-4, abs=1e-9)
