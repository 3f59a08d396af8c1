"""How amounts are written: signs of a currency, decimals, negatives, whole numbers of cents."""

import re
from dataclasses import dataclass

from pipeline.ingest.coercion import APART, UNMISTAKABLE
from pipeline.proposal.profile import SIGN, Column, Profile
from pipeline.proposal.words import words_of
from pipeline.sources.readers import literal

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
