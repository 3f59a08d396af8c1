"""Laws 1, 2 and 4 of the features: no future, one definition, one row each; and proof that the tests would notice."""

from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import features.build
from features.build import lookback
from tests.features.streams import ALL_GROUPS, DAY, MICROSECOND, START, Stream, built, differing, stream_of, streams

few = settings(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


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
def test_a_batch_with_no_more_history_than_the_lookback_equals_the_full_build(stream: Stream, data: st.DataObject) -> None:
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


def eventful_stream() -> Stream:
    """Ties, a late row, and labels that come after other rows: each mutation below must show in it."""
    row = {"account_id": "a", "merchant_id": "m", "device_id": "d", "ip_address": "8.8.8.8", "amount": 10.0}
    days = [0, 1, 1, 4, 9, 9, 12]
    late = [0, 0, 0, 0, 8, 0, 0]
    rows = [row | {"as_of": START + day * DAY, "late": behind * DAY} for day, behind in zip(days, late, strict=True)]
    return stream_of(rows, [[(True, 7 * DAY)], [(False, 2 * DAY), (True, 9 * DAY)], [(True, 3 * DAY + MICROSECOND)]])


MUTATIONS: dict[str, Callable[[str], str]] = {
    "a window that ends at the current row": lambda sql: sql.replace("1 PRECEDING", "CURRENT ROW"),
    "labels at the time of their transaction": lambda sql: (
        sql.replace("known_at", "event_time") if "verdicts AS" in sql else sql
    ),
    "late rows at their event_time": lambda sql: sql.replace("epoch_us(as_of)", "epoch_us(event_time)"),
    "labels seen one microsecond early": lambda sql: sql.replace("epoch_us(known_at)", "epoch_us(known_at) - 1"),
}


def leaks(stream: Stream) -> bool:
    return any(seen_of_the_future(stream, rows) for rows in range(1, stream.transactions.num_rows))


def test_the_eventful_stream_keeps_the_law() -> None:
    assert not leaks(eventful_stream())


@pytest.mark.parametrize("mutate", MUTATIONS.values(), ids=MUTATIONS.keys())
def test_the_law_is_seen_broken_by(mutate: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    good = features.build.statements
    changed = [(sql, mutate(sql)) for sql in good(features.build.shown_features(ALL_GROUPS), columns=features.build.KEYS)]
    assert any(before != after for before, after in changed)
    monkeypatch.setattr(
        features.build, "statements", lambda shown, columns: [mutate(sql) for sql in good(shown, columns=columns)]
    )
    assert leaks(eventful_stream())
