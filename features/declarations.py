"""What a feature is, as data: an expression of its row, an aggregate over a past, or an earlier row's value.

A window looks from `span` before a transaction's as_of to one microsecond before it, so the future
is never seen and rows of the same microsecond do not see each other. Time is as_of in integer epoch
microseconds (`as_of_us`). `features.sql` makes SQL of the declarations.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

UNITS = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
# what "ever" means: every look-back is bounded, so that a batch reads a bounded history
LOOKBACK = "90d"
CIRCLE = "on a circle"  # the unit of a sine or cosine: a fact for the network, not for a reader

RowFunction = Literal[
    "count", "sum", "mean", "max", "min", "stddev", "last", "seconds_since", "newly_seen"
]
# the last three only for hidden features, of which others are made
LabelFunction = Literal[
    "fraud_count",
    "fraud_rate",
    "seconds_since_fraud",
    "seconds_since_legitimate",
    "fraud_run",
    "label_count",
    "last_fraud",
    "last_legitimate",
]
Function = RowFunction | LabelFunction
Stream = Literal["rows", "labels"]
FeatureKind = Literal["number", "flag", "category"]
OF_VALUES = frozenset({"sum", "mean", "max", "min", "stddev"})  # the others are given no values
OF_THEMSELVES: dict[Function, str] = {"last": "row_id", "seconds_since": "as_of_us"}
# what `features.sql.labels` finds out of a key in a span, and these are made of
OF_LABELS: dict[Function, tuple[str, ...]] = {
    "fraud_count": ("frauds_{span}",),
    "label_count": ("labels_{span}",),
    "fraud_rate": ("frauds_{span}", "labels_{span}"),
    "last_fraud": ("last_fraud_us",),
    "last_legitimate": ("last_legitimate_us",),
    "seconds_since_fraud": ("last_fraud_us",),
    "seconds_since_legitimate": ("last_legitimate_us",),
    "fraud_run": ("fraud_run",),
}


def microseconds(span: str) -> int:
    """Return the length of a span such as "1h" or "30d".

    >>> microseconds("2h")
    7200000000
    """
    match = re.fullmatch(r"([1-9]\d*)([smhd])", span)
    if match is None:
        raise ValueError(
            f"the span {span!r} is no whole number with s, m, h or d behind it; "
            "write it like '1h' or '30d'"
        )
    return int(match[1]) * UNITS[match[2]]


def names_in(sql: str) -> set[str]:
    """Return the names that a row-level expression can depend on: its words that call no function.

    >>> sorted(names_in("CASE WHEN channel = 'online' THEN abs(amount) END"))
    ['amount', 'channel']
    """
    return set(re.findall(r"\b[a-z_][a-z0-9_]*\b(?!\()", re.sub(r"'[^']*'", "", sql)))


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """A function over what a key did, or what became known of its fraud, in the span before.

    Counted are the rows that have the values of the columns `key` in their columns `as_key`, and
    meet `where`; `of` is the column or row-level expression whose values are aggregated. A "last"
    is the `row_id` of the latest such row.
    """

    function: Function
    key: tuple[str, ...]
    as_key: tuple[str, ...]
    span: str
    of: str = ""
    where: str = ""

    @property
    def stream(self) -> Stream:
        """Whether it runs over transactions or over labels."""
        return "labels" if self.function in OF_LABELS else "rows"

    @property
    def value(self) -> str:
        """The expression whose values are aggregated; empty where rows are counted, or labels."""
        return self.of or OF_THEMSELVES.get(self.function, "")

    @property
    def found(self) -> tuple[str, ...]:
        """The names of what is found out of labels for it; over rows none."""
        return tuple(name.format(span=self.span) for name in OF_LABELS.get(self.function, ()))

    def needs(self) -> set[str]:
        """The names it can depend on: of its expressions, its key, and what is found out of labels."""
        own = names_in(self.value) | names_in(self.where)
        return own | {*self.key, *self.as_key, *self.found}


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One fact of a group: the expression `sql` over its row and other features, or an aggregate.

    With a `lookup`, a feature that is a "last", the expression is read from the row it found. Not
    `shown`, a feature only serves others.

    `meaning` is read as "meaning: value unit, typically value unit", or "meaning: yes" for a flag;
    `null` says what null means. Raises ValueError on an aggregate that cannot be computed.
    """

    name: str
    meaning: str
    sql: str = ""
    aggregate: Aggregate | None = None
    lookup: str = ""
    unit: str = ""
    null: str = "never"
    kind: FeatureKind = "number"
    shown: bool = True

    def __post_init__(self) -> None:
        if bool(self.sql) == bool(self.aggregate):
            raise ValueError(
                f"the feature {self.name} is {'both' if self.sql else 'neither'} of an expression "
                "and an aggregate; give it one of them"
            )
        if self.aggregate:
            _check(self.name, self.aggregate)

    def needs(self) -> set[str]:
        """The names it can depend on: of its expression or aggregate, and its lookup."""
        if self.aggregate:
            return self.aggregate.needs()
        return names_in(self.sql) | ({self.lookup} if self.lookup else set())


@dataclass(frozen=True, kw_only=True)
class Group:
    """One group of facts, one depth stage; a portfolio without the columns in `needs` has none."""

    name: str
    meaning: str
    needs: tuple[str, ...]
    features: tuple[Feature, ...] = ()


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


def aggregate(
    name: str,
    function: Function,
    key: str,
    span: str,
    meaning: str,
    *,
    of: str = "",
    where: str = "",
    as_key: str = "",
    unit: str = "",
    null: str = "key unknown",
    kind: FeatureKind = "number",
) -> Feature:
    """Declare an aggregate over a key's past; several columns make a key with "+".

    With `as_key` the past is that of the rows with the key's value in other columns: what the
    receiver did as an account. The transaction itself is then no such row, so its own values stand
    in no aggregate.

    >>> aggregate("pair_count_1d", "count", "account_id+device_id", "1d", "payments").aggregate.key
    ('account_id', 'device_id')
    """
    over = Aggregate(
        function=function,
        key=tuple(key.split("+")),
        as_key=tuple((as_key or key).split("+")),
        span=span,
        of=of,
        where=where,
    )
    return Feature(name=name, aggregate=over, meaning=meaning, unit=unit, null=null, kind=kind)


def seconds_since(name: str, key: str, meaning: str, *, span: str = LOOKBACK) -> Feature:
    """Declare the seconds since the key's previous transaction; null for its first in the span."""
    null = f"none in the {span} before, or key unknown"
    return aggregate(name, "seconds_since", key, span, meaning, unit="s", null=null)


def newly_seen(name: str, key: str, meaning: str, *, span: str = LOOKBACK) -> Feature:
    """Declare whether the key (mostly a pair) was not seen in the span before: 1 new, 0 seen."""
    return aggregate(name, "newly_seen", key, span, meaning, kind="flag")


def last_row(name: str, key: str, *, where: str = "", span: str = LOOKBACK) -> Feature:
    """Declare the key's last row that met a condition: its `row_id`, for `from_row`."""
    return hidden(aggregate(name, "last", key, span, f"the {key}'s last row", where=where))


def from_row(
    name: str, sql: str, row: str, meaning: str, *, unit: str = "", null: str = "no such row"
) -> Feature:
    """Declare an expression that is read from the row that a `last_row` found."""
    return Feature(name=name, sql=sql, meaning=meaning, unit=unit, null=null, lookup=row)


def _check(name: str, over: Aggregate) -> None:
    if microseconds(over.span) > microseconds(LOOKBACK):
        raise ValueError(
            f"the span {over.span!r} of {name} is longer than the look-back; take {LOOKBACK} or less"
        )
    if (over.function in OF_VALUES) != bool(over.of):
        remedy = "say of what" if over.function in OF_VALUES else f"take out of = {over.of!r}"
        raise ValueError(f"{name} is a {over.function}; {remedy}")
    if over.stream == "labels" and (over.where or over.as_key != over.key or len(over.key) > 1):
        raise ValueError(
            f"{name} is a {over.function}, which is known of a key of one column, whatever the row; "
            f"take out the condition, and the other columns beside {over.key[0]}"
        )
