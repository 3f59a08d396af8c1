"""Retailer: who sells, whether that is usual for the account, and how much fraud is known there."""

from features.risk import known_fraud
from features.windows import PAST, Feature, Group, fact, hidden, newly_seen, past

SPANS = ("1d", "7d", "30d")
NONE_SOLD = "no payment at the retailer in 30d, or retailer unknown"


def _volume(span: str) -> Feature:
    return past(f"merchant_count_{span}", f"count(*) {PAST}", "merchant_id", span, f"payments at the retailer in {span}")


GROUP = Group(
    name="retailer",
    meaning="who sells, whether that is usual for the account, and how much fraud is known there",
    needs=("merchant_id",),
    features=(
        *(_volume(span) for span in SPANS),
        fact(
            "merchant_volume_ratio",
            "(merchant_count_1d + 1.0) / (merchant_count_30d / 30.0 + 1.0)",
            "payments at the retailer in 1d over its mean day of 30d",
            unit="ratio",
            null="key unknown",
        ),
        hidden(
            past(
                "merchant_mean_30d",
                f"avg(amount) {PAST}",
                "merchant_id",
                "30d",
                "mean payment at the retailer in 30d",
                unit="currency",
                null=NONE_SOLD,
            )
        ),
        fact(
            "merchant_amount_over_mean",
            "amount / (merchant_mean_30d + 1.0)",
            "amount over the retailer's mean of 30d",
            unit="ratio",
            null=NONE_SOLD,
        ),
        newly_seen("merchant_new_for_account", "account_id+merchant_id", "retailer new to the account within 90d"),
        fact("merchant_category_code", "merchant_category", "retailer's category, ISO 18245", null="unknown", kind="category"),
        *known_fraud("merchant_id", "merchant", named="retailer", spans=SPANS),
    ),
)
