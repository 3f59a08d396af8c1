"""What the features mean, as fingerprints: a bundle carries those it was trained on, and other features are refused."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from features.build import KEYS, all_features, shown_features, whole_history
from features.declarations import Group
from features.groups.catalogue import DERIVED
from features.schema import BY_NAME
from features.sql.plan import Plan, ordered
from features.sql.rows import Table

NAMED = 5  # features of a kind that are named in a difference


def digest(groups: Sequence[Group]) -> str:
    """Fingerprint of all features: of their names, kinds, groups and the whole SQL."""
    names = [
        f"{group.name}: {', '.join(f'{f.name} {f.kind}' for f in group.features if f.shown)}"
        for group in groups
    ]
    plan = Plan(all_features(groups))
    tables = whole_history(plan, [*BY_NAME, *DERIVED, *plan.words], KEYS)
    return _print(
        [
            *names,
            *(table.query for table in tables if isinstance(table, Table)),
            plan.read(plan.features),
        ]
    )


def fingerprints(groups: Sequence[Group]) -> dict[str, str]:
    """Fingerprint of each shown feature: of all declarations it stands on."""
    features = all_features(groups)
    return {
        shown.name: _print(
            f"{one.name} {one.kind} {one.sql} {one.key} {one.of} {one.span} {one.stream} {one.lookup}"
            for one in needed
        )
        for shown in shown_features(groups)
        for needed in [ordered(features, [shown.name])]
    }


def difference(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """Say in which features two sets differ.

    >>> difference({"amount_paid": "1", "hour": "2"}, {"amount_paid": "3", "device": "4"})
    'amount_paid has changed, device is gone, hour is new'
    """
    changed = [name for name in ours if name in theirs and ours[name] != theirs[name]]
    said = [
        _said(changed, "has changed", "have changed"),
        _said([name for name in theirs if name not in ours], "is gone", "are gone"),
        _said([name for name in ours if name not in theirs], "is new", "are new"),
    ]
    return (
        ", ".join(filter(None, said))
        or "the order of groups or the way windows are computed has changed"
    )


def _said(names: Sequence[str], one: str, many: str) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more} {one if len(names) == 1 else many}" if names else ""


def _print(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
