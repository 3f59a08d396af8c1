"""Laws 1, 2 and 4 of the features: no future, one definition, one row each.

And proof that the tests would notice.
"""

from collections.abc import Callable, Mapping

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.build import lookback
from features.engines.duckdb import DuckDB
from features.engines.protocol import Source
from tests.features.streams import (
    ALL_GROUPS,
    DAY,
    MICROSECOND,
    START,
    Stream,
    built,
    differing,
    stream_of,
    streams,
)

few = settings(
    deadline=None,
    max_examples=5,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def seen_of_the_future(stream: Stream, rows: int) -> list[str]:
    """The features of the first rows that change when later rows and labels come."""
    return differing(built(stream.until(rows)), built(stream).head(rows))


@few
@given(stream=streams(least=3), data=st.data())
def test_the_future_never_changes_the_past(stream: Stream, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, stream.transactions.num_rows - 1))
    assert seen_of_the_future(stream, rows) == []


@few
@given(stream=streams(), data=st.data())
def test_a_batch_with_no_more_history_than_the_lookback_equals_the_full_build(
    stream: Stream, data: st.DataObject
) -> None:
    since = data.draw(st.sampled_from(stream.transactions["as_of"].to_pylist()))
    batch = built(stream.after(since - lookback(ALL_GROUPS)), since=since)
    whole = built(stream)
    assert differing(batch, whole[whole["as_of"] >= since]) == []


@settings(few, max_examples=2)
@given(stream=streams(least=4, most=12))
def test_one_at_a_time_equals_all_at_once(stream: Stream) -> None:
    whole = built(stream)
    for rows in range(1, len(whole) + 1):
        alone = built(stream.until(rows), since=stream.transactions["as_of"][rows - 1].as_py())
        assert differing(alone.tail(1), whole.iloc[[rows - 1]]) == []


@few
@given(stream=streams(), data=st.data())
def test_the_order_of_the_input_does_not_matter(stream: Stream, data: st.DataObject) -> None:
    rows = data.draw(st.permutations(range(stream.transactions.num_rows)))
    lines = data.draw(st.permutations(range(stream.labels.num_rows)))
    shuffled = Stream(
        transactions=stream.transactions.take(pa.array(rows)),
        labels=stream.labels.take(pa.array(lines, pa.int64())),
    )
    assert differing(built(shuffled), built(stream)) == []


@few
@given(stream=streams(least=1))
def test_every_row_comes_back_once_and_in_order(stream: Stream) -> None:
    assert built(stream).index.tolist() == stream.transactions["transaction_id"].to_pylist()


@few
@given(stream=streams(least=4))
def test_slices_of_time_and_shards_of_keys_change_nothing(stream: Stream) -> None:
    whole = built(stream)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DuckDB, "slice", 2)
        patch.setattr(DuckDB, "piece", 3)
        assert differing(built(stream), whole) == []


def eventful_stream() -> Stream:
    """Ties, a late row, labels that come after other rows: each mutation below must show in it."""
    row = {
        "account_id": "a",
        "merchant_id": "m",
        "device_id": "d",
        "ip_address": "8.8.8.8",
        "amount": 10.0,
    }
    days = [0, 1, 1, 4, 9, 9, 12]
    late = [0, 0, 0, 0, 8, 0, 0]
    rows = [
        row | {"as_of": START + day * DAY, "late": behind * DAY}
        for day, behind in zip(days, late, strict=True)
    ]
    return stream_of(
        rows,
        [[(True, 7 * DAY)], [(False, 2 * DAY), (True, 9 * DAY)], [(True, 3 * DAY + MICROSECOND)]],
    )


MUTATIONS: dict[str, Callable[[str], str]] = {
    "a window that ends at the current row": lambda sql: sql.replace("1 PRECEDING", "CURRENT ROW"),
    "labels at the time of their transaction": lambda sql: sql.replace("known_us", "as_of_us"),
    "labels seen one microsecond early": lambda sql: sql.replace(
        "greatest(known_us, as_of_us + 1)", "greatest(known_us - 1, as_of_us + 1)"
    ),
}
FEW_MUTATIONS: dict[str, Callable[[str], str]] = {
    "rows joined with those of their own microsecond": lambda sql: sql.replace(
        "acting.as_of_us < asking.as_of_us", "acting.as_of_us <= asking.as_of_us"
    ),
    "verdicts of the batch's own time seen early": lambda sql: sql.replace(
        "placed.seen_us <= asking.as_of_us", "placed.seen_us <= asking.as_of_us + 1"
    ),
}


def leaks(stream: Stream, *, few: bool) -> bool:
    """Whether what the first rows knew changes with later ones, as windows or a micro-batch."""
    since = START if few else None
    whole = built(stream, since=since)
    firsts = (
        built(stream.until(rows), since=since) for rows in range(1, stream.transactions.num_rows)
    )
    return any(differing(first, whole.loc[first.index]) for first in firsts)


both_ways = pytest.mark.parametrize("few", [False, True], ids=["windows", "a micro-batch"])


@both_ways
def test_the_eventful_stream_keeps_the_law(few: bool) -> None:
    assert not leaks(eventful_stream(), few=few)


@pytest.mark.parametrize(
    ("mutate", "few"),
    [
        *((mutate, False) for mutate in MUTATIONS.values()),
        *((mutate, True) for mutate in FEW_MUTATIONS.values()),
    ],
    ids=[*MUTATIONS, *FEW_MUTATIONS],
)
def test_the_law_is_seen_broken_by(
    mutate: Callable[[str], str], few: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, changed = DuckDB.table, []

    def table(engine: DuckDB, name: str, query: str, **how: bool) -> None:
        changed.append(mutate(query) != query)
        good(engine, name, mutate(query), **how)

    monkeypatch.setattr(DuckDB, "table", table)
    assert leaks(eventful_stream(), few=few)
    assert any(changed)


@both_ways
def test_the_law_is_seen_broken_by_late_rows_at_their_event_time(
    few: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = DuckDB.give

    def give(
        engine: DuckDB, name: str, source: Source, moments: Mapping[str, str], **more: str
    ) -> list[str]:
        late = {
            own: "event_time" if own == "as_of_us" else column for own, column in moments.items()
        }
        return good(engine, name, source, late, **more)

    monkeypatch.setattr(DuckDB, "give", give)
    assert leaks(eventful_stream(), few=few)
