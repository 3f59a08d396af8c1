"""What the values of a name give away: real card numbers, and zeros that only some rows have.

A lake should hold no card numbers: a column that looks like one is refused unless the portfolio
says that they are tokens. Names that differ in their leading zeros alone stay apart, and are said.
"""

from collections.abc import Iterator, Mapping, Sequence

import duckdb

from features.schema import Kind
from pipeline.lake.tables import Lake
from pipeline.portfolio import Portfolio, PortfolioError
from pipeline.sources.delivery import Delivery, first_row, quoted
from pipeline.sources.known_ids import has_twins

SAMPLE = 5_000  # rows of a delivery that are looked at, from its beginning to its end
MIN_CARDS = 3  # values that look like card numbers before a column is thought to have them
MIN_SHARE = 0.5  # of the values that could be one by their length
# first digits of Visa, Mastercard, American Express, Discover, Diners Club, JCB, UnionPay and
# Maestro (ISO/IEC 7812)
ISSUERS = (
    "4[0-9]{12}([0-9]{3}){0,2}|5[1-5][0-9]{14}|2(22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)"
    "[0-9]{12}|3[47][0-9]{13}|6(011|4[4-9][0-9]|5[0-9]{2})[0-9]{12,15}|3(0[0-5]|[689][0-9])[0-9]{11}"
    "|35(2[89]|[3-8][0-9])[0-9]{12}|62[0-9]{14,17}|(50|5[6-9]|6[0-9])[0-9]{14,17}"
)
COULD_BE = "[0-9]{13,19}"
# each second digit from the right counts twice, and the sum of the digits ends in 0 (ISO/IEC 7812)
IS_CHECKED = """
    list_sum(list_transform(range(1, length(plain) + 1), lambda nth: CASE
        WHEN nth % 2 = 1 THEN substr(reverse(plain), nth, 1)::INT
        ELSE (substr(reverse(plain), nth, 1)::INT * 2) // 10
            + (substr(reverse(plain), nth, 1)::INT * 2) % 10 END)) % 10 = 0
"""


def check_card_numbers(delivery: Delivery, portfolio: Portfolio, kinds: Mapping[str, Kind]) -> None:
    """Refuse columns of `checked` whose values look like real card numbers and are not `tokens`.

    Raises PortfolioError with the line to write.
    """
    tokens = portfolio.source.tokens
    names = [name.lower() for name in delivery.names]
    if absent := [token for token in tokens if token.lower() not in names]:
        raise PortfolioError(
            f"tokens in [source] of {portfolio.file} names {absent[0]!r}, which {delivery.name} "
            f"lacks; it has {', '.join(delivery.names[:30])}"
        )
    step = max(1, delivery.records // SAMPLE)
    for ours in (name for name, kind in kinds.items() if kind == "text"):
        theirs = portfolio.columns.get(ours, ours)
        if any(token.lower() in theirs.lower() for token in tokens):
            continue
        plain = f"regexp_replace({quoted(ours)}, '[ -]', '', 'g')"
        long = f"SELECT {plain} AS plain FROM checked WHERE place % {step} = 0"
        is_card = f"regexp_full_match(plain, '{ISSUERS}') AND {IS_CHECKED}"
        count, could_be, example = first_row(
            delivery.connection,
            "SELECT count(DISTINCT plain) FILTER (is_card), count(DISTINCT plain), "
            f"min(plain) FILTER (is_card) FROM (SELECT plain, {is_card} AS is_card FROM ({long}) "
            f"WHERE regexp_full_match(plain, '{COULD_BE}'))",
        )
        if count >= MIN_CARDS and count >= MIN_SHARE * could_be:
            raise PortfolioError(_refusal(portfolio, ours, theirs, count, example))


def _refusal(portfolio: Portfolio, ours: str, theirs: str, count: int, example: str) -> str:
    """The sentence, which shows of a card number no more than may be shown."""
    masked = f"{example[:6]}...{example[-4:]}"
    return (
        f"{ours} = {theirs!r} looks like real card numbers ({count:,} values such as {masked} "
        "have the check digit and an issuer of cards), which a lake should not hold; write "
        f"""{ours} = "sha256('a secret of yours' || {theirs})" in [columns], or, where they are """
        f'tokens already, tokens = ["{theirs}"] in [source] of {portfolio.file}'
    )


NAMES = ("account_id", "merchant_id", "counterparty_id")
TWINS = """
    WITH given AS (SELECT DISTINCT {name} AS name FROM checked),
    known AS MATERIALIZED (SELECT DISTINCT {name} AS name FROM stored_names),
    fresh AS (SELECT name, ltrim(name, '0') AS number FROM given
        WHERE regexp_full_match(name, '0*[1-9][0-9]*') AND name NOT IN (
            SELECT name FROM known WHERE name IS NOT NULL))
    SELECT count(*), min(fresh.name), arg_min(known.name, fresh.name) FROM fresh JOIN known
        ON ltrim(known.name, '0') = fresh.number AND known.name <> fresh.name
"""


def zeros_across(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    columns: Sequence[str],
    *,
    is_dry: bool = False,
) -> Iterator[str]:
    """Names of `checked` that the lake has with more, or fewer, zeros before the same number.

    Of the lake the one column is read, where there may be such names; a run that `is_dry` reads it
    in any case. A name that the lake has already was said before.
    """
    stored = lake.dataset("transactions")
    if stored is None:
        return
    for name in [one for one in NAMES if one in columns and one in stored.schema.names]:
        if not (is_dry or has_twins(connection, lake, name)):
            continue
        connection.register("stored_names", stored)
        count, example, twin = first_row(connection, TWINS.format(name=quoted(name)))
        connection.unregister("stored_names")
        if count:
            yield (
                f"{name} has {count:,} values like {example!r} where the lake has {twin!r}; they "
                "stay apart: say them alike, such as lpad(theirs, 3, '0'), if they are one"
            )
