"""The ordered list of groups, each one depth stage, and which of them a portfolio has."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from features.declarations import Feature, Group, fact
from features.groups import amount, clock, credit, ip, location, receiver, retailer, sender, social
from features.ip.addresses import FACT_NAMES
from features.schema import BY_NAME

_MODULES = (amount, clock, ip, location, retailer, receiver, sender, credit, social)
GROUPS: dict[str, Group] = {module.GROUP.name: module.GROUP for module in _MODULES}
DERIVED: dict[str, str] = {
    "as_of_us": "as_of",
    "event_us": "event_time",
    "opened_us": "account_opened_at",
    "social_us": "social_event_at",
}
ALWAYS = frozenset(
    {"transaction_id", "event_time", "as_of", "account_id", "amount", "row_id", "is_fraud"}
)
_DECLARED = frozenset(feature.name for group in GROUPS.values() for feature in group.features)
ExtraKind = Literal["number", "category"]
# Words that SQL does not read as a column; from DuckDB's duckdb_keywords().
_SQL_WORDS = """
all analyse analyze and anti any array as asc asof asymmetric at authorization binary both by case
cast check collate collation column concurrently constraint create cross default deferrable desc
describe distinct do else end except false fetch for foreign freeze from full glob group having
ilike in initially inner intersect into is isnull join lambda lateral leading left like limit
natural not notnull null offset on only or order outer overlaps pivot pivot_longer pivot_wider
placing positional primary qualify references returning right select semi show similar some
summarize symmetric table tablesample then to trailing true union unique unpack unpivot using
variadic verbose when where window with
"""
RESERVED = frozenset(_SQL_WORDS.split())


class GroupError(ValueError):
    """A group is asked for that does not exist, or whose columns a portfolio lacks."""


@dataclass(frozen=True, kw_only=True)
class Extra:
    """A portfolio's own column: the group it joins, and whether it is a number or a category."""

    group: str
    kind: ExtraKind = "number"


def portfolio_groups(
    columns: Iterable[str], *, order: tuple[str, ...] = (), extra: Mapping[str, Extra] | None = None
) -> tuple[Group, ...]:
    """Return the groups that a portfolio with these columns has, with the features each can have.

    Without an `order` every group whose columns are there is taken, in the order of GROUPS. Raises
    GroupError when the order names an unknown group, one twice, or one whose columns are absent,
    and when an extra column cannot join its group.

    >>> [group.name for group in portfolio_groups(["merchant_id"])]
    ['amount', 'clock', 'retailer', 'sender']
    """
    extra = extra or {}
    there = set(columns) | ALWAYS
    for name in order:
        _check_wanted(name, there, order)
    chosen = [GROUPS[name] for name in order or GROUPS if not _missing(GROUPS[name], there)]
    for name, wanted in extra.items():
        _check_extra(name, wanted, there, chosen)
    available = _available(there)
    return tuple(_with_what_is_there(group, available, extra) for group in chosen)


def _with_what_is_there(
    group: Group, available: Mapping[str, Feature], extra: Mapping[str, Extra]
) -> Group:
    features = [available[one.name] for one in group.features if one.name in available]
    own = {name: wanted for name, wanted in extra.items() if wanted.group == group.name}
    features += [_own_feature(name, wanted) for name, wanted in own.items()]
    return replace(group, features=tuple(features))


def _missing(group: Group, there: set[str]) -> list[str]:
    return [column for column in group.needs if column not in there]


def _check_wanted(name: str, there: set[str], order: tuple[str, ...]) -> None:
    if name not in GROUPS:
        raise GroupError(
            f"[groups] order names {name!r}, which is no group; choose from {', '.join(GROUPS)}"
        )
    if order.count(name) > 1:
        raise GroupError(f"[groups] order names {name!r} twice; name each group once")
    if missing := _missing(GROUPS[name], there):
        raise GroupError(
            f"the group {name!r} needs {', '.join(missing)}, which [columns] does not map; "
            "map it or take it out"
        )


def _check_extra(name: str, wanted: Extra, there: set[str], chosen: Iterable[Group]) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise GroupError(
            f"[groups.extra] names {name!r}; use lower-case letters, digits and _, "
            "and map the column to that name"
        )
    if name in RESERVED:
        raise GroupError(
            f"[groups.extra] names {name!r}, which is a word of SQL; map the column to another name"
        )
    if name in {*BY_NAME, *DERIVED, *ALWAYS, *FACT_NAMES, *_DECLARED}:
        raise GroupError(
            f"[groups.extra] names {name!r}, which is a name of Strata's own; choose another name"
        )
    if wanted.group not in GROUPS:
        raise GroupError(
            f"the column {name!r} is to join {wanted.group!r}, which is no group; "
            f"choose from {', '.join(GROUPS)}"
        )
    if wanted.group not in {group.name for group in chosen}:
        raise GroupError(
            f"the column {name!r} is to join {wanted.group!r}, a group the portfolio lacks; "
            "add it to [groups] order"
        )
    if name not in there:
        raise GroupError(
            f"the column {name!r} of [groups.extra] is not in the source; "
            "map it in [columns] or take it out"
        )


def _own_feature(name: str, wanted: Extra) -> Feature:
    return fact(
        f"own_{name}", name, name.replace("_", " "), null="missing in the source", kind=wanted.kind
    )


def _available(there: set[str]) -> dict[str, Feature]:
    """All features that can be computed, by name: one is left out when something it needs is.

    Only the sum over what is newly seen goes on with less: it counts the values that the portfolio
    has.
    """
    declared = {feature.name: feature for group in GROUPS.values() for feature in group.features}
    everything = {*declared, *BY_NAME, *DERIVED, *FACT_NAMES}
    known = there | {name for name, column in DERIVED.items() if column in there}
    if "ip_address" in there:
        known |= FACT_NAMES
    reachable = _reachable(declared.values(), known, everything)
    if seen := [flag for flag in sender.NEWLY_SEEN if flag in reachable]:
        declared["new_values"] = sender.new_values(seen)
    reachable = _reachable(declared.values(), known, everything)
    return {name: feature for name, feature in declared.items() if name in reachable}


def _reachable(features: Iterable[Feature], known: set[str], everything: set[str]) -> set[str]:
    """The names that follow from those known; a word that is no name of ours stops nothing."""
    pending = list(features)
    while ready := [feature for feature in pending if feature.needs() & everything <= known]:
        known = known | {feature.name for feature in ready}
        pending = [feature for feature in pending if feature.name not in known]
    return known
