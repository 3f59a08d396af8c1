"""What was seen in public, by hand: never what had not been seen yet."""

import math

import pytest

from features.groups.catalogue import GroupError, portfolio_groups
from tests.features.streams import DAY, MICROSECOND, START, facts

SEEN = {"social_event": "breach_notice", "social_event_at": START + 5 * DAY}


def test_how_long_ago_and_what_was_paid_since() -> None:
    found = facts("social", {"day": 4}, {"day": 6} | SEEN, {"day": 7} | SEEN, {"day": 9} | SEEN)
    assert found["social_kind"].fillna("nothing").tolist() == ["nothing", *["breach_notice"] * 3]
    assert found["social_days_ago"].tolist() == pytest.approx([math.nan, 1, 2, 4], nan_ok=True)
    assert found["social_since_previous"].tolist() == pytest.approx(
        [math.nan, 1, 0, 0], nan_ok=True
    )
    assert found["social_payments_since"].tolist() == pytest.approx(
        [math.nan, 0, 1, 2], nan_ok=True
    )


@pytest.mark.parametrize(
    ("before", "seen"),
    [(0 * DAY, True), (MICROSECOND, False)],
    ids=["at the very microsecond", "one microsecond before"],
)
def test_an_event_is_seen_from_its_microsecond_on(before: object, seen: bool) -> None:
    found = facts("social", SEEN | {"as_of": START + 5 * DAY - before}).iloc[0]  # type: ignore[operator]
    assert (found["social_kind"] == "breach_notice") == seen
    assert found[["social_days_ago", "social_payments_since"]].notna().all() == seen


def test_an_event_that_a_row_names_before_it_happened_is_not_paid_since() -> None:
    found = facts("social", {"day": 3} | SEEN, {"day": 4} | SEEN, {"day": 6} | SEEN)
    assert found["social_payments_since"].tolist() == pytest.approx(
        [math.nan, math.nan, 0], nan_ok=True
    )


@pytest.mark.parametrize("missing", SEEN)
def test_an_event_without_its_moment_and_a_moment_without_its_event_are_none(missing: str) -> None:
    found = facts("social", {"day": 6} | SEEN | {missing: None}).iloc[0]
    assert (
        found[["social_kind", "social_days_ago", "social_since_previous", "social_payments_since"]]
        .isna()
        .all()
    )


def test_a_payment_at_the_moment_of_the_event_came_no_later_than_it() -> None:
    found = facts("social", {"day": 5}, {"day": 6} | SEEN)
    assert found["social_since_previous"].iloc[-1] == 0


def test_a_portfolio_without_the_moments_has_no_such_group() -> None:
    with pytest.raises(GroupError, match="the group 'social' needs social_event_at"):
        portfolio_groups(["social_event"], order=("social",))
