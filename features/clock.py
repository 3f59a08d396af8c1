"""Clock: what time it was, and whether that is usual for the account."""

from math import pi

from features.windows import LOOKBACK, PAST, Group, fact, hidden, past, seconds_since_previous

HOUR = "event_us / 3600000000.0"
DAY = "event_us / 86400000000.0"
DAYS_TO_MONDAY = 3  # 1970-01-01 was a Thursday

GROUP = Group(
    name="clock",
    meaning="what time it was, and whether that is usual for the account",
    needs=("event_time",),
    features=(
        hidden(fact("hour_of_day", f"floor({HOUR} - 24 * floor({HOUR} / 24))", "hour, UTC", unit="h")),
        hidden(fact("day_of_week", f"floor({DAY} + {DAYS_TO_MONDAY}) - 7 * floor(floor({DAY} + {DAYS_TO_MONDAY}) / 7)", "0 is Monday")),
        fact("clock_hour_sine", f"sin(hour_of_day * {2 * pi / 24})", "the hour on a circle"),
        fact("clock_hour_cosine", f"cos(hour_of_day * {2 * pi / 24})", "the hour on a circle"),
        fact("clock_weekday_sine", f"sin(day_of_week * {2 * pi / 7})", "the weekday on a circle"),
        fact("clock_weekday_cosine", f"cos(day_of_week * {2 * pi / 7})", "the weekday on a circle"),
        fact("clock_weekend", "CASE WHEN day_of_week >= 5 THEN 1.0 ELSE 0.0 END", "Saturday or Sunday", kind="flag"),
        fact("clock_night", "CASE WHEN hour_of_day <= 6 THEN 1.0 ELSE 0.0 END", "between 0 and 7 o'clock UTC", kind="flag"),
        seconds_since_previous("clock_seconds_since_previous", "account_id", "since the account's previous payment"),
        hidden(past("clock_same_hour_90d", f"count(*) {PAST}", "account_id+hour_of_day", LOOKBACK, "its payments at this hour")),
        hidden(past("clock_payments_90d", f"count(*) {PAST}", "account_id", LOOKBACK, "its payments")),
        fact("clock_hour_share", "(clock_same_hour_90d + 1.0) / (clock_payments_90d + 24.0)", "how usual the hour is", unit="share"),
    ),
)
