"""How times are written: as a type, ISO 8601, a pattern, counted since 1970 or from a start."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from pipeline.proposal.profile import Column, Profile
from pipeline.proposal.words import PARTS, likeness, listed, words_of
from pipeline.sources.readers import literal

TimeKind = Literal["type", "iso", "pattern", "epoch", "offset"]
DATES = (
    *("%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d"),
    *("%Y.%m.%d", "%d/%m/%y", "%m/%d/%y", "%Y%m%d", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d %Y"),
    *("%b %d, %Y", "%B %d, %Y", "%d %B %Y"),
)
CLOCKS = (
    *("", " %H:%M:%S", " %H:%M", " %H:%M:%S.%f", ", %H:%M:%S", ", %H:%M", "T%H:%M:%S"),
    *(" %I:%M:%S %p", " %I:%M %p", ", %I:%M %p", "%H%M%S", " %H.%M", " %H.%M.%S", " %H%M%S"),
)
EPOCHS = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000}
EARLIEST, LATEST = 631_152_000, 4_102_444_800  # 1990 and 2100, seconds
START = "2020-01-01"  # of times counted from a start that nobody said
STEPS = {"days": "to_days", "hours": "to_hours", "minutes": "to_minutes", "seconds": "to_seconds"}


@dataclass(frozen=True, kw_only=True)
class TimeForm:
    """How one column writes times; `sql` reads it in `sheet`, as a moment.

    `swapped` is the pattern that fits as well, with day and month the other way round; `unit` is
    what a number since a start counts.
    """

    kind: TimeKind
    sql: str
    pattern: str = ""
    swapped: str = ""
    unit: str = ""
    has_offset: bool = False
    is_date: bool = False


def find_time(profile: Profile, column: Column) -> TimeForm | None:
    """How a column writes its times; None where it holds none."""
    if column.is_time:
        return TimeForm(
            kind="type",
            sql=f"TRY_CAST({column.sql} AS TIMESTAMPTZ)",
            has_offset="ZONE" in column.kind,
            is_date=column.kind == "DATE",
        )
    if column.is_mostly("iso", 0.9):
        return TimeForm(
            kind="iso",
            sql=f"TRY_CAST({column.sql} AS TIMESTAMPTZ)",
            has_offset=column.is_mostly("offset", 0.9) and not column.is_mostly("date"),
            is_date=column.is_mostly("date"),
        )
    if column.is_mostly("dated", 0.9):
        found = _pattern(profile, column)
        if found is not None:
            return found
    return _counted(profile, column) if column.is_mostly("number") else None


def _pattern(profile: Profile, column: Column) -> TimeForm | None:
    """The pattern that reads nearly all values; of two that differ in day and month the better."""
    patterns = [date + clock for date, clock in product(DATES, CLOCKS)]
    counts = _read_by(profile, column, patterns, given="few")
    best = max(range(len(patterns)), key=lambda at: counts[at])
    total = profile.ask(f"count({column.sql})", given="few")[0]
    if not isinstance(total, int) or counts[best] < max(1, 0.9 * total):
        return None
    pair = [patterns[best], _swapped(patterns[best])]
    if not pair[1]:
        return _of_pattern(column, pair[0], "")
    both = _read_by(profile, column, pair, given="sheet")
    if both[0] != both[1]:
        return _of_pattern(column, pair[both[1] > both[0]], "")
    in_order = [_disorder(profile, column, one) for one in pair]
    first = in_order[1] < in_order[0]
    return _of_pattern(column, pair[first], pair[not first])


def _read_by(
    profile: Profile, column: Column, patterns: Sequence[str], *, given: str
) -> tuple[int, ...]:
    asked = [f"count(TRY_STRPTIME({column.sql}, {literal(one)}))" for one in patterns]
    return tuple(int(str(count)) for count in profile.ask(", ".join(asked), given=given))


def _swapped(pattern: str) -> str:
    """The pattern with day and month the other way round; none where letters tell which is which.

    >>> _swapped("%d/%m/%Y %H:%M"), _swapped("%d %b %Y"), _swapped("%Y%m%d")
    ('%m/%d/%Y %H:%M', '', '')
    """
    for one, other in (("%d", "%m"), ("%m", "%d")):
        for sign in "./-":
            if pattern.startswith(f"{one}{sign}{other}"):
                return f"{other}{sign}{one}{pattern[5:]}"
    return ""


def _disorder(profile: Profile, column: Column, pattern: str) -> tuple[int, int]:
    """How many rows are earlier than the one before them or later than today; days in all."""
    moment = f"TRY_STRPTIME({column.sql}, {literal(pattern)})"
    count, days = profile.ask(
        "count(*) FILTER (moment < before OR moment > current_date + 1), "
        "coalesce(date_diff('day', min(moment), max(moment)), 0)",
        given=f"(SELECT {moment} AS moment, lag({moment}) OVER (ORDER BY place) AS before "
        "FROM sheet)",
    )
    return int(str(count)), int(str(days))


def _of_pattern(column: Column, pattern: str, swapped: str) -> TimeForm:
    return TimeForm(
        kind="pattern",
        sql=f"CAST(TRY_STRPTIME({column.sql}, {literal(pattern)}) AS TIMESTAMPTZ)",
        pattern=pattern,
        swapped=swapped,
        is_date="%H" not in pattern and "%I" not in pattern,
    )


def _counted(profile: Profile, column: Column) -> TimeForm | None:
    """A number: since 1970 where it lies in our time, else since a start that nobody said."""
    value = f"TRY_CAST({column.sql} AS DOUBLE)"
    least, most, wholes = profile.ask(
        f"min({value}), max({value}), bool_and({value} = trunc({value}))"
    )
    if not isinstance(least, float) or not isinstance(most, float):
        return None
    for unit, per_second in EPOCHS.items():
        if EARLIEST * per_second <= least <= most <= LATEST * per_second:
            return TimeForm(
                kind="epoch",
                sql=f"to_timestamp({value} / {per_second})",
                pattern=unit,
                has_offset=True,
            )
    if least < 0 or not wholes:
        return None
    unit = _unit(column, most, profile)
    moment = f"(TIMESTAMPTZ '{START} 00:00:00+00' + {STEPS[unit]}(CAST({value} AS BIGINT)))"
    return TimeForm(kind="offset", sql=moment, unit=unit)


def _unit(column: Column, most: float, profile: Profile) -> str:
    """What a number counts: as its name says; one for each row is an order, a minute apart."""
    words = {*words_of(column.name)}
    for unit, names in (("days", "day days"), ("hours", "step hour hours"), ("minutes", "minutes")):
        if words & {*names.split()}:
            return unit
    is_order = column.distinct == profile.rows and most < 1.2 * profile.rows
    return "minutes" if is_order and profile.sheet.is_whole else "seconds"


def find_parts(profile: Profile) -> dict[str, Column]:
    """The columns that are parts of a date, and the one with the time of day.

    None where there is no year, or one column has the whole time.
    """
    if any(column.is_time or column.is_mostly("iso", 0.9) for column in profile.columns):
        return {}
    found: dict[str, Column] = {}
    for part, names in PARTS.items():
        for column in profile.columns:
            is_called = likeness(column.name, listed(names)) >= 55
            if part not in found and is_called and column.is_mostly("whole"):
                found[part] = column
    if not {"year", "month", "day"} <= found.keys():
        return {}
    return found | ({} if "hour" in found else find_clock(profile))


def find_clock(profile: Profile) -> dict[str, Column]:
    """The column that has a time of day and no date."""
    clocks = [column for column in profile.columns if column.is_mostly("clock")]
    return {"clock": clocks[0]} if clocks else {}
