"""The kernel gives the same features as the SQL, for a whole history, a batch and in pieces."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.build import build, lookback
from features.declarations import (
    Feature,
    Function,
    Group,
    aggregate,
    fact,
    from_row,
    hidden,
    last_row,
)
from features.engines import kernels, keys
from features.engines.kernel import Kernel, Spool
from features.known_fraud import known_fraud
from features.schema import SchemaError
from tests.features.sql.test_windows import WINDOWS
from tests.features.streams import (
    ALL_GROUPS,
    CONFIG,
    DAY,
    MICROSECOND,
    START,
    Stream,
    built,
    differing,
    stream_of,
    streams,
)
from tests.features.test_values import fixed_stream

KERNEL = replace(CONFIG, engine="kernel")
few = settings(
    deadline=None,
    max_examples=5,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
ACCOUNT = "account_id"


def over(name: str, function: Function, key: str = ACCOUNT, **more: str) -> Feature:
    """An aggregate of 30 days."""
    return aggregate(name, function, key, "30d", name, **more)


# what no group of ours has: keys that are features, three columns, others' pairs, deep windows
UNUSUAL = Group(
    name="unusual",
    meaning="",
    needs=(),
    features=(
        over("triple", "count", f"{ACCOUNT}+merchant_id+channel"),
        over("as_pair", "count", f"{ACCOUNT}+merchant_id", as_key="counterparty_id+merchant_id"),
        over(
            "as_pair_sum",
            "sum",
            "counterparty_id+merchant_id",
            of="amount",
            as_key=f"{ACCOUNT}+merchant_id",
        ),
        fact("bin", "floor(mean / 5.0)", "a fact over a window"),
        over("mean", "mean", of="amount"),
        over("same_bin", "count", "bin"),
        over("same_bin_of_account", "newly_seen", f"bin+{ACCOUNT}"),
        over("sum_of_bin", "sum", "bin", of="amount"),
        fact("whole", "floor(amount)", "a fact of the row that is compared with one over a window"),
        over("whole_as_bin", "count", "whole", as_key="bin"),
        over("bin_as_whole", "max", "bin", as_key="whole", of="amount"),
        over("large_of_bins", "max", "merchant_id", of="same_bin", where="amount > 0"),
        over("deep", "sum", of="large_of_bins + 0.25"),
        over("least", "min", "device_id", of="1.0 / amount", where="amount > 0"),
        over("spread", "stddev", of="sqrt(amount)"),
        over("spread_sum", "sum", of="sqrt(amount)"),
        last_row("last_deep", "merchant_id", where="same_bin >= 1"),
        from_row("deep_then", "deep", "last_deep", ""),
        hidden(from_row("who_then", "counterparty_id", "last_deep", "")),
        fact("who", "who_then", "", kind="category"),
        *known_fraud("channel", "channel", named="channel", spans=("7d", "30d")),
    ),
)
GROUPS = {"all groups": ALL_GROUPS, "one of each kind": (WINDOWS,), "unusual ones": (UNUSUAL,)}
each_group = pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS.keys())


@each_group
@few
@given(stream=streams(most=40))
def test_the_kernel_equals_the_sql(groups: tuple[Group, ...], stream: Stream) -> None:
    assert differing(built(stream, groups, config=KERNEL), built(stream, groups)) == []


@each_group
def test_the_kernel_equals_the_sql_on_a_longer_stream(groups: tuple[Group, ...]) -> None:
    stream = fixed_stream()
    assert differing(built(stream, groups, config=KERNEL), built(stream, groups)) == []


@few
@given(stream=streams(), data=st.data())
def test_a_batch_with_no_more_history_than_the_lookback_equals_the_full_build(
    stream: Stream, data: st.DataObject
) -> None:
    since = data.draw(st.sampled_from(stream.transactions["as_of"].to_pylist()))
    batch = built(stream.after(since - lookback(ALL_GROUPS)), since=since, config=KERNEL)
    whole = built(stream, config=KERNEL)
    assert differing(batch, whole[whole["as_of"] >= since]) == []


@settings(few, max_examples=2)
@given(stream=streams(least=4, most=8))
def test_one_at_a_time_equals_all_at_once(stream: Stream) -> None:
    whole = built(stream, config=KERNEL)
    for rows in range(1, len(whole) + 1):
        since = stream.transactions["as_of"][rows - 1].as_py()
        alone = built(stream.until(rows), since=since, config=KERNEL)
        assert differing(alone.tail(1), whole.iloc[[rows - 1]]) == []


@settings(few, max_examples=3)
@given(stream=streams(least=4))
def test_pieces_of_rows_change_nothing(stream: Stream) -> None:
    whole = built(stream, config=KERNEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Kernel, "slice", 2)
        patch.setattr(Kernel, "piece", 5)
        patch.setattr(Kernel, "alone", 3)
        assert differing(built(stream, config=KERNEL), whole) == []


def test_rows_that_are_not_numbered_in_order_are_refused(tmp_path: Path) -> None:
    spool, rows = Spool(tmp_path), pa.table({"row_id": [1, 2, 3], "amount": [1.0, 2.0, 3.0]})
    spool.write(rows.to_reader(max_chunksize=2))
    assert spool.read(["amount"], 2, 3)["amount"].to_pylist() == [2.0, 3.0]
    with pytest.raises(ValueError, match="rows behind 3 are not numbered in order"):
        spool.write(rows.to_reader())


def test_types_are_those_of_the_sql() -> None:
    stream = fixed_stream()
    both = [
        build(stream.transactions, stream.labels, ALL_GROUPS, config=one)
        for one in (CONFIG, KERNEL)
    ]
    assert both[0].schema == both[1].schema


def test_an_aggregate_of_texts_is_refused() -> None:
    own = Group(
        name="own", meaning="", needs=(), features=(over("top", "max", of="merchant_category"),)
    )
    stream = stream_of([{ACCOUNT: "a", "amount": 1.0, "as_of": START}], [])
    with pytest.raises(SchemaError, match="runs over 'merchant_category', which is text"):
        built(stream, (own,), config=KERNEL)


# every way in which what a window sees can go wrong by one must show in the comparison above
MUTATIONS: dict[str, Callable[[int], int]] = {
    "rows of the same microsecond": lambda ago: ago or -1,
    "a span that is a microsecond short": lambda ago: ago and ago - 1,
    "a span that is a microsecond long": lambda ago: ago and ago + 1,
}


@pytest.mark.parametrize("mutate", MUTATIONS.values(), ids=MUTATIONS.keys())
def test_a_difference_is_seen_in(
    mutate: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {ACCOUNT: "a", "amount": 5.0}
    moments = [START, START, START + 7 * DAY, START + 7 * DAY + MICROSECOND]
    stream = stream_of([row | {"as_of": moment} for moment in moments], [])
    good = kernels.first_rows
    monkeypatch.setattr(
        kernels, "first_rows", lambda moments, asked, ago: good(moments, asked, mutate(ago))
    )
    assert differing(built(stream, (WINDOWS,), config=KERNEL), built(stream, (WINDOWS,))) != []


def test_keys_are_told_apart_where_their_hashes_meet() -> None:
    values = np.arange(1000, dtype=np.int64) % 700
    slots = np.zeros(1024, np.int32)  # 700 values in 1024 slots: hundreds share one
    known = np.empty(1000, np.int64)
    shared = {int(keys._slot(value, 1024)) for value in values}
    codes, count = keys.tell_apart(values, slots, known)
    assert (len(shared) < 500, count, codes.tolist()) == (True, 700, values.tolist())
    asked = np.array([699, 700, -1], np.int64)
    assert keys.find_among(asked, slots, known, count).tolist() == [699, 700, -1]


@pytest.mark.parametrize("count", [1, 7, 300])
def test_windows_that_go_on_from_the_last_are_those_found_anew(count: int) -> None:
    random = np.random.default_rng(count)
    codes = random.integers(-1, count + 1, 400).astype(np.int32)  # unknown, or not of the list
    moments = np.sort(random.integers(0, 90, 400))  # many at the same moment
    offsets, order = kernels.group(np.where(codes < count, codes, -1).astype(np.int32), count)
    until, *since = (kernels.first_rows(moments, moments, ago) for ago in (0, 1, 9, 100))
    by_key = keys.by_key(codes)
    assert np.array_equal(by_key, np.argsort(codes, kind="stable"))
    asked = codes[by_key], until[by_key], np.stack(since)[:, by_key]
    found = kernels.find_windows(*asked, offsets, order)
    whole = [
        np.array([keys.put_back(one, by_key) for one in np.atleast_2d(each)]) for each in found
    ]
    for row in range(codes.size):
        own = slice(row, row + 1)
        spans = np.stack([one[own] for one in since])
        alone = kernels.find_windows(codes[own], until[own], spans, offsets, order)
        is_listed = 0 <= codes[row] < count
        earlier = np.count_nonzero((codes == codes[row])[: until[row]]) if is_listed else 0
        assert alone[1][0] - alone[0][0] == earlier
        for one, other in zip(whole, alone, strict=True):
            assert np.array_equal(one[:, own], np.atleast_2d(other))


def test_loops_that_cannot_be_kept_are_compiled_and_that_is_said(tmp_path: Path) -> None:
    no_folder = tmp_path / "file"
    no_folder.touch()
    only = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    packs = (
        "import numpy as np; from features.engines.keys import pack; "
        "print(pack(np.ones(1, np.int32), np.ones(1, np.int32))[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", packs],
        env={**os.environ, **only, "NUMBA_CACHE_DIR": str(no_folder / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == (1 << 32) + 1
    (said,) = done.stderr.splitlines()
    assert said.startswith("compiled loops cannot be kept on disk: ")
    assert said.endswith("set NUMBA_CACHE_DIR to a folder that can")


def sums_of(amounts: list[float], *, days: float = 1.0) -> Any:
    """What an account's windows of 30 days say of amounts, each so many days after the other."""
    rows = [
        {ACCOUNT: "a", "amount": amount, "as_of": START + place * days * DAY}
        for place, amount in enumerate([*amounts, 0.0])
    ]
    own = Group(
        name="own",
        meaning="",
        needs=(),
        features=(
            over("total", "sum", of="amount"),
            over("mean", "mean", of="amount"),
            over("spread", "stddev", of="amount"),
        ),
    )
    return built(stream_of(rows, []), (own,), config=KERNEL).iloc[-1]


def test_money_is_summed_exactly() -> None:
    assert sums_of([0.1] * 1000, days=0.001)["total"] == 100.0


def test_what_is_no_money_is_summed_beside_money() -> None:
    assert sums_of([1 / 3, 0.1, 1 / 3, 1 / 3])["total"] == pytest.approx(1.1, rel=1e-15)


def test_the_spread_of_large_amounts_that_hardly_differ_is_not_lost() -> None:
    assert sums_of([900_000_000.01, 900_000_000.02])["spread"] == pytest.approx(0.005, rel=1e-9)


def test_the_spread_of_amounts_too_large_for_exact_squares_is_that_of_their_values() -> None:
    assert sums_of([1.1e11, 1.1e11])["spread"] == 0.0
    assert sums_of([1.1e11, 1.1e11 + 2])["spread"] == 1.0


@pytest.mark.parametrize("value", [1e300, float("inf"), float("nan"), 1e18 + 2**10], ids=str)
def test_a_value_that_is_out_of_the_window_leaves_no_trace(value: float) -> None:
    sums = sums_of([value, *[1 / 3] * 40], days=1.0)
    assert sums["total"] == pytest.approx(10.0, rel=1e-12)
    assert sums["spread"] == pytest.approx(0.0, abs=1e-9)


def test_a_value_that_is_infinite_counts_while_it_is_in_the_window() -> None:
    assert sums_of([1.0, float("inf")])["total"] == float("inf")
    assert np.isnan(sums_of([1.0, float("nan")])["total"])


@given(
    values=st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, -0.0]), min_size=1, max_size=200),
    data=st.data(),
)
@settings(deadline=None, max_examples=30)
def test_the_tree_finds_the_largest_and_the_least_of_any_part(
    values: list[float], data: st.DataObject
) -> None:
    low = data.draw(st.integers(0, len(values) - 1))
    high = data.draw(st.integers(low + 1, len(values)))
    order, known = np.arange(len(values), dtype=np.int32), np.ones(len(values), np.bool_)
    bounds = np.array([low], np.int32), np.array([high], np.int32)
    for largest, expected in ((True, max), (False, min)):
        tree, begins = kernels.grow_tree(np.array(values), known, order, largest)
        assert kernels.most_of(*bounds, tree, begins, largest)[0] == expected(values[low:high])
