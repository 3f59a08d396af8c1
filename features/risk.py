"""What was known of a key's fraud by this instant: labels arrive late, and count from the moment they are known.

A label is an event at its known_at. It stands one microsecond earlier in the stream, so that a label known at the very
moment of a transaction is still seen by it (known_at not later) under the same window as everything else.
"""

from dataclasses import replace

from features.windows import LOOKBACK, PAST, Feature, fact, hidden, past

PRIOR_FRAUDS, PRIOR_LABELS = 0.1, 20.0  # a key nobody has a label of stands at 0.5 %


def _known(name: str, sql: str, key: str, span: str, meaning: str, *, unit: str = "", null: str = "key unknown") -> Feature:
    return replace(past(name, sql, key, span, meaning, unit=unit, null=null), stream="labels")


def _days_since(name: str, key: str, *, is_fraud: int, meaning: str) -> Feature:
    sql = f"(as_of_us - max(CASE WHEN is_fraud = {is_fraud} THEN as_of_us END) {PAST}) / 86400000000.0"
    return _known(name, sql, key, LOOKBACK, meaning, unit="d", null=f"none known in the {LOOKBACK} before, or key unknown")


def known_fraud(key: str, prefix: str, *, spans: tuple[str, ...]) -> tuple[Feature, ...]:
    """Declare a key's known frauds: count and shrunk rate over each span, time since the last ones, the run at the end.

    The rate is (frauds + 0.1) / (labels + 20): a key with few labels stays near 0.5 %.
    """
    features: list[Feature] = []
    for span in spans:
        frauds, labels = f"{prefix}_known_frauds_{span}", f"{prefix}_known_labels_{span}"
        rate = f"(coalesce({frauds}, 0) + {PRIOR_FRAUDS}) / (coalesce({labels}, 0) + {PRIOR_LABELS})"
        features += [
            _known(frauds, f"coalesce(sum(is_fraud) {PAST}, 0)", key, span, f"frauds of the {prefix} that became known in {span}"),
            hidden(_known(labels, f"count(is_fraud) {PAST}", key, span, f"labels of the {prefix} that became known in {span}")),
            fact(f"{prefix}_fraud_rate_{span}", rate, f"shrunk share of frauds among the {prefix}'s labels of {span}", unit="share"),
        ]
    run = f"coalesce(sum(is_fraud) {PAST}, 0)"
    last = f"{prefix}_last_legitimate_us"
    return (
        *features,
        _days_since(f"{prefix}_days_since_fraud", key, is_fraud=1, meaning=f"since a fraud of the {prefix} became known"),
        _days_since(f"{prefix}_days_since_legitimate", key, is_fraud=0, meaning=f"since a {prefix}'s payment proved honest"),
        hidden(_known(last, f"max(CASE WHEN is_fraud = 0 THEN as_of_us END) {PAST}", key, LOOKBACK, "its last honest label")),
        _known(f"{prefix}_fraud_run", run, f"{key}+{last}", LOOKBACK, f"frauds known of the {prefix} since one proved honest"),
    )
