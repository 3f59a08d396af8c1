"""In which order features are computed: facts of a transaction, windows over them, facts over those windows, and so on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from features.groups import GROUPS
from features.risk import LONGEST_WAIT
from features.schema import SchemaError
from features.windows import Feature, microseconds


@dataclass(frozen=True, kw_only=True)
class Step:
    """One depth of the plan: windows (one query for each stream and key), look-ups in earlier rows, then facts."""

    windows: tuple[tuple[Feature, ...], ...]
    lookups: tuple[Feature, ...]
    facts: tuple[Feature, ...]

    def features(self) -> tuple[Feature, ...]:
        """All features of this depth."""
        return (*(feature for shared in self.windows for feature in shared), *self.lookups, *self.facts)


def plan(features: Iterable[Feature]) -> list[Step]:
    """Lay the shown features, and the hidden ones they need, out by depth."""
    needed = ordered(features)
    depths: dict[str, int] = {}
    for feature in needed:
        below = max((depths[name] for name in feature.needs() & depths.keys()), default=0)
        depths[feature.name] = below + bool(feature.key or feature.lookup)
    return [
        _step([feature for feature in needed if depths[feature.name] == depth])
        for depth in range(max(depths.values(), default=0) + 1)
    ]


def ordered(features: Iterable[Feature]) -> list[Feature]:
    """The shown features and the hidden ones they need, each behind what it needs. Raises SchemaError on a circle.

    A hidden feature may stand in a group that the portfolio does not have.
    """
    given = {feature.name: feature for feature in features}
    declared = {feature.name: feature for group in GROUPS.values() for feature in group.features} | given
    needed: dict[str, list[str]] = {}
    left = [feature.name for feature in reversed(given.values()) if feature.shown]
    while left:
        name = left.pop()
        if name not in needed:
            needed[name] = sorted(declared[name].needs() & declared.keys())
            left += needed[name]
    try:
        return [declared[name] for name in TopologicalSorter(needed).static_order()]
    except CycleError as error:
        raise SchemaError(f"the features {', '.join(error.args[1])} need one another; break the circle") from error


def reach(features: Iterable[Feature]) -> int:
    """How many microseconds of history the features see, through all the windows that stand on windows."""
    reaches: dict[str, int] = {}
    for feature in ordered(features):
        below = max((reaches[name] for name in (feature.needs() - {feature.lookup}) & reaches.keys()), default=0)
        reaches[feature.name] = below + _own_reach(feature, reaches)
    return max(reaches.values(), default=0)


def _own_reach(feature: Feature, reaches: Mapping[str, int]) -> int:
    if feature.lookup:
        return reaches[feature.lookup]
    if not feature.key:
        return 0
    return microseconds(feature.span) + (microseconds(LONGEST_WAIT) if feature.stream == "labels" else 0)


def _step(features: list[Feature]) -> Step:
    windows: dict[tuple[str, ...], list[Feature]] = {}
    for feature in features:
        if feature.key:
            windows.setdefault((feature.stream, *feature.key), []).append(feature)
    return Step(
        windows=tuple(tuple(shared) for shared in windows.values()),
        lookups=tuple(feature for feature in features if feature.lookup),
        facts=tuple(feature for feature in features if not feature.key and not feature.lookup),
    )
