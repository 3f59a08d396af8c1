"""What was known of a key's fraud by this instant, as declarations; SQL: `features.sql.labels`."""

from features.declarations import LOOKBACK, Feature, Function, aggregate, fact, hidden

PRIOR_FRAUDS, PRIOR_LABELS = 0.1, 20.0  # a key nobody has a label of stands at 0.5 %
LONGEST_WAIT = "120d"  # how late a card holder may still dispute a payment


def known_fraud(
    key: str, prefix: str, *, named: str, spans: tuple[str, ...]
) -> tuple[Feature, ...]:
    """Declare a key's known frauds: how many and at which rate in each span, how long ago, in a row."""
    fraud = f"time since a fraud of the {named} became known"
    legitimate = f"time since a payment of the {named} proved honest"
    run = f"frauds known of the {named} since a payment proved honest"
    return (
        *(feature for span in spans for feature in _counts(key, prefix, named, span)),
        *_days_since(f"{prefix}_days_since_fraud", "last_fraud", key, fraud),
        *_days_since(f"{prefix}_days_since_legitimate", "last_legitimate", key, legitimate),
        aggregate(f"{prefix}_fraud_run", "fraud_run", key, LOOKBACK, run),
    )


def shrunk_rate(frauds: str, labels: str) -> str:
    """Write the rate of frauds among labels: that of a key with few labels stays near 0.5 %.

    >>> shrunk_rate("frauds", "labels")
    '(coalesce(frauds, 0) + 0.1) / (coalesce(labels, 0) + 20.0)'
    """
    return f"(coalesce({frauds}, 0) + {PRIOR_FRAUDS}) / (coalesce({labels}, 0) + {PRIOR_LABELS})"


def _counts(key: str, prefix: str, named: str, span: str) -> tuple[Feature, ...]:
    frauds, labels = f"{prefix}_known_frauds_{span}", f"{prefix}_known_labels_{span}"
    became_known = f"of the {named} that became known in {span}"
    share = f"share of frauds among the {named}'s labels of {span}, drawn towards 0.5 %"
    rate = shrunk_rate(frauds, labels)  # unlike "fraud_rate", also of an unknown key
    return (
        aggregate(frauds, "fraud_count", key, span, f"frauds {became_known}"),
        hidden(aggregate(labels, "label_count", key, span, f"labels {became_known}")),
        fact(f"{prefix}_fraud_rate_{span}", rate, share, unit="share"),
    )


def _days_since(name: str, moment: Function, key: str, meaning: str) -> tuple[Feature, ...]:
    """The days since the key's last moment of a kind.

    They are taken from the moment itself: seconds over 86400 would be rounded twice.
    """
    null = f"none known in the {LOOKBACK} before, or key unknown"
    last = hidden(aggregate(f"{name}_us", moment, key, LOOKBACK, f"moment of {name}"))
    days = f"(as_of_us - {last.name}) / 86400000000.0"
    return last, fact(name, days, meaning, unit="d", null=null)
