"""Compiled loops over key lists: every window is a suffix of its key's rows in order of time.

A key list has all rows of one key beside one another, in order of time: the rows of the key `code`
stand at the positions `offsets[code]` to `offsets[code + 1]`, with their numbers in `order`. Rows
are numbered in order of time, so that a moment is the number of the first row at it or later. A
window of a row is then two positions, `low` and `high`, and what is asked of it a difference of two
running sums, a largest value of a tree, or a last position. Nothing is kept between two rows, so
that one row, a batch and a whole history run the same loops.

Money is summed in whole units of 1e-4, exactly; a measure with other values in pairs of doubles,
about 106 bits. Where even these are too coarse, or a value is infinite, the window itself is
summed.
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
from numba import njit

from features.engines.arrays import Codes, Doubles, Flags, Moments, Positions

Pair: TypeAlias = tuple[float, float]  # a double, and what is too small for it
# see `known_fraud`
Lasting: TypeAlias = tuple[Positions, Moments, Positions, Positions, Positions, Positions]
Replaced: TypeAlias = tuple[Positions, Moments, Moments, Flags, Positions]
Known: TypeAlias = tuple[Moments, Moments, Moments, Moments]  # frauds, labels, last, run
Rising: TypeAlias = Moments | Positions  # moments, or rows in order of theirs
Function = TypeVar("Function", bound=Callable[..., Any])

UNITS = 10_000.0  # to one
MOST_UNITS = 2.0**50  # a value of more is not summed in units
FAN = 32  # values under one node of a tree
NEVER = np.int64(-(2**63))  # the moment of what never was
TOO_COARSE = 2.0**-100  # of a running sum: from there on its last digits are lost
NOTHING = 1e-18  # an error that is none
EXACT = 2.0**100  # whole numbers up to it are exact in a pair of doubles
NEAR = 1e-11
NOT_KEPT = (
    "compiled loops cannot be kept on disk: neither the folder of the code nor the user's cache "
    "folder can be written to, and each process compiles for about 15 s; set NUMBA_CACHE_DIR to a "
    "folder that can"
)


def compiled(function: Function) -> Function:
    """Compile a function when it is first called; that is kept on disk for the next process.

    Where it cannot be kept, beside the code or in the user's cache folder, that is said once.
    """
    try:
        return cast(Function, njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:  # numba found no folder that it can write to
        _say_once()
        return cast(Function, njit(nogil=True, error_model="numpy")(function))


@cache
def _say_once() -> None:
    logging.getLogger(__name__).warning(NOT_KEPT)


@compiled
def group(codes: Codes, keys: int) -> tuple[Positions, Positions]:
    """Put rows of one key beside one another, in the order they stand in: `offsets`, `order`."""
    offsets = np.zeros(keys + 1, np.int32)
    for row in range(codes.size):
        if codes[row] >= 0:
            offsets[codes[row] + 1] += 1
    for key in range(keys):
        offsets[key + 1] += offsets[key]
    free = offsets[:-1].copy()
    order = np.empty(offsets[-1], np.int32)
    for row in range(codes.size):
        code = codes[row]
        if code >= 0:
            order[free[code]] = row
            free[code] += 1
    return offsets, order


@compiled
def take(values: Moments, order: Positions) -> Moments:
    """The values in another order."""
    taken = np.empty(order.size, values.dtype)
    for place in range(order.size):
        taken[place] = values[order[place]]
    return taken


@compiled
def are_units(values: Doubles, known: Flags) -> bool:
    """Whether all values are money: whole units of 1e-4, and not too many."""
    units = True
    for row in range(values.size):
        units = units and (not known[row] or _is_units(values[row]))
    return units


@compiled
def run_counts(known: Flags, order: Positions) -> Positions:
    """How many known values stand before each position."""
    counts = np.empty(order.size + 1, np.int32)
    count = counts[0] = 0
    for place in range(order.size):
        count += known[order[place]]
        counts[place + 1] = count
    return counts


@compiled
def run_units(values: Doubles, known: Flags, order: Positions) -> Moments:
    """The sums before each position of values that are money, in units.

    They may run over; their differences are right.
    """
    sums = np.empty(order.size + 1, np.int64)
    total = sums[0] = np.int64(0)
    for place in range(order.size):
        row = order[place]
        if known[row]:
            total += np.int64(np.rint(values[row] * UNITS))
        sums[place + 1] = total
    return sums


@compiled
def run_doubles(values: Doubles, known: Flags, order: Positions, offsets: Positions) -> Doubles:
    """The sums of each key's values up to each position, this one included, in pairs of doubles."""
    sums = np.empty((2, order.size))
    for key in range(offsets.size - 1):
        high = low = 0.0
        for place in range(offsets[key], offsets[key + 1]):
            row = order[place]
            if known[row]:
                high, low = _add(high, low, values[row], 0.0)
            sums[0, place], sums[1, place] = high, low
    return sums


@compiled
def are_fine(sums: Doubles) -> bool:
    """Whether no running sum is so large, or infinite, that a window could miss its last digits."""
    fine = True
    for place in range(sums.shape[1]):
        fine = fine and abs(sums[0, place]) * TOO_COARSE < NOTHING
    return fine


@compiled
def run_squares(
    values: Doubles, known: Flags, order: Positions, offsets: Positions, in_units: bool
) -> Doubles:
    """The sums of each key's squared values up to each position, this one included, in pairs."""
    sums = np.empty((2, order.size))
    for key in range(offsets.size - 1):
        high = low = 0.0
        for place in range(offsets[key], offsets[key + 1]):
            row = order[place]
            if known[row]:
                value = np.rint(values[row] * UNITS) if in_units else values[row]
                square, rest = _multiply(value, value)
                high, low = _add(high, low, square, rest)
            sums[0, place], sums[1, place] = high, low
    return sums


@compiled
def run_last(known: Flags, order: Positions, offsets: Positions) -> Positions:
    """The last known position of each key up to each position, this one included; or -1."""
    last = np.empty(order.size, np.int32)
    for key in range(offsets.size - 1):
        latest = -1
        for place in range(offsets[key], offsets[key + 1]):
            if known[order[place]]:
                latest = place
            last[place] = latest
    return last


@compiled
def grow_tree(
    values: Doubles, known: Flags, order: Positions, largest: bool
) -> tuple[Doubles, Moments]:
    """The values in order, above each 32 of them the largest (else the least), and so on.

    All in one array; `begins` says where each level stands.
    """
    begins = np.zeros(16, np.int64)
    size, total, level = order.size, 0, 0
    while True:
        begins[level] = total
        total += size
        level += 1
        if size <= 1:
            break
        size = (size + FAN - 1) // FAN
    tree = np.empty(total)
    for place in range(order.size):
        row = order[place]
        tree[place] = values[row] if known[row] else _nothing(largest)
    for upper in range(1, level):
        below, here = begins[upper - 1], begins[upper]
        until = begins[upper + 1] - here if upper + 1 < level else total - here
        for node in range(until):
            best = _nothing(largest)
            for place in range(node * FAN, min((node + 1) * FAN, here - below)):
                best = _better(best, tree[below + place], largest)
            tree[here + node] = best
    return tree, begins


@compiled
def first_rows(moments: Moments, asked: Moments, ago: int) -> Positions:
    """For each asked moment the first row that is not earlier than so long before it.

    Both are in order of time.
    """
    found = np.empty(asked.size, np.int32)
    row = _first_from(moments, 0, moments.size, asked[0] - ago) if asked.size else 0
    for place in range(asked.size):
        while row < moments.size and moments[row] < asked[place] - ago:
            row += 1
        found[place] = row
    return found


@compiled
def find_windows(
    codes: Codes, until: Positions, since: Positions, offsets: Positions, order: Positions
) -> tuple[Positions, Positions, Positions]:
    """Where windows stand in their key's list: of each key the rows below `until` from `since` on.

    There is a line of `since` for each span, short ones first. The rows that ask stand `by_key`, so
    a key's next window ends and begins where its last one did, or later. A key that is unknown, or
    has no rows, has empty windows.
    """
    keys, spans = offsets.size - 1, since.shape[0]
    starts, highs = np.zeros(codes.size, np.int32), np.zeros(codes.size, np.int32)
    lows = np.zeros((spans, codes.size), np.int32)
    for row in range(codes.size):
        code = codes[row]
        if 0 <= code < keys:
            start, end = offsets[code], offsets[code + 1]
            starts[row] = start
            if row and codes[row - 1] == code:
                high = _onwards(order, highs[row - 1], end, until[row])
                for span in range(spans):
                    lows[span, row] = _onwards(order, lows[span, row - 1], high, since[span, row])
            else:
                low = high = _first_from(order, start, end, until[row])
                for span in range(spans):
                    low = _back_to(order, start, low, since[span, row])
                    lows[span, row] = low
            highs[row] = high
    return starts, highs, lows


@compiled
def count_known(lows: Positions, highs: Positions, counts: Positions) -> Moments:
    """How many known values each window has."""
    found = np.empty(highs.size, np.int64)
    for row in range(highs.size):
        found[row] = counts[highs[row]] - counts[lows[row]]
    return found


@compiled
def sum_units(lows: Positions, highs: Positions, sums: Moments) -> Moments:
    """The sum of each window's money, in units."""
    found = np.empty(highs.size, np.int64)
    for row in range(highs.size):
        found[row] = sums[highs[row]] - sums[lows[row]]
    return found


@compiled
def add_doubles(
    found: Doubles,
    starts: Positions,
    lows: Positions,
    highs: Positions,
    sums: Doubles,
    values: Doubles,
    known: Flags,
    order: Positions,
) -> None:
    """Add to each sum that of the window's values."""
    for row in range(highs.size):
        low, high = lows[row], highs[row]
        if low < high:
            ends, begun = _ends(sums, high), _begun(sums, starts[row], low)
            total, rest = _add(ends[0], ends[1], -begun[0], -begun[1])
            is_fine = not values.size or abs(ends[0]) * TOO_COARSE <= NEAR * abs(total)
            if is_fine or _is_same(ends, begun):
                found[row] += total + rest
            else:
                found[row] += _sum(values, known, order, low, high)


@compiled
def add_moments(
    found: Doubles,
    starts: Positions,
    lows: Positions,
    highs: Positions,
    units: Moments,
    doubles: Doubles,
    squares: Doubles,
    in_units: bool,
) -> None:
    """Add the sum of each window's values, and of their squares, to pairs of doubles.

    `found` has five lines: the two pairs, and the running sum of squares that bounds their errors.
    The values are counted in units, else as they are.
    """
    for row in range(highs.size):
        low, high = lows[row], highs[row]
        if low < high:
            if in_units:
                whole = units[high] - units[low]
                near = float(whole)
                total = (near, float(whole - np.int64(near)))
            else:
                total = _between(doubles, starts[row], low, high)
            squared = _between(squares, starts[row], low, high)
            found[0, row], found[1, row] = _add(found[0, row], found[1, row], total[0], total[1])
            found[2, row], found[3, row] = _add(
                found[2, row], found[3, row], squared[0], squared[1]
            )
            found[4, row] += _ends(squares, high)[0]


@compiled
def spread_of(counts: Moments, moments: Doubles, in_units: bool) -> tuple[Doubles, Flags]:
    """The standard deviation of values by their count and `add_moments`, of the population.

    It is nan where there are none. Says also where it is too coarse.
    """
    found, coarse = np.empty(counts.size), np.zeros(counts.size, np.bool_)
    for row in range(counts.size):
        count, bound = counts[row], counts[row] * moments[4, row]
        if count == 0:
            found[row] = np.nan
            continue
        total = (moments[0, row], moments[1, row])
        left = _left_over(count, total, (moments[2, row], moments[3, row]))
        is_exact = in_units and bound * count < EXACT
        coarse[row] = not (is_exact or bound * TOO_COARSE <= NEAR * left)
        found[row] = np.sqrt(max(left, 0.0)) / count / (UNITS if in_units else 1.0)
    return found, coarse


@compiled
def merge_spreads(
    found: Doubles,
    wanted: Flags,
    lows: Positions,
    highs: Positions,
    values: Doubles,
    known: Flags,
    order: Positions,
) -> None:
    """Merge the windows' values, one by one, into counts, means and sums of squared differences.

    `found` has these three lines (Chan, Golub and LeVeque 1979, of two samples).
    """
    for row in range(highs.size):
        if wanted[row]:
            count, mean, squares = _spread(values, known, order, lows[row], highs[row])
            both = found[0, row] + count
            if count:
                apart = mean - found[1, row]
                found[2, row] += squares + apart * apart * found[0, row] * count / both
                found[1, row] = mean if found[0, row] == 0 else found[1, row] + apart * count / both
                found[0, row] = both


@compiled
def most_of(
    lows: Positions, highs: Positions, tree: Doubles, begins: Moments, largest: bool
) -> Doubles:
    """The largest value of each window, else the least."""
    found = np.empty(highs.size)
    for row in range(highs.size):
        low, high, level = lows[row], highs[row], 0
        best = _nothing(largest)
        while low < high:
            here = begins[level]
            while low < high and low % FAN:
                best = _better(best, tree[here + low], largest)
                low += 1
            while low < high and high % FAN:
                high -= 1
                best = _better(best, tree[here + high], largest)
            low, high, level = low // FAN, high // FAN, level + 1
        found[row] = best
    return found


@compiled
def last_of(lows: Positions, highs: Positions, last: Positions) -> Positions:
    """The last position of each window, or -1; given `last`, the last that is known."""
    found = np.empty(highs.size, np.int32)
    for row in range(highs.size):
        place = highs[row] - 1
        if last.size and place >= lows[row]:
            place = last[place]
        found[row] = place if place >= lows[row] else -1
    return found


@compiled
def known_fraud(
    codes: Codes,
    moments: Moments,
    spans: Moments,
    reach: int,
    lasting: Lasting,
    replaced: Replaced,
    cancelled: Positions,
    sign: int,
    found: Known,
) -> None:
    """Count what was known of keys' fraud: verdicts that last, and those replaced at some time.

    `lasting` is (offsets, seen, frauds before, last fraud, last legitimate, rows), `replaced`
    (offsets, seen, replaced, is_fraud, rows), each in order of the moment a verdict is seen.
    `found` gets the frauds and the labels of each span, and the moments of the last of each kind.
    Verdicts on the `cancelled` rows, in order, are no last ones. With a sign of -1 verdicts are
    taken off the counts again.
    """
    for row in range(codes.size):
        code, moment = codes[row], moments[row]
        if 0 <= code < lasting[0].size - 1:
            _count_lasting(row, code, moment, spans, reach, lasting, cancelled, sign, found)
            _count_replaced(row, code, moment, spans, reach, replaced, cancelled, sign, found)


@compiled
def fraud_run(
    codes: Codes,
    moments: Moments,
    reach: int,
    lasting: Lasting,
    replaced: Replaced,
    sign: int,
    found: Known,
) -> None:
    """Count the frauds seen since the last legitimate payment, once all of these are known."""
    last, run = found[2], found[3]
    for row in range(codes.size):
        code, moment = codes[row], moments[row]
        if 0 <= code < lasting[0].size - 1:
            since = max(last[1, row], moment - reach)
            start = lasting[0][code]
            until = _first_from(lasting[1], start, lasting[0][code + 1], moment + 1)
            low = _back_to(lasting[1], start, until, since + 1)
            run[row] += sign * (lasting[2][until] - lasting[2][low])
            if replaced[0][code] < replaced[0][code + 1]:
                run[row] += sign * _count_since(code, moment, since, replaced)


@compiled
def _count_lasting(
    row: int,
    code: int,
    moment: int,
    spans: Moments,
    reach: int,
    lasting: Lasting,
    cancelled: Positions,
    sign: int,
    found: Known,
) -> None:
    """Count the verdicts that last, and find the last of each kind."""
    frauds, labels, last = found[0], found[1], found[2]
    offsets, seen, before, rows = lasting[0], lasting[1], lasting[2], lasting[5]
    start = offsets[code]
    high = low = _first_from(seen, start, offsets[code + 1], moment + 1)
    for span in range(spans.size):
        low = _back_to(seen, start, low, moment - spans[span] + 1)
        frauds[span, row] += sign * (before[high] - before[low])
        labels[span, row] += sign * (high - low)
    if sign < 0:
        return
    for kind, latest in ((0, lasting[3]), (1, lasting[4])):
        place = latest[high - 1] if high > start else -1
        while place >= 0 and _is_among(rows[place], cancelled):
            place = latest[place - 1] if place > start else -1
        if place >= 0 and seen[place] > moment - reach:
            last[kind, row] = max(last[kind, row], seen[place])


@compiled
def _count_replaced(
    row: int,
    code: int,
    moment: int,
    spans: Moments,
    reach: int,
    replaced: Replaced,
    cancelled: Positions,
    sign: int,
    found: Known,
) -> None:
    """Count beside them those that still stand."""
    frauds, labels, last = found[0], found[1], found[2]
    offsets, seen, until, is_fraud, rows = replaced
    begin = _first_from(seen, offsets[code], offsets[code + 1], moment - reach + 1)
    for place in range(begin, offsets[code + 1]):
        if seen[place] > moment:
            break
        if moment < until[place]:
            for span in range(spans.size):
                if seen[place] > moment - spans[span]:
                    frauds[span, row] += sign * is_fraud[place]
                    labels[span, row] += sign
            if sign > 0 and not _is_among(rows[place], cancelled):
                kind = 0 if is_fraud[place] else 1
                last[kind, row] = max(last[kind, row], seen[place])


@compiled
def _count_since(code: int, moment: int, since: int, replaced: Replaced) -> int:
    """The frauds among those that still stand that were seen after a moment."""
    offsets, seen, until, is_fraud = replaced[0], replaced[1], replaced[2], replaced[3]
    count = 0
    begin = _first_from(seen, offsets[code], offsets[code + 1], since + 1)
    for place in range(begin, offsets[code + 1]):
        if seen[place] > moment:
            break
        if moment < until[place] and is_fraud[place]:
            count += 1
    return count


@compiled
def _is_among(row: int, rows: Positions) -> bool:
    """Whether a row is among others, which are in order."""
    place = _first_from(rows, 0, rows.size, row)
    return bool(place < rows.size and rows[place] == row)


@compiled
def _first_from(times: Rising, low: int, high: int, moment: int) -> int:
    """The first position from `low` to `high` that is not below a moment or a row."""
    while low < high:
        middle = (low + high) >> 1
        if times[middle] < moment:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _onwards(times: Rising, low: int, high: int, moment: int) -> int:
    """The same, looked for in steps that double: mostly it is `low`, or near it."""
    step = 1
    while low + step <= high and times[low + step - 1] < moment:
        low += step
        step *= 2
    return _first_from(times, low, min(high, low + step - 1), moment)


@compiled
def _back_to(times: Rising, start: int, high: int, moment: int) -> int:
    """The same, looked for backwards from `high` in steps that double: most windows are short."""
    step = 1
    while high - step >= start and times[high - step] >= moment:
        high -= step
        step *= 2
    return _first_from(times, max(start, high - step), high, moment)


@compiled
def _is_units(value: float) -> bool:
    units = np.rint(value * UNITS)
    return bool(abs(units) <= MOST_UNITS and units / UNITS == value)


@compiled
def _add(high: float, low: float, other: float, other_low: float) -> Pair:
    """Add two pairs of doubles (Knuth's two-sum, after Dekker)."""
    total = high + other
    part = total - high
    rest = (high - (total - part)) + (other - part)
    below = low + other_low
    part = below - low
    rest_below = (low - (below - part)) + (other_low - part)
    rest += below
    near = total + rest
    rest = (rest - (near - total)) + rest_below
    return near + rest, rest - ((near + rest) - near)


@compiled
def _multiply(left: float, right: float) -> Pair:
    """The product of two doubles as a pair, exactly (Dekker)."""
    product = left * right
    if not abs(product) < 2.0**990:
        return product, 0.0
    split = 134217729.0 * left
    left_high = split - (split - left)
    split = 134217729.0 * right
    right_high = split - (split - right)
    left_low, right_low = left - left_high, right - right_high
    rest = ((left_high * right_high - product) + left_high * right_low) + left_low * right_high
    return product, rest + left_low * right_low


@compiled
def _left_over(count: int, total: Pair, squared: Pair) -> float:
    """The count times the sum of squares, less the square of the sum."""
    high, low = _multiply(float(count), squared[0])
    low += count * squared[1]
    square, rest = _multiply(total[0], total[0])
    rest += 2.0 * total[0] * total[1]
    high, low = _add(high, low, -square, -rest)
    return high + low


@compiled
def _ends(sums: Doubles, high: int) -> Pair:
    return sums[0, high - 1], sums[1, high - 1]


@compiled
def _begun(sums: Doubles, start: int, low: int) -> Pair:
    if low == start:
        return 0.0, 0.0
    return sums[0, low - 1], sums[1, low - 1]


@compiled
def _between(sums: Doubles, start: int, low: int, high: int) -> Pair:
    ends, begun = _ends(sums, high), _begun(sums, start, low)
    return _add(ends[0], ends[1], -begun[0], -begun[1])


@compiled
def _is_same(ends: Pair, begun: Pair) -> bool:
    """Whether nothing was added between."""
    return ends[0] == begun[0] and ends[1] == begun[1] and abs(ends[0]) < np.inf


@compiled
def _sum(values: Doubles, known: Flags, order: Positions, low: int, high: int) -> float:
    total, rest = 0.0, 0.0
    for place in range(low, high):
        row = order[place]
        if known[row]:
            if not abs(total) < np.inf or not abs(values[row]) < np.inf:
                total, rest = total + values[row], 0.0
            else:
                total, rest = _add(total, rest, values[row], 0.0)
    return total + rest


@compiled
def _spread(
    values: Doubles, known: Flags, order: Positions, low: int, high: int
) -> tuple[int, float, float]:
    """The count of a window's values, their mean and the sum of squared differences from it."""
    count, total = 0, 0.0
    for place in range(low, high):
        if known[order[place]]:
            total += values[order[place]]
            count += 1
    if count == 0:
        return 0, 0.0, 0.0
    mean, squares = total / count, 0.0
    for place in range(low, high):
        if known[order[place]]:
            squares += (values[order[place]] - mean) ** 2
    return count, mean, squares


@compiled
def _nothing(largest: bool) -> float:
    """What stands for no value: the least of all, or the greatest, which is nan to SQL."""
    return -float("inf") if largest else float("nan")


@compiled
def _better(one: float, other: float, largest: bool) -> float:
    """The larger of two values, else the smaller; nan is above all others."""
    if np.isnan(one) or np.isnan(other):
        return other if bool(np.isnan(one)) != largest else one
    return max(one, other) if largest else min(one, other)
