"""Clock: what time it was, and whether that is usual for the account."""

from math import pi

from features.declarations import (
    CIRCLE,
    LOOKBACK,
    Group,
    aggregate,
    fact,
    hidden,
    seconds_since,
)

HOURS = "floor(event_us / 3600000000.0)"
DAYS = "(floor(event_us / 86400000000.0) + 3)"  # counted from a Monday: 1970-01-01 was a Thursday

GROUP = Group(
    name="clock",
    meaning="what time it was, and whether that is usual for the account",
    needs=("event_time",),
    features=(
        hidden(
            fact(
                "hour_of_day",
                f"{HOURS} - 24 * floor({HOURS} / 24)",
                "hour of the day, UTC",
                unit="h",
            )
        ),
        hidden(
            fact("day_of_week", f"{DAYS} - 7 * floor({DAYS} / 7)", "day of the week, 0 is Monday")
        ),
        fact(
            "clock_hour_sine",
            f"sin(hour_of_day * {2 * pi / 24})",
            "sine of the hour of the day, UTC",
            unit=CIRCLE,
        ),
        fact(
            "clock_hour_cosine",
            f"cos(hour_of_day * {2 * pi / 24})",
            "cosine of the hour of the day, UTC",
            unit=CIRCLE,
        ),
        fact(
            "clock_weekday_sine",
            f"sin(day_of_week * {2 * pi / 7})",
            "sine of the day of the week",
            unit=CIRCLE,
        ),
        fact(
            "clock_weekday_cosine",
            f"cos(day_of_week * {2 * pi / 7})",
            "cosine of the day of the week",
            unit=CIRCLE,
        ),
        fact(
            "clock_weekend",
            "CASE WHEN day_of_week >= 5 THEN 1.0 ELSE 0.0 END",
            "on a Saturday or Sunday",
            kind="flag",
        ),
        fact(
            "clock_night",
            "CASE WHEN hour_of_day <= 6 THEN 1.0 ELSE 0.0 END",
            "between 0 and 7 o'clock UTC",
            kind="flag",
        ),
        seconds_since(
            "clock_seconds_since_previous",
            "account_id",
            "time since the account's previous payment",
        ),
        hidden(
            aggregate(
                "clock_same_hour_90d",
                "count",
                "account_id+hour_of_day",
                LOOKBACK,
                "payments of the account at this hour in 90d",
            )
        ),
        hidden(
            aggregate(
                "clock_payments_90d",
                "count",
                "account_id",
                LOOKBACK,
                "payments of the account in 90d",
            )
        ),
        fact(
            "clock_hour_share",
            "(clock_same_hour_90d + 1.0) / (clock_payments_90d + 24.0)",
            "share of the account's payments of 90d at this hour",
            unit="share",
        ),
    ),
)
