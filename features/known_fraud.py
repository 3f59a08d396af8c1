"""What was known of a key's fraud by this instant, as declarations.

Their SQL stands in `features.sql.labels`.
"""

from dataclasses import replace

from features.declarations import LOOKBACK, Feature, fact, hidden, past

PRIOR_FRAUDS, PRIOR_LABELS = 0.1, 20.0  # a key nobody has a label of stands at 0.5 %


LONGEST_WAIT = "120d"  # how late a card holder may still dispute a payment


def known_fraud(
    key: str, prefix: str, *, named: str, spans: tuple[str, ...]
) -> tuple[Feature, ...]:
    """Declare a key's known frauds: count and shrunk rate over each span, time since the last ones, the run at the end.

    The rate is (frauds + 0.1) / (labels + 20): a key with few labels stays near 0.5 %.
    """
    honest = f"time since a payment of the {named} proved honest"
    return (
        *(feature for span in spans for feature in _counts(key, prefix, named, span)),
        *_days_since(
            f"{prefix}_days_since_fraud",
            "last_fraud_us",
            key,
            f"time since a fraud of the {named} became known",
        ),
        *_days_since(f"{prefix}_days_since_legitimate", "last_legitimate_us", key, honest),
        _known(
            f"{prefix}_fraud_run",
            "fraud_run",
            key,
            LOOKBACK,
            f"frauds known of the {named} since a payment proved honest",
        ),
    )


def _counts(key: str, prefix: str, named: str, span: str) -> tuple[Feature, ...]:
    frauds, labels = f"{prefix}_known_frauds_{span}", f"{prefix}_known_labels_{span}"
    rate = f"(coalesce({frauds}, 0) + {PRIOR_FRAUDS}) / (coalesce({labels}, 0) + {PRIOR_LABELS})"
    share = f"share of frauds among the {named}'s labels of {span}, drawn towards 0.5 %"
    return (
        _known(
            frauds,
            f"frauds_{span}",
            key,
            span,
            f"frauds of the {named} that became known in {span}",
        ),
        hidden(
            _known(
                labels,
                f"labels_{span}",
                key,
                span,
                f"labels of the {named} that became known in {span}",
            )
        ),
        fact(f"{prefix}_fraud_rate_{span}", rate, share, unit="share"),
    )


def _days_since(name: str, moment: str, key: str, meaning: str) -> tuple[Feature, ...]:
    null = f"none known in the {LOOKBACK} before, or key unknown"
    last = hidden(_known(f"{name}_us", moment, key, LOOKBACK, f"moment of {name}"))
    return last, fact(
        name, f"(as_of_us - {last.name}) / 86400000000.0", meaning, unit="d", null=null
    )


def _known(name: str, sql: str, key: str, span: str, meaning: str) -> Feature:
    return replace(past(name, sql, key, span, meaning), stream="labels")
