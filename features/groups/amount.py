"""Amount: how much, how it is made up, and how much that is for this account."""

from features.declarations import LOOKBACK, Feature, Function, Group, aggregate, fact, hidden

FIRST = "the account's first payment in the span"
SPANS = ("7d", "30d", LOOKBACK)
# The billionth is a margin: rounding must not decide whether an amount of exactly three means is
# high.
IS_HIGH = "CASE WHEN amount > 3.000000003 * amount_mean_90d THEN 1.0 ELSE 0.0 END"

_ROUND = " ".join(
    f"WHEN amount = {step} * floor(amount / {step}) THEN {step}" for step in (1000, 100, 10, 1)
)
ROUND_TO = f"CASE WHEN amount = 0 THEN 0 {_ROUND} ELSE 0 END"
# from where on payments are often looked at, or must be reported
LIMITS = (100, 200, 500, 1000, 2000, 5000, 10000)
NEXT_LIMIT = f"CASE {' '.join(f'WHEN amount < {limit} THEN {limit}' for limit in LIMITS)} END"

# Two bands to each doubling. No amount of whole cents lies on a border (2^(n/2) - 1.003), where
# rounding would decide.
BAND = "floor(2 * log2(amount + 1.003))"


def _of_account(name: str, function: Function, meaning: str) -> Feature:
    return aggregate(
        name,
        function,
        "account_id",
        LOOKBACK,
        meaning,
        of="amount",
        unit="currency",
        null=FIRST,
    )


def _mean(span: str) -> Feature:
    """The mean of a span whose sum and count the group sender has: a window less."""
    sql = f"account_sum_{span} / nullif(account_count_{span}, 0)"
    meaning = f"mean payment of the account in {span}"
    return fact(f"amount_mean_{span}", sql, meaning, unit="currency", null=FIRST)


def _over(name: str, other: str, meaning: str) -> Feature:
    """The amount over another.

    One unit of currency is added below, so that cents do not explode it.
    """
    return fact(name, f"amount / ({other} + 1.0)", meaning, unit="ratio", null=FIRST)


def _over_mean(span: str) -> Feature:
    meaning = f"amount over the account's mean of {span}"
    return _over(f"amount_over_mean_{span}", f"amount_mean_{span}", meaning)


GROUP = Group(
    name="amount",
    meaning="how much, how it is made up, and how much that is for this account",
    needs=("amount",),
    features=(
        fact("amount_paid", "amount", "amount", unit="currency"),
        fact(
            "amount_round_to",
            ROUND_TO,
            "largest of 1000, 100, 10 and 1 that the amount is a multiple of, 0 with cents",
            unit="currency",
        ),
        fact(
            "amount_of_limit",
            f"amount / ({NEXT_LIMIT})",
            "amount over the next limit above it (100, 200, 500 and so on to 10000)",
            unit="ratio",
            null="10000 or more",
        ),
        fact(
            "amount_below_limit",
            "CASE WHEN amount_of_limit >= 0.98 THEN 1.0 ELSE 0.0 END",
            "amount within 2 % below a limit (100, 200, 500 and so on to 10000)",
            kind="flag",
        ),
        *(_mean(span) for span in ("7d", "30d")),
        _of_account("amount_mean_90d", "mean", "mean payment of the account in 90d"),
        *(_over_mean(span) for span in SPANS),
        hidden(_of_account("amount_most_90d", "max", "largest payment of the account in 90d")),
        _over(
            "amount_over_most_90d",
            "amount_most_90d",
            "amount over the account's largest payment of 90d",
        ),
        fact(
            "amount_is_largest",
            "CASE WHEN amount > amount_most_90d THEN 1.0"
            " WHEN amount <= amount_most_90d THEN 0.0 END",
            "amount above all payments of the account in 90d",
            null=FIRST,
            kind="flag",
        ),
        hidden(
            _of_account("amount_spread_90d", "stddev", "spread of the account's payments of 90d")
        ),
        fact(
            "amount_z_90d",
            "(amount - amount_mean_90d) / (amount_spread_90d + 1.0)",
            "standard deviations above the account's mean of 90d",
            null=FIRST,
        ),
        hidden(fact("amount_band", BAND, "band of amounts, two to each doubling")),
        hidden(
            aggregate(
                "amount_same_band_90d",
                "count",
                "account_id+amount_band",
                LOOKBACK,
                "payments of the account in this band of amounts in 90d",
            )
        ),
        # An exact rank would compare each payment with each: the band's share is what windows give.
        fact(
            "amount_band_share",
            "(amount_same_band_90d + 1.0) / (clock_payments_90d + 20.0)",
            "share of the account's payments of 90d in this band of amounts",
            unit="share",
        ),
        hidden(
            fact(
                "amount_is_high",
                IS_HIGH,
                "amount above 3 times the account's mean of 90d",
                kind="flag",
            )
        ),
        aggregate(
            "amount_high_14d",
            "sum",
            "account_id",
            "14d",
            "payments of the account above 3 times its mean, in 14d",
            of="amount_is_high",
        ),
    ),
)
