"""What build refuses, what it returns, and how far back it must see."""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from features.build import KEYS, BuildConfig, build, lookback, shown_features, whole_history
from features.declarations import Group, aggregate, fact, from_row, hidden, last_row
from features.groups.catalogue import DERIVED, Extra, portfolio_groups
from features.known_fraud import known_fraud
from features.schema import LABELS, SchemaError, transactions_schema
from features.sql.plan import Plan
from tests.features.streams import ALL_GROUPS, DAY, START, built, stream_of

AMOUNT = portfolio_groups([], order=("amount",))
ROW = {"account_id": "a", "amount": 5.0, "as_of": START}
ONE = stream_of([ROW], [])


def group(*features: object) -> Group:
    return Group(name="own", meaning="", needs=(), features=features)  # type: ignore[arg-type]


def test_the_keys_stand_before_the_shown_features() -> None:
    table = build(ONE.transactions, ONE.labels, AMOUNT)
    assert table.column_names == [*KEYS, *(feature.name for feature in shown_features(AMOUNT))]


def test_an_empty_table_has_the_same_columns_and_types() -> None:
    empty = build(transactions_schema().empty_table(), LABELS.empty_table(), ALL_GROUPS)
    assert (empty.num_rows, empty.schema) == (
        0,
        build(ONE.transactions, ONE.labels, ALL_GROUPS).schema,
    )


def test_columns_of_no_group_are_not_needed() -> None:
    table = build(ONE.transactions.select(KEYS), ONE.labels, portfolio_groups(KEYS))
    assert table.num_rows == 1


def test_a_portfolios_own_columns_come_through_as_they_are() -> None:
    names = [*KEYS, "basket_size", "shop_kind"]
    extra = {
        "basket_size": Extra(group="amount", kind="number"),
        "shop_kind": Extra(group="amount", kind="category"),
    }
    transactions = (
        ONE.transactions.select(KEYS)
        .append_column("basket_size", pa.array([3.0]))
        .append_column("shop_kind", pa.array(["kiosk"]))
    )
    row = build(transactions, ONE.labels, portfolio_groups(names, extra=extra)).to_pylist()[0]
    assert (row["own_basket_size"], row["own_shop_kind"]) == (3.0, "kiosk")


def test_transactions_without_a_key_column_are_refused() -> None:
    with pytest.raises(
        SchemaError,
        match="transactions lack account_id, amount; found transaction_id, event_time, as_of",
    ):
        build(
            ONE.transactions.select(["transaction_id", "event_time", "as_of"]), ONE.labels, AMOUNT
        )


def test_labels_without_a_column_are_refused() -> None:
    with pytest.raises(SchemaError, match="labels lack known_at"):
        build(ONE.transactions, ONE.labels.drop_columns(["known_at"]), AMOUNT)


def test_a_doubled_transaction_is_refused() -> None:
    with pytest.raises(SchemaError, match="the transaction_id 't000' stands twice"):
        build(pa.concat_tables([ONE.transactions, ONE.transactions]), ONE.labels, AMOUNT)


def test_addresses_without_a_database_are_refused() -> None:
    stream = stream_of([ROW | {"ip_address": "8.8.8.8"}], [])
    with pytest.raises(
        SchemaError, match="1 IP addresses are to be looked up, and there is no database"
    ):
        build(stream.transactions, stream.labels, ALL_GROUPS)


def test_features_that_need_one_another_are_refused() -> None:
    with pytest.raises(SchemaError, match="need one another; break the circle"):
        build(
            ONE.transactions,
            ONE.labels,
            [group(fact("one", "two + 1", ""), fact("two", "one + 1", ""))],
        )


def test_the_work_can_be_spilled_to_a_folder(tmp_path: Path) -> None:
    config = BuildConfig(engine="duckdb", memory_limit="64MB", spill_folder=tmp_path / "spill")
    assert build(ONE.transactions, ONE.labels, AMOUNT, config=config).num_rows == 1
    assert not (tmp_path / "spill").exists()


def test_an_amount_of_exactly_three_means_is_not_high() -> None:
    rows = [ROW | {"amount": 0.1, "as_of": START + hour * timedelta(hours=1)} for hour in range(3)]
    high = [
        ROW | {"amount": amount, "as_of": START + DAY * day}
        for day, amount in ((1, 0.1 * 3), (2, 0.61), (3, 1.0))
    ]
    assert built(stream_of([*rows, *high], []), AMOUNT)["amount_high_14d"].tolist() == [
        0,
        0,
        0,
        0,
        0,
        1,
    ]


LARGE = hidden(aggregate("large_30d", "max", "account_id", "30d", "", of="amount"))
LAST = last_row("last", "account_id", span="10d")
CHAINS = {
    "facts alone": (0, (fact("paid", "amount", ""),)),
    "one window": (7, (aggregate("count_7d", "count", "account_id", "7d", ""),)),
    "a window over a window": (
        37,
        (LARGE, aggregate("sum_7d", "sum", "account_id", "7d", "", of="large_30d")),
    ),
    "an earlier row and what it saw": (
        40,
        (LARGE, LAST, from_row("last_large", "large_30d", "last", "")),
    ),
    "labels, which may wait 120 days": (
        90 + 120,
        known_fraud("account_id", "own", named="account", spans=("7d",)),
    ),
}


@pytest.mark.parametrize(("days", "features"), CHAINS.values(), ids=CHAINS.keys())
def test_the_lookback_is_the_longest_chain_of_windows(
    days: int, features: tuple[object, ...]
) -> None:
    assert lookback([group(*features)]) == days * DAY


def test_the_sql_is_the_same_in_every_process() -> None:
    plan = Plan([feature for group in ALL_GROUPS for feature in group.features])
    columns = [*transactions_schema().names, *DERIVED]
    assert list(whole_history(plan, columns, KEYS)) == list(
        whole_history(plan, columns[::-1], KEYS)
    )


def test_a_text_that_looks_like_sql_is_only_a_text() -> None:
    stream = stream_of([ROW | {"account_id": "'); DROP TABLE rows_0; --", "channel": "'"}], [])
    assert built(stream)["account_channel"].tolist() == ["'"]
