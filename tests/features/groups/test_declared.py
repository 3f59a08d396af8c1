"""Keys and features that a portfolio declares: as if built in, and refused where they cannot be."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest

from features.build import build
from features.declarations import Group
from features.digest import digest, fingerprints
from features.expressions import ExpressionError
from features.groups.catalogue import GroupError, portfolio_groups
from features.groups.declared import Declared, Key, key_group
from features.schema import transactions_schema
from pipeline.explanation.reasons import in_words
from tests.features.streams import DAY, START, Stream, built, differing, stream_of

EMAIL = Key(column="email", meaning="e-mail domain")
STORE = Key(column="merchant_id", meaning="store")
COLUMNS = ["email", "merchant_id", "channel", "declined"]
# a fact of the key `store`, and the built-in one of the retailer's that is the same
SAME = {
    **{
        f"store_{fact}_{span}": f"merchant_{fact}_{span}"
        for fact in ("count", "known_frauds", "fraud_rate")
        for span in ("1d", "7d", "30d")
    },
    **{
        f"store_{fact}": f"merchant_{fact}"
        for fact in (
            "new_for_account",
            "amount_over_mean",
            "amount_z",
            "days_since_fraud",
            "days_since_legitimate",
            "fraud_run",
        )
    },
}


def many_rows(rows: int = 600) -> Stream:
    """Payments of 60 days at twelve stores, some unknown, some frauds of which become known."""
    chance = np.random.default_rng(4)
    moments = np.sort(chance.integers(0, 60 * 24 * 60, rows))
    given = [
        {
            "as_of": START + int(minute) * DAY / (24 * 60),
            "account_id": f"a{chance.integers(15)}",
            "amount": float(chance.integers(1, 90_000)) / 100,
            "merchant_id": None if store == 0 else f"m{store}",
            "channel": ["online", "pos", None][int(chance.integers(3))],
        }
        for minute, store in zip(moments, chance.integers(0, 12, rows), strict=True)
    ]
    told = [
        [(bool(chance.random() < 0.2), int(chance.integers(1, 20)) * DAY)] * (chance.random() < 0.7)
        for _ in range(rows)
    ]
    return stream_of(given, told)


def with_stores(stream: Stream, key: Key = STORE) -> tuple[Group, ...]:
    return portfolio_groups(
        stream.transactions.column_names, order=("retailer",), keys={"store": key}
    )


def unlike_the_retailer(found: pd.DataFrame) -> list[str]:
    """Facts of the declared key that are not those of the built-in group."""
    left = found[[*SAME]].rename(columns=SAME)
    return differing(left, found[[*SAME.values()]])


@pytest.mark.parametrize("batch", [600, 200, 20, 1])
def test_a_declared_key_equals_a_built_in_one_in_any_batch(batch: int) -> None:
    stream = many_rows()
    groups = with_stores(stream)
    whole = built(stream, groups)
    assert unlike_the_retailer(whole) == []
    since = stream.transactions["as_of"][-batch].as_py()
    last = built(stream, groups, since=since)
    assert unlike_the_retailer(last) == []
    assert differing(last, whole[whole["as_of"] >= since]) == []


def test_a_key_of_another_span_is_found_to_differ() -> None:
    stream = many_rows()
    group = key_group("store", STORE)
    broken = tuple(
        replace(one, aggregate=replace(one.aggregate, span="2d"))
        if one.aggregate and one.name == "store_count_1d"
        else one
        for one in group.features
    )
    retailer, _ = with_stores(stream)
    found = built(stream, (retailer, replace(group, features=broken)))
    assert unlike_the_retailer(found) == ["merchant_count_1d"]


def test_the_sums_and_the_spread_of_a_key_are_those_worked_out_by_hand() -> None:
    rows = [("a", 0, 10.0), ("b", 1, 30.0), ("a", 2, 20.0), ("a", 9, 5.0)]
    stream = stream_of(
        [
            {"account_id": who, "merchant_id": "m", "amount": paid, "as_of": START + day * DAY}
            for who, day, paid in rows
        ],
        [],
    )
    (_, group) = with_stores(stream)
    found = built(stream, (group,))
    assert found["store_sum_7d"].tolist() == [0, 10, 40, 20]
    assert found["store_new_accounts_30d"].tolist() == [0, 1, 2, 2]
    assert found["store_seconds_since_previous"].tolist()[1:] == [86400, 86400, 7 * 86400]


def own(**declared: Declared) -> tuple[Group, ...]:
    return portfolio_groups(
        transactions_schema().names,
        order=("amount",),
        keys={"store": STORE},
        features=declared,
    )


def fact(**said: str) -> Declared:
    return Declared(**{"group": "store", "meaning": "what it is", **said})  # type: ignore[arg-type]


PAIR = {"key": "account + store", "span": "30d"}
DECLARED = {
    "big_of_7d": fact(aggregate="count", key="store", span="7d", where="amount >= 100"),
    "online_sum": fact(
        aggregate="sum", key="merchant", span="7d", of="amount / 2", where="channel = 'online'"
    ),
    "pair_most": fact(aggregate="max", of="amount", **PAIR),
    "pair_least": fact(aggregate="min", of="amount", **PAIR),
    "last_channel": fact(aggregate="last", of="channel", key="store"),
    "last_big": fact(aggregate="last", of="amount", key="store", where="amount >= 100"),
    "pair_new": fact(aggregate="newly_seen", key="account+store"),
    "store_rate": fact(aggregate="fraud_rate", key="store", span="30d"),
    "over_other": fact(sql="amount / (amount - 100)"),
    "is_big": fact(sql="big_of_7d > 0 AND amount > 50"),
    "way": fact(sql="coalesce(channel, 'unknown')"),
}


def test_declared_features_are_those_worked_out_by_hand() -> None:
    rows = [(0, 100.0, "online"), (1, 40.0, None), (2, 300.0, "pos"), (20, 60.0, "pos")]
    stream = stream_of(
        [
            {
                "account_id": "a",
                "merchant_id": "m",
                "amount": paid,
                "channel": channel,
                "as_of": START + day * DAY,
            }
            for day, paid, channel in rows
        ],
        [[(True, DAY)], [], [], []],
    )
    found = built(stream, own(**DECLARED)).astype(object)
    found = found.where(found.notna(), None)
    expected = {
        "big_of_7d": [0, 1, 1, 0],
        "online_sum": [0, 50, 50, 0],
        "pair_most": [None, 100, 100, 300],
        "pair_least": [None, 100, 40, 40],
        "last_channel": [None, "online", "online", "pos"],
        "last_big": [None, 100, 100, 300],
        "pair_new": [1, 0, 0, 0],
        "store_rate": [0.1 / 20, 1.1 / 21, 1.1 / 21, 1.1 / 21],
        "over_other": [None, 40 / -60, 1.5, 60 / -40],
        "is_big": [0, 0, 1, 0],
        "way": ["online", "unknown", "pos", "pos"],
    }
    assert {name: found[name].tolist() for name in expected} == {
        name: pytest.approx(values) for name, values in expected.items()
    }


@pytest.mark.parametrize("batch", [200, 7, 1])
def test_declared_features_do_not_depend_on_the_batch(batch: int) -> None:
    stream = many_rows(300)
    groups = own(**DECLARED)
    whole = built(stream, groups)
    since = stream.transactions["as_of"][-batch].as_py()
    assert differing(built(stream, groups, since=since), whole[whole["as_of"] >= since]) == []


def test_a_key_over_a_column_of_its_own_is_a_group_like_any_other() -> None:
    stream = many_rows(50)
    emails = pc.replace_substring(stream.transactions["merchant_id"], "m", "mail")
    transactions = stream.transactions.append_column("email", emails)
    groups = portfolio_groups(transactions.column_names, keys={"email": EMAIL, "store": STORE})
    found = build(transactions, stream.labels, groups[-2:])
    assert found["email_count_7d"].equals(found["store_count_7d"])


def places(order: tuple[str, ...] = (), **after: str) -> list[str]:
    keys = {name: replace(EMAIL, after=behind) for name, behind in after.items()}
    return [group.name for group in portfolio_groups(COLUMNS, order=order, keys=keys)]


def test_a_keys_stage_stands_where_it_is_told_to() -> None:
    assert places(email="") == ["amount", "clock", "retailer", "sender", "email"]
    assert places(email="amount", bin="amount", zip="bin")[:4] == ["amount", "email", "bin", "zip"]
    assert places(("email", "amount"), email="") == ["email", "amount"]
    assert places(("sender", "amount"), email="sender") == ["sender", "email", "amount"]


@pytest.mark.parametrize(
    ("order", "after", "message"),
    [
        ((), "wealth", "stands after 'wealth', which is no group before it; choose from amount"),
        (("amount",), "clock", "which is no group before it in .groups. order; choose from amount"),
        (("amount", "email"), "amount", "has a place for 'email'; take out one of them"),
        ((), "email", "stands after 'email', which is no group before it"),
    ],
    ids=["no group", "a group that the order lacks", "two places", "itself"],
)
def test_a_place_is_refused_with(order: tuple[str, ...], after: str, message: str) -> None:
    with pytest.raises(GroupError, match=message):
        places(order, email=after)


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("email", "is_fraud", "is over is_fraud, which nobody knows yet"),
        ("email", "amount", "is over amount, which is no text; write SQL"),
        ("email", "basket", r"needs the column 'basket'.* strata ingest --again"),
        ("device", "email", "has a name that means something already"),
        ("retailer", "email", "has a name that means something already"),
        ("country", "email", "has a name that means something already"),
        ("place", "email", "has a name that means something already"),
        ("frauds_7d", "email", "has a name that means something already"),
        ("group", "email", "is called by a word of SQL"),
        ("E-Mail", "email", "cannot be called so; use lower-case letters"),
    ],
)
def test_a_key_is_refused_with(name: str, column: str, message: str) -> None:
    with pytest.raises(GroupError, match=message):
        portfolio_groups(COLUMNS, keys={name: replace(EMAIL, column=column)})


COUNT = {"aggregate": "count", "key": "email", "span": "1h"}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"sql": "sum(amount) OVER ()"}, r"sql = .* in \[features.own\] has a window"),
        ({"sql": "(SELECT 1)"}, "has a subquery; write an expression over"),
        ({"sql": "sum(amount)"}, "has the aggregate sum; declare a feature with aggregate"),
        ({"sql": "count(*)"}, "has the aggregate count"),
        ({"sql": "amount / fee"}, "reads 'fee', which is neither a column of the portfolio nor"),
        ({"sql": "own + 1"}, r"\[features.own\] reads itself; take that out"),
        ({"sql": "is_fraud"}, "reads is_fraud, which nobody knows yet"),
        ({"sql": "label_known_at IS NULL"}, "reads label_known_at, which nobody knows yet"),
        ({"sql": "random()"}, "has 'random', which not every engine does alike"),
        ({"sql": "current_date"}, "reads 'current_date', which is neither"),
        ({"sql": "amount +"}, r"cannot be understood \(syntax error"),
        ({"sql": "amount, amount"}, "is not one value"),
        ({"sql": "channel + 1"}, r"cannot be computed \(Binder Error: No function matches"),
        ({"sql": "event_time"}, "gives a TIMESTAMP WITH TIME ZONE; make a number"),
        ({"sql": "amount::INTEGER"}, "casts to INTEGER; cast to DOUBLE"),
        ({"sql": "amount", "key": "email"}, "has sql and key, which only an aggregate has"),
        ({}, "has neither of aggregate and sql; give it one"),
        ({**COUNT, "sql": "amount"}, "has both of aggregate and sql; give it one"),
        ({**COUNT, "span": ""}, "is a count and has no span; add span = ..."),
        ({**COUNT, "key": ""}, "is a count and has no key"),
        ({**COUNT, "key": "mail"}, "key = 'mail' .* is no key; choose from account, ip"),
        ({**COUNT, "key": "device"}, "needs device_id, which the portfolio does not have"),
        ({**COUNT, "key": "email+email"}, "is neither one key nor a pair of two"),
        ({**COUNT, "span": "91d"}, "'91d' of own is longer than the look-back; take 90d or less"),
        ({**COUNT, "span": "one hour"}, "'one hour' is no whole number with s, m, h or d"),
        ({**COUNT, "of": "amount"}, "own is a count; take out of = 'amount'"),
        ({**COUNT, "where": "amount"}, "where = 'amount' .* is a number; write a condition"),
        ({**COUNT, "where": "is_fraud"}, "where = 'is_fraud' .* reads is_fraud, which nobody"),
        ({**COUNT, "aggregate": "sum"}, "is a sum and has no of; add of = ..."),
        ({**COUNT, "aggregate": "sum", "of": "channel"}, "is a text; a sum is of a number"),
        ({**COUNT, "aggregate": "fraud_count", "where": "amount > 1"}, "take out conditions"),
        ({**COUNT, "aggregate": "fraud_count", "key": "account+email"}, "of a key of one column"),
        ({**COUNT, "aggregate": "fraud_run"}, "which looks back 90d; take out span = '1h'"),
        ({**COUNT, "group": "wealth"}, "'own' is to join 'wealth', which is no group"),
        ({**COUNT, "group": "location"}, "to join 'location', a group the portfolio lacks"),
    ],
)
def test_a_feature_is_refused_with(said: Mapping[str, str], message: str) -> None:
    declared = Declared(**{"group": "email", "meaning": "x", **said})  # type: ignore[arg-type]
    with pytest.raises((GroupError, ExpressionError, ValueError), match=message):
        portfolio_groups(COLUMNS, keys={"email": EMAIL}, features={"own": declared})


def test_features_that_read_one_another_are_refused() -> None:
    declared = {"one": fact(sql="two + 1"), "two": fact(sql="one + 1")}
    with pytest.raises(ExpressionError, match="reads what needs it in turn; take that out"):
        own(**declared)


@pytest.mark.parametrize(
    "name", ["amount", "merchant_count_1d", "store_count_1d", "store", "order"]
)
def test_a_feature_may_not_be_called(name: str) -> None:
    with pytest.raises(GroupError, match=r"means something already|a word of SQL"):
        own(**{name: fact(sql="amount + 1")})


def test_what_is_declared_is_said_in_its_own_words() -> None:
    (_, group) = own(fast=fact(aggregate="count", key="store", span="1h", meaning="payments there"))
    named = {feature.name: feature for feature in group.features}
    assert in_words(named["fast"], 3.0) == "payments there: 3"
    assert in_words(named["store_count_7d"], 2.0) == "payments with the same store in 7d: 2"
    assert (
        in_words(named["store_new_for_account"], 1.0) == "store new to the account within 90d: yes"
    )


def test_what_is_declared_is_part_of_the_digest() -> None:
    usual, changed = (
        own(fast=fact(**COUNT | {"key": "store"})),
        own(fast=fact(**COUNT | {"key": "store", "span": "2h"})),
    )
    assert digest(usual) != digest(changed)
    assert fingerprints(usual)["fast"] != fingerprints(changed)["fast"]
    assert "store_count_7d" in fingerprints(usual)
