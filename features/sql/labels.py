"""The SQL of what was known of a key's fraud: labels arrive late, and are put right later still.

A verdict is what the label ledger says of a transaction, from the first instant that can see it
until the ledger says the opposite. It is seen from its known_at on (the very microsecond included),
but only after its transaction. At any instant a key's frauds are the verdicts "fraud" that stand
then; a verdict's age counts from when it was first seen. A verdict that comes more than
LONGEST_WAIT after its transaction counts for nothing, so that a batch reads a bounded history.

Verdicts that still stand are counted by windows. Those that were replaced are rare, and leave in
the middle of a window: they are joined to the rows that saw them stand. For a few rows all verdicts
are joined (`few_labels_query`).
"""

from collections.abc import Iterable, Mapping, Sequence

from features.declarations import LOOKBACK, Aggregate, microseconds
from features.known_fraud import LONGEST_WAIT
from features.sql.aggregates import windowed
from features.sql.windows import known, named, select

REACH = microseconds(LOOKBACK)
LINE = ("is_fraud", "known_us")  # of the ledger: it says something, from a moment on
MANY = 2**27  # more labels than a key has in a span; MANY * frauds + labels is exact in a double


def verdict_query(rows: str, by: Sequence[str] = ("row_id",), *, lines: str = "labels") -> str:
    """Write the query of all verdicts on rows, which `by` tells apart: when seen, when replaced.

    A verdict that still stands was replaced at null. Where the ledger says both at the same
    microsecond, fraud holds. Saying the same again changes
    nothing, so that of most transactions the first line alone counts; only where lines differ are
    they compared in order.
    """
    each = ", ".join(by)
    ledger = f"OVER (PARTITION BY {each} ORDER BY known_us)"
    both = f"(SELECT {each} FROM summed WHERE is_fraud <> most)"  # noqa: S608
    first = f"{each}, as_of_us, known_us, is_fraud"
    compared = f"(SELECT *, lag(is_fraud) {ledger} AS before FROM disputed)"  # noqa: S608
    return f"""
        WITH judged AS (
            SELECT {each}, as_of_us, known_us, CAST(is_fraud AS DOUBLE) AS is_fraud
            FROM {lines} JOIN {rows} AS judged_rows USING (transaction_id) WHERE {known(LINE)}
        ),
        summed AS (
            SELECT {each}, max(as_of_us) AS as_of_us, min(known_us) AS known_us,
                min(is_fraud) AS is_fraud, max(is_fraud) AS most
            FROM judged GROUP BY {each}
        ),
        disputed AS (
            SELECT {each}, as_of_us, known_us, max(is_fraud) AS is_fraud
            FROM judged JOIN {both} AS both_told USING ({each})
            GROUP BY {each}, as_of_us, known_us
        ),
        told AS (
            SELECT {first}, {_NEVER_REPLACED} FROM summed WHERE is_fraud = most
            UNION ALL
            SELECT {first}, lead(known_us) {ledger} AS replaced_us
            FROM {compared} AS compared
            WHERE before IS NULL OR before <> is_fraud
        )
        SELECT {each}, is_fraud, seen_us, replaced_us
        FROM (SELECT *, greatest(known_us, as_of_us + 1) AS seen_us FROM told) AS verdicts
        WHERE seen_us <= as_of_us + {microseconds(LONGEST_WAIT)}"""  # noqa: S608


def label_query(rows: str, aggregates: Mapping[str, Aggregate]) -> str:
    """Write the query of one key's aggregates of labels, by their names, for the rows that have it.

    A `place` orders everything: a verdict stands at twice the microsecond it is seen, a transaction
    one behind, so that it sees the verdicts of its own microsecond. Running sums are cheap, so a
    fraud leaves them by an entry of its own, REACH later; where the history begins does not matter.
    The counts of a span are one sum of MANY * frauds + labels.
    """
    key, spans = _key(aggregates), _spans(aggregates)
    judged = f"verdicts JOIN {rows} AS judged USING (row_id) WHERE {known([key])}"
    so_far = f"so_far AS (PARTITION BY {key} ORDER BY place)"
    past = [_place_frame(key, span) for span in spans]
    return f"""
        WITH stream AS (
            SELECT row_id, {key}, as_of_us, 2 * as_of_us + 1 AS place, {_NO_VERDICT}
            FROM {rows} AS asking WHERE {known([key])}
            UNION ALL
            SELECT NULL, {key}, NULL, 2 * seen_us, seen_us, replaced_us, is_fraud,
                CASE WHEN replaced_us IS NULL THEN is_fraud END, NULL
            FROM {judged}
            UNION ALL
            SELECT NULL, {key}, NULL, 2 * (seen_us + {REACH}), NULL, NULL, NULL, NULL, 1
            FROM verdicts JOIN {rows} AS judged USING (row_id)
            WHERE {known([key])} AND is_fraud = 1 AND replaced_us IS NULL
        ),
        counted AS (
            SELECT row_id, {key}, as_of_us, place, seen_us, replaced_us, is_fraud, lasting,
                coalesce(sum(lasting) OVER so_far, 0) AS frauds_so_far,
                {_FRAUDS_IN_REACH},
                max(CASE WHEN lasting = 1 THEN seen_us END) OVER so_far AS last_fraud_us,
                {_LAST_LEGITIMATE}, {_each(spans, _PACKED)}
            FROM stream WINDOW {", ".join([so_far, *past])}
        ),
        lasting AS (
            SELECT *, {_FRAUDS_BEFORE_RUN}
            FROM counted WINDOW {so_far}
        ),
        standing AS (
            SELECT {_STANDING}
            FROM {rows} AS asking JOIN counted ON {_same(key)} AND {known(["counted.replaced_us"])}
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
                {_latest("last_fraud_us", "replaced")},
                {_latest("last_legitimate_us", "replaced")},
                greatest({_in_reach("last_legitimate_us", "frauds_before_run")}, {_BEFORE_RUN})
                    AS frauds_before_run,
                frauds_so_far, frauds_in_reach
            FROM lasting LEFT JOIN replaced USING (row_id) WHERE lasting.row_id IS NOT NULL
        ),
        run AS (
            SELECT row_id, sum(standing.is_fraud) AS frauds FROM standing JOIN known USING (row_id)
            WHERE {_SINCE_LEGITIMATE} GROUP BY row_id
        ),
        told AS (
            SELECT known.*,
                {_FRAUD_RUN}
            FROM known LEFT JOIN run USING (row_id)
        )
        {_answered(aggregates, rows)}"""  # noqa: S608


def few_labels_query(rows: str, aggregates: Mapping[str, Aggregate], verdicts: str) -> str:
    """Write the same for a few rows and the verdicts on their keys.

    Of a verdict stand there the key, seen_us, replaced_us and is_fraud. What all rows of the batch
    see alike is counted once a key, the core; only what enters or leaves a span in the batch's own
    time, and verdicts that were replaced, are joined with the rows.
    """
    key, spans = _key(aggregates), _spans(aggregates)
    at_edge = " OR ".join(_AT_EDGE.format(microseconds(span)) for span in spans)
    in_core = ", ".join(f"in_core_{span}" for span in spans)
    return f"""
        WITH asking AS (
            SELECT row_id, {key}, as_of_us FROM {rows} AS batch WHERE {known([key])}
        ),
        bounds AS (SELECT min(as_of_us) AS first_us, max(as_of_us) AS last_us FROM asking),
        placed AS (
            SELECT {key}, seen_us, replaced_us, is_fraud,
                replaced_us IS NULL AND seen_us <= first_us AS is_core,
                {_each(spans, _IN_CORE)},
                {at_edge} AS is_at_edge
            FROM {verdicts} AS judged CROSS JOIN bounds
        ),
        core AS (
            SELECT {key}, {_each(spans, _CORE)}, {_LAST}
            FROM placed WHERE is_core GROUP BY {key}
        ),
        standing AS (
            SELECT asking.row_id, asking.as_of_us, placed.seen_us, placed.is_fraud, {in_core}
            FROM asking JOIN placed ON asking.{key} = placed.{key}
                AND (NOT placed.is_core OR placed.is_at_edge OR placed.is_fraud = 1)
            WHERE placed.seen_us <= asking.as_of_us AND placed.seen_us > asking.as_of_us - {REACH}
                AND (placed.replaced_us IS NULL OR asking.as_of_us < placed.replaced_us)
        ),
        edge AS (SELECT row_id, {_each(spans, _EDGE)}, {_LAST} FROM standing GROUP BY row_id),
        last AS (
            SELECT asking.row_id, {_each(spans, _CORE_AND_EDGE)},
                {_latest("last_fraud_us", "edge", of="core")},
                {_latest("last_legitimate_us", "edge", of="core")}
            FROM asking
                LEFT JOIN core ON asking.{key} = core.{key}
                LEFT JOIN edge ON asking.row_id = edge.row_id
        ),
        run AS (
            SELECT standing.row_id, sum(is_fraud) AS frauds
            FROM standing JOIN last ON standing.row_id = last.row_id
            WHERE {_SINCE_LEGITIMATE} GROUP BY standing.row_id
        ),
        told AS (
            SELECT last.*, coalesce(frauds, 0) AS fraud_run
            FROM last LEFT JOIN run ON last.row_id = run.row_id
        )
        {_answered(aggregates, rows)}"""  # noqa: S608


_NEVER_REPLACED = "CAST(NULL AS BIGINT) AS replaced_us"
_NO_VERDICT = """CAST(NULL AS BIGINT) AS seen_us,
                CAST(NULL AS BIGINT) AS replaced_us, CAST(NULL AS DOUBLE) AS is_fraud, \
CAST(NULL AS DOUBLE) AS lasting,
                CAST(NULL AS DOUBLE) AS ended"""
_FRAUDS_IN_REACH = (
    "coalesce(sum(lasting) OVER so_far, 0) - coalesce(sum(ended) OVER so_far, 0) AS frauds_in_reach"
)
_LAST_LEGITIMATE = "max(CASE WHEN lasting = 0 THEN seen_us END) OVER so_far AS last_legitimate_us"
_FRAUDS_BEFORE_RUN = (
    "max(CASE WHEN lasting = 0 THEN frauds_so_far END) OVER so_far AS frauds_before_run"
)
_STANDING = (
    "asking.row_id, asking.as_of_us, counted.seen_us, counted.is_fraud, counted.frauds_so_far"
)
_BEFORE_RUN = "replaced.frauds_before_run"
_SINCE_LEGITIMATE = "last_legitimate_us IS NULL OR seen_us > last_legitimate_us"
_FRAUD_RUN = (
    "coalesce(known.frauds_so_far - frauds_before_run, frauds_in_reach) + coalesce(frauds, 0) "
    "AS fraud_run"
)
_PACKED = f"sum({MANY} * lasting + 1) OVER past_{{0}} AS both_{{0}}"
_COUNTED = """sum(CASE WHEN seen_us > as_of_us - {1} THEN is_fraud END) AS frauds_{0},
                count(CASE WHEN seen_us > as_of_us - {1} THEN is_fraud END) AS labels_{0}"""
_LAST = """max(CASE WHEN is_fraud = 1 THEN seen_us END) AS last_fraud_us,
                max(CASE WHEN is_fraud = 0 THEN seen_us END) AS last_legitimate_us"""
_BOTH = f"""coalesce(floor(lasting.both_{{0}} / {MANY}), 0) \
+ coalesce(replaced.frauds_{{0}}, 0) AS frauds_{{0}},
                coalesce(both_{{0}} - {MANY} * floor(both_{{0}} / {MANY}), 0)
                    + coalesce(replaced.labels_{{0}}, 0) AS labels_{{0}}"""
_IN_CORE = "replaced_us IS NULL AND seen_us <= first_us AND seen_us > last_us - {1} AS in_core_{0}"
_AT_EDGE = "(seen_us > first_us - {0} AND seen_us <= last_us - {0})"
_CORE = """sum(CASE WHEN in_core_{0} THEN is_fraud END) AS frauds_{0},
                count(CASE WHEN in_core_{0} THEN 1 END) AS labels_{0}"""
_OUTSIDE = "NOT in_core_{0} AND seen_us > as_of_us - {1}"
_EDGE = f"""sum(CASE WHEN {_OUTSIDE} THEN is_fraud END) AS frauds_{{0}},
                count(CASE WHEN {_OUTSIDE} THEN 1 END) AS labels_{{0}}"""
_CORE_AND_EDGE = """coalesce(core.frauds_{0}, 0) + coalesce(edge.frauds_{0}, 0) AS frauds_{0},
                coalesce(core.labels_{0}, 0) + coalesce(edge.labels_{0}, 0) AS labels_{0}"""


def _place_frame(key: str, span: str) -> str:
    before = f"RANGE BETWEEN {2 * microseconds(span) - 1} PRECEDING AND 1 PRECEDING"
    return f"past_{span} AS (PARTITION BY {key} ORDER BY place {before})"


def _same(key: str) -> str:
    return f"asking.{key} = counted.{key}"


def _latest(moment: str, other: str, *, of: str = "lasting") -> str:
    """The later of a moment of two tables, the first of them if it is in reach."""
    return f"greatest({_in_reach(moment, of=of)}, {other}.{moment}) AS {moment}"


def _in_reach(moment: str, value: str = "", *, of: str = "lasting") -> str:
    return f"CASE WHEN {of}.{moment} > as_of_us - {REACH} THEN {of}.{value or moment} END"


def _answered(aggregates: Mapping[str, Aggregate], rows: str) -> str:
    """The aggregates of what was found out, with the row's own moment where one counts from it."""
    columns = [named(windowed(aggregate), name) for name, aggregate in aggregates.items()]
    counts_from_now = any(one.function.startswith("seconds_since") for one in aggregates.values())
    asked = f" JOIN {rows} AS asked USING (row_id)" if counts_from_now else ""
    return select(["row_id", *columns], f"told{asked}")


def _key(aggregates: Mapping[str, Aggregate]) -> str:
    return next(iter(aggregates.values())).key[0]


def _spans(aggregates: Mapping[str, Aggregate]) -> list[str]:
    return list(dict.fromkeys(aggregate.span for aggregate in aggregates.values()))


def _each(spans: Iterable[str], sql: str) -> str:
    """Repeat SQL for each span: {0} is its name, {1} its microseconds."""
    return ", ".join(sql.format(span, microseconds(span)) for span in spans)
