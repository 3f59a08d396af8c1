"""What a feature may be declared as, and what it is said to need."""

from typing import Any

import pytest

from features.build import shown_features
from features.declarations import Aggregate, Feature, Function, aggregate, from_row, microseconds
from features.schema import BY_NAME
from tests.features.streams import ALL_GROUPS


def declared(function: Function, **parts: Any) -> Feature:
    return aggregate("feature", function, parts.pop("key", "account_id"), "7d", "", **parts)


@pytest.mark.parametrize("span", ["", "7", "0d", "1w", "1.5h", "-1d"])
def test_a_span_must_be_a_whole_number_with_a_unit(span: str) -> None:
    with pytest.raises(ValueError, match=r"write it like '1h' or '30d'"):
        microseconds(span)


def test_a_window_longer_than_the_look_back_is_refused() -> None:
    with pytest.raises(
        ValueError, match="the span '91d' of slow is longer than the look-back; take 90d or less"
    ):
        aggregate("slow", "count", "account_id", "91d", "payments")


@pytest.mark.parametrize("function", ["sum", "mean", "max", "min", "stddev"])
def test_an_aggregate_of_values_must_say_of_which(function: Function) -> None:
    with pytest.raises(ValueError, match=f"feature is a {function}; say of what"):
        declared(function)


@pytest.mark.parametrize("function", ["count", "last", "seconds_since", "newly_seen", "fraud_run"])
def test_an_aggregate_of_no_values_is_given_none(function: Function) -> None:
    with pytest.raises(ValueError, match=f"feature is a {function}; take out of = 'amount'"):
        declared(function, of="amount")


@pytest.mark.parametrize(
    "parts",
    [{"where": "amount > 1"}, {"as_key": "counterparty_id"}, {"key": "account_id+merchant_id"}],
    ids=["a condition", "other columns", "a pair"],
)
def test_fraud_is_known_of_a_key_of_one_column_and_nothing_else(parts: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="which is known of a key of one column, whatever the row"):
        declared("fraud_count", **parts)


def test_a_feature_is_an_expression_or_an_aggregate() -> None:
    over = Aggregate(function="count", key=("a",), as_key=("a",), span="1d")
    with pytest.raises(ValueError, match="own is both of an expression and an aggregate; give"):
        Feature(name="own", meaning="", sql="amount", aggregate=over)
    with pytest.raises(ValueError, match="own is neither of an expression and an aggregate"):
        Feature(name="own", meaning="")


@pytest.mark.parametrize(
    ("feature", "needs"),
    [
        (declared("count"), {"account_id"}),
        (declared("sum", of="abs(amount)"), {"account_id", "amount"}),
        (declared("count", where="channel = 'online'"), {"account_id", "channel"}),
        (declared("seconds_since", as_key="payee"), {"account_id", "payee", "as_of_us"}),
        (declared("last", where="amount > 1"), {"account_id", "amount", "row_id"}),
        (declared("fraud_rate"), {"account_id", "frauds_7d", "labels_7d"}),
        (from_row("was", "amount", "last_row", ""), {"amount", "last_row"}),
    ],
    ids=["a count", "a sum", "a condition", "another's", "a row", "labels", "from a row"],
)
def test_a_feature_needs_what_its_parts_name(feature: Feature, needs: set[str]) -> None:
    assert feature.needs() == needs


def test_every_shown_feature_says_what_it_means() -> None:
    shown = shown_features(ALL_GROUPS)
    assert len({feature.name for feature in shown}) == len(shown)
    assert not {feature.name for feature in shown} & set(BY_NAME)
    assert len({feature.meaning for feature in shown}) == len(shown)


def test_every_meaning_is_read_behind_a_name() -> None:
    meanings = [feature.meaning for feature in shown_features(ALL_GROUPS)]
    assert all(meanings)
    assert not [one for one in meanings if one.startswith(("its ", "the ")) or one.endswith(".")]
