"""In which order features are computed, where their tables lie, and how these are read together.

Features of one key are a table of their own, the part, with the `row_id` of the rows; facts are
computed when parts are read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter

from features.declarations import Feature, microseconds
from features.groups.catalogue import GROUPS
from features.known_fraud import LONGEST_WAIT
from features.schema import SchemaError
from features.sql.windows import in_doubles, inputs, select, window_query


@dataclass(frozen=True, kw_only=True)
class Part:
    """A table of features that are computed together: windows of one stream and key, or look-ups in earlier rows."""

    table: str
    depth: int
    features: tuple[Feature, ...]

    @property
    def is_lookup(self) -> bool:
        """Whether its features are read from earlier rows."""
        return bool(self.features[0].lookup)

    @property
    def is_of_labels(self) -> bool:
        """Whether its windows run over labels."""
        return self.features[0].stream == "labels"


class Plan:
    """The wanted features (else the shown ones), and those they need, laid out in parts beside a table of rows.

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
        self.features = {
            one.name: replace(one, sql=in_doubles(one.sql)) for one in ordered(features, wanted)
        }
        self.words = {
            word for feature in self.features.values() for word in feature.needs()
        } - self.features.keys()
        self.depths: dict[str, int] = {}
        for feature in self.features.values():
            below = max(
                (self.depths[name] for name in feature.needs() & self.depths.keys()), default=0
            )
            self.depths[feature.name] = below + bool(feature.key or feature.lookup)
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
        needed = ordered_needs(
            wanted, {name: one for name, one in self.features.items() if name not in self._home}
        )
        facts = [
            self.features[name]
            for name in needed
            if name in self.features and name not in self._home
        ]
        given = [name for name in needed if name not in self.features and name != "row_id"]
        parted = [name for name in needed if name in self._home]
        parts = dict.fromkeys(self._home[name].table for name in parted)
        bounds = f" WHERE row_id BETWEEN {first} AND {last}" if last else ""
        tables = [self.rows, *parts]
        if bounds:
            tables = [f"(SELECT * FROM {table}{bounds})" for table in tables]  # noqa: S608
        joined = " LEFT JOIN ".join(
            f"{table} AS {name}" + (" USING (row_id)" if place else "")
            for place, (table, name) in enumerate(zip(tables, (self.rows, *parts), strict=True))
        )
        query = select(["row_id", *given, *parted], joined)
        return _picked(_with_facts(query, facts), wanted) if facts else query

    def windows(self, part: Part, *, shard: str = "TRUE") -> str:
        """Write the query of a part's windows over all rows of the table, or over those of a shard of its key's values."""
        key, of = part.features[0].key, part.features[0].of
        read = self.read([*key, *of, "as_of_us", *inputs(part.features)])
        return window_query(f"({only(read, shard)}) AS seen", part.features)

    def _parts(self) -> list[Part]:
        shared: dict[tuple[object, ...], list[Feature]] = {}
        for feature in self.features.values():
            if feature.key:
                shared.setdefault(
                    (self.depths[feature.name], feature.stream, feature.key, feature.of), []
                ).append(feature)
            elif feature.lookup:
                shared.setdefault((self.depths[feature.name], "lookup"), []).append(feature)
        return [
            Part(table=f"{self.rows}_{number}", depth=self.depths[own[0].name], features=tuple(own))
            for number, own in enumerate(
                sorted(shared.values(), key=lambda own: self.depths[own[0].name])
            )
        ]


def only(query: str, shard: str) -> str:
    """Write the query of the rows that meet a condition."""
    return query if shard == "TRUE" else f"SELECT * FROM ({query}) AS of_all WHERE {shard}"  # noqa: S608


def ordered(features: Iterable[Feature], wanted: Iterable[str] | None = None) -> list[Feature]:
    """The wanted features (else the shown ones) and those they need, each behind what it needs. Raises SchemaError on a circle.

    A hidden feature may stand in a group that the portfolio does not have.
    """
    given = {feature.name: feature for feature in features}
    declared = {
        feature.name: feature for group in GROUPS.values() for feature in group.features
    } | given
    names = ordered_needs(
        wanted or [feature.name for feature in given.values() if feature.shown], declared
    )
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
        raise SchemaError(
            f"the features {', '.join(error.args[1])} need one another; break the circle"
        ) from error


def reach(features: Iterable[Feature], wanted: Iterable[str] | None = None) -> int:
    """How many microseconds of history the wanted features (else the shown ones) see, through all windows on windows."""
    reaches: dict[str, int] = {}
    for feature in ordered(features, wanted):
        below = max(
            (reaches[name] for name in (feature.needs() - {feature.lookup}) & reaches.keys()),
            default=0,
        )
        reaches[feature.name] = below + _own_reach(feature, reaches)
    return max(reaches.values(), default=0)


def _own_reach(feature: Feature, reaches: Mapping[str, int]) -> int:
    if feature.lookup:
        return reaches[feature.lookup]
    if not feature.key:
        return 0
    return microseconds(feature.span) + (
        microseconds(LONGEST_WAIT) if feature.stream == "labels" else 0
    )


def _with_facts(query: str, facts: Sequence[Feature]) -> str:
    """Wrap a query in one SELECT for each layer of facts that build on one another."""
    left = list(facts)
    while left:
        names = {feature.name for feature in left}
        ready = [feature for feature in left if not feature.needs() & names]
        query = select(
            ["*", *(f"{feature.sql} AS {feature.name}" for feature in ready)], f"({query}) AS layer"
        )
        left = [feature for feature in left if feature not in ready]
    return query


def _picked(query: str, names: Iterable[str]) -> str:
    return select(names, f"({query}) AS read_together")
