"""The ordered list of groups, each one depth stage, and which of them a portfolio has."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from features.declarations import Feature, Group, fact
from features.expressions import LABELS
from features.groups import amount, clock, credit, ip, location, receiver, retailer, sender, social
from features.groups.declared import KEY_COLUMNS, Declared, Key, declared_features, key_group
from features.ip.addresses import FACT_NAMES
from features.schema import BY_NAME, Kind

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
# columns of the queries themselves, which a column or feature of a portfolio would hide
_OF_QUERIES = """
asking_id asking_us ended first_us frauds_before_run frauds_in_reach frauds_so_far is_at_edge
is_core key_id known_us last_fraud_us last_legitimate_us last_us lasting place replaced_us seen_us
touched
"""
OF_QUERIES = "|".join(
    [*_OF_QUERIES.split(), "answer_[0-9]+", "(both|frauds|labels|in_core|past)_[0-9]+[smhd]"]
)


class GroupError(ValueError):
    """A group is asked for that does not exist, or whose columns a portfolio lacks."""


@dataclass(frozen=True, kw_only=True)
class Extra:
    """A portfolio's own column: the group it joins, and whether it is a number or a category."""

    group: str
    kind: ExtraKind = "number"


def portfolio_groups(
    columns: Iterable[str],
    *,
    order: tuple[str, ...] = (),
    extra: Mapping[str, Extra] | None = None,
    keys: Mapping[str, Key] | None = None,
    features: Mapping[str, Declared] | None = None,
) -> tuple[Group, ...]:
    """Return the groups that a portfolio with these columns has, with the features each can have.

    Without an `order` every group whose columns are there is taken, in the order of GROUPS. Each of
    `keys` brings a group: at its place in the order, else behind the group it names, else last.
    Raises GroupError when the order names an unknown group, one twice, or one whose columns are
    absent, when an extra column cannot join its group, and when a key has no column; ValueError
    when one of `features` cannot be computed.

    >>> [group.name for group in portfolio_groups(["merchant_id"])]
    ['amount', 'clock', 'retailer', 'sender']
    """
    extra, keys, features = extra or {}, keys or {}, features or {}
    there = set(columns) | ALWAYS
    for name, key in keys.items():
        _check_key(name, key, there, extra)
    groups = GROUPS | {name: key_group(name, key) for name, key in keys.items()}
    _check_names(groups, extra, keys, features)
    for name in order:
        _check_wanted(name, there, order, groups)
    places = _with_keys(order or tuple(GROUPS), keys, is_ordered=bool(order))
    chosen = [groups[name] for name in places if not _missing(groups[name], there)]
    for name, wanted in extra.items():
        _check_extra(name, wanted, there, chosen)
    own = declared_features(features, keys, _sight(there, extra, keys, groups))
    for name, declared in features.items():
        _check_group(f"the feature {name!r}", declared.group, chosen)
    available = _available(there, groups, own)
    return tuple(_with_what_is_there(group, available, extra, features, own) for group in chosen)


def _sight(
    there: set[str],
    extra: Mapping[str, Extra],
    keys: Mapping[str, Key],
    groups: Mapping[str, Group],
) -> Callable[[str], Kind | None]:
    """What the names hold that an expression of a portfolio may use; None for any other."""
    kinds: dict[str, Kind] = {name: column.kind for name, column in BY_NAME.items()}
    kinds |= dict.fromkeys(DERIVED, "number")
    kinds |= {name: "number" if one.kind == "number" else "text" for name, one in extra.items()}
    kinds |= {key.column: "text" for key in keys.values()}
    known = there | {name for name, column in DERIVED.items() if column in there}
    kinds = {name: kind for name, kind in kinds.items() if name in known}
    shown = [one for group in groups.values() for one in group.features if one.shown]
    available = _available(there, groups, {})
    kinds |= {
        one.name: "text" if one.kind == "category" else "number"
        for one in shown
        if one.name in available
    }
    return kinds.get


def _with_keys(
    order: tuple[str, ...], keys: Mapping[str, Key], *, is_ordered: bool
) -> tuple[str, ...]:
    """The order with the keys' groups in it, each behind the group that it names, else last."""
    places = list(order)
    waiting = {name: key for name, key in keys.items() if name not in places}
    for name, key in keys.items():
        if name in order and key.after:
            raise GroupError(
                f"[keys.{name}] stands after {key.after!r}, and [groups] order has a place for "
                f"{name!r}; take out one of them"
            )
    while waiting:
        ready = [name for name, key in waiting.items() if not key.after or key.after in places]
        if not ready:
            name, key = next(iter(waiting.items()))
            known = ", ".join([*places, *(one for one in waiting if one != name)])
            raise GroupError(
                f"[keys.{name}] stands after {key.after!r}, which is no group before it"
                f"{' in [groups] order' if is_ordered else ''}; choose from {known}"
            )
        for name in ready:
            _place(name, waiting.pop(name).after, places, keys)
    return tuple(places)


def _place(name: str, after: str, places: list[str], keys: Mapping[str, Key]) -> None:
    at = places.index(after) + 1 if after else len(places)
    while at < len(places) and places[at] in keys and keys[places[at]].after == after:
        at += 1
    places.insert(at, name)


def _check_key(name: str, key: Key, there: set[str], extra: Mapping[str, Extra]) -> None:
    column = key.column
    if column in LABELS:
        raise GroupError(
            f"[keys.{name}] is over {column}, which nobody knows yet when a payment is judged; "
            "name another column"
        )
    is_text = column not in BY_NAME or BY_NAME[column].kind == "text"
    if not is_text or (column in extra and extra[column].kind != "category"):
        raise GroupError(
            f"[keys.{name}] is over {column}, which is no text; "
            f'write SQL over the source\'s columns, such as column = "{column}::VARCHAR"'
        )
    if column not in there:
        known = f"[keys.{name}] needs the column {column!r}, which the transactions do not have"
        raise GroupError(f"{known}; map it, and run strata ingest --again, or take the key out")


def _check_names(
    groups: Mapping[str, Group],
    extra: Mapping[str, Extra],
    keys: Mapping[str, Key],
    features: Mapping[str, Declared],
) -> None:
    """Refuse names of keys and features that are no words, or mean something else already."""
    taken = {*BY_NAME, *DERIVED, *ALWAYS, *FACT_NAMES, *_DECLARED, *GROUPS, *KEY_COLUMNS}
    taken |= {*extra, *(f"own_{name}" for name in extra)}
    for name in keys:
        _check_name(f"[keys.{name}]", name, taken)
        taken |= {name, *(feature.name for feature in groups[name].features)}
    for name in features:
        _check_name(f"[features.{name}]", name, taken)


def _check_name(table: str, name: str, taken: set[str]) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise GroupError(f"{table} cannot be called so; use lower-case letters, digits and _")
    if name in RESERVED:
        raise GroupError(f"{table} is called by a word of SQL; choose another name")
    if name in taken or re.fullmatch(OF_QUERIES, name):
        raise GroupError(f"{table} has a name that means something already; choose another one")


def _check_group(what: str, group: str, chosen: Iterable[Group]) -> None:
    known = [one.name for one in chosen]
    if group not in known:
        lacks = "a group the portfolio lacks" if group in GROUPS else "which is no group"
        raise GroupError(f"{what} is to join {group!r}, {lacks}; choose from {', '.join(known)}")


def _with_what_is_there(
    group: Group,
    available: Mapping[str, Feature],
    extra: Mapping[str, Extra],
    declared: Mapping[str, Declared],
    own: Mapping[str, tuple[Feature, ...]],
) -> Group:
    features = [available[one.name] for one in group.features if one.name in available]
    joining = {name: wanted for name, wanted in extra.items() if wanted.group == group.name}
    features += [_own_feature(name, wanted) for name, wanted in joining.items()]
    for name, wanted in declared.items():
        if wanted.group == group.name:
            features += own[name]
    return replace(group, features=tuple(features))


def _missing(group: Group, there: set[str]) -> list[str]:
    return [column for column in group.needs if column not in there]


def _check_wanted(
    name: str, there: set[str], order: tuple[str, ...], groups: Mapping[str, Group]
) -> None:
    if name not in groups:
        raise GroupError(
            f"[groups] order names {name!r}, which is no group; choose from {', '.join(groups)}"
        )
    if order.count(name) > 1:
        raise GroupError(f"[groups] order names {name!r} twice; name each group once")
    if missing := _missing(groups[name], there):
        raise GroupError(
            f"the group {name!r} needs {', '.join(missing)}, which [columns] does not map; "
            "map it or take it out"
        )


def is_free(name: str) -> bool:
    """Whether a column of a portfolio may be called so.

    >>> is_free("v1"), is_free("order"), is_free("amount"), is_free("1st")
    (True, False, False, False)
    """
    is_word = bool(re.fullmatch(r"[a-z][a-z0-9_]*", name)) and name not in RESERVED
    known = {*BY_NAME, *DERIVED, *ALWAYS, *FACT_NAMES, *_DECLARED}
    return is_word and name not in known and not re.fullmatch(OF_QUERIES, name)


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
    known = {group.name for group in chosen}
    if wanted.group not in {*GROUPS, *known}:
        raise GroupError(
            f"the column {name!r} is to join {wanted.group!r}, which is no group; "
            f"choose from {', '.join({**GROUPS, **dict.fromkeys(known)})}"
        )
    if wanted.group not in known:
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


def _available(
    there: set[str], groups: Mapping[str, Group], own: Mapping[str, tuple[Feature, ...]]
) -> dict[str, Feature]:
    """All features that can be computed, by name: one is left out when something it needs is.

    Only the sum over what is newly seen goes on with less: it counts the values that the portfolio
    has.
    """
    declared = {feature.name: feature for group in groups.values() for feature in group.features}
    declared |= {feature.name: feature for made in own.values() for feature in made}
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
