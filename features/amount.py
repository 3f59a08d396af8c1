"""Amount: how much, and how much that is for this account."""

from features.windows import LOOKBACK, PAST, Feature, Group, fact, hidden, past

FIRST = "the account's first payment in the span"
SPANS = ("7d", "30d", LOOKBACK)
# The billionth is a margin: rounding must not decide whether an amount of exactly three means is high.
IS_HIGH = "CASE WHEN amount > 3.000000003 * amount_mean_90d THEN 1.0 ELSE 0.0 END"


def _of_account(name: str, sql: str, span: str, meaning: str) -> Feature:
    return past(name, f"{sql} {PAST}", "account_id", span, meaning, unit="currency", null=FIRST)


def _over(name: str, usual: str, meaning: str) -> Feature:
    """The amount over something usual; one unit of currency is added below, so that cents do not explode it."""
    return fact(name, f"amount / ({usual} + 1.0)", meaning, unit="ratio", null=FIRST)


GROUP = Group(
    name="amount",
    meaning="how much, and how much that is for this account",
    needs=("amount",),
    features=(
        fact("amount_paid", "amount", "amount", unit="currency"),
        *(_of_account(f"amount_mean_{span}", "avg(amount)", span, f"mean payment of the account in {span}") for span in SPANS),
        *(
            _over(f"amount_over_mean_{span}", f"amount_mean_{span}", f"amount over the account's mean of {span}")
            for span in SPANS
        ),
        hidden(_of_account("amount_most_90d", "max(amount)", LOOKBACK, "largest payment of the account in 90d")),
        _over("amount_over_most_90d", "amount_most_90d", "amount over the account's largest payment of 90d"),
        hidden(_of_account("amount_spread_90d", "stddev_pop(amount)", LOOKBACK, "spread of the account's payments of 90d")),
        fact(
            "amount_z_90d",
            "(amount - amount_mean_90d) / (amount_spread_90d + 1.0)",
            "standard deviations above the account's mean of 90d",
            null=FIRST,
        ),
        hidden(fact("amount_is_high", IS_HIGH, "amount above 3 times the account's mean of 90d", kind="flag")),
        past(
            "amount_high_14d",
            f"coalesce(sum(amount_is_high) {PAST}, 0)",
            "account_id",
            "14d",
            "payments of the account above 3 times its mean, in 14d",
        ),
    ),
)
