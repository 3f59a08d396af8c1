"""Key lists: the rows of each key in order of time, with running sums of what is asked of them.

What windows ask is answered from them by `answers`; `features.engines.kernels` has the loops.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np

from features.declarations import Aggregate, Function, microseconds
from features.engines import kernels
from features.engines.arrays import Answer, Codes, Doubles, Flags, Moments, Positions
from features.engines.program import Measure, measure_of

SUMMED: frozenset[Function] = frozenset({"sum", "mean", "stddev"})
LAST: frozenset[Function] = frozenset({"last", "seconds_since", "newly_seen"})
NONE = np.empty(0, np.int32)
NO_UNITS = np.empty(0, np.int64)
NO_DOUBLES = np.empty((2, 0))
NO_TREE = np.empty(0), NO_UNITS


@dataclass(frozen=True, kw_only=True)
class Running:
    """What a list keeps of one measure, as `kernels` makes it; empty where it is not asked for.

    Without `counts` all rows have a value. Where sums are asked for they are in `units`, where all
    values are money, else in `doubles`. The values themselves, of each row, are kept where these
    may be too coarse.
    """

    values: Doubles
    known: Flags
    counts: Positions = field(default_factory=lambda: NONE)
    units: Moments = field(default_factory=lambda: NO_UNITS)
    doubles: Doubles = field(default_factory=lambda: NO_DOUBLES)
    squares: Doubles = field(default_factory=lambda: NO_DOUBLES)
    largest: tuple[Doubles, Moments] = NO_TREE
    least: tuple[Doubles, Moments] = NO_TREE
    last: Positions = field(default_factory=lambda: NONE)


@dataclass(frozen=True, kw_only=True)
class KeyList:
    """The rows of each key in order of time: where each key's begin, and their numbers.

    `moments` are those of all rows, by their numbers.
    """

    offsets: Positions
    order: Positions
    moments: Moments
    measures: dict[str, Running] = field(default_factory=dict)

    def take(self, measure: Measure, values: Doubles, known: Flags) -> None:
        """Keep what is asked of a measure, given its value in each row where it is known."""
        made = running(self, measure, values, known)
        for other in self.measures.values():  # of a place's three axes all are known, or none
            if np.array_equal(other.counts, made.counts):
                made = replace(made, counts=other.counts)
        self.measures[measure.sql] = made


@dataclass(frozen=True, kw_only=True)
class Asking:
    """The rows that others see: below `until`, by spans from `since`."""

    until: Positions
    since: Mapping[str, Positions]

    def take(self, order: Positions) -> "Asking":
        """The same of rows in another order."""
        since = {span: rows[order] for span, rows in self.since.items()}
        return Asking(until=self.until[order], since=since)


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The windows of asking rows in a key list, by their spans.

    The first row of the list is the row `first` of all.
    """

    own: KeyList
    first: int
    starts: Positions
    highs: Positions
    lows: Mapping[str, Positions]


def key_list(codes: Codes, keys: int, moments: Moments) -> KeyList:
    """Make the list of rows in order of time, whose keys are `codes`, below `keys`; -1 is unknown.

    Raises ValueError where there are more rows than its positions can count.
    """
    if codes.size >= 2**31 - 1:
        raise ValueError(
            f"{codes.size} rows are more than the kernel counts (2147483646); "
            "set STRATA_ENGINE=spark"
        )
    offsets, order = kernels.group(codes, keys)
    return KeyList(offsets=offsets, order=order, moments=moments)


def running(own: KeyList, measure: Measure, values: Doubles, known: Flags) -> Running:
    """Make what a list keeps of a measure, given its value in each row where it is known."""
    asked, order, offsets = measure.functions, own.order, own.offsets
    kept: dict[str, Any] = {}
    if "stddev" in asked or not known.all():
        kept["counts"] = kernels.run_counts(known, order)
    if asked & SUMMED:
        kept |= _sums(own, values, known, spread="stddev" in asked)
    if "max" in asked:
        kept["largest"] = kernels.grow_tree(values, known, order, True)
    if "min" in asked:
        kept["least"] = kernels.grow_tree(values, known, order, False)
    if asked & LAST:
        kept["last"] = kernels.run_last(known, order, offsets)
    if "stddev" in asked or ("doubles" in kept and not kernels.are_fine(kept["doubles"])):
        return Running(values=values, known=known, **kept)
    return Running(values=values[:0].copy(), known=known[:0].copy(), **kept)


def _sums(own: KeyList, values: Doubles, known: Flags, *, spread: bool) -> dict[str, Any]:
    """Sums of money in units; of a measure with other values, in doubles."""
    kept: dict[str, Any] = {}
    in_units = kernels.are_units(values, known)
    if in_units:
        kept["units"] = kernels.run_units(values, known, own.order)
    else:
        kept["doubles"] = kernels.run_doubles(values, known, own.order, own.offsets)
    if spread:
        kept["squares"] = kernels.run_squares(values, known, own.order, own.offsets, in_units)
    return kept


def asking(moments: Moments, asked: Moments, spans: Iterable[str]) -> Asking:
    """Find what rows at asked moments see of all rows, whose moments are in order like theirs."""
    return Asking(
        until=kernels.first_rows(moments, asked, 0),
        since={span: kernels.first_rows(moments, asked, microseconds(span)) for span in set(spans)},
    )


def find(own: KeyList, codes: Codes, rows: Asking, spans: Iterable[str], *, first: int) -> Windows:
    """Find the windows of rows with these keys, which stand by key."""
    upwards = sorted(set(spans), key=microseconds)
    since = np.stack([rows.since[span] for span in upwards])
    starts, highs, lows = kernels.find_windows(codes, rows.until, since, own.offsets, own.order)
    return Windows(
        own=own, first=first, starts=starts, highs=highs, lows=dict(zip(upwards, lows, strict=True))
    )


def answer(
    windows: Sequence[Windows], known: Flags, moments: Moments, aggregate: Aggregate
) -> Answer:
    """Compute an aggregate of rows at these moments, of a window in each of some lists together.

    The lists are of one key, that of earlier rows first. Says also where it has a value: it is null
    as in SQL, and where a key is unknown.
    """
    asked = [_Asked(one, aggregate) for one in windows]
    if aggregate.function in LAST:
        return _last(asked, known, moments, aggregate.function)
    counted = _added(one.counted() for one in asked)
    if aggregate.function == "count" or not measure_of(aggregate):
        return counted, known
    found = _of_values(asked, aggregate.function, counted)
    empty_is_null = aggregate.function != "sum"
    return found, known & (counted > 0) if empty_is_null else known


class _Asked:
    """The windows of an aggregate's span in one list, and what the list keeps of its measure."""

    def __init__(self, windows: Windows, aggregate: Aggregate) -> None:
        self.own, self.first = windows.own, windows.first
        self.starts, self.highs = windows.starts, windows.highs
        self.lows = windows.lows[aggregate.span]
        measure = measure_of(aggregate)
        self.kept = self.own.measures[measure] if measure else None

    @property
    def measure(self) -> Running:
        """What the list keeps of the measure, of an aggregate that has one."""
        if self.kept is None:
            raise AssertionError("an aggregate of values without a measure")
        return self.kept

    def counted(self) -> Moments:
        """How many rows of each window count."""
        if self.kept is None or not self.kept.counts.size:
            return (self.highs - self.lows).astype(np.int64)
        return kernels.count_known(self.lows, self.highs, self.kept.counts)


def _last(asked: Iterable[_Asked], known: Flags, moments: Moments, function: Function) -> Answer:
    row = np.full(moments.size, -1, np.int64)
    at = np.zeros(moments.size, np.int64)
    for one in asked:  # a later list has later rows
        last = one.kept.last if one.kept else NONE
        places = kernels.last_of(one.lows, one.highs, last)
        if (found := places >= 0).any():
            rows = one.own.order[places[found]]
            row[found], at[found] = rows + np.int64(one.first), one.own.moments[rows]
    found = row >= 0
    if function == "newly_seen":
        return (~found).astype(np.float64), known
    if function == "last":
        return row + 1, known & found
    return (moments - at) / 1_000_000.0, known & found


def _of_values(asked: Sequence[_Asked], function: Function, counted: Moments) -> Doubles:
    if function == "stddev":
        return _spread(asked, counted)
    if function in {"max", "min"}:
        better = np.maximum if function == "max" else np.fmin  # nan is above all
        return reduce(better, [_most(one, largest=function == "max") for one in asked])
    summed = _sum(asked)
    return summed / np.maximum(counted, 1) if function == "mean" else summed


def _most(one: _Asked, *, largest: bool) -> Doubles:
    tree, begins = one.measure.largest if largest else one.measure.least
    return kernels.most_of(one.lows, one.highs, tree, begins, largest)


def _sum(asked: Sequence[_Asked]) -> Doubles:
    in_units = [one for one in asked if one.measure.units.size]
    units = [kernels.sum_units(one.lows, one.highs, one.measure.units) for one in in_units]
    rows = asked[0].lows.size
    found = _added(units) / kernels.UNITS if units else np.zeros(rows)
    for one in asked:
        own = one.measure
        if own.doubles.size:
            kernels.add_doubles(
                found,
                one.starts,
                one.lows,
                one.highs,
                own.doubles,
                own.values,
                own.known,
                one.own.order,
            )
    return found


def _spread(asked: Sequence[_Asked], counted: Moments) -> Doubles:
    in_units = {bool(one.measure.units.size) for one in asked}
    if len(in_units) > 1:
        return _merged_spread(asked, counted, counted > 0)
    moments = np.zeros((5, counted.size))
    for one in asked:
        own = one.measure
        kernels.add_moments(
            moments,
            one.starts,
            one.lows,
            one.highs,
            own.units,
            own.doubles,
            own.squares,
            bool(own.units.size),
        )
    found, coarse = kernels.spread_of(counted, moments, True in in_units)
    return np.where(coarse, _merged_spread(asked, counted, coarse), found)


def _merged_spread(asked: Sequence[_Asked], counted: Moments, wanted: Flags) -> Doubles:
    """The spread of the wanted windows from their values themselves."""
    merged = np.zeros((3, counted.size))
    if wanted.any():
        for one in asked:
            own = one.measure
            kernels.merge_spreads(
                merged, wanted, one.lows, one.highs, own.values, own.known, one.own.order
            )
    spread: Doubles = np.sqrt(merged[2] / np.maximum(counted, 1))
    return spread


def _added(counts: Iterable[Moments]) -> Moments:
    return reduce(np.add, counts)
