"""Sender: how the account has been behaving, and what was known of it."""

from features.risk import known_fraud
from features.windows import PAST, Feature, Group, fact, past

SPANS = ("1h", "1d", "7d", "30d")


def _activity(span: str) -> tuple[Feature, ...]:
    null = f"no payment of the account in {span}"
    paid = f"coalesce(sum(amount) {PAST}, 0)"
    return (
        past(f"account_count_{span}", f"count(*) {PAST}", "account_id", span, f"payments of the account in {span}"),
        past(f"account_sum_{span}", paid, "account_id", span, f"amount paid by the account in {span}", unit="currency"),
        past(
            f"account_most_{span}",
            f"max(amount) {PAST}",
            "account_id",
            span,
            f"largest payment of the account in {span}",
            unit="currency",
            null=null,
        ),
    )


GROUP = Group(
    name="sender",
    meaning="how the account has been behaving, and what was known of it",
    needs=("account_id",),
    features=(
        *(feature for span in SPANS for feature in _activity(span)),
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
