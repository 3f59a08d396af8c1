"""What was known of a key's fraud by this instant: labels arrive late, and are sometimes put right later still.

A verdict is what the label ledger says of a transaction, from the first instant that can see it
until the ledger says the opposite. It is seen from its known_at on (the very microsecond included),
but only after its transaction. At any instant a key's frauds are the verdicts "fraud" that stand
then; a verdict's age counts from when it was first seen. A verdict that comes more than
LONGEST_WAIT after its transaction counts for nothing, so that a batch reads a bounded history.

Verdicts that still stand are counted by windows. Those that were replaced are rare, and leave in
the middle of a window: they are joined to the rows that saw them stand. For a few rows all verdicts
are joined (`few_labels_query`).
"""

from collections.abc import Sequence

from features.declarations import LOOKBACK, Feature, microseconds
from features.known_fraud import LONGEST_WAIT
from features.sql.windows import select

REACH = microseconds(LOOKBACK)
MANY = 2**27  # more labels than a key has in a span; MANY * frauds + labels is exact in a double


def verdict_query(rows: str, by: Sequence[str] = ("row_id",)) -> str:
    """Write the query of all verdicts on rows, told apart by columns: seen from when, replaced when (null: never).

    Where the ledger says both at the same microsecond, fraud holds. Saying the same again changes
    nothing, so that of most transactions the first line alone counts; only where lines differ are
    they compared in order.
    """
    each, ledger = ", ".join(by), f"OVER (PARTITION BY {', '.join(by)} ORDER BY known_us)"
    return f"""
        WITH judged AS (
            SELECT {each}, as_of_us, known_us, CAST(is_fraud AS DOUBLE) AS is_fraud
            FROM labels JOIN {rows} AS judged_rows USING (transaction_id) WHERE is_fraud IS NOT NULL AND known_us IS NOT NULL
        ),
        summed AS (
            SELECT {each}, max(as_of_us) AS as_of_us, min(known_us) AS known_us,
                min(is_fraud) AS is_fraud, max(is_fraud) AS most
            FROM judged GROUP BY {each}
        ),
        disputed AS (
            SELECT {each}, as_of_us, known_us, max(is_fraud) AS is_fraud
            FROM judged JOIN (SELECT {each} FROM summed WHERE is_fraud <> most) AS both_told USING ({each})
            GROUP BY {each}, as_of_us, known_us
        ),
        told AS (
            SELECT {each}, as_of_us, known_us, is_fraud, CAST(NULL AS BIGINT) AS replaced_us FROM summed WHERE is_fraud = most
            UNION ALL
            SELECT {each}, as_of_us, known_us, is_fraud, lead(known_us) {ledger} AS replaced_us
            FROM (SELECT *, lag(is_fraud) {ledger} AS before FROM disputed) AS compared
            WHERE before IS NULL OR before <> is_fraud
        )
        SELECT {each}, is_fraud, seen_us, replaced_us
        FROM (SELECT *, greatest(known_us, as_of_us + 1) AS seen_us FROM told) AS verdicts
        WHERE seen_us <= as_of_us + {microseconds(LONGEST_WAIT)}"""  # noqa: S608


def label_query(rows: str, features: Sequence[Feature]) -> str:
    """Write the query of one key's features on the stream of labels, for the rows that have the key.

    A `place` orders everything: a verdict stands at twice the microsecond it is seen, a transaction
    one behind, so that it sees the verdicts of its own microsecond. Running sums are cheap, so a
    fraud leaves them by an entry of its own, REACH later; where the history begins does not matter.
    The counts of a span are one sum of MANY * frauds + labels.
    """
    key, spans = features[0].key[0], _spans(features)
    so_far = f"so_far AS (PARTITION BY {key} ORDER BY place)"
    past = [_place_frame(key, span) for span in spans]
    return f"""
        WITH stream AS (
            SELECT row_id, {key}, as_of_us, 2 * as_of_us + 1 AS place, CAST(NULL AS BIGINT) AS seen_us,
                CAST(NULL AS BIGINT) AS replaced_us, CAST(NULL AS DOUBLE) AS is_fraud, CAST(NULL AS DOUBLE) AS lasting,
                CAST(NULL AS DOUBLE) AS ended
            FROM {rows} AS asking WHERE {key} IS NOT NULL
            UNION ALL
            SELECT NULL, {key}, NULL, 2 * seen_us, seen_us, replaced_us, is_fraud,
                CASE WHEN replaced_us IS NULL THEN is_fraud END, NULL
            FROM verdicts JOIN {rows} AS judged USING (row_id) WHERE {key} IS NOT NULL
            UNION ALL
            SELECT NULL, {key}, NULL, 2 * (seen_us + {REACH}), NULL, NULL, NULL, NULL, 1
            FROM verdicts JOIN {rows} AS judged USING (row_id)
            WHERE {key} IS NOT NULL AND is_fraud = 1 AND replaced_us IS NULL
        ),
        counted AS (
            SELECT row_id, {key}, as_of_us, place, seen_us, replaced_us, is_fraud, lasting,
                coalesce(sum(lasting) OVER so_far, 0) AS frauds_so_far,
                coalesce(sum(lasting) OVER so_far, 0) - coalesce(sum(ended) OVER so_far, 0) AS frauds_in_reach,
                max(CASE WHEN lasting = 1 THEN seen_us END) OVER so_far AS last_fraud_us,
                max(CASE WHEN lasting = 0 THEN seen_us END) OVER so_far AS last_legitimate_us, {_each(spans, _PACKED)}
            FROM stream WINDOW {", ".join([so_far, *past])}
        ),
        lasting AS (
            SELECT *, max(CASE WHEN lasting = 0 THEN frauds_so_far END) OVER so_far AS frauds_before_run
            FROM counted WINDOW {so_far}
        ),
        standing AS (
            SELECT asking.row_id, asking.as_of_us, counted.seen_us, counted.is_fraud, counted.frauds_so_far
            FROM {rows} AS asking JOIN counted ON asking.{key} = counted.{key} AND counted.replaced_us IS NOT NULL
                AND counted.seen_us <= asking.as_of_us AND asking.as_of_us < counted.replaced_us
                AND counted.seen_us > asking.as_of_us - {REACH}
        ),
        replaced AS (
            SELECT row_id, {_each(spans, _COUNTED)}, {_LAST},
                max(CASE WHEN is_fraud = 0 THEN frauds_so_far END) AS frauds_before_run
            FROM standing GROUP BY row_id
        ),
        known AS (
            SELECT lasting.row_id, {_each(spans, _BOTH)},
                greatest({_in_reach("last_fraud_us")}, replaced.last_fraud_us) AS last_fraud_us,
                greatest({_in_reach("last_legitimate_us")}, replaced.last_legitimate_us) AS last_legitimate_us,
                greatest({_in_reach("last_legitimate_us", "frauds_before_run")}, replaced.frauds_before_run)
                    AS frauds_before_run,
                frauds_so_far, frauds_in_reach
            FROM lasting LEFT JOIN replaced USING (row_id) WHERE lasting.row_id IS NOT NULL
        ),
        run AS (
            SELECT row_id, sum(standing.is_fraud) AS frauds FROM standing JOIN known USING (row_id)
            WHERE last_legitimate_us IS NULL OR seen_us > last_legitimate_us GROUP BY row_id
        ),
        told AS (
            SELECT known.*,
                coalesce(known.frauds_so_far - frauds_before_run, frauds_in_reach) + coalesce(frauds, 0) AS fraud_run
            FROM known LEFT JOIN run USING (row_id)
        )
        {select(["row_id", *_columns(features)], "told")}"""  # noqa: S608


def few_labels_query(rows: str, features: Sequence[Feature], verdicts: str) -> str:
    """Write the same for a few rows and the verdicts on their keys (the key, seen_us, replaced_us, is_fraud).

    What all rows of the batch see alike is counted once a key, the core; only what enters or leaves
    a span in the batch's own time, and verdicts that were replaced, are joined with the rows.
    """
    key, spans = features[0].key[0], _spans(features)
    return f"""
        WITH asking AS (SELECT row_id, {key}, as_of_us FROM {rows} AS batch WHERE {key} IS NOT NULL),
        bounds AS (SELECT min(as_of_us) AS first_us, max(as_of_us) AS last_us FROM asking),
        said AS (
            SELECT {key}, seen_us, replaced_us, is_fraud, replaced_us IS NULL AND seen_us <= first_us AS is_core,
                {_each(spans, _IN_CORE)},
                {" OR ".join(_AT_EDGE.format(microseconds(span)) for span in spans)} AS is_at_edge
            FROM {verdicts} AS judged CROSS JOIN bounds
        ),
        core AS (
            SELECT {key}, {_each(spans, _CORE)}, max(CASE WHEN is_fraud = 1 THEN seen_us END) AS last_fraud_us,
                max(CASE WHEN is_fraud = 0 THEN seen_us END) AS last_legitimate_us
            FROM said WHERE is_core GROUP BY {key}
        ),
        standing AS (
            SELECT asking.row_id, asking.as_of_us, said.seen_us, said.is_fraud, {", ".join(f"in_core_{span}" for span in spans)}
            FROM asking JOIN (SELECT * FROM said WHERE NOT is_core OR is_at_edge OR is_fraud = 1) AS said
                ON asking.{key} = said.{key}
            WHERE said.seen_us <= asking.as_of_us AND said.seen_us > asking.as_of_us - {REACH}
                AND (said.replaced_us IS NULL OR asking.as_of_us < said.replaced_us)
        ),
        edge AS (SELECT row_id, {_each(spans, _EDGE)}, {_LAST} FROM standing GROUP BY row_id),
        last AS (
            SELECT asking.row_id, {_each(spans, _CORE_AND_EDGE)},
                greatest({_in_reach("last_fraud_us", of="core")}, edge.last_fraud_us) AS last_fraud_us,
                greatest({_in_reach("last_legitimate_us", of="core")}, edge.last_legitimate_us) AS last_legitimate_us
            FROM asking LEFT JOIN core ON asking.{key} = core.{key} LEFT JOIN edge ON asking.row_id = edge.row_id
        ),
        run AS (
            SELECT standing.row_id, sum(is_fraud) AS frauds FROM standing JOIN last ON standing.row_id = last.row_id
            WHERE last_legitimate_us IS NULL OR seen_us > last_legitimate_us GROUP BY standing.row_id
        ),
        told AS (SELECT last.*, coalesce(frauds, 0) AS fraud_run FROM last LEFT JOIN run ON last.row_id = run.row_id)
        {select(["row_id", *_columns(features)], "told")}"""  # noqa: S608


_PACKED = f"sum({MANY} * lasting + 1) OVER past_{{0}} AS both_{{0}}"
_COUNTED = """sum(CASE WHEN seen_us > as_of_us - {1} THEN is_fraud END) AS frauds_{0},
                count(CASE WHEN seen_us > as_of_us - {1} THEN is_fraud END) AS labels_{0}"""
_LAST = """max(CASE WHEN is_fraud = 1 THEN seen_us END) AS last_fraud_us,
                max(CASE WHEN is_fraud = 0 THEN seen_us END) AS last_legitimate_us"""
_BOTH = f"""coalesce(floor(lasting.both_{{0}} / {MANY}), 0) + coalesce(replaced.frauds_{{0}}, 0) AS frauds_{{0}},
                coalesce(both_{{0}} - {MANY} * floor(both_{{0}} / {MANY}), 0)
                    + coalesce(replaced.labels_{{0}}, 0) AS labels_{{0}}"""
_IN_CORE = "replaced_us IS NULL AND seen_us <= first_us AND seen_us > last_us - {1} AS in_core_{0}"
_AT_EDGE = "(seen_us > first_us - {0} AND seen_us <= last_us - {0})"
_CORE = """sum(CASE WHEN in_core_{0} THEN is_fraud END) AS frauds_{0}, count(CASE WHEN in_core_{0} THEN 1 END) AS labels_{0}"""
_EDGE = """sum(CASE WHEN NOT in_core_{0} AND seen_us > as_of_us - {1} THEN is_fraud END) AS frauds_{0},
                count(CASE WHEN NOT in_core_{0} AND seen_us > as_of_us - {1} THEN 1 END) AS labels_{0}"""
_CORE_AND_EDGE = """coalesce(core.frauds_{0}, 0) + coalesce(edge.frauds_{0}, 0) AS frauds_{0},
                coalesce(core.labels_{0}, 0) + coalesce(edge.labels_{0}, 0) AS labels_{0}"""


def _place_frame(key: str, span: str) -> str:
    before = f"RANGE BETWEEN {2 * microseconds(span) - 1} PRECEDING AND 1 PRECEDING"
    return f"past_{span} AS (PARTITION BY {key} ORDER BY place {before})"


def _in_reach(moment: str, value: str = "", *, of: str = "lasting") -> str:
    return f"CASE WHEN {of}.{moment} > as_of_us - {REACH} THEN {of}.{value or moment} END"


def _spans(features: Sequence[Feature]) -> list[str]:
    return list(dict.fromkeys(feature.span for feature in features))


def _columns(features: Sequence[Feature]) -> list[str]:
    return [f"{feature.sql} AS {feature.name}" for feature in features]


def _each(spans: Sequence[str], sql: str) -> str:
    """Repeat SQL for each span: {0} is its name, {1} its microseconds."""
    return ", ".join(sql.format(span, microseconds(span)) for span in spans)
