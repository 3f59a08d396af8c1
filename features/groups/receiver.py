"""Receiver: who is paid, whether that is usual, what else comes in there and goes out again, and what was known of it.

A receiver that also pays is found among the accounts by its name: money that comes in and goes out
at once marks a mule.
"""

from features.declarations import PAST, Feature, Group, fact, newly_seen, past
from features.known_fraud import known_fraud

SPANS = ("1d", "7d", "30d")
NONE_PAID = "no payment to the receiver in 30d, or receiver unknown"
PAID = f"coalesce(sum(amount) {PAST}, 0)"


def _inflow(span: str) -> tuple[Feature, ...]:
    new = f"coalesce(sum(receiver_new_for_account) {PAST}, 0)"
    by_new = f"payments to the receiver in {span} by accounts new to it"
    return (
        past(
            f"receiver_count_{span}",
            f"count(*) {PAST}",
            "counterparty_id",
            span,
            f"payments to the receiver in {span}",
        ),
        past(f"receiver_new_accounts_{span}", new, "counterparty_id", span, by_new),
        past(
            f"receiver_inflow_{span}",
            PAID,
            "counterparty_id",
            span,
            f"amount paid to the receiver in {span}",
            unit="currency",
        ),
    )


def _outflow(span: str) -> Feature:
    meaning = f"amount paid by the receiver, as an account, in {span}"
    return past(
        f"receiver_outflow_{span}",
        PAID,
        "counterparty_id",
        span,
        meaning,
        unit="currency",
        of="account_id",
    )


GROUP = Group(
    name="receiver",
    meaning="who is paid, whether that is usual, what else comes in there and goes out again, and what was known of it",
    needs=("counterparty_id",),
    features=(
        newly_seen(
            "receiver_new_for_account",
            "account_id+counterparty_id",
            "receiver new to the account within 90d",
        ),
        fact(
            "receiver_is_payer",
            "CASE WHEN counterparty_id = account_id THEN 1.0 WHEN counterparty_id <> account_id THEN 0.0 END",
            "receiver is the payer",
            null="receiver unknown",
            kind="flag",
        ),
        *(feature for span in SPANS for feature in _inflow(span)),
        fact(
            "receiver_amount_over_mean",
            "amount / (receiver_inflow_30d / nullif(receiver_count_30d, 0) + 1.0)",
            "amount over the receiver's mean inflow of 30d",
            unit="ratio",
            null=NONE_PAID,
        ),
        *(_outflow(span) for span in ("1d", "7d")),
        fact(
            "receiver_passed_on_7d",
            "receiver_outflow_7d / (receiver_inflow_7d + 1.0)",
            "amount paid by the receiver over that paid to it, in 7d",
            unit="ratio",
            null="receiver unknown",
        ),
        *known_fraud("counterparty_id", "receiver", named="receiver", spans=("30d",)),
    ),
)
