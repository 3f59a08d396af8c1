"""Key lists: the rows of each key in order of time, with running sums of what is asked of them.

What windows ask is answered from them by `answers`; `features.engines.kernels` has the loops.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from features.declarations import Aggregate, Function, microseconds
from features.engines import kernels
from features.engines.arrays import Codes, Doubles, Flags, Moments, Positions, column
from features.engines.program import Measure, measure_of

SUMMED: frozenset[Function] = frozenset({"sum", "mean", "stddev"})
LAST: frozenset[Function] = frozenset({"last", "seconds_since", "newly_seen"})
NONE = np.empty(0, np.int32)


@dataclass(frozen=True, kw_only=True)
class Running:
    """What a list keeps of one measure, as far as it is asked for; see `kernels` for each.

    Without `counts` all rows have a value; without `doubles` all values are money.
    """

    values: Doubles
    known: Flags
    in_units: bool
    counts: Positions | None
    units: Moments | None
    doubles: Doubles | None
    squares: Doubles | None
    largest: tuple[Doubles, Moments] | None
    least: tuple[Doubles, Moments] | None
    last: Positions | None


@dataclass(frozen=True, kw_only=True)
class KeyList:
    """The rows of each key in order of time: where each key's begin, their numbers and moments."""

    offsets: Positions
    order: Positions
    times: Moments
    measures: dict[str, Running] = field(default_factory=dict)


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
            f"{codes.size} rows are more than the kernel counts (2147483646); take STRATA_ENGINE=spark"
        )
    offsets, order = kernels.group(codes, keys)
    return KeyList(offsets=offsets, order=order, times=kernels.take(moments, order))


def running(own: KeyList, measure: Measure, values: Doubles, known: Flags) -> Running:
    """Make what a list keeps of a measure, given its value in each row where it is known."""
    asked = measure.functions
    order, offsets = own.order, own.offsets
    summed, spread = bool(asked & SUMMED), "stddev" in asked
    in_units = not summed or bool(kernels.are_units(values, known))
    all_known = bool(known.all()) and not spread
    doubles = squares = None
    if not in_units:
        doubles = kernels.run_doubles(values, known, order, offsets, not spread)
    if spread:
        squares = kernels.run_squares(values, known, order, offsets, in_units)
    trees = {
        name: kernels.grow_tree(values, known, order, name == "max") if name in asked else None
        for name in ("max", "min")
    }
    return Running(
        values=values if doubles is not None else values[:0],
        known=known if doubles is not None else known[:0],
        in_units=in_units,
        counts=None if all_known else kernels.run_counts(known, order),
        units=kernels.run_units(values, known, order) if summed and (in_units or not spread) else None,
        doubles=doubles,
        squares=squares,
        largest=trees["max"],
        least=trees["min"],
        last=kernels.run_last(known, order, offsets) if asked & LAST else None,
    )


def find(own: KeyList, codes: Codes, moments: Moments, spans: Iterable[str]) -> Windows:
    """Find the windows of rows with these keys at these moments."""
    upwards = sorted(set(spans), key=microseconds)
    lengths = np.array([microseconds(span) for span in upwards], np.int64)
    starts, highs, lows = kernels.find_windows(codes, moments, own.offsets, own.times, lengths)
    return Windows(
        known=codes >= 0,
        moments=moments,
        starts=starts,
        highs=highs,
        lows=dict(zip(upwards, lows, strict=True)),
    )


def answer(own: KeyList, windows: Windows, aggregate: Aggregate) -> pa.Array:
    """Compute an aggregate of each window; null as SQL would have it, and where a key is unknown."""
    lows = windows.lows[aggregate.span]
    measure = own.measures.get(measure_of(aggregate))
    if aggregate.function in LAST:
        return _last(own, windows, lows, measure, aggregate.function)
    counts = measure.counts if measure else None
    if counts is None:
        counted = (windows.highs - lows).astype(np.int64)
    else:
        counted = kernels.count_known(lows, windows.highs, counts)
    if aggregate.function == "count" or measure is None:
        return column(counted, windows.known)
    found = _of_values(own, windows, lows, measure, aggregate.function, counted)
    empty_is_null = aggregate.function != "sum"
    return column(found, windows.known & (counted > 0) if empty_is_null else windows.known)


def _last(
    own: KeyList, windows: Windows, lows: Positions, measure: Running | None, function: Function
) -> pa.Array:
    last = NONE if measure is None or measure.last is None else measure.last
    places = kernels.last_of(lows, windows.highs, last)
    found = places >= 0
    if function == "newly_seen":
        return column((~found).astype(np.float64), windows.known)
    if function == "last":
        return column(_picked(own.order, places).astype(np.int64) + 1, windows.known & found)
    passed = windows.moments - _picked(own.times, places)
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
        tree, begins = measure.largest if function == "max" else measure.least  # type: ignore[misc] # kept because it is asked for
        largest: Doubles = kernels.most_of(lows, highs, tree, begins, function == "max")
        return largest
    summed: Doubles = _sum(own, windows, lows, measure)
    return summed / np.maximum(counted, 1) if function == "mean" else summed


def _sum(own: KeyList, windows: Windows, lows: Positions, measure: Running) -> Doubles:
    found: Doubles
    if measure.units is None:
        found = np.zeros(lows.size)
    else:
        found = kernels.sum_units(lows, windows.highs, measure.units)
    if measure.doubles is not None:
        kernels.add_doubles(
            found,
            windows.starts,
            lows,
            windows.highs,
            measure.doubles,
            measure.values,
            measure.known,
            own.order,
            measure.units is not None,
        )
    return found


def _spread(own: KeyList, windows: Windows, lows: Positions, measure: Running) -> Doubles:
    found: Doubles = kernels.spread_of(
        windows.starts,
        lows,
        windows.highs,
        measure.counts,
        measure.units if measure.units is not None else np.empty(0, np.int64),
        measure.doubles if measure.doubles is not None else np.empty((2, 0)),
        measure.squares,
        measure.in_units,
        measure.values,
        measure.known,
        own.order,
    )
    return found


def _picked(values: np.ndarray, places: Positions) -> np.ndarray:
    """The values at places; any where a place is -1."""
    return values[places] if values.size else np.zeros(places.size, values.dtype)
