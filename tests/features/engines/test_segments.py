"""Rows behind what was kept of earlier ones get the features that one pass over all gives."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.build import Kept, build, keep
from features.declarations import Group
from tests.features.engines.test_kernel import GROUPS, KERNEL, UNUSUAL
from tests.features.streams import (
    ALL_GROUPS,
    DAY,
    START,
    Stream,
    built,
    differing,
    stream_of,
    streams,
)
from tests.features.test_values import fixed_stream

few = settings(
    deadline=None,
    max_examples=5,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
ONE = {"account_id": "a", "channel": "online"}
each_group = pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS.keys())


def kept_before(
    stream: Stream, cuts: Sequence[datetime], come: Sequence[int], groups: tuple[Group, ...]
) -> tuple[Kept, pa.Table]:
    """What is kept before the cuts, and the labels to be told behind: each line has come by one.

    `come` says at which cut each line is there: those that come later are told then.
    """
    kept, told = None, stream.labels
    for number, cut in enumerate(cuts):
        there = pa.array([place <= number for place in come], pa.bool_())
        labels = stream.labels.filter(there)
        kept = keep(stream.transactions, labels, groups, config=KERNEL, until=cut, kept=kept)
        if not number:
            earlier = pc.field("as_of") < pa.scalar(cut, pa.timestamp("us", tz="UTC"))
            ids = stream.transactions.filter(earlier)["transaction_id"].combine_chunks()
            is_kept = pc.and_(there, pc.is_in(stream.labels["transaction_id"], ids))
            told = stream.labels.filter(pc.invert(is_kept))
    assert kept is not None
    return kept, told


def behind(
    stream: Stream,
    cuts: Sequence[datetime],
    come: Sequence[int],
    groups: tuple[Group, ...] = ALL_GROUPS,
) -> pd.DataFrame:
    """The features of the rows from the last cut on."""
    kept, told = kept_before(stream, cuts, come, groups)
    found = build(stream.transactions, told, groups, config=KERNEL, since=cuts[-1], kept=kept)
    return found.to_pandas().set_index("transaction_id")


def expected(stream: Stream, since: datetime, groups: tuple[Group, ...]) -> pd.DataFrame:
    whole = built(stream, groups, config=KERNEL)
    return whole[whole["as_of"] >= since]


@each_group
@few
@given(stream=streams(least=4, most=40), data=st.data())
def test_rows_behind_what_was_kept_equal_one_pass(
    groups: tuple[Group, ...], stream: Stream, data: st.DataObject
) -> None:
    moments = st.sampled_from(stream.transactions["as_of"].to_pylist())
    cuts = sorted(data.draw(st.lists(moments, min_size=1, max_size=3, unique=True)))
    count = stream.labels.num_rows
    places = st.integers(0, len(cuts))
    come = data.draw(st.lists(places, min_size=count, max_size=count))
    found = behind(stream, cuts, come, groups)
    assert differing(found, expected(stream, cuts[-1], groups)) == []


@each_group
@pytest.mark.parametrize("parts", [2, 4])
def test_a_longer_stream_in_parts_equals_one_pass(groups: tuple[Group, ...], parts: int) -> None:
    stream = fixed_stream()
    moments = stream.transactions["as_of"].to_pylist()
    cuts = [moments[len(moments) * part // parts] for part in range(1, parts)]
    drawn = np.random.default_rng(1).integers(0, parts, stream.labels.num_rows)
    found = behind(stream, cuts, drawn.tolist(), groups)
    assert differing(found, expected(stream, cuts[-1], groups)) == []


def test_a_fraud_that_is_reversed_after_it_was_kept_is_no_last_one() -> None:
    rows = [{"as_of": START + day * DAY, "amount": 10.0} | ONE for day in (0, 6, 8)]
    stream = stream_of(rows, [[(True, DAY), (False, 7 * DAY)]])
    found = behind(stream, [START + 6 * DAY], [0, 1], (UNUSUAL,))
    assert found["channel_days_since_fraud"].isna().tolist() == [False, True]
    assert differing(found, expected(stream, START + 6 * DAY, (UNUSUAL,))) == []
