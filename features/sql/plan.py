"""In which order features are computed, where their tables lie, and how these are read together.

Features of one key are a table of their own, the part, with the `row_id` of the rows; facts are
computed when parts are read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from features.declarations import Aggregate, Feature, microseconds
from features.groups.catalogue import GROUPS
from features.known_fraud import LONGEST_WAIT
from features.schema import SchemaError
from features.sql.windows import inputs, named, select, window_query


@dataclass(frozen=True, kw_only=True)
class Part:
    """A table of features made together: aggregates of one stream and key, or look-ups."""

    table: str
    features: tuple[Feature, ...]

    @property
    def names(self) -> list[str]:
        """The names of its features."""
        return [feature.name for feature in self.features]

    @property
    def aggregates(self) -> dict[str, Aggregate]:
        """Its aggregates by their features' names; of look-ups none."""
        return {one.name: one.aggregate for one in self.features if one.aggregate}

    @property
    def key(self) -> tuple[str, ...]:
        """The columns whose values have the past that its aggregates run over; of look-ups none."""
        return self.features[0].aggregate.key if self.features[0].aggregate else ()

    @property
    def as_key(self) -> tuple[str, ...]:
        """The columns of the past that hold these values."""
        return self.features[0].aggregate.as_key if self.features[0].aggregate else ()

    @property
    def is_lookup(self) -> bool:
        """Whether its features are read from earlier rows."""
        return bool(self.features[0].lookup)

    @property
    def is_of_labels(self) -> bool:
        """Whether its aggregates run over labels."""
        return any(aggregate.stream == "labels" for aggregate in self.aggregates.values())


class Plan:
    """The wanted features (else the shown ones), and those they need, in parts beside their rows.

    `words` are all names that their SQL and keys use, `depths` how many windows or look-ups each
    stands on.
    """

    def __init__(
        self,
        features: Iterable[Feature],
        *,
        rows: str = "rows",
        wanted: Iterable[str] | None = None,
    ) -> None:
        self.rows = rows
        self.features = {feature.name: feature for feature in ordered(features, wanted)}
        needed = set[str]().union(*(feature.needs() for feature in self.features.values()))
        self.words = needed - self.features.keys()
        self.depths: dict[str, int] = {}
        for name, feature in self.features.items():
            depths = [self.depths[below] for below in feature.needs() & self.depths.keys()]
            self.depths[name] = max(depths, default=0) + (not _is_of_its_row(feature))
        self.parts = self._parts()
        self._home = {feature.name: part for part in self.parts for feature in part.features}

    def home(self, name: str) -> Part:
        """The part that has a feature."""
        return self._home[name]

    def read(self, names: Iterable[str], *, first: int = 0, last: int = 0) -> str:
        """Write the query of columns and features, with the row_id.

        Given `last`, only of the rows from `first` to it.
        """
        wanted = list(dict.fromkeys(["row_id", *names]))
        facts = {name: one for name, one in self.features.items() if name not in self._home}
        needed = ordered_needs(wanted, facts)
        parted = [name for name in needed if name in self._home]
        given = [name for name in needed if name not in self.features and name != "row_id"]
        bounds = f"row_id BETWEEN {first} AND {last}" if last else ""
        parts = [self._home[name].table for name in parted]
        query = select(["row_id", *given, *parted], self._joined(parts, bounds))
        layered = [facts[name] for name in needed if name in facts]
        return _picked(_with_facts(query, layered), wanted) if layered else query

    def over(self, table: str, names: Iterable[str]) -> str:
        """Write the query of a table of columns and windows with the facts among `names` beside."""
        facts = [one for one in self.features.values() if _is_of_its_row(one)]
        needed = {*ordered_needs(names, self.features)}
        return _with_facts(select(["*"], table), [one for one in facts if one.name in needed])

    def windows(self, part: Part, *, shard: str = "TRUE") -> str:
        """Write the query of a part's windows over all rows, or over a shard of its key."""
        read = [*part.key, *part.as_key, "as_of_us", *inputs(part.aggregates.values())]
        return window_query(f"({only(self.read(read), shard)}) AS seen", part.aggregates)

    def _joined(self, parts: Iterable[str], bounds: str) -> str:
        """Write the tables of the rows and of these parts, side by side, within bounds."""
        tables = [self.rows, *dict.fromkeys(parts)]
        if bounds:
            bounded = [f"(SELECT * FROM {table} WHERE {bounds}) AS {table}" for table in tables]  # noqa: S608
        else:
            bounded = [f"{table} AS {table}" for table in tables]
        rows, *others = bounded
        return " LEFT JOIN ".join([rows, *(f"{other} USING (row_id)" for other in others)])

    def _parts(self) -> list[Part]:
        shared: dict[tuple[object, ...], list[Feature]] = {}
        for name, feature in self.features.items():
            if not _is_of_its_row(feature):
                shared.setdefault((self.depths[name], *_past(feature)), []).append(feature)
        upwards = sorted(shared.values(), key=lambda own: self.depths[own[0].name])
        return [
            Part(table=f"{self.rows}_{number}", features=tuple(own))
            for number, own in enumerate(upwards)
        ]


def only(query: str, shard: str) -> str:
    """Write the query of the rows that meet a condition."""
    return query if shard == "TRUE" else f"SELECT * FROM ({query}) AS of_all WHERE {shard}"  # noqa: S608


def ordered(features: Iterable[Feature], wanted: Iterable[str] | None = None) -> list[Feature]:
    """The wanted features (else the shown ones) and those they need, each behind what it needs.

    A hidden feature may stand in a group that the portfolio does not have. Raises SchemaError on a
    circle.
    """
    given = {feature.name: feature for feature in features}
    everything = [feature for group in GROUPS.values() for feature in group.features]
    declared = {feature.name: feature for feature in everything} | given
    shown = [feature.name for feature in given.values() if feature.shown]
    names = ordered_needs(wanted or shown, declared)
    return [declared[name] for name in names if name in declared]


def ordered_needs(names: Iterable[str], declared: Mapping[str, Feature]) -> list[str]:
    """The names and all they need, each behind what it needs; what is not declared is a column."""
    needed: dict[str, list[str]] = {}
    left = [*reversed(list(names))]
    while left:
        name = left.pop()
        if name not in needed:
            needed[name] = sorted(declared[name].needs()) if name in declared else []
            left += needed[name]
    try:
        return list(TopologicalSorter(needed).static_order())
    except CycleError as error:
        circle = ", ".join(error.args[1])
        raise SchemaError(f"the features {circle} need one another; break the circle") from error


def reach(features: Iterable[Feature], wanted: Iterable[str] | None = None) -> int:
    """How many microseconds of history the wanted features (else the shown ones) see, all in all.

    A window on windows sees as far as both together.
    """
    reaches: dict[str, int] = {}
    for feature in ordered(features, wanted):
        below = (feature.needs() - {feature.lookup}) & reaches.keys()
        most = max((reaches[name] for name in below), default=0)
        reaches[feature.name] = most + _own_reach(feature, reaches)
    return max(reaches.values(), default=0)


def _is_of_its_row(feature: Feature) -> bool:
    return not feature.aggregate and not feature.lookup


def _past(feature: Feature) -> tuple[object, ...]:
    """What features must share to be made together."""
    if not feature.aggregate:
        return ("lookup",)
    return feature.aggregate.stream, feature.aggregate.key, feature.aggregate.as_key


def _own_reach(feature: Feature, reaches: Mapping[str, int]) -> int:
    if feature.lookup:
        return reaches[feature.lookup]
    if not feature.aggregate:
        return 0
    wait = microseconds(LONGEST_WAIT) if feature.aggregate.stream == "labels" else 0
    return microseconds(feature.aggregate.span) + wait


def _with_facts(query: str, facts: Sequence[Feature]) -> str:
    """Wrap a query in one SELECT for each layer of facts that build on one another."""
    left = list(facts)
    while left:
        names = {feature.name for feature in left}
        ready = [feature for feature in left if not feature.needs() & names]
        columns = [named(feature.sql, feature.name) for feature in ready]
        query = select(["*", *columns], f"({query}) AS layer")
        left = [feature for feature in left if feature not in ready]
    return query


def _picked(query: str, names: Iterable[str]) -> str:
    return select(names, f"({query}) AS read_together")
