"""The closed list of aggregates as SQL: a call over the rows of a window, an expression over its answer."""

from features.declarations import Aggregate, Function
from features.known_fraud import shrunk_rate

CALLS: dict[Function, str] = {
    "count": "count",
    "sum": "sum",
    "mean": "avg",
    "max": "max",
    "min": "min",
    "stddev": "stddev_pop",
    "last": "max",
    "seconds_since": "max",
    "newly_seen": "count",
}
SECONDS_SINCE = "(as_of_us - {0}) / 1000000.0"
# where the value is not the answer itself
VALUES: dict[Function, str] = {
    "sum": "coalesce({0}, 0)",
    "seconds_since": SECONDS_SINCE,
    "newly_seen": "CASE WHEN {0} = 0 THEN 1.0 ELSE 0.0 END",
    "fraud_rate": shrunk_rate("{0}", "{1}"),
    "seconds_since_fraud": SECONDS_SINCE,
    "seconds_since_legitimate": SECONDS_SINCE,
}


def call(aggregate: Aggregate) -> str:
    """Write the call of an engine's aggregate function over rows.

    >>> call(Aggregate(function="sum", key=("a",), as_key=("a",), span="1d", of="amount", where="declined"))
    'sum(CASE WHEN declined THEN amount END)'
    """
    value = aggregate.value
    if aggregate.where:
        value = f"CASE WHEN {aggregate.where} THEN {value or 1} END"
    return f"{CALLS[aggregate.function]}({value or '*'})"


def value(aggregate: Aggregate, *answers: str) -> str:
    """Write the aggregate's value, given what its call answered, or what was found out of labels.

    >>> value(Aggregate(function="newly_seen", key=("a",), as_key=("a",), span="1d"), "seen")
    'CASE WHEN seen = 0 THEN 1.0 ELSE 0.0 END'
    """
    return VALUES.get(aggregate.function, "{0}").format(*answers)


def windowed(aggregate: Aggregate, window: str = "past") -> str:
    """Write an aggregate's value over a named window; labels have windows of their own.

    >>> windowed(Aggregate(function="sum", key=("a",), as_key=("a",), span="1d", of="amount"))
    'coalesce(sum(amount) OVER past, 0)'
    """
    if aggregate.stream == "labels":
        return value(aggregate, *aggregate.found)
    return value(aggregate, f"{call(aggregate)} OVER {window}")
