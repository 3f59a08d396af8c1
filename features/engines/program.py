"""What the one-pass kernel keeps and answers, made from the declared aggregates: its program.

A plan's windows over rows are asked of key lists, one for each key that rows are looked up by; a
measure is what a list keeps running sums, trees or last positions of. What stands on windows is
known once these are: everything has a depth, the number of windows it stands on.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from features.declarations import Aggregate, Function, names_in
from features.sql.plan import Part, Plan, ordered_needs

Key = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A row-level expression, and the functions that are asked of its values; null is no value."""

    sql: str
    functions: frozenset[Function]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be computed of all rows at a depth, by their names or expressions.

    Columns that are keys, measures of key lists (each as often as lists ask for it), and columns
    that earlier rows are asked for.
    """

    keys: tuple[str, ...]
    measures: tuple[str, ...]
    looked_up: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The columns and features that they depend on."""
        words = set[str]().union(*map(names_in, self.measures))
        return sorted({*self.keys, *self.looked_up, *words})

    def columns(self, given: Collection[str]) -> dict[str, str]:
        """The names under which they stand in a table, and the expressions of these columns.

        Measures become doubles, unless they are given as columns.
        """
        columns = {name: name for name in (*self.keys, *self.looked_up)}
        for place, sql in enumerate(dict.fromkeys(self.measures)):
            columns[f"measure_{place}"] = sql if sql in given else f"CAST({sql} AS DOUBLE)"
        return columns

    def apart(self) -> Iterator["Wanted"]:
        """Each of it alone, the keys first."""
        yield from (_wanted(keys=[name]) for name in self.keys)
        yield from (_wanted(looked_up=[name]) for name in self.looked_up)
        for sql, times in Counter(self.measures).items():
            yield _wanted(measures=[sql] * times)

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.keys or self.measures or self.looked_up)


class Program:
    """What a plan's features ask of their keys' pasts.

    `lists` are the measures of each key list, `asked_as` the keys that ask each of them,
    `judged` the keys whose fraud is asked for, `compared` the names of columns whose values are
    compared with those of each, `looked_up` the columns that earlier rows are asked for.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        over_rows = [part for part in plan.parts if part.key and not part.is_of_labels]
        self.judged = [part.key for part in plan.parts if part.is_of_labels]
        asked: dict[Key, list[Part]] = {}
        for part in over_rows:
            asked.setdefault(part.as_key, []).append(part)
        self.lists = {as_key: _measures(parts) for as_key, parts in asked.items()}
        self.asked_as = {as_key: _keys(parts) for as_key, parts in asked.items()}
        asking = [(as_key, key) for as_key, keys in self.asked_as.items() for key in keys]
        pairs = [pair for one in asking for pair in zip(*one, strict=True)]
        self.compared = joined([*pairs, *self.judged])
        lookups = [one for one in plan.features.values() if one.lookup]
        self.looked_up = sorted(set[str]().union(*(one.needs() - {one.lookup} for one in lookups)))

    @property
    def depths(self) -> range:
        """The depths at which something is to be computed of all rows."""
        return range(max(self.plan.depths.values(), default=0))

    def depth(self, names: Iterable[str]) -> int:
        """How many windows the deepest of these columns and features stands on."""
        return max((self.plan.depths.get(name, 0) for name in names), default=0)

    def wanted(self, depth: int) -> Wanted:
        """What is to be computed of all rows once windows down to a depth are known."""
        keys = {*self.judged, *self.lists}.union(*self.asked_as.values())
        columns = set[str]().union(*keys)
        measures = chain(*(self.measures_at(key, depth) for key in self.lists))
        return Wanted(
            keys=self._at(depth, columns),
            measures=tuple(measure.sql for measure in measures),
            looked_up=self._at(depth, self.looked_up),
        )

    def measures_at(self, key: Key, depth: int) -> list[Measure]:
        """The measures of a key list that can be made at a depth, and not before."""
        return [one for one in self.lists[key] if self.depth((*names_in(one.sql), *key)) == depth]

    def needed_parts(self, names: Iterable[str]) -> list[Part]:
        """The windows and look-ups that columns and features stand on, the lowest first."""
        needed = {*ordered_needs(names, self.plan.features)}
        return [part for part in self.plan.parts if not needed.isdisjoint(part.names)]

    def _at(self, depth: int, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(name for name in names if self.depth([name]) == depth))


def measure_of(aggregate: Aggregate) -> str:
    """Write the expression that is null for a row that does not count; empty where all rows do.

    >>> online = "channel = 'online'"
    >>> key = ("account_id",)
    >>> measure_of(Aggregate(function="count", key=key, as_key=key, span="1d", where=online))
    "CASE WHEN channel = 'online' THEN 1 END"
    """
    if aggregate.where:
        return f"CASE WHEN {aggregate.where} THEN {aggregate.of or 1} END"
    return aggregate.of


def joined(pairs: Sequence[Sequence[str]]) -> dict[str, frozenset[str]]:
    """The names that are compared with one another, directly or by others, for each name.

    >>> sorted(joined([("account_id", "counterparty_id"), ("device_id",)])["counterparty_id"])
    ['account_id', 'counterparty_id']
    """
    found: dict[str, frozenset[str]] = {}
    for names in pairs:
        for name in names:
            found.setdefault(name, frozenset({name}))
        for one, other in pairwise(names):
            both = found[one] | found[other]
            found |= dict.fromkeys(both, both)
    return found


def _wanted(
    *, keys: Sequence[str] = (), measures: Sequence[str] = (), looked_up: Sequence[str] = ()
) -> Wanted:
    return Wanted(keys=tuple(keys), measures=tuple(measures), looked_up=tuple(looked_up))


def _keys(parts: Iterable[Part]) -> set[Key]:
    return {part.key for part in parts}


def _measures(parts: Iterable[Part]) -> tuple[Measure, ...]:
    asked: dict[str, set[Function]] = {}
    for part in parts:
        for aggregate in part.aggregates.values():
            if sql := measure_of(aggregate):
                asked.setdefault(sql, set()).add(aggregate.function)
    return tuple(Measure(sql=sql, functions=frozenset(own)) for sql, own in asked.items())
