"""How times and money are written: types, patterns, counts of seconds; signs, decimals, cents."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from pipeline.checks.coercion import APART, UNMISTAKABLE
from pipeline.proposal.profile import SIGN, Column, Profile
from pipeline.proposal.words import PARTS, likeness, listed, words_of
from pipeline.sources.delivery import literal

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


MIN_MINOR_ROWS = 20
MIN_MINOR_MEDIAN = 300
MAX_ROUND_SHARE = 0.5  # of whole amounts that are hundreds
MINOR_WORDS = {"cents", "cent", "minor", "pence", "kopeks", "centimes", "satang"}


@dataclass(frozen=True, kw_only=True)
class MoneyForm:
    """How one column writes amounts.

    `number` is SQL for the value in `sheet`; `signs` are those of currencies that stand at it;
    `negative` is SQL for whether one is below 0. `decimal` is empty where the values do not tell.
    """

    number: str
    negative: str
    signs: tuple[str, ...] = ()
    has_brackets: bool = False
    decimal: str = ""
    thousands: str = ""
    is_minor: bool = False
    negatives: int = 0
    others: int = 0  # amounts above 0


def find_money(profile: Profile, column: Column, *, without_decimals: bool = False) -> MoneyForm:
    """How a column writes its amounts; `without_decimals` is a currency that has none."""
    value = column.sql
    signs, has_brackets = _signs(profile, column)
    decimal, thousands = find_decimal(profile, column)
    negative = f"(starts_with({value}, '(') OR contains({value}, '-'))"
    if column.is_mostly("number"):
        negative = f"starts_with({value}, '-')"
    number = f"regexp_replace({value}, '[^0-9.,]', '', 'g')"
    if decimal == ",":
        number = f"replace(replace({number}, '.', ''), ',', '.')"
    elif thousands == "." and not decimal:
        number = f"replace({number}, '.', '')"
    number = f"TRY_CAST(replace({number}, ',', '') AS DOUBLE)"
    if column.is_mostly("number") and decimal != "," and not thousands:
        number = f"abs(TRY_CAST({value} AS DOUBLE))"
    form = MoneyForm(
        number=number,
        negative=negative,
        signs=signs,
        has_brackets=has_brackets,
        decimal=decimal,
        thousands=thousands,
        negatives=profile.count(f"{negative} AND {number} <> 0"),
        others=profile.count(f"NOT {negative} AND {number} > 0"),
    )
    is_minor = not without_decimals and _is_minor(profile, column, form)
    return MoneyForm(**{**vars(form), "is_minor": is_minor})


def _signs(profile: Profile, column: Column) -> tuple[tuple[str, ...], bool]:
    """The signs at the amounts that are no part of a number, and whether there are brackets."""
    if column.is_mostly("number"):
        bare = f"regexp_full_match({column.sql}, '[-+0-9.,eE'' ]*')"
        if profile.ask(f"coalesce(bool_and({bare}), true)")[0]:
            return (), False
    left = f"trim(regexp_replace({column.sql}, '[-+0-9., ''\\x{{00a0}}\\x{{202f}}]', '', 'g'))"
    (found,) = profile.ask(f"list(DISTINCT {left}) FILTER ({left} <> '')")
    signs = sorted(str(one) for one in found) if isinstance(found, list) else []
    plain = {sign.strip("()") for sign in signs if re.fullmatch(rf"[(]?({SIGN})?[)]?", sign)} - {""}
    return tuple(sorted(plain)), any(sign.startswith("(") for sign in signs)


def find_decimal(profile: Profile, column: Column) -> tuple[str, str]:
    """The signs before the decimals and between the thousands; empty where no value tells."""
    if column.kind != "VARCHAR":
        return ".", ""
    value = f"regexp_replace({column.sql}, '[^-+0-9., ''\\x{{00a0}}\\x{{202f}}]', '', 'g')"
    forms = [*UNMISTAKABLE.values(), *(f".*{form}.*" for form in APART.values())]
    asked = [f"bool_or(regexp_full_match(trim({value}), {literal(form)}))" for form in forms]
    asked.append(f"bool_or(contains({value}, ','))")
    point, comma, apostrophe, space, has_commas = profile.ask(", ".join(asked))
    apart = "'" if apostrophe else " " if space else ""
    if comma and not point:
        return ",", apart or "."
    if point and not comma:
        return ".", apart or ("," if has_commas else "")
    return "", apart


def _is_minor(profile: Profile, column: Column, form: MoneyForm) -> bool:
    """Whether amounts are whole numbers, large ones, and not rounded to hundreds."""
    if {*words_of(column.name)} & MINOR_WORDS:
        return True
    if not column.is_mostly("whole", 1.0) or form.signs:
        return False
    whole, median, hundreds = profile.ask(
        f"coalesce(bool_and({form.number} = trunc({form.number})), false), "
        f"coalesce(median({form.number}), 0), coalesce(avg(({form.number} % 100 = 0)::INT), 1)"
    )
    is_large = float(str(median)) >= MIN_MINOR_MEDIAN
    is_uneven = float(str(hundreds)) <= MAX_ROUND_SHARE
    # a float column writes 12.0 for 12: whole numbers there are no cents
    written = profile.count(f"{column.sql} IS NOT NULL AND NOT contains({column.sql}, '.')")
    is_written_whole = written == column.count
    is_enough = profile.rows >= MIN_MINOR_ROWS
    return bool(whole) and is_large and is_uneven and is_written_whole and is_enough


def amount_expression(name: str, form: MoneyForm, *, is_text: bool, is_spent_negative: bool) -> str:
    """What to write behind `amount =`: the column, or SQL that takes away what is no number.

    >>> plain = MoneyForm(number="", negative="", signs=("$",))
    >>> amount_expression("Amount", plain, is_text=True, is_spent_negative=False)
    "replace(Amount, '$', '')"
    """
    if not is_text:
        return f"-{name}" if is_spent_negative else ""
    has_words = len(form.signs) > 1 or form.has_brackets
    if not form.signs and not form.has_brackets:
        return f"replace({name}, '-', '')" if is_spent_negative else ""
    if not has_words and not is_spent_negative:
        return f"replace({name}, {literal(form.signs[0])}, '')"
    digits = f"regexp_replace({name}, '[^0-9.,]', '', 'g')"
    if is_spent_negative or not form.negatives:
        return digits
    is_below = f"contains({name}, '-') OR contains({name}, '(')"
    return f"CASE WHEN {is_below} THEN '-' ELSE '' END || {digits}"
