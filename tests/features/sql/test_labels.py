"""What was known of a key's fraud, against loops over the ledger: labels come late, and are reversed."""

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.declarations import Group, aggregate
from features.known_fraud import known_fraud
from tests.features.streams import (
    DAY,
    MICROSECOND,
    START,
    Stream,
    built,
    built_both_ways,
    differing,
    stream_of,
    told,
)

KNOWN = Group(
    name="known",
    meaning="known fraud of the retailer",
    needs=(),
    features=(
        *known_fraud("merchant_id", "m", named="retailer", spans=("7d", "90d")),
        aggregate("m_rate_7d", "fraud_rate", "merchant_id", "7d", ""),
        aggregate("m_seconds_since_fraud", "seconds_since_fraud", "merchant_id", "90d", ""),
        aggregate(
            "m_seconds_since_legitimate", "seconds_since_legitimate", "merchant_id", "90d", ""
        ),
    ),
)
REACH, WAIT, SECOND = 90 * DAY, 120 * DAY, timedelta(seconds=1)


def standing(
    transaction: dict[str, Any], ledger: list[dict[str, Any]], now: Any
) -> tuple[bool, Any] | None:
    """What the ledger says of a transaction now, and since when: the lines are read one after another."""
    verdict = None
    moments = sorted({line["known_at"] for line in ledger if line["known_at"] <= now})
    for moment in moments:
        is_fraud = any(line["is_fraud"] for line in ledger if line["known_at"] == moment)
        if verdict is None or verdict[0] != is_fraud:
            verdict = (is_fraud, moment)
    if verdict is None or now <= transaction["as_of"]:
        return None
    return verdict[0], max(verdict[1], transaction["as_of"] + MICROSECOND)


def by_hand(now: dict[str, Any], stream: Stream) -> dict[str, float | None]:
    """The features of KNOWN for one row, by looking at the ledger of every other."""
    known = now["merchant_id"] is not None
    verdicts = verdicts_on(now["merchant_id"], stream, now["as_of"]) if known else []
    frauds = [since for is_fraud, since in verdicts if is_fraud]
    legitimate = [since for is_fraud, since in verdicts if not is_fraud]

    def within(moments: list[Any], span: timedelta) -> int:
        return sum(since > now["as_of"] - span for since in moments)

    def rate(span: timedelta) -> float:
        return (within(frauds, span) + 0.1) / (within(frauds + legitimate, span) + 20)

    def since_last(moments: list[Any], unit: timedelta) -> float | None:
        return (now["as_of"] - max(moments)) / unit if moments else None

    return {
        "m_known_frauds_7d": within(frauds, 7 * DAY) if known else None,
        "m_fraud_rate_7d": rate(7 * DAY),
        "m_known_frauds_90d": within(frauds, REACH) if known else None,
        "m_fraud_rate_90d": rate(REACH),
        "m_days_since_fraud": since_last(frauds, DAY),
        "m_days_since_legitimate": since_last(legitimate, DAY),
        "m_fraud_run": in_a_row(frauds, legitimate) if known else None,
        "m_rate_7d": rate(7 * DAY) if known else None,
        "m_seconds_since_fraud": since_last(frauds, SECOND),
        "m_seconds_since_legitimate": since_last(legitimate, SECOND),
    }


def verdicts_on(merchant: str, stream: Stream, now: Any) -> list[tuple[bool, Any]]:
    """What the ledger says now of each of the retailer's payments, and since when."""
    verdicts = []
    for row in stream.transactions.to_pylist():
        name = row["transaction_id"]
        ledger = [line for line in stream.labels.to_pylist() if line["transaction_id"] == name]
        verdict = standing(row, ledger, now) if row["merchant_id"] == merchant else None
        if verdict and now - REACH < verdict[1] <= row["as_of"] + WAIT:
            verdicts.append(verdict)
    return verdicts


def in_a_row(frauds: list[Any], legitimate: list[Any]) -> int:
    return sum(since > max(legitimate, default=START - REACH) for since in frauds)


payments = st.fixed_dictionaries(
    {
        "account_id": st.just("a"),
        "merchant_id": st.sampled_from(["m", "m", "n", None]),
        "amount": st.just(5.0),
        "as_of": st.sampled_from([0, 1, 2, 7, 8, 30, 90, 91, 120]).map(
            lambda day: START + day * DAY
        ),
    }
)
dense_streams = st.builds(
    stream_of,
    st.lists(payments, min_size=1, max_size=40),
    st.lists(st.lists(told, max_size=3), max_size=40),
)


@settings(deadline=None, max_examples=60)
@given(stream=dense_streams)
def test_known_fraud_equals_a_loop_over_the_ledger(stream: Stream) -> None:
    expected = pd.DataFrame(
        [by_hand(row, stream) for row in stream.transactions.to_pylist()], dtype="float64"
    )
    for found in built_both_ways(stream, (KNOWN,)):
        np.testing.assert_allclose(
            found[expected.columns].to_numpy("float64"), expected.to_numpy(), rtol=1e-9, atol=1e-9
        )


def seen_on(day: float, *ledgers: list[tuple[bool, timedelta]]) -> pd.Series:
    """What is known of a retailer on a day.

    Its first payments were at day 0, one for each ledger.
    """
    rows = [{"account_id": "a", "merchant_id": "m", "amount": 5.0, "as_of": START} for _ in ledgers]
    rows.append(rows[0] | {"as_of": START + day * DAY})
    windows, batch = built_both_ways(stream_of(rows, list(ledgers)), (KNOWN,))
    assert differing(windows, batch) == []
    return windows.iloc[-1]


def frauds_age_run(known: pd.Series, span: str) -> tuple[float, float, float]:
    """How many frauds are known of the span, how many days ago the last, how many in a row."""
    return known[f"m_known_frauds_{span}"], known["m_days_since_fraud"], known["m_fraud_run"]


@pytest.mark.parametrize(
    ("wait", "frauds"),
    [(timedelta(0), 1), (5 * DAY, 1), (5 * DAY + MICROSECOND, 0)],
    ids=["with the payment", "at this very microsecond", "one microsecond later"],
)
def test_a_label_is_seen_from_the_microsecond_it_is_known(wait: timedelta, frauds: int) -> None:
    assert seen_on(5, [(True, wait)])["m_known_frauds_7d"] == frauds


def test_a_label_counts_by_when_it_became_known_and_not_by_its_payment() -> None:
    known = seen_on(40, [(True, 35 * DAY)])
    assert frauds_age_run(known, "7d") == (1, 5, 1)


def test_a_fraud_taken_back_is_forgotten_and_the_earlier_one_is_the_last_again() -> None:
    ledgers = [[(True, 5 * DAY)], [(True, 7 * DAY), (False, 9 * DAY)]]
    before, after = seen_on(8, *ledgers), seen_on(10, *ledgers)
    assert frauds_age_run(before, "90d") == (2, 1, 2)
    assert frauds_age_run(after, "90d") == (1, 5, 0)
    assert after["m_days_since_legitimate"] == 1


def test_a_verdict_is_replaced_from_the_very_microsecond_the_ledger_says_so() -> None:
    replaced = seen_on(9, [(True, 7 * DAY), (False, 9 * DAY)])
    names = ["m_known_frauds_7d", "m_days_since_legitimate", "m_fraud_run"]
    assert replaced[names].tolist() == [0, 0, 0]


def test_a_fraud_known_at_this_very_microsecond_is_in_the_run() -> None:
    assert seen_on(9, [(False, 7 * DAY)], [(True, 9 * DAY)])["m_fraud_run"] == 1


def test_a_payment_first_called_legitimate_is_a_new_fraud_when_the_ledger_says_so() -> None:
    known = seen_on(41, [(False, 7 * DAY), (True, 40 * DAY)], [(False, 8 * DAY)])
    assert frauds_age_run(known, "7d") == (1, 1, 1)
    assert known["m_fraud_rate_90d"] == pytest.approx(1.1 / 22)


def test_a_verdict_ends_the_run_until_it_is_replaced() -> None:
    ledgers = [[(True, 5 * DAY)], [(False, 7 * DAY), (True, 20 * DAY)]]
    assert (seen_on(9, *ledgers)["m_fraud_run"], seen_on(20, *ledgers)["m_fraud_run"]) == (0, 2)


def test_a_verdict_replaced_before_its_payment_never_stands() -> None:
    assert seen_on(1, [(True, -2 * DAY), (False, -DAY)])["m_known_frauds_7d"] == 0


def test_saying_the_same_again_does_not_make_a_label_younger() -> None:
    assert seen_on(20, [(True, 5 * DAY), (True, 19 * DAY)])["m_days_since_fraud"] == 15


def test_fraud_holds_where_the_ledger_says_both_at_once() -> None:
    assert seen_on(6, [(False, 5 * DAY), (True, 5 * DAY)])["m_known_frauds_7d"] == 1


def test_a_fraud_seen_at_the_very_microsecond_a_payment_proved_legitimate_is_before_the_run() -> (
    None
):
    lasting, replaced = [(True, 5 * DAY)], [(True, 5 * DAY), (False, 8 * DAY)]
    assert seen_on(6, lasting, [(False, 5 * DAY)])["m_fraud_run"] == 0
    assert seen_on(6, replaced, [(False, 5 * DAY)])["m_fraud_run"] == 0


def test_a_verdict_later_than_the_longest_wait_counts_for_nothing() -> None:
    assert seen_on(121, [(True, 120 * DAY)])["m_known_frauds_7d"] == 1
    assert seen_on(121, [(True, 120 * DAY + MICROSECOND)])["m_known_frauds_7d"] == 0


def test_a_payment_does_not_see_its_own_label() -> None:
    stream = stream_of(
        [{"account_id": "a", "merchant_id": "m", "amount": 5.0, "as_of": START}], [[(True, -DAY)]]
    )
    assert built(stream, (KNOWN,)).iloc[0]["m_known_frauds_7d"] == 0
