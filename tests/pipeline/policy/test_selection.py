"""Which accounts of a day are worth a review: by gain, within the capacity under any batches."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.policy.selection import Policy, choose, learn_least_gain
from pipeline.portfolio_tables import Review

NOBODY = pd.DataFrame(
    {"account_id": pd.Series(dtype="string"), "day": pd.Series(dtype="datetime64[us, UTC]")}
)


def scored(
    rows: list[tuple[str, int, float, float]], *, rules: dict[int, str] | None = None
) -> pd.DataFrame:
    """Rows of (account, hours after 2025-01-01 UTC, amount, probability), rules named by row."""
    frame = pd.DataFrame(rows, columns=["account_id", "hours", "amount", "probability"])
    return pd.DataFrame(
        {
            "transaction_id": [f"t{number:03d}" for number in range(len(rows))],
            "account_id": frame["account_id"].astype("string"),
            "as_of": (
                pd.Timestamp("2025-01-01", tz="UTC") + pd.to_timedelta(frame["hours"], unit="h")
            ).astype("datetime64[us, UTC]"),
            "amount": frame["amount"].astype("float64"),
            "probability": frame["probability"].astype("float64"),
            "rules": pd.Series(
                [(rules or {}).get(number) for number in range(len(rows))], dtype="string"
            ),
        }
    )


def alerted(flagged: pd.DataFrame) -> pd.DataFrame:
    return flagged[["account_id", "day"]].drop_duplicates()


def test_gain_is_the_recovered_loss_less_the_review_and_the_friction() -> None:
    policy = Policy(capacity_per_day=1, cost=2.5, friction_cost=5.0, recovered_share=0.6)
    assert policy.expected_loss([0.5], [100.0]).tolist() == [50.0]
    assert policy.expected_gain([0.5], [100.0]).tolist() == [50 * 0.6 - 2.5 - 0.5 * 5]


def test_a_policy_is_what_the_portfolio_says_and_survives_json() -> None:
    policy = Policy.of(Review(capacity_per_day=7, cost=1.5))
    assert (policy.capacity_per_day, policy.cost, policy.friction_cost, policy.least_gain) == (
        7,
        1.5,
        5.0,
        0.0,
    )
    assert Policy.from_json(policy.to_json()) == policy


def test_the_accounts_of_highest_gain_are_chosen_with_all_their_worthwhile_rows() -> None:
    rows = scored(
        [
            ("a", 1, 100, 0.9),
            ("a", 2, 50, 0.5),
            ("a", 3, 1, 0.1),
            ("b", 1, 100, 0.8),
            ("c", 30, 10, 0.9),
        ]
    )
    flagged = choose(rows, policy=Policy(capacity_per_day=1, cost=1.0), already_alerted=NOBODY)
    # t002 costs more than it saves; "c" has its own day
    assert flagged["transaction_id"].tolist() == ["t000", "t001", "t004"]
    assert flagged["expected_gain"].tolist() == [89, 24, 8]


def test_a_day_without_positive_gain_raises_nothing() -> None:
    rows = scored([("a", 1, 10, 0.1)])
    assert choose(rows, policy=Policy(capacity_per_day=5, cost=1.0), already_alerted=NOBODY).empty


def test_accounts_a_rule_named_come_first_within_the_capacity() -> None:
    rows = scored(
        [("a", 1, 100, 0.9), ("b", 1, 1, 0.0), ("c", 1, 1, 0.0)], rules={1: "huge_amount"}
    )
    flagged = choose(rows, policy=Policy(capacity_per_day=1, cost=1.0), already_alerted=NOBODY)
    assert flagged[["transaction_id", "rules"]].to_numpy().tolist() == [["t001", "huge_amount"]]


def test_an_account_alerted_before_takes_no_more_capacity_and_its_new_rows_join() -> None:
    rows = scored([("a", 1, 100, 0.5), ("b", 1, 100, 0.9), ("c", 1, 100, 0.8)])
    before = pd.DataFrame({"account_id": ["a"], "day": [pd.Timestamp("2025-01-01", tz="UTC")]})
    flagged = choose(rows, policy=Policy(capacity_per_day=2), already_alerted=before)
    assert flagged["account_id"].tolist() == ["b", "a"]


def test_a_day_is_the_utc_day_of_as_of() -> None:
    rows = scored([("a", 23, 100, 0.9), ("b", 24, 100, 0.8)])
    flagged = choose(rows, policy=Policy(capacity_per_day=1), already_alerted=NOBODY)
    assert flagged["day"].dt.day.tolist() == [1, 2]


row = st.tuples(st.sampled_from("abcdefg"), st.integers(0, 71), st.floats(0, 1000), st.floats(0, 1))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(row, min_size=1, max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=5),
    capacity=st.integers(1, 4),
    ruled=st.sets(st.integers(0, 39)),
)
def test_no_split_into_batches_raises_more_than_the_capacity(
    rows: list[tuple[str, int, float, float]], cuts: list[int], capacity: int, ruled: set[int]
) -> None:
    table = scored(rows, rules=dict.fromkeys(ruled, "rule"))
    policy, before = Policy(capacity_per_day=capacity, cost=5.0, friction_cost=20.0), NOBODY
    for start, end in pairwise(sorted({0, *(min(cut, len(rows)) for cut in cuts), len(rows)})):
        batch = table.iloc[start:end]
        flagged = choose(batch, policy=policy, already_alerted=before)
        assert ((flagged["expected_gain"] > 0) | flagged["rules"].notna()).all()
        assert flagged["transaction_id"].is_unique
        before = pd.concat([before, alerted(flagged)]).drop_duplicates()
        again = choose(batch, policy=policy, already_alerted=before)
        assert set(again["transaction_id"]) >= set(flagged["transaction_id"])
    assert before.groupby("day").size().max() <= capacity if len(before) else True


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(row, min_size=1, max_size=40),
    capacity=st.integers(1, 4),
    order=st.randoms(use_true_random=False),
)
def test_the_order_of_rows_in_a_batch_changes_nothing(
    rows: list[tuple[str, int, float, float]], capacity: int, order: np.random.RandomState
) -> None:
    table, shuffled = scored(rows), list(range(len(rows)))
    order.shuffle(shuffled)
    policy = Policy(capacity_per_day=capacity)
    one, other = (
        choose(t, policy=policy, already_alerted=NOBODY) for t in (table, table.iloc[shuffled])
    )
    pd.testing.assert_frame_equal(one, other)


def test_the_least_gain_learned_lets_through_the_capacity_on_an_average_day() -> None:
    generator = np.random.default_rng(0)
    rows = scored(
        [
            (f"a{n}", int(h), 100.0, p)
            for n, (h, p) in enumerate(zip(range(240), generator.random(240), strict=True))
        ]
    )
    policy = learn_least_gain(rows, policy=Policy(capacity_per_day=3))
    worth = policy.expected_gain(rows["probability"], rows["amount"]) > policy.least_gain
    assert worth.sum() == 30  # ten days of three
    assert learn_least_gain(rows, policy=Policy(capacity_per_day=24)).least_gain == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"capacity_per_day": 0}, "capacity_per_day must be at least 1, not 0", id="no capacity"
        ),
        pytest.param(
            {"recovered_share": 60}, r"recovered_share must lie in 0\.\.1, not 60", id="per cent"
        ),
        pytest.param(
            {"cost": -1.0}, "cost must be a number of 0 or more, not -1", id="negative cost"
        ),
        pytest.param(
            {"friction_cost": np.inf},
            "friction_cost must be a number of 0 or more, not inf",
            id="infinite cost",
        ),
    ],
)
def test_an_impossible_policy_is_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Policy(**{"capacity_per_day": 5, **changes})  # type: ignore[arg-type]  # built by name


def test_a_policy_file_with_other_names_is_refused() -> None:
    with pytest.raises(ValueError, match=r"found \['capacity_per_day'\]; export the bundle again"):
        Policy.from_json({"capacity_per_day": 5})
