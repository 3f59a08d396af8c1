"""Key lists: the rows of each key in order of time, with running sums of what is asked of them.

What windows ask is answered from them by `answers`; `features.engines.kernels` has the loops.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.declarations import Aggregate, Function, microseconds
from features.engines import kernels
from features.engines.arrays import Codes, Doubles, Flags, Moments, Positions, column
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

    Without `counts` all rows have a value; without `doubles`, where sums are asked for, all values
    are money. The values themselves, of each row, are kept where `doubles` may be too coarse.
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
    """The moments of rows that ask, and the rows they see: below `until`, by spans from `since`."""

    moments: Moments
    until: Positions
    since: Mapping[str, Positions]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The windows of asking rows in a key list, by their spans."""

    known: Flags
    moments: Moments
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
    if "doubles" in kept and ("stddev" in asked or not kernels.are_fine(kept["doubles"])):
        return Running(values=values, known=known, **kept)
    return Running(values=values[:0].copy(), known=known[:0].copy(), **kept)


def _sums(own: KeyList, values: Doubles, known: Flags, *, spread: bool) -> dict[str, Any]:
    """Sums of money in units, of other values in doubles; for a spread all in one of them."""
    kept: dict[str, Any] = {}
    in_units = kernels.are_units(values, known)
    if in_units or not spread:
        kept["units"] = kernels.run_units(values, known, own.order)
    if not in_units:
        kept["doubles"] = kernels.run_doubles(values, known, own.order, own.offsets, not spread)
    if spread:
        kept["squares"] = kernels.run_squares(values, known, own.order, own.offsets, in_units)
    return kept


def asking(moments: Moments, asked: Moments, spans: Iterable[str]) -> Asking:
    """Find what rows at asked moments see of all rows, whose moments are in order like theirs."""
    return Asking(
        moments=asked,
        until=kernels.first_rows(moments, asked, 0),
        since={span: kernels.first_rows(moments, asked, microseconds(span)) for span in set(spans)},
    )


def find(own: KeyList, codes: Codes, rows: Asking, spans: Iterable[str]) -> Windows:
    """Find the windows of rows with these keys."""
    upwards = sorted(set(spans), key=microseconds)
    since = np.stack([rows.since[span] for span in upwards])
    starts, highs, lows = kernels.find_windows(codes, rows.until, since, own.offsets, own.order)
    return Windows(
        known=codes >= 0,
        moments=rows.moments,
        starts=starts,
        highs=highs,
        lows=dict(zip(upwards, lows, strict=True)),
    )


def answer(own: KeyList, windows: Windows, aggregate: Aggregate) -> pa.Array:
    """Compute an aggregate of each window: null as in SQL, and where a key is unknown."""
    lows = windows.lows[aggregate.span]
    measure = own.measures.get(measure_of(aggregate))
    if aggregate.function in LAST:
        return _last(own, windows, lows, measure, aggregate.function)
    if measure is None or not measure.counts.size:
        counted = (windows.highs - lows).astype(np.int64)
    else:
        counted = kernels.count_known(lows, windows.highs, measure.counts)
    if aggregate.function == "count" or measure is None:
        return column(counted, windows.known)
    found = _of_values(own, windows, lows, measure, aggregate.function, counted)
    empty_is_null = aggregate.function != "sum"
    return column(found, windows.known & (counted > 0) if empty_is_null else windows.known)


def _last(
    own: KeyList, windows: Windows, lows: Positions, measure: Running | None, function: Function
) -> pa.Array:
    places = kernels.last_of(lows, windows.highs, measure.last if measure else NONE)
    found = places >= 0
    if function == "newly_seen":
        return column((~found).astype(np.float64), windows.known)
    if function == "last":
        return column(_picked(own.order, places).astype(np.int64) + 1, windows.known & found)
    passed = windows.moments - _picked(own.moments, _picked(own.order, places))
    return column(passed / 1_000_000.0, windows.known & found)


def _of_values(
    own: KeyList,
    windows: Windows,
    lows: Positions,
    measure: Running,
    function: Function,
    counted: Moments,
) -> Doubles:
    highs = windows.highs
    if function == "stddev":
        return _spread(own, windows, lows, measure)
    if function in {"max", "min"}:
        tree, begins = measure.largest if function == "max" else measure.least
        return kernels.most_of(lows, highs, tree, begins, function == "max")
    summed = _sum(own, windows, lows, measure)
    return summed / np.maximum(counted, 1) if function == "mean" else summed


def _sum(own: KeyList, windows: Windows, lows: Positions, measure: Running) -> Doubles:
    has_units, highs = bool(measure.units.size), windows.highs
    found = kernels.sum_units(lows, highs, measure.units) if has_units else np.zeros(lows.size)
    if measure.doubles.size:
        kernels.add_doubles(
            found,
            windows.starts,
            lows,
            highs,
            measure.doubles,
            measure.values,
            measure.known,
            own.order,
            has_units,
        )
    return found


def _spread(own: KeyList, windows: Windows, lows: Positions, measure: Running) -> Doubles:
    return kernels.spread_of(
        windows.starts,
        lows,
        windows.highs,
        measure.counts,
        measure.units,
        measure.doubles,
        measure.squares,
        bool(measure.units.size),
        measure.values,
        measure.known,
        own.order,
    )


def _picked(values: npt.NDArray[Any], places: Positions) -> npt.NDArray[Any]:
    """The values at places; any where a place is -1."""
    return values[places] if values.size else np.zeros(places.size, values.dtype)
