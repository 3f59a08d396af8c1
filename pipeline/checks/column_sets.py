"""Columns of theirs that a portfolio takes by a pattern, hundreds at once, each taken once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from features.expressions import LABELS
from features.groups.column_sets import fits, stored_name
from features.schema import BY_NAME, SchemaError
from pipeline.checks.theirs import Value, ask, direct_value, listed, present_text
from pipeline.portfolio import Portfolio
from pipeline.sources.delivery import Delivery


def set_columns(given: Sequence[Value], delivery: Delivery, portfolio: Portfolio) -> dict[str, str]:
    """Theirs that the portfolio's sets take, each with its set: what fits and is not mapped.

    Raises SchemaError where a set fits nothing, or a column would be taken twice.
    """
    taken: dict[str, str] = {}
    mapped = _mapped_otherwise(given, portfolio)
    for name, extra in portfolio.sets.items():
        said = f"[groups.extra.{name}] columns = {extra.columns!r}"
        fitting = [theirs for theirs in delivery.names if fits(extra.columns, theirs)]
        own = [theirs for theirs in fitting if theirs not in mapped]
        if not own:
            why = f"fits {listed(fitting)}, which [columns] maps" if fitting else "fits no column"
            raise SchemaError(
                f"{said} {why}; {delivery.name} has {listed(delivery.names)}; mend the pattern"
            )
        for theirs in own:
            if theirs in taken:
                other = f"[groups.extra.{taken[theirs]}]"
                raise SchemaError(f"{said} takes {theirs!r}, and so does {other}; take it once")
            taken[theirs] = name
    _check_alike(taken, portfolio)
    return taken


def set_values(taken: Mapping[str, str], delivery: Delivery, portfolio: Portfolio) -> list[Value]:
    """The values of sets; texts that are all of them numbers are numbers from the start.

    Hundreds of columns that are looked through one by one as text cost minutes and gigabytes.
    """
    given = [direct_value(stored_name(theirs), theirs, delivery, portfolio) for theirs in taken]
    nulls = portfolio.source.csv.nulls
    numbers = {  # a cast is null for all words for null that are no number
        value.ours: f"TRY_CAST({present_text(value.sql, nulls) if nulls else value.sql} AS DOUBLE)"
        for value in given
        if value.kind == "VARCHAR" and portfolio.kind(value.ours) == "number"
    }
    if not numbers or portfolio.source.csv.decimal == ",":
        return given
    present = {value.ours: present_text(value.sql, nulls) for value in given}
    asked = [
        f"bool_and({number} IS NOT NULL) FILTER ({present[name]} IS NOT NULL)"
        for name, number in numbers.items()
    ]
    are_numbers = zip(numbers, ask(delivery, ", ".join(asked)), strict=True)
    clean = {name for name, is_number in are_numbers if is_number is not False}
    return [
        replace(value, sql=numbers[value.ours], kind="DOUBLE") if value.ours in clean else value
        for value in given
    ]


def _mapped_otherwise(given: Sequence[Value], portfolio: Portfolio) -> set[str]:
    """Theirs that [columns] looks at: the name of a key may be a number besides."""
    others = [value for value in given if value.ours not in portfolio.key_columns]
    return {name for value in others for name in value.theirs}


def _check_alike(taken: Mapping[str, str], portfolio: Portfolio) -> None:
    """Refuse two columns of sets that the lake would call by one name, or by another's."""
    names: dict[str, str] = dict.fromkeys([*portfolio.extra, *portfolio.key_columns], "")
    for theirs, one in taken.items():
        name = stored_name(theirs)
        if name in names:
            other = repr(names[name]) if names[name] else f"the portfolio's own {name}"
            raise SchemaError(
                f"[groups.extra.{one}] takes {theirs!r}, which would be called {name}, "
                f"like {other}; map it in [columns] under another name"
            )
        names[name] = theirs


def check_leaks(given: Sequence[Value], portfolio: Portfolio) -> None:
    """Refuse a column of the portfolio's own that is made of what the label is made of."""
    label = {name for value in given if value.ours in LABELS for name in value.theirs}
    for value in given:
        if value.ours not in BY_NAME and (leaked := label.intersection(value.theirs)):
            raise SchemaError(
                f"{value.ours} = {value.said!r} of {portfolio.file} reads {', '.join(leaked)}, of "
                "which the label is made and which nobody knows yet when a payment is judged; "
                "take it out"
            )
