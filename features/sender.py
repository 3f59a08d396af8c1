"""Sender: how the account has been behaving, and what was known of it."""

from features.risk import known_fraud
from features.windows import PAST, Feature, Group, fact, past

SPANS = ("1h", "1d", "7d", "30d")


def _activity(span: str) -> tuple[Feature, ...]:
    return (
        past(f"account_count_{span}", f"count(*) {PAST}", "account_id", span, f"payments of the account in {span}"),
        past(f"account_sum_{span}", f"coalesce(sum(amount) {PAST}, 0)", "account_id", span, f"paid in {span}", unit="currency"),
        past(f"account_most_{span}", f"max(amount) {PAST}", "account_id", span, f"largest payment of {span}", null="none in the span"),
    )


GROUP = Group(
    name="sender",
    meaning="how the account has been behaving, and what was known of it",
    needs=("account_id",),
    features=(
        *(feature for span in SPANS for feature in _activity(span)),
        fact("account_age_days", "(as_of_us - opened_us) / 86400000000.0", "since the account was opened", unit="d", null="unknown"),
        fact("account_channel", "channel", "how it was paid", null="unknown", kind="category"),
        *known_fraud("account_id", "account", spans=("30d",)),
    ),
)
