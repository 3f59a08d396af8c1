"""SQL that brings a source's value, of whatever type it has there, into the type Strata gives it.

Text is taken as `as_text` leaves it: without blanks around it, null where there is none. A value is
null where it cannot be. A time without an offset is read in the connection's time zone.
"""

import gettext
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from pycountry import LOCALES_DIR, countries, currencies

from features.schema import Kind
from pipeline.checks.theirs import Value, present_text
from pipeline.portfolio import Portfolio
from pipeline.portfolio_tables import AUTO, EPOCH_UNITS, Csv, LabelValues
from pipeline.sources.delivery import Delivery, first_row, literal

# ISO 4217: currencies whose minor unit is not a hundredth
NO_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
THREE_DECIMALS = "BHD IQD JOD KWD LYD OMR TND"
FOUR_DECIMALS = "CLF UYW"


TRUE, FALSE = ("1", "true", "t", "yes", "y", "1.0"), ("0", "false", "f", "no", "n", "0.0")
NO_ID = ("NA", "na", "Na", "undefined")  # beside the words for null: never an account
SIGNED = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
INTEGERS = (*SIGNED, *(f"U{name}" for name in SIGNED))
NO_VALUES = LabelValues()
MAX_CODES = 2_000  # different texts of a column of codes
NAMES = ("name", "official_name", "common_name")
TONGUES = ("de", "fr", "es", "it", "pt", "nl", "pl", "sv", "da", "nb", "fi", "cs", "tr", "hu", "ro")
OTHER_NAMES = {  # that people write, beside those of ISO 3166
    **{"UK": "GB", "U.K.": "GB", "GREAT BRITAIN": "GB", "U.S.A.": "US", "U.S.": "US", "UAE": "AE"},
    **{"IVORY COAST": "CI", "CAPE VERDE": "CV", "MACEDONIA": "MK", "BURMA": "MM", "RUSSIA": "RU"},
    **{"HOLLAND": "NL", "THE NETHERLANDS": "NL", "SWAZILAND": "SZ", "TURKEY": "TR"},
}
PER_SECOND = dict(zip(EPOCH_UNITS, (1, 1_000, 1_000_000), strict=True))
# numbers that can be read in one way alone, by their decimal sign; "1,234" and "1.234" cannot
UNMISTAKABLE = {
    ".": r"[+-]?([0-9]{1,3}(,[0-9]{3})+\.[0-9]+|[0-9]{1,3}(,[0-9]{3}){2,}"
    r"|[0-9]*\.([0-9]{1,2}|[0-9]{4,}))",
    ",": r"[+-]?([0-9]{1,3}(\.[0-9]{3})+,[0-9]+|[0-9]{1,3}(\.[0-9]{3}){2,}"
    r"|[0-9]*,([0-9]{1,2}|[0-9]{4,}))",
}
APART = {"'": "[0-9]'[0-9]{3}", " ": r"[0-9][ \x{00a0}\x{202f}][0-9]{3}"}


THOUSANDS_APART = ("' '", "chr(160)", "chr(8239)", "chr(39)")


@dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """The signs in a number that is text."""

    decimal: str = "."
    thousands: str = ""


PLAIN_NUMBER = NumberFormat()


def find_number_format(value: Value, delivery: Delivery, portfolio: Portfolio) -> NumberFormat:
    """How a column of text writes its numbers: as the portfolio says, else as its values show.

    What can be read in two ways ("1,234" and no other) is not guessed, nor are values that show
    both: then a comma is no part of a number. Rows that were held keep the form of their file.
    """
    said = portfolio.source.csv
    if delivery.number_forms:
        return _as_said(said, _form_of_file(value, delivery))
    if value.kind != "VARCHAR" or AUTO not in (said.decimal, said.thousands):
        return _as_said(said, NumberFormat())
    text = present_text(value.sql, said.nulls)
    is_plain = f"TRY_CAST({value.sql} AS DOUBLE) IS NOT NULL AND NOT contains({value.sql}, '_')"
    is_plain = f"{value.sql} IS NULL OR ({is_plain})"
    if first_row(delivery.connection, f"SELECT bool_and({is_plain}) FROM source")[0]:
        return _as_said(said, PLAIN_NUMBER)  # no value has another sign than a point
    joint = text  # without what may stand between thousands beside a point or a comma
    for sign in THOUSANDS_APART:
        joint = f"replace({joint}, {sign}, '')"
    forms = [*UNMISTAKABLE.values(), *(f".*{form}.*" for form in APART.values())]
    looked_at = [joint] * len(UNMISTAKABLE) + [text] * len(APART)
    asked = [
        f"bool_or(regexp_full_match({seen}, {literal(form)}))"
        for seen, form in zip(looked_at, forms, strict=True)
    ]
    asked.append(f"bool_or(contains({text}, ','))")
    found = first_row(delivery.connection, f"SELECT {', '.join(asked)} FROM source")
    point, comma, apostrophe, space, has_commas = found
    apart = "'" if apostrophe else " " if space else ""
    if comma and not point:
        return _as_said(said, NumberFormat(decimal=",", thousands=apart or "."))
    return _as_said(
        said, NumberFormat(thousands=apart or ("," if has_commas and point and not comma else ""))
    )


def _form_of_file(value: Value, delivery: Delivery) -> NumberFormat:
    """The form that the column's numbers had, or where another is mapped now, all numbers had."""
    known = {
        said: NumberFormat(decimal=decimal, thousands=thousands)
        for said, (decimal, thousands) in delivery.number_forms.items()
    }
    forms = set(known.values())
    return known.get(value.said) or (forms.pop() if len(forms) == 1 else PLAIN_NUMBER)


def _as_said(said: Csv, found: NumberFormat) -> NumberFormat:
    return NumberFormat(
        decimal=found.decimal if said.decimal == AUTO else said.decimal,
        thousands=found.thousands if said.thousands == AUTO else said.thousands,
    )


def as_text(value: str, kind: str, nulls: Sequence[str] = ()) -> str:
    """SQL for a value as text, null where there is none; whole numbers have no decimals."""
    if kind == "VARCHAR":
        return present_text(value, nulls)
    if kind.startswith("ENUM") or kind in ("JSON", "UUID"):
        return present_text(f"CAST({value} AS VARCHAR)", nulls)
    if kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL"):
        finite = f"CASE WHEN isfinite(CAST({value} AS DOUBLE)) THEN {value} END"
        is_whole = f"{finite} = trunc({finite}) AND abs({finite}) < 1e18"
        whole = f"CAST(CAST({finite} AS BIGINT) AS VARCHAR)"
        return f"CASE WHEN {is_whole} THEN {whole} ELSE CAST({finite} AS VARCHAR) END"
    return f"CAST({value} AS VARCHAR)"


def as_identifier(value: str, kind: str, nulls: Sequence[str] = ()) -> str:
    """SQL for a value as the name of somebody: what only says that there is none is null."""
    return as_text(value, kind, (*nulls, *NO_ID))


def as_number(value: str, kind: str, *, form: NumberFormat = PLAIN_NUMBER) -> str:
    """SQL for a value as a finite number."""
    if kind in INTEGERS or kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL"):
        return _finite(f"CAST({value} AS DOUBLE)")
    if kind != "VARCHAR":
        return "NULL::DOUBLE"
    text = value
    if form.thousands == " ":
        text = f"replace(replace(replace({text}, ' ', ''), chr(160), ''), chr(8239), '')"
    elif form.thousands:
        text = f"replace({text}, {literal(form.thousands)}, '')"
    if form.decimal != ".":
        text = f"replace(CASE WHEN NOT contains({text}, '.') THEN {text} END, ',', '.')"
    return _finite(f"TRY_CAST(CASE WHEN NOT contains({text}, '_') THEN {text} END AS DOUBLE)")


def _finite(number: str) -> str:
    return f"CASE WHEN isfinite({number}) THEN {number} END"


def as_time(value: str, kind: str, *, time_format: str = "") -> str:
    """SQL for a value as a moment; what is finer than a microsecond is cut off."""
    if kind.startswith("TIMESTAMP") or kind == "DATE":
        plain = f"CAST({value} AS TIMESTAMP)" if kind.startswith("TIMESTAMP_") else value
        return _finite(f"CAST({plain} AS TIMESTAMPTZ)")
    if time_format in PER_SECOND:
        return _since_1970(value, kind, PER_SECOND[time_format])
    if kind != "VARCHAR":
        return "NULL::TIMESTAMPTZ"
    text = value
    # a whole date at least: a bare year, "now" or "infinity" would be read as times, too
    is_date = f"{text}[5] = '-' AND {text}[8] = '-'"
    iso = f"TRY_CAST(CASE WHEN {is_date} THEN {text} END AS TIMESTAMPTZ)"
    if not time_format:
        return iso
    parsed = f"CAST(TRY_STRPTIME({text}, {literal(time_format)}) AS TIMESTAMPTZ)"
    return f"coalesce({parsed}, {iso})"


def _since_1970(value: str, kind: str, per_second: int) -> str:
    number = as_number(value, kind)
    microseconds = f"CAST(round({number} * {1_000_000 // per_second}) AS BIGINT)"
    # what lies beyond the year 9999 is no time of a payment
    is_before = f"abs({number}) < {253402300800 * per_second}"
    return f"CASE WHEN {is_before} THEN make_timestamptz({microseconds}) END"


def as_flag(value: str, kind: str, *, values: LabelValues = NO_VALUES) -> str:
    """SQL for a value as true or false."""
    text = f"lower({value if kind == 'VARCHAR' else as_text(value, kind)})"
    true = values.fraud or [word for word in TRUE if word not in values.legitimate]
    false = values.legitimate or [word for word in FALSE if word not in values.fraud]
    is_true, is_false = f"{text} IN ({_words(true)})", f"{text} IN ({_words(false)})"
    return f"CASE WHEN {is_true} THEN true WHEN {is_false} THEN false END"


def _words(words: Sequence[str]) -> str:
    return ", ".join(literal(word.lower()) for word in words)


def as_major_units(amount: str, currency: str) -> str:
    """SQL for an amount in minor units as one in major units of its currency."""
    return f"({amount} / pow(10, {decimals(currency)}))"


@cache
def country_codes() -> dict[str, str]:
    """Alpha-2 codes by alpha-3 and numeric code and by name, in capitals; names in many tongues.

    >>> [country_codes()[name] for name in ("USA", "840", "GERMANY", "ALLEMAGNE", "UK")]
    ['US', 'US', 'DE', 'DE', 'GB']
    """
    spoken = [gettext.translation("iso3166-1", LOCALES_DIR, languages=[one]) for one in TONGUES]
    found: dict[str, str] = {}
    for country in countries:
        names = [str(getattr(country, name)) for name in NAMES if hasattr(country, name)]
        translated = [tongue.gettext(name) for tongue in spoken for name in names]
        said = [country.alpha_3, country.numeric, *names, *translated]
        found |= {name.upper(): country.alpha_2 for name in said}
    return found | OTHER_NAMES


@cache
def currency_codes() -> dict[str, str]:
    """ISO 4217 codes by number and by a sign that only one currency has.

    >>> currency_codes()["978"], currency_codes()["€"]
    ('EUR', 'EUR')
    """
    return {one.numeric: one.alpha_3 for one in currencies} | {"€": "EUR", "£": "GBP", "₹": "INR"}


def decimals(currency: str) -> str:
    """SQL for how many decimals a currency's amounts have."""

    def listed(codes: str) -> str:
        return ", ".join(f"'{code}'" for code in codes.split())

    return (
        f"CASE WHEN {currency} IN ({listed(NO_DECIMALS)}) THEN 0 "
        f"WHEN {currency} IN ({listed(THREE_DECIMALS)}) THEN 3 "
        f"WHEN {currency} IN ({listed(FOUR_DECIMALS)}) THEN 4 ELSE 2 END"
    )


def with_codes(value: Value, delivery: Delivery, portfolio: Portfolio) -> Value:
    """The value with the codes of those of its texts that only name one: few, as codes are."""
    if value.ours not in NAMED:
        return value
    known = NAMED[value.ours]()
    text = as_text("given", value.kind, portfolio.source.csv.nulls)
    given = f"SELECT DISTINCT {value.sql} AS given FROM source"
    query = f"SELECT DISTINCT upper({text}) FROM ({given}) LIMIT {MAX_CODES}"
    said = [name for (name,) in delivery.connection.execute(query).fetchall() if name]
    found = {name: known.get(name) or known.get(name.zfill(3)) for name in said}
    return replace(value, codes={name: code for name, code in found.items() if code})


def as_code(text: str, codes: Mapping[str, str]) -> str:
    """SQL for a code of letters, in capitals, where a text is one or names one."""
    if not codes:
        return f"upper({text})"
    names, values = (", ".join(map(literal, some)) for some in (codes, codes.values()))
    known = f"map([{names}], [{values}])[upper({text})]"
    return f"coalesce({known}, upper({text}))"


def as_category(text: str, codes: Mapping[str, str]) -> str:
    """SQL for a merchant category code, with the zeros before it that a number lost."""
    is_short = f"regexp_full_match({text}, '[0-9]{{1,3}}')"
    return f"CASE WHEN {is_short} THEN lpad({text}, 4, '0') ELSE {text} END"


NAMED: dict[str, Callable[[], Mapping[str, str]]] = {
    "country": country_codes,
    "merchant_country": country_codes,
    "currency": currency_codes,
}
FORMS: dict[str, Callable[[str, Mapping[str, str]], str]] = {
    **dict.fromkeys(NAMED, as_code),
    "merchant_category": as_category,
}
CONVERSIONS: dict[Kind, Callable[[str, str], str]] = {
    "text": as_text,
    "number": as_number,
    "time": as_time,
    "flag": as_flag,
}
