"""Receiver: who is paid, what else comes in there and goes out again, and what was known of it.

A receiver that also pays is found among the accounts by its name: money that comes in and goes out
at once marks a mule.
"""

from features.declarations import Feature, Group, aggregate, fact, newly_seen
from features.known_fraud import known_fraud

SPANS = ("1d", "7d", "30d")
NONE_PAID = "no payment to the receiver in 30d, or receiver unknown"


def _inflow(span: str) -> tuple[Feature, ...]:
    payments = f"payments to the receiver in {span}"
    return (
        aggregate(f"receiver_count_{span}", "count", "counterparty_id", span, payments),
        aggregate(
            f"receiver_new_accounts_{span}",
            "sum",
            "counterparty_id",
            span,
            f"{payments} by accounts new to it",
            of="receiver_new_for_account",
        ),
        aggregate(
            f"receiver_inflow_{span}",
            "sum",
            "counterparty_id",
            span,
            f"amount paid to the receiver in {span}",
            of="amount",
            unit="currency",
        ),
    )


def _outflow(span: str) -> Feature:
    return aggregate(
        f"receiver_outflow_{span}",
        "sum",
        "counterparty_id",
        span,
        f"amount paid by the receiver, as an account, in {span}",
        of="amount",
        as_key="account_id",
        unit="currency",
    )


GROUP = Group(
    name="receiver",
    meaning="who is paid, whether that is usual, what else comes in there and goes out again, "
    "and what was known of it",
    needs=("counterparty_id",),
    features=(
        newly_seen(
            "receiver_new_for_account",
            "account_id+counterparty_id",
            "receiver new to the account within 90d",
        ),
        fact(
            "receiver_is_payer",
            "CASE WHEN counterparty_id = account_id THEN 1.0"
            " WHEN counterparty_id <> account_id THEN 0.0 END",
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
