"""Sender: how the account has been behaving, what was new to it, and what was known of it."""

from collections.abc import Iterable

from features.declarations import Feature, Function, Group, aggregate, fact, hidden
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
    name: str,
    function: Function,
    span: str,
    meaning: str,
    *,
    of: str = "",
    unit: str = "",
    null: str = "key unknown",
) -> Feature:
    return aggregate(
        f"{name}_{span}",
        function,
        "account_id",
        span,
        f"{meaning} in {span}",
        of=of,
        unit=unit,
        null=null,
    )


def _activity(span: str) -> tuple[Feature, ...]:
    none = f"no payment of the account in {span}"
    paid, largest = "amount paid by the account", "largest payment of the account"
    kinds = "addresses, devices, retailers, receivers, countries"
    new = f"values ({kinds}) new to the account in its payments"
    money = "currency"
    return (
        _of_account("account_count", "count", span, "payments of the account"),
        _of_account("account_sum", "sum", span, paid, of="amount", unit=money),
        _of_account("account_most", "max", span, largest, of="amount", unit=money, null=none),
        _of_account("account_new_values", "sum", span, new, of="new_values"),
    )


def _mean(span: str) -> Feature:
    """The mean of a short span; those of longer ones stand in the group amount."""
    sql = f"account_sum_{span} / nullif(account_count_{span}, 0)"
    meaning = f"mean payment of the account in {span}"
    none = f"no payment of the account in {span}"
    return fact(f"account_mean_{span}", sql, meaning, unit="currency", null=none)


def _received(span: str) -> Feature:
    return aggregate(
        f"account_received_{span}",
        "sum",
        "account_id",
        span,
        f"amount paid to the account, as a receiver, in {span}",
        of="amount",
        as_key="counterparty_id",
        unit="currency",
    )


def _declined(span: str) -> Feature:
    meaning = "declined payments of the account"
    return _of_account("account_declined", "sum", span, meaning, of="declined_payment")


GROUP = Group(
    name="sender",
    meaning="how the account has been behaving, what was new to it, what it was paid, "
    "and what was known of it",
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
        *(_declined(span) for span in SHORT),
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
