"""Keys and features that a portfolio declares: the same data as those of the built-in groups.

A key brings a group of its own with the usual facts of a key; a feature joins a group as one more
fact of it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from features.declarations import (
    LOOKBACK,
    OF_VALUES,
    Feature,
    FeatureKind,
    Function,
    Group,
    aggregate,
    fact,
    from_row,
    hidden,
    last_row,
    newly_seen,
    seconds_since,
)
from features.expressions import (
    Expression,
    ExpressionError,
    Sight,
    as_number,
    expression,
    names_of,
)
from features.known_fraud import known_fraud
from features.schema import Kind

SPANS = ("1d", "7d", "30d")  # of a usual group
# the keys that are Strata's own, beside the names of their columns
KEY_COLUMNS = {
    "account": "account_id",
    "ip": "ip_address",
    "device": "device_id",
    "merchant": "merchant_id",
    "counterparty": "counterparty_id",
}
DeclaredFunction = Literal[
    "",
    "count",
    "sum",
    "mean",
    "max",
    "min",
    "stddev",
    "last",
    "seconds_since",
    "newly_seen",
    "fraud_count",
    "fraud_rate",
    "seconds_since_fraud",
    "seconds_since_legitimate",
    "fraud_run",
]
EVER = ("seconds_since_fraud", "seconds_since_legitimate", "fraud_run")  # whatever the span
NO_SPAN = (*EVER, "last", "seconds_since", "newly_seen")  # the look-back, where none is said
ALWAYS_THERE = ("count", "sum", "newly_seen", "fraud_count", "fraud_rate", "fraud_run")


@dataclass(frozen=True, kw_only=True)
class Key:
    """What a history is kept by: a column of the transactions, and what it is called in words."""

    column: str
    meaning: str
    after: str = ""
    spans: tuple[str, ...] = SPANS


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A feature as a portfolio declares it: an aggregate over a key and a span, or `sql`."""

    group: str
    meaning: str
    unit: str = ""
    aggregate: DeclaredFunction = ""
    of: str = ""
    where: str = ""
    key: str = ""
    span: str = ""
    sql: str = ""


def key_group(name: str, key: Key) -> Group:
    """Return the group of a key: the usual facts of it.

    >>> group = key_group("email", Key(column="email", meaning="e-mail domain"))
    >>> [feature.name for feature in group.features][:3]
    ['email_new_for_account', 'email_count_1d', 'email_sum_1d']
    """
    meaning = f"how the {key.meaning} has been used, by whom, and what was known of it"
    others = _of_others(name, key) if key.column != "account_id" else ()
    features = (
        *others[:1],
        *(feature for span in key.spans for feature in _volume(name, key, span)),
        *others[1:],
        *_usual(name, key),
        seconds_since(
            f"{name}_seconds_since_previous",
            key.column,
            f"time since the previous payment with the same {key.meaning}",
        ),
        *known_fraud(key.column, name, named=key.meaning, spans=key.spans),
    )
    return Group(name=name, meaning=meaning, needs=(key.column,), features=features)


def _volume(name: str, key: Key, span: str) -> tuple[Feature, ...]:
    payments = f"payments with the same {key.meaning} in {span}"
    amount = f"amount paid with the same {key.meaning} in {span}"
    return (
        aggregate(f"{name}_count_{span}", "count", key.column, span, payments),
        aggregate(
            f"{name}_sum_{span}", "sum", key.column, span, amount, of="amount", unit="currency"
        ),
    )


def _of_others(name: str, key: Key) -> tuple[Feature, ...]:
    """Whether the account is new to the key's value, and how many others were."""
    is_new = newly_seen(
        f"{name}_new_for_account",
        f"account_id+{key.column}",
        f"{key.meaning} new to the account within {LOOKBACK}",
    )
    by_new = "payments with the same {} in {} by accounts new to it"
    return (
        is_new,
        *(
            aggregate(
                f"{name}_new_accounts_{span}",
                "sum",
                key.column,
                span,
                by_new.format(key.meaning, span),
                of=is_new.name,
            )
            for span in key.spans
        ),
    )


def _usual(name: str, key: Key) -> tuple[Feature, ...]:
    """The amount beside what is usual with the key's value, in the last of its spans."""
    span = key.spans[-1]
    mean, spread = f"{name}_mean_{span}", f"{name}_spread_{span}"
    none = f"no payment with the {key.meaning} in {span}, or {key.meaning} unknown"

    def of_amounts(feature: str, function: Function, meaning: str) -> Feature:
        said = f"{meaning} with the same {key.meaning} in {span}"
        return hidden(
            aggregate(
                feature, function, key.column, span, said, of="amount", unit="currency", null=none
            )
        )

    return (
        of_amounts(mean, "mean", "mean payment"),
        of_amounts(spread, "stddev", "spread of the payments"),
        fact(
            f"{name}_amount_over_mean",
            f"amount / ({mean} + 1.0)",
            f"amount over the mean of {span} with the same {key.meaning}",
            unit="ratio",
            null=none,
        ),
        fact(
            f"{name}_amount_z",
            f"(amount - {mean}) / ({spread} + 1.0)",
            f"standard deviations above the mean of {span} with the same {key.meaning}",
            null=none,
        ),
    )


def declared_features(
    declared: Mapping[str, Declared], keys: Mapping[str, Key], sight: Sight
) -> dict[str, tuple[Feature, ...]]:
    """Return what each declared feature is made of: itself last, those that serve it before.

    `sight` tells what the columns and the other features hold. Raises ValueError for what the
    language of the declarations cannot say, and for features that need one another.
    """
    made: dict[str, tuple[Feature, ...]] = {}
    waiting = dict(declared)

    def seen(name: str) -> Kind | None:
        if name in made:
            return _holds(made[name][-1].kind)
        return sight(name)

    while waiting:
        ready = [name for name, one in waiting.items() if not _reads(name, one) & waiting.keys()]
        if not ready:
            one = next(iter(waiting))
            others = "itself" if one in _reads(one, waiting[one]) else "what needs it in turn"
            raise ExpressionError(f"[features.{one}] reads {others}; take that out")
        for name in ready:
            made[name] = _made(name, waiting.pop(name), keys, seen)
    return {name: made[name] for name in declared}


def _reads(name: str, declared: Declared) -> set[str]:
    """What the expressions of a declared feature read."""
    read = set[str]()
    for key in ("sql", "of", "where"):
        if said := getattr(declared, key):
            with _placed(name, key, said):
                read |= set(names_of(said))
    return read


def _made(
    name: str, declared: Declared, keys: Mapping[str, Key], sight: Sight
) -> tuple[Feature, ...]:
    _check_form(name, declared)
    if declared.sql:
        found = _expression(name, "sql", declared.sql, sight)
        return (
            fact(
                name,
                as_number(found.sql, found.kind),
                declared.meaning,
                unit=declared.unit,
                null="not known",
                kind=_feature_kind(found.kind),
            ),
        )
    return _aggregated(name, declared, keys, sight)


def _aggregated(
    name: str, declared: Declared, keys: Mapping[str, Key], sight: Sight
) -> tuple[Feature, ...]:
    function, span = declared.aggregate, declared.span or LOOKBACK
    key = "+".join(_key_columns(name, declared.key, keys, sight))
    where = _condition(name, declared.where, sight)
    of = _expression(name, "of", declared.of, sight) if declared.of else None
    none = f"none in the {span} before, or key unknown"
    if of is not None and function == "last":
        return _last(name, declared, key, span, of, where)
    if of is not None and of.kind == "text":
        raise ExpressionError(
            f"of = {declared.of!r} in [features.{name}] is a text; a {function} is of a number"
        )
    feature = aggregate(
        name,
        function,  # type: ignore[arg-type]  # not empty: checked
        key,
        span,
        declared.meaning,
        of=as_number(of.sql, of.kind) if of else "",
        where=where,
        unit=declared.unit or ("s" if str(function).startswith("seconds") else ""),
        null="key unknown" if function in ALWAYS_THERE else none,
        kind="flag" if function == "newly_seen" else "number",
    )
    return (feature,)


def _last(
    name: str, declared: Declared, key: str, span: str, of: Expression, where: str
) -> tuple[Feature, ...]:
    """What stands in the key's last row that has it: the row is found first, then read."""
    value = as_number(of.sql, of.kind)
    known = f"{value} IS NOT NULL" if not where else f"{where} AND ({value} IS NOT NULL)"
    row = last_row(f"{name}_row", key, where=known, span=span)
    read = hidden(fact(f"{name}_value", value, f"what {name} is of", kind=_feature_kind(of.kind)))
    found = from_row(
        name,
        read.name,
        row.name,
        declared.meaning,
        unit=declared.unit,
        null=f"none in the {span} before, or key unknown",
    )
    return row, read, replace(found, kind=_feature_kind(of.kind))


def _check_form(name: str, declared: Declared) -> None:
    """Refuse what is neither an expression nor an aggregate, or both."""
    over = {key: getattr(declared, key) for key in ("of", "where", "key", "span")}
    if bool(declared.sql) == bool(declared.aggregate):
        said = "both" if declared.sql else "neither"
        raise ExpressionError(f"[features.{name}] has {said} of aggregate and sql; give it one")
    if declared.sql:
        if more := [key for key, value in over.items() if value]:
            raise ExpressionError(
                f"[features.{name}] has sql and {', '.join(more)}, which only an aggregate has; "
                "take it out, or say aggregate = ..."
            )
        return
    _check_aggregate(name, declared)


def _check_aggregate(name: str, declared: Declared) -> None:
    function = declared.aggregate
    needed = ["key", *(["of"] if function in OF_VALUES or function == "last" else [])]
    needed += [] if function in NO_SPAN else ["span"]
    for key in needed:
        if not getattr(declared, key):
            raise ExpressionError(
                f"[features.{name}] is a {function} and has no {key}; add {key} = ..."
            )
    if function in EVER and declared.span not in ("", LOOKBACK):
        raise ExpressionError(
            f"[features.{name}] is a {function}, which looks back {LOOKBACK}; "
            f"take out span = {declared.span!r}"
        )


def _key_columns(name: str, said: str, keys: Mapping[str, Key], sight: Sight) -> tuple[str, ...]:
    """The columns of a feature's key: of one key, or of a pair."""
    parts = [part.strip() for part in said.split("+")]
    columns = [_key_column(name, part, keys) for part in parts]
    if len(columns) > MAX_KEYS or len(set(columns)) < len(columns):
        raise ExpressionError(
            f"key = {said!r} in [features.{name}] is neither one key nor a pair of two; "
            "write it like 'email' or 'account+email'"
        )
    for part, column in zip(parts, columns, strict=True):
        if sight(column) is None:
            raise ExpressionError(
                f"key = {said!r} in [features.{name}] needs {column}, which the portfolio does "
                f"not have; map it in [columns], or take {part} out"
            )
    return tuple(columns)


MAX_KEYS = 2


def _key_column(name: str, part: str, keys: Mapping[str, Key]) -> str:
    if part in keys:
        return keys[part].column
    if part in KEY_COLUMNS or part in KEY_COLUMNS.values():
        return KEY_COLUMNS.get(part, part)
    known = ", ".join((*KEY_COLUMNS, *keys))
    raise ExpressionError(
        f"key = {part!r} in [features.{name}] is no key; choose from {known}, "
        f"or declare [keys.{part or 'NAME'}]"
    )


def _condition(name: str, said: str, sight: Sight) -> str:
    if not said:
        return ""
    found = _expression(name, "where", said, sight)
    if found.kind != "flag":
        raise ExpressionError(
            f"where = {said!r} in [features.{name}] is a {found.kind}; write a condition, "
            "such as amount > 100"
        )
    return found.sql


def _expression(name: str, key: str, said: str, sight: Sight) -> Expression:
    with _placed(name, key, said):
        return expression(said, sight)


@contextmanager
def _placed(name: str, key: str, said: str) -> Iterator[None]:
    """Say of a refused expression where it stands."""
    try:
        yield
    except ExpressionError as error:
        raise ExpressionError(f"{key} = {said!r} in [features.{name}] {error}") from error


def _holds(kind: FeatureKind) -> Kind:
    return "text" if kind == "category" else "number"


def _feature_kind(kind: Kind) -> FeatureKind:
    kinds: dict[Kind, FeatureKind] = {"text": "category", "flag": "flag"}
    return kinds.get(kind, "number")
