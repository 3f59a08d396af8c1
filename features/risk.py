"""What was known of a key's fraud by this instant: labels arrive late, and are sometimes put right later still.

A verdict is what the label ledger says of a transaction, from the first instant that can see it until the ledger says the
opposite. It is seen from its known_at on (the very microsecond included), but only after its transaction. At any instant a
key's frauds are the verdicts "fraud" that stand then; a verdict's age counts from when it was first seen. A verdict that
comes more than LONGEST_WAIT after its transaction counts for nothing, so that a batch reads a bounded history.

Verdicts that still stand are counted by windows. Those that were replaced are rare, and leave in the middle of a window:
they are joined to the rows that saw them stand.
"""

from collections.abc import Sequence
from dataclasses import replace

from features.windows import LOOKBACK, Feature, fact, frame, hidden, microseconds, past

PRIOR_FRAUDS, PRIOR_LABELS = 0.1, 20.0  # a key nobody has a label of stands at 0.5 %
LONGEST_WAIT = "120d"  # how late a card holder may still dispute a payment


def known_fraud(key: str, prefix: str, *, named: str, spans: tuple[str, ...]) -> tuple[Feature, ...]:
    """Declare a key's known frauds: count and shrunk rate over each span, time since the last ones, the run at the end.

    The rate is (frauds + 0.1) / (labels + 20): a key with few labels stays near 0.5 %.
    """
    honest = f"time since a payment of the {named} proved honest"
    return (
        *(feature for span in spans for feature in _counts(key, prefix, named, span)),
        *_days_since(f"{prefix}_days_since_fraud", "last_fraud_us", key, f"time since a fraud of the {named} became known"),
        *_days_since(f"{prefix}_days_since_legitimate", "last_legitimate_us", key, honest),
        _known(f"{prefix}_fraud_run", "fraud_run", key, LOOKBACK, f"frauds known of the {named} since a payment proved honest"),
    )


def _counts(key: str, prefix: str, named: str, span: str) -> tuple[Feature, ...]:
    frauds, labels = f"{prefix}_known_frauds_{span}", f"{prefix}_known_labels_{span}"
    rate = f"(coalesce({frauds}, 0) + {PRIOR_FRAUDS}) / (coalesce({labels}, 0) + {PRIOR_LABELS})"
    share = f"share of frauds among the {named}'s labels of {span}, drawn towards 0.5 %"
    return (
        _known(frauds, f"frauds_{span}", key, span, f"frauds of the {named} that became known in {span}"),
        hidden(_known(labels, f"labels_{span}", key, span, f"labels of the {named} that became known in {span}")),
        fact(f"{prefix}_fraud_rate_{span}", rate, share, unit="share"),
    )


def _days_since(name: str, moment: str, key: str, meaning: str) -> tuple[Feature, ...]:
    null = f"none known in the {LOOKBACK} before, or key unknown"
    last = hidden(_known(f"{name}_us", moment, key, LOOKBACK, f"moment of {name}"))
    return last, fact(name, f"(as_of_us - {last.name}) / 86400000000.0", meaning, unit="d", null=null)


def _known(name: str, sql: str, key: str, span: str, meaning: str) -> Feature:
    return replace(past(name, sql, key, span, meaning), stream="labels")


def verdict_query(rows: str) -> str:
    """Write the query of all verdicts: whose row, which, seen from when, replaced when (null: stands for good).

    Where the ledger says both at the same microsecond, fraud holds. Saying the same again changes nothing.
    """
    ledger = "OVER (PARTITION BY row_id ORDER BY told_us)"
    return f"""
        SELECT row_id, is_fraud, seen_us, replaced_us
        FROM (
            SELECT *, greatest(told_us, as_of_us + 1) AS seen_us, lead(told_us) {ledger} AS replaced_us
            FROM (
                SELECT *, lag(is_fraud) {ledger} AS before
                FROM (
                    SELECT row_id, as_of_us, epoch_us(known_at) AS told_us, max(CAST(is_fraud AS DOUBLE)) AS is_fraud
                    FROM labels JOIN {rows} USING (transaction_id)
                    WHERE is_fraud IS NOT NULL AND known_at IS NOT NULL
                    GROUP BY row_id, as_of_us, known_at
                )
            )
            WHERE before IS NULL OR before <> is_fraud
        )
        WHERE seen_us <= as_of_us + {microseconds(LONGEST_WAIT)}"""  # noqa: S608


def label_query(rows: str, features: Sequence[Feature]) -> str:
    """Write the query of one key's features on the stream of labels, for the rows that have the key.

    A verdict stands in the stream one microsecond before it is seen, so that the windows of transactions fit: up to one
    microsecond before. `place` orders a transaction behind the verdicts it sees, before the next. `frauds_so_far` only
    serves differences within LOOKBACK, so where the history begins does not matter.
    """
    key = features[0].key[0]
    spans = list(dict.fromkeys(feature.span for feature in features))
    frames = ", ".join(frame([key], span) for span in dict.fromkeys([*spans, LOOKBACK]))
    columns = ", ".join(f"{feature.sql} AS {feature.name}" for feature in features)
    return f"""
        WITH stream AS (
            SELECT row_id, {key}, as_of_us, 2 * as_of_us + 1 AS place, CAST(NULL AS BIGINT) AS seen_us,
                CAST(NULL AS BIGINT) AS replaced_us, CAST(NULL AS DOUBLE) AS is_fraud, CAST(NULL AS DOUBLE) AS lasting
            FROM {rows} WHERE {key} IS NOT NULL
            UNION ALL
            SELECT NULL, {key}, seen_us - 1, 2 * seen_us, seen_us, replaced_us, is_fraud,
                CASE WHEN replaced_us IS NULL THEN is_fraud END
            FROM verdicts JOIN {rows} USING (row_id) WHERE {key} IS NOT NULL
        ),
        counted AS (
            SELECT *, coalesce(sum(lasting) OVER (PARTITION BY {key} ORDER BY place), 0) AS frauds_so_far
            FROM stream
        ),
        lasting AS (
            SELECT row_id, frauds_so_far, {_each(spans, _LASTING)},
                max(CASE WHEN lasting = 1 THEN seen_us END) OVER past_{LOOKBACK} AS last_fraud_us,
                max(CASE WHEN lasting = 0 THEN seen_us END) OVER past_{LOOKBACK} AS last_legitimate_us,
                max(CASE WHEN lasting = 0 THEN frauds_so_far END) OVER past_{LOOKBACK} AS frauds_before_run,
                coalesce(sum(lasting) OVER past_{LOOKBACK}, 0) AS frauds_in_reach
            FROM counted WINDOW {frames}
        ),
        standing AS (
            SELECT now.row_id, now.as_of_us, counted.seen_us, counted.is_fraud, counted.frauds_so_far
            FROM {rows} AS now JOIN counted ON now.{key} = counted.{key}
                AND counted.replaced_us IS NOT NULL AND counted.seen_us <= now.as_of_us AND now.as_of_us < counted.replaced_us
                AND counted.seen_us > now.as_of_us - {microseconds(LOOKBACK)}
        ),
        replaced AS (
            SELECT row_id, {_each(spans, _REPLACED)},
                max(CASE WHEN is_fraud = 1 THEN seen_us END) AS last_fraud_us,
                max(CASE WHEN is_fraud = 0 THEN seen_us END) AS last_legitimate_us,
                max(CASE WHEN is_fraud = 0 THEN frauds_so_far END) AS frauds_before_run
            FROM standing GROUP BY row_id
        ),
        known AS (
            SELECT lasting.row_id, {_each(spans, _BOTH)},
                greatest(lasting.last_fraud_us, replaced.last_fraud_us) AS last_fraud_us,
                greatest(lasting.last_legitimate_us, replaced.last_legitimate_us) AS last_legitimate_us,
                greatest(lasting.frauds_before_run, replaced.frauds_before_run) AS frauds_before_run,
                frauds_so_far, frauds_in_reach
            FROM lasting LEFT JOIN replaced USING (row_id) WHERE lasting.row_id IS NOT NULL
        ),
        replaced_run AS (
            SELECT row_id, sum(standing.is_fraud) AS frauds FROM standing JOIN known USING (row_id)
            WHERE last_legitimate_us IS NULL OR seen_us > last_legitimate_us GROUP BY row_id
        ),
        told AS (
            SELECT known.*,
                coalesce(known.frauds_so_far - frauds_before_run, frauds_in_reach) + coalesce(frauds, 0) AS fraud_run
            FROM known LEFT JOIN replaced_run USING (row_id)
        )
        SELECT row_id, {columns} FROM told"""  # noqa: S608


_LASTING = "sum(lasting) OVER past_{0} AS frauds_{0}, count(lasting) OVER past_{0} AS labels_{0}"
_REPLACED = """sum(CASE WHEN seen_us > as_of_us - {1} THEN is_fraud END) AS frauds_{0},
                count(CASE WHEN seen_us > as_of_us - {1} THEN is_fraud END) AS labels_{0}"""
_BOTH = """coalesce(lasting.frauds_{0}, 0) + coalesce(replaced.frauds_{0}, 0) AS frauds_{0},
                coalesce(lasting.labels_{0}, 0) + coalesce(replaced.labels_{0}, 0) AS labels_{0}"""


def _each(spans: Sequence[str], sql: str) -> str:
    """Repeat SQL for each span: {0} is its name, {1} its microseconds."""
    return ", ".join(sql.format(span, microseconds(span)) for span in spans)
