"""What a key did before this instant, never after: declarations, which `features.sql` makes SQL of.

A window looks from `span` before a transaction's as_of to one microsecond before it, so the future
is never seen and rows of the same microsecond do not see each other. Time is as_of in integer epoch
microseconds (`as_of_us`).
"""

import re
from dataclasses import dataclass, field, replace
from typing import Literal

UNITS = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
# what "ever" means: every look-back is bounded, so that a batch reads a bounded history
LOOKBACK = "90d"
CIRCLE = "on a circle"  # the unit of a sine or cosine: a fact for the network, not for a reader
PAST = "OVER past"  # written behind an aggregate; becomes the feature's own window

Stream = Literal["rows", "labels"]
FeatureKind = Literal["number", "flag", "category"]


def microseconds(span: str) -> int:
    """Return the length of a span such as "1h" or "30d".

    >>> microseconds("2h")
    7200000000
    """
    match = re.fullmatch(r"([1-9]\d*)([smhd])", span)
    if match is None:
        raise ValueError(
            f"the span {span!r} is no whole number with s, m, h or d behind it; write it like '1h' or '30d'"
        )
    return int(match[1]) * UNITS[match[2]]


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One fact of a group, as SQL over the transaction's columns and over other features.

    With a `key` and a `span` it is about the key's past: on the stream "rows" its aggregates (`...
    OVER past`) run over the transactions that have the key's value in the columns `of`, on "labels"
    its SQL names what is known of the key's fraud. `lookup` names a feature holding the `row_id` of
    an earlier row: the SQL is then read from that row. Not `shown`, a feature only serves others.

    `meaning` is read as "meaning: value unit, usually value unit", or "meaning: yes" for a flag;
    `null` says what null means.
    """

    name: str
    sql: str
    meaning: str
    unit: str = ""
    null: str = "never"
    kind: FeatureKind = "number"
    key: tuple[str, ...] = ()
    of: tuple[str, ...] = ()
    span: str = ""
    stream: Stream = "rows"
    lookup: str = ""
    shown: bool = True

    def needs(self) -> set[str]:
        """The names it can depend on: the words of its SQL that call no function, its key and its lookup."""
        without_texts = re.sub(r"'[^']*'", "", self.sql.replace(PAST, ""))
        return {
            *re.findall(r"\b[a-z_][a-z0-9_]*\b(?!\()", without_texts),
            *self.key,
            *self.of,
            self.lookup,
        } - {""}


@dataclass(frozen=True, kw_only=True)
class Group:
    """One group of facts: one depth stage of the network. Without the columns in `needs` a portfolio has no such group."""

    name: str
    meaning: str
    needs: tuple[str, ...]
    features: tuple[Feature, ...] = field(default_factory=tuple)


def hidden(feature: Feature) -> Feature:
    """Return the feature as one that only serves others."""
    return replace(feature, shown=False)


def fact(
    name: str,
    sql: str,
    meaning: str,
    *,
    unit: str = "",
    null: str = "never",
    kind: FeatureKind = "number",
) -> Feature:
    """Declare an expression over the transaction itself and over other features.

    >>> sorted(fact("ratio", "amount / nullif(account_mean_7d, 0)", "against the mean").needs())
    ['account_mean_7d', 'amount']
    """
    return Feature(name=name, sql=sql, meaning=meaning, unit=unit, null=null, kind=kind)


def past(
    name: str,
    sql: str,
    key: str,
    span: str,
    meaning: str,
    *,
    unit: str = "",
    null: str = "key unknown",
    kind: FeatureKind = "number",
    of: str = "",
) -> Feature:
    """Declare aggregates (`... OVER past`) over what the key did in the span; several columns make a key with "+".

    With `of` the past is that of the rows with the key's value in other columns: what the receiver
    did as an account. The transaction itself is then no such row, so its own values stand in no
    aggregate and nowhere beside one. Raises ValueError on a span that is none, or that is longer
    than LOOKBACK.

    >>> past("pair_count_1d", "count(*) OVER past", "account_id+device_id", "1d", "payments").key
    ('account_id', 'device_id')
    """
    if microseconds(span) > microseconds(LOOKBACK):
        raise ValueError(
            f"the span {span!r} of {name} is longer than the look-back; take {LOOKBACK} or less"
        )
    own = tuple(key.split("+"))
    others = tuple(of.split("+")) if of else own
    return Feature(
        name=name,
        sql=sql,
        key=own,
        of=others,
        span=span,
        meaning=meaning,
        unit=unit,
        null=null,
        kind=kind,
    )


def seconds_since_previous(name: str, key: str, meaning: str, *, span: str = LOOKBACK) -> Feature:
    """Declare the seconds since the key's previous transaction.

    Null for its first within the span.
    """
    sql = f"(as_of_us - max(as_of_us) {PAST}) / 1000000.0"
    return past(
        name, sql, key, span, meaning, unit="s", null=f"none in the {span} before, or key unknown"
    )


def newly_seen(name: str, key: str, meaning: str, *, span: str = LOOKBACK) -> Feature:
    """Declare whether the key (mostly a pair) was not seen in the span before this instant: 1 new, 0 seen."""
    sql = f"CASE WHEN count(*) {PAST} = 0 THEN 1.0 ELSE 0.0 END"
    return past(name, sql, key, span, meaning, kind="flag")


def previous(name: str, key: str, *, where: str = "TRUE", span: str = LOOKBACK) -> Feature:
    """Declare which earlier row of the key was the last that met a condition: a `row_id` for `from_row`."""
    return hidden(
        past(
            name,
            f"max(CASE WHEN {where} THEN row_id END) {PAST}",
            key,
            span,
            f"the {key}'s last row",
        )
    )


def from_row(
    name: str, sql: str, row: str, meaning: str, *, unit: str = "", null: str = "no such row"
) -> Feature:
    """Declare an expression that is read from the row a `previous` found."""
    return Feature(name=name, sql=sql, meaning=meaning, unit=unit, null=null, lookup=row)
