"""What is usual: by hand on small tables, and on a small world from the account's past alone."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.declarations import Group, fact
from pipeline.explanation.typical_ranges import (
    TypicalRange,
    typical_ranges,
    typical_ranges_of_accounts,
)
from pipeline.lake.snapshot import read_snapshot
from pipeline.score.account_history import own_facts, own_rows
from tests.small_world import AS_OF, BUILD_CONFIG, Desk, World

START = datetime(2025, 1, 1, tzinfo=UTC)
MOMENT = pa.timestamp("us", tz="UTC")


def rows(*given: tuple[str, float, float | None]) -> pa.Table:
    """Rows of an account, a day, and a fact named count."""
    accounts, days, counts = zip(*given, strict=True) if given else ((), (), ())
    moments = pa.array([START + timedelta(days=day) for day in days], MOMENT)
    names = [f"t{place}" for place in range(len(given))]
    columns = {
        "transaction_id": pa.array(names, pa.string()),
        "account_id": pa.array(accounts, pa.string()),
    }
    amount = pa.array([1.0] * len(given), pa.float64())
    return pa.table(
        {
            **columns,
            "event_time": moments,
            "as_of": moments,
            "amount": amount,
            "count": pa.array(counts, pa.float64()),
        }
    )


def earlier(
    account: str, counts: Sequence[float | None], *, first_day: float = 0
) -> list[tuple[str, float, float | None]]:
    """One row a day."""
    return [(account, first_day + place, count) for place, count in enumerate(counts)]


def typical_range(
    asked: tuple[str, float, float | None], *past: tuple[str, float, float | None]
) -> TypicalRange | None:
    (found,) = typical_ranges_of_accounts(rows(asked), rows(*past))
    return found.get("count")


def test_the_middle_half_of_the_accounts_earlier_values_is_usual() -> None:
    """Of 0 0 1 1 2 3 9 the quartiles are the second value and the sixth.

    They are taken outwards to values that there are.
    """
    found = typical_range(
        ("a", 50, 7), *earlier("a", [0, 9, 1, 0, 3, 1, 2]), *earlier("b", [500] * 9)
    )
    assert found == TypicalRange(low=0, high=3, own=True)


def test_fewer_than_five_known_values_say_nothing() -> None:
    assert typical_range(("a", 50, 7), *earlier("a", [1, 1, 1, 1])) is None
    assert typical_range(("a", 50, 7), *earlier("a", [1, 1, None, 1, 1])) is None
    assert typical_range(("a", 50, 7), *earlier("a", [1, 1, None, 1, 1, 1])) == TypicalRange(
        low=1, high=1, own=True
    )
    assert typical_range(("a", 50, 7), *earlier("b", [1] * 9)) is None
    assert typical_range(("a", 50, 7)) is None


def test_what_came_later_or_within_the_day_before_does_not_count() -> None:
    long_ago, burst = (
        earlier("a", [1] * 6),
        [("a", 50 - minutes / 1440, 80.0) for minutes in range(1, 40)],
    )
    later = earlier("a", [90] * 20, first_day=50)
    assert typical_range(("a", 50, 7), *long_ago, *burst, *later) == TypicalRange(
        low=1, high=1, own=True
    )
    # days 0 to 4: exactly a day before counts
    assert typical_range(("a", 5, 7), *long_ago) == TypicalRange(low=1, high=1, own=True)
    assert typical_range(("a", 4.999, 7), *long_ago) is None


def test_what_lies_before_the_look_back_does_not_count() -> None:
    # days 4 to 8
    assert typical_range(("a", 94, 7), *earlier("a", [1] * 9)) == TypicalRange(
        low=1, high=1, own=True
    )
    assert typical_range(("a", 94.001, 7), *earlier("a", [1] * 9)) is None


def test_of_many_payments_the_latest_hundred_count() -> None:
    many = [("a", place / 10, float(place >= 100)) for place in range(200)]
    assert typical_range(("a", 50, 7), *many) == TypicalRange(low=1, high=1, own=True)
    assert typical_range(("a", 50, 7), *many[:199]) == TypicalRange(low=1, high=1, own=True)
    assert typical_range(("a", 50, 7), *many[:170]) == TypicalRange(low=0, high=1, own=True)


def test_each_row_has_its_own_usual() -> None:
    asked = rows(("b", 50, 7), ("a", 50, 7), ("a", 20, 7))
    past = rows(
        *earlier("a", [1] * 9), *earlier("a", [5] * 30, first_day=15), *earlier("b", [2] * 5)
    )
    found = [one["count"] for one in typical_ranges_of_accounts(asked, past)]
    assert found == [
        TypicalRange(low=low, high=high, own=True) for low, high in ((2, 2), (5, 5), (1, 5))
    ]


def test_the_portfolios_usual_is_the_middle_half_of_all_rows() -> None:
    group = Group(name="g", meaning="", needs=(), features=(fact("count", "1", "payments"),))
    table = rows(("a", 0, 0), ("b", 0, 1), ("c", 1, 4), ("d", 2, 9), ("e", 3, None), ("f", 4, 100))
    assert typical_ranges(table, [group]) == {"count": TypicalRange(low=1, high=9, own=False)}
    assert typical_ranges(rows(("a", 0, None)), [group]) == {}


def test_own_facts_equal_those_of_the_full_build(world: World) -> None:
    snapshot = read_snapshot(world.portfolio, world.lake)
    full = snapshot.features(build_config=BUILD_CONFIG)
    asked = full.slice(full.num_rows - 20)
    own = own_rows(snapshot, asked, build_config=BUILD_CONFIG)
    names = [feature.name for feature in own_facts(snapshot.groups).features if feature.shown]
    assert {"amount_paid", "amount_mean_30d", "clock_seconds_since_previous"} <= set(names)
    assert not [name for name in names if name.startswith("merchant_")]
    places = pc.index_in(own["transaction_id"], full["transaction_id"].combine_chunks())
    assert own.num_rows > 100
    pd.testing.assert_frame_equal(
        own.select(names).to_pandas(), full.take(places).select(names).to_pandas(), rtol=1e-9
    )


def test_later_transactions_change_nothing_of_what_was_usual(world: World, tmp_path: Path) -> None:
    until = pa.scalar(AS_OF + timedelta(days=2), MOMENT)
    known = world.transactions.filter(pc.field("as_of") < until)
    found = []
    for name, transactions in (("all", world.transactions), ("known", known)):
        desk = Desk.open(world, tmp_path / name, transactions=transactions)
        snapshot = read_snapshot(world.portfolio, desk.lake)
        features = snapshot.features(build_config=BUILD_CONFIG, since=AS_OF)
        asked = features.filter(pc.field("as_of") < until)
        found.append(
            typical_ranges_of_accounts(asked, own_rows(snapshot, asked, build_config=BUILD_CONFIG))
        )
    assert found[0] == found[1]
    assert sum(bool(one) for one in found[0]) > 20
