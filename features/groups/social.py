"""Social: what was last seen of the user in public, how long ago, and what was paid since.

A source may fill in its newest event on old rows. An event that is later than the transaction's
as_of is therefore as good as none, and so is one without its moment: the future is never seen.
"""

from features.declarations import LOOKBACK, Group, aggregate, fact, hidden

NONE_SEEN = "nothing seen by then"
SECONDS_AGO = "(as_of_us - social_seen_us) / 1000000.0"

GROUP = Group(
    name="social",
    meaning="what was last seen of the user in public, how long ago, "
    "and what the account paid since",
    needs=("social_event", "social_event_at"),
    features=(
        hidden(
            fact(
                "social_seen_us",
                "CASE WHEN social_us <= as_of_us AND social_event IS NOT NULL THEN social_us END",
                "when the event was seen",
                null=NONE_SEEN,
            )
        ),
        fact(
            "social_kind",
            "CASE WHEN social_seen_us IS NOT NULL THEN social_event END",
            "last public event of the user",
            null=NONE_SEEN,
            kind="category",
        ),
        fact(
            "social_days_ago",
            "(as_of_us - social_seen_us) / 86400000000.0",
            "time since the last public event of the user",
            unit="d",
            null=NONE_SEEN,
        ),
        fact(
            "social_since_previous",
            f"CASE WHEN {SECONDS_AGO} < clock_seconds_since_previous THEN 1.0"
            f" WHEN {SECONDS_AGO} >= clock_seconds_since_previous THEN 0.0 END",
            "public event since the account's previous payment",
            null="nothing seen by then, or no payment in the 90d before",
            kind="flag",
        ),
        # The payments since then are those that carry the same event.
        aggregate(
            "social_payments_since",
            "count",
            "account_id+social_seen_us",
            LOOKBACK,
            "payments of the account in 90d since its last public event",
            null=NONE_SEEN,
        ),
    ),
)
