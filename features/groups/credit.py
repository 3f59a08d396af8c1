"""Credit: the payer's credit score, against what it was."""

from features.declarations import LOOKBACK, Group, aggregate, fact, from_row, hidden, last_row

NO_EARLIER = "no score in the 90d before, or this one unknown"

GROUP = Group(
    name="credit",
    meaning="the payer's credit score, against what it was",
    needs=("credit_score",),
    features=(
        fact("credit_points", "credit_score", "credit score", unit="points", null="unknown"),
        fact(
            "credit_unknown",
            "CASE WHEN credit_score IS NULL THEN 1.0 ELSE 0.0 END",
            "credit score unknown",
            kind="flag",
        ),
        hidden(
            aggregate(
                "credit_mean_90d",
                "mean",
                "account_id",
                LOOKBACK,
                "mean credit score of the account's payments of 90d",
                of="credit_score",
                unit="points",
            )
        ),
        fact(
            "credit_above_mean_90d",
            "credit_score - credit_mean_90d",
            "credit score above the account's mean of 90d",
            unit="points",
            null=NO_EARLIER,
        ),
        last_row("credit_last_row", "account_id", where="credit_score IS NOT NULL"),
        hidden(
            from_row(
                "credit_last",
                "credit_score",
                "credit_last_row",
                "the account's last known credit score",
            )
        ),
        fact(
            "credit_above_last",
            "credit_score - credit_last",
            "credit score above the account's last known one",
            unit="points",
            null=NO_EARLIER,
        ),
    ),
)
