"""Retailer: who sells, whether that and the amount are usual, and how much fraud is known there."""

from features.declarations import Feature, Function, Group, aggregate, fact, hidden, newly_seen
from features.known_fraud import known_fraud

SPANS = ("1d", "7d", "30d")
NONE_SOLD = "no payment at the retailer in 30d, or retailer unknown"


def _volume(span: str) -> Feature:
    meaning = f"payments at the retailer in {span}"
    return aggregate(f"merchant_count_{span}", "count", "merchant_id", span, meaning)


def _of_amounts(name: str, function: Function, meaning: str) -> Feature:
    return hidden(
        aggregate(
            name,
            function,
            "merchant_id",
            "30d",
            f"{meaning} at the retailer in 30d",
            of="amount",
            unit="currency",
            null=NONE_SOLD,
        )
    )


GROUP = Group(
    name="retailer",
    meaning="who sells, whether that and the amount are usual, and how much fraud is known there",
    needs=("merchant_id",),
    features=(
        *(_volume(span) for span in SPANS),
        fact(
            "merchant_volume_ratio",
            # doubles: Spark's decimals would be cut off
            "(merchant_count_1d + 1e0) / (merchant_count_30d / 30e0 + 1e0)",
            "payments at the retailer in 1d over its mean day of 30d",
            unit="ratio",
            null="key unknown",
        ),
        _of_amounts("merchant_mean_30d", "mean", "mean payment"),
        _of_amounts("merchant_spread_30d", "stddev", "spread of the payments"),
        fact(
            "merchant_amount_over_mean",
            "amount / (merchant_mean_30d + 1.0)",
            "amount over the retailer's mean of 30d",
            unit="ratio",
            null=NONE_SOLD,
        ),
        fact(
            "merchant_amount_z",
            "(amount - merchant_mean_30d) / (merchant_spread_30d + 1.0)",
            "standard deviations above the retailer's mean of 30d",
            null=NONE_SOLD,
        ),
        newly_seen(
            "merchant_new_for_account",
            "account_id+merchant_id",
            "retailer new to the account within 90d",
        ),
        fact(
            "merchant_category_code",
            "merchant_category",
            "retailer's category, ISO 18245",
            null="unknown",
            kind="category",
        ),
        *known_fraud("merchant_id", "merchant", named="retailer", spans=SPANS),
    ),
)
