"""What the features mean, as fingerprints: a bundle carries those of its training.

The texts that are hashed are those of release 0.1, whose bundles go on scoring.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from features.build import KEYS, all_features, shown_features, whole_history
from features.declarations import Feature, Group
from features.groups.catalogue import DERIVED
from features.schema import BY_NAME
from features.sql.aggregates import windowed
from features.sql.plan import Plan, ordered
from features.sql.rows import Table

NAMED = 5  # features of a kind that are named in a difference


def digest(groups: Sequence[Group]) -> str:
    """Fingerprint of all features: of their names, kinds, groups and the whole SQL."""
    return _digest(tuple(groups))


@lru_cache(maxsize=16)
def _digest(groups: tuple[Group, ...]) -> str:
    plan = Plan(all_features(groups))
    steps = whole_history(plan, [*BY_NAME, *DERIVED, *plan.words], KEYS)
    queries = [step.query for step in steps if isinstance(step, Table)]
    return _hash([*map(_contents, groups), *queries, plan.read(plan.features)])


def fingerprints(groups: Sequence[Group]) -> dict[str, str]:
    """Fingerprint of each shown feature: of all declarations it stands on."""
    features = all_features(groups)
    needed = {one.name: ordered(features, [one.name]) for one in shown_features(groups)}
    return {name: _hash(map(_declaration, below)) for name, below in needed.items()}


def difference(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """Say in which features two sets differ.

    >>> difference({"amount_paid": "1", "hour": "2"}, {"amount_paid": "3", "device": "4"})
    'amount_paid has changed, device is gone, hour is new'
    """
    changed = [name for name in ours if name in theirs and ours[name] != theirs[name]]
    clauses = [
        _clause(changed, "has changed", "have changed"),
        _clause([name for name in theirs if name not in ours], "is gone", "are gone"),
        _clause([name for name in ours if name not in theirs], "is new", "are new"),
    ]
    return (
        ", ".join(filter(None, clauses))
        or "the order of groups or the way windows are computed has changed"
    )


def _contents(group: Group) -> str:
    shown = [f"{feature.name} {feature.kind}" for feature in group.features if feature.shown]
    return f"{group.name}: {', '.join(shown)}"


def _declaration(feature: Feature) -> str:
    """All that a feature's values depend on, beside the features it needs."""
    head, over = f"{feature.name} {feature.kind}", feature.aggregate
    if over is None:
        return f"{head} {feature.sql} () ()  rows {feature.lookup}"
    return f"{head} {windowed(over)} {over.key} {over.as_key} {over.span} {over.stream} "


def _clause(names: Sequence[str], one: str, many: str) -> str:
    if not names:
        return ""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more} {one if len(names) == 1 else many}"


def _hash(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
