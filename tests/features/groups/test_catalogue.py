"""Which groups a portfolio has: by its columns, in its order, with its own columns.

And every refusal.
"""

import duckdb
import pyarrow as pa
import pytest

from features.build import build
from features.encoder import MIN_SEEN, UNKNOWN, Encoder
from features.groups.catalogue import GROUPS, RESERVED, Extra, GroupError, portfolio_groups
from features.schema import transactions_schema
from tests.features.streams import START, stream_of

COLUMNS = ["ip_address", "device_id", "merchant_id"]


def names(columns: list[str], *, order: tuple[str, ...] = ()) -> list[str]:
    return [group.name for group in portfolio_groups(columns, order=order)]


def test_a_portfolio_has_the_groups_its_columns_allow() -> None:
    assert names([]) == ["amount", "clock", "sender"]
    assert names(COLUMNS) == ["amount", "clock", "ip", "retailer", "sender"]
    assert names(["latitude"]) == ["amount", "clock", "sender"]
    assert names(["latitude", "longitude"]) == ["amount", "clock", "location", "sender"]
    assert names(["counterparty_id", "credit_score"]) == [
        "amount",
        "clock",
        "receiver",
        "sender",
        "credit",
    ]
    assert names(["social_event"]) == ["amount", "clock", "sender"]


def test_the_groups_stand_in_one_order() -> None:
    expected = [
        "amount",
        "clock",
        "ip",
        "location",
        "retailer",
        "receiver",
        "sender",
        "credit",
        "social",
    ]
    assert list(GROUPS) == names(transactions_schema().names) == expected


def test_the_portfolios_order_holds() -> None:
    assert names(COLUMNS, order=("sender", "ip", "amount")) == ["sender", "ip", "amount"]


def test_a_group_has_only_the_features_its_columns_allow() -> None:
    (ip,) = portfolio_groups(["ip_address", "merchant_country"], order=("ip",))
    found = {feature.name for feature in ip.features}
    assert {"ip_new_for_account", "ip_not_at_retailer", "network_count_1d", "ip_fraud_run"} <= found
    assert not found & {
        "ip_abroad",
        "device_new_for_account",
        "device_count_1h",
        "device_fraud_run",
        "ip_declined_1h",
    }


@pytest.mark.parametrize(
    ("column", "feature"),
    [
        ("declined", "account_declined_1h"),
        ("counterparty_id", "account_received_7d"),
        ("channel", "account_channel"),
    ],
)
def test_a_feature_is_left_out_when_its_column_is_absent(column: str, feature: str) -> None:
    def sender(columns: list[str]) -> list[str]:
        return [
            one.name
            for group in portfolio_groups(columns, order=("sender",))
            for one in group.features
        ]

    assert feature in sender([column])
    assert feature not in sender(COLUMNS)


def test_an_own_column_joins_its_group_last() -> None:
    extra = {
        "basket_size": Extra(group="amount"),
        "shop_kind": Extra(group="sender", kind="category"),
    }
    amount, sender = portfolio_groups(
        ["basket_size", "shop_kind"], order=("amount", "sender"), extra=extra
    )
    assert (amount.features[-1].name, amount.features[-1].kind) == ("own_basket_size", "number")
    assert (sender.features[-1].name, sender.features[-1].kind) == ("own_shop_kind", "category")


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (("amount", "wealth"), "names 'wealth', which is no group; choose from amount, clock"),
        (("amount", "clock", "amount"), "names 'amount' twice"),
        (("location",), "the group 'location' needs latitude, longitude, which"),
    ],
    ids=["an unknown group", "a group twice", "a group whose columns are absent"],
)
def test_an_order_is_refused_with(order: tuple[str, ...], message: str) -> None:
    with pytest.raises(GroupError, match=message):
        portfolio_groups(COLUMNS, order=order)


@pytest.mark.parametrize(
    ("name", "group", "message"),
    [
        ("basket_size", "wealth", "is to join 'wealth', which is no group"),
        ("basket_size", "location", "is to join 'location', a group the portfolio lacks"),
        ("amount", "sender", "'amount', which is a name of Strata's own"),
        ("amount_mean_7d", "amount", "'amount_mean_7d', which is a name of Strata's own"),
        ("as_of_us", "amount", "'as_of_us', which is a name of Strata's own"),
        ("Basket Size", "amount", "'Basket Size'; use lower-case letters"),
        ("order", "amount", "'order', which is a word of SQL; map the column to another name"),
        ("weight", "amount", "'weight' of .groups.extra. is not in the source"),
    ],
    ids=[
        "an unknown group",
        "an absent group",
        "a column",
        "a feature",
        "a derived name",
        "a name that is no word",
        "a word of SQL",
        "no such column",
    ],
)
def test_an_own_column_is_refused_with(name: str, group: str, message: str) -> None:
    with pytest.raises(GroupError, match=message):
        portfolio_groups([*COLUMNS, "basket_size", "Basket Size"], extra={name: Extra(group=group)})


def test_every_word_but_those_of_sql_is_read_as_a_column() -> None:
    with duckdb.connect() as engine:
        words = {
            name for (name,) in engine.sql("SELECT keyword_name FROM duckdb_keywords()").fetchall()
        }
        others = sorted(words - RESERVED)
        columns = ", ".join(f'1 AS "{name}"' for name in others)
        assert engine.sql(f"SELECT {', '.join(others)} FROM (SELECT {columns})").fetchall() == [
            (1,) * len(others)
        ]
    assert words > RESERVED


def test_a_value_of_an_own_column_that_training_never_saw_is_unknown() -> None:
    row = {"account_id": "a", "amount": 5.0, "as_of": START}
    stream = stream_of([row] * (MIN_SEEN + 2), [])
    kinds = pa.array(["kiosk"] * MIN_SEEN + ["never seen", None])
    transactions = stream.transactions.append_column("shop_kind", kinds)
    groups = portfolio_groups(
        transactions.column_names,
        order=("amount",),
        extra={"shop_kind": Extra(group="amount", kind="category")},
    )
    features = build(transactions, stream.labels, groups)
    codes = Encoder.fit(features.slice(0, MIN_SEEN), groups).encode(features).codes[:, 0].tolist()
    assert codes == [UNKNOWN + 1] * MIN_SEEN + [UNKNOWN, 0]
