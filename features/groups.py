"""The ordered list of groups, and which of them a portfolio has: a group is one depth stage of the network."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from features import amount, clock, ip, location, retailer, sender
from features.schema import BY_NAME
from features.windows import Feature, Group, fact

GROUPS: dict[str, Group] = {module.GROUP.name: module.GROUP for module in (amount, clock, ip, location, retailer, sender)}
DERIVED: dict[str, str] = {"as_of_us": "as_of", "event_us": "event_time", "opened_us": "account_opened_at"}
ALWAYS = frozenset({"transaction_id", "event_time", "as_of", "account_id", "amount", "row_id", "is_fraud"})
_DECLARED = frozenset(feature.name for group in GROUPS.values() for feature in group.features)
ExtraKind = Literal["number", "category"]


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
    """Return the groups that a portfolio with these columns has, each with the features it can have.

    Without an `order` every group whose columns are there is taken, in the usual order. Raises GroupError when the order
    names an unknown group, one twice, or one whose columns are absent, and when an extra column cannot join its group.

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
    available = _reachable(there)
    groups = []
    for group in chosen:
        own = tuple(_own_feature(name, wanted) for name, wanted in extra.items() if wanted.group == group.name)
        groups.append(replace(group, features=tuple(f for f in group.features if f.name in available) + own))
    return tuple(groups)


def _missing(group: Group, there: set[str]) -> list[str]:
    return [column for column in group.needs if column not in there]


def _check_wanted(name: str, there: set[str], order: tuple[str, ...]) -> None:
    if name not in GROUPS:
        raise GroupError(f"[groups] order names {name!r}, which is no group; choose from {', '.join(GROUPS)}")
    if order.count(name) > 1:
        raise GroupError(f"[groups] order names {name!r} twice; name each group once")
    if missing := _missing(GROUPS[name], there):
        raise GroupError(f"the group {name!r} needs {', '.join(missing)}, which [columns] does not map; map it or take it out")


def _check_extra(name: str, wanted: Extra, there: set[str], chosen: Iterable[Group]) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise GroupError(
            f"[groups.extra] names {name!r}; use lower-case letters, digits and _, and map the column to that name"
        )
    if name in BY_NAME or name in DERIVED or name in ALWAYS or name in ip.FACT_NAMES or name in _DECLARED:
        raise GroupError(f"[groups.extra] names {name!r}, which is a name of Strata's own; choose another name")
    if wanted.group not in GROUPS:
        raise GroupError(f"the column {name!r} is to join {wanted.group!r}, which is no group; choose from {', '.join(GROUPS)}")
    if wanted.group not in {group.name for group in chosen}:
        raise GroupError(
            f"the column {name!r} is to join {wanted.group!r}, a group the portfolio lacks; add it to [groups] order"
        )
    if name not in there:
        raise GroupError(f"the column {name!r} of [groups.extra] is not in the source; map it in [columns] or take it out")


def _own_feature(name: str, wanted: Extra) -> Feature:
    return fact(f"own_{name}", name, name.replace("_", " "), null="missing in the source", kind=wanted.kind)


def _reachable(there: set[str]) -> set[str]:
    """All names that can be computed: a feature is left out when something it needs is."""
    known = there | {name for name, column in DERIVED.items() if column in there}
    if "ip_address" in there:
        known |= ip.FACT_NAMES
    pending = [feature for group in GROUPS.values() for feature in group.features]
    everything = {*_DECLARED, *BY_NAME, *DERIVED, *ip.FACT_NAMES}
    while ready := [feature for feature in pending if feature.needs() & everything <= known]:
        known |= {feature.name for feature in ready}
        pending = [feature for feature in pending if feature.name not in known]
    return known
