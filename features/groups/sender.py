"""Sender: how the account has been behaving, what was new to it, what it was paid, and what was known of it."""

from collections.abc import Iterable

from features.declarations import PAST, Feature, Group, fact, hidden, past
from features.known_fraud import known_fraud

SPANS = ("1h", "1d", "7d", "30d")
SHORT = ("1h", "1d")
NEWLY_SEEN = (
    "ip_new_for_account",
    "device_new_for_account",
    "merchant_new_for_account",
    "receiver_new_for_account",
    "ip_country_new",
    "retailer_country_new",
)


def new_values(flags: Iterable[str]) -> Feature:
    """Declare how many of these flags, each of something newly seen, the payment has.

    >>> new_values(["ip_new_for_account", "ip_country_new"]).sql
    'coalesce(ip_new_for_account, 0) + coalesce(ip_country_new, 0)'
    """
    sql = " + ".join(f"coalesce({flag}, 0)" for flag in flags)
    return hidden(
        fact("new_values", sql, "values of the payment that are new to the account within 90d")
    )


def _of_account(
    name: str, aggregate: str, span: str, meaning: str, *, unit: str = "", null: str = "key unknown"
) -> Feature:
    return past(
        f"{name}_{span}",
        aggregate,
        "account_id",
        span,
        f"{meaning} in {span}",
        unit=unit,
        null=null,
    )


def _sum(column: str) -> str:
    return f"coalesce(sum({column}) {PAST}, 0)"


def _activity(span: str) -> tuple[Feature, ...]:
    none = f"no payment of the account in {span}"
    new = "values (addresses, devices, retailers, receivers, countries) new to the account in its payments"
    return (
        _of_account("account_count", f"count(*) {PAST}", span, "payments of the account"),
        _of_account(
            "account_sum", _sum("amount"), span, "amount paid by the account", unit="currency"
        ),
        _of_account(
            "account_most",
            f"max(amount) {PAST}",
            span,
            "largest payment of the account",
            unit="currency",
            null=none,
        ),
        _of_account("account_new_values", _sum("new_values"), span, new),
    )


def _mean(span: str) -> Feature:
    """The mean of a short span; those of longer ones stand in the group amount."""
    sql = f"account_sum_{span} / nullif(account_count_{span}, 0)"
    null = f"no payment of the account in {span}"
    return fact(
        f"account_mean_{span}",
        sql,
        f"mean payment of the account in {span}",
        unit="currency",
        null=null,
    )


def _received(span: str) -> Feature:
    meaning = f"amount paid to the account, as a receiver, in {span}"
    return past(
        f"account_received_{span}",
        _sum("amount"),
        "account_id",
        span,
        meaning,
        unit="currency",
        of="counterparty_id",
    )


GROUP = Group(
    name="sender",
    meaning="how the account has been behaving, what was new to it, what it was paid, and what was known of it",
    needs=("account_id",),
    features=(
        new_values(NEWLY_SEEN),
        *(feature for span in SPANS for feature in _activity(span)),
        *(_mean(span) for span in SHORT),
        hidden(
            fact(
                "declined_payment",
                "CASE WHEN declined THEN 1.0 ELSE 0.0 END",
                "payment was declined",
                kind="flag",
            )
        ),
        *(
            _of_account(
                "account_declined",
                _sum("declined_payment"),
                span,
                "declined payments of the account",
            )
            for span in SHORT
        ),
        *(_received(span) for span in ("1d", "7d")),
        fact(
            "account_amount_over_received_7d",
            "amount / (account_received_7d + 1.0)",
            "amount over what was paid to the account in 7d",
            unit="ratio",
            null="account unknown",
        ),
        fact(
            "account_age_days",
            "(as_of_us - opened_us) / 86400000000.0",
            "time since the account was opened",
            unit="d",
            null="opening unknown",
        ),
        fact("account_channel", "channel", "way of paying", null="unknown", kind="category"),
        *known_fraud("account_id", "account", named="account", spans=("30d",)),
    ),
)
