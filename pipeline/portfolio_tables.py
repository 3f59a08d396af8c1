"""The tables of a portfolio.toml: each key with its type, default, bounds and meaning.

The models say what a file may hold; `pipeline.portfolio` reads one, and `docs/portfolio.md` is made
from them.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from features.declarations import LOOKBACK, microseconds
from features.groups.catalogue import ExtraKind
from features.groups.declared import SPANS, DeclaredFunction

NO_DELAY = "0s"
AUTO: Literal["auto"] = "auto"  # left to the data: the order of groups, the form of a file
EPOCH_UNITS = ("seconds", "milliseconds", "microseconds")  # what a time_format may count


def _span(text: str) -> str:
    """Refuse what is no span of time; none at all is one."""
    if text != NO_DELAY:
        microseconds(text)
    return text


def _zone(text: str) -> str:
    """Refuse what is no time zone of the IANA list."""
    try:
        ZoneInfo(text)
    except (ValueError, OSError, LookupError):
        known = "name one of the IANA list, such as Europe/Paris"
        raise ValueError(f"{text!r} is no time zone; {known}") from None
    return text


def _moment(value: object) -> datetime | None:
    """A time of TOML, a day or a text as a moment, in UTC where it has no offset."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"{value!r} is no ISO 8601 time; write 2025-06-01T00:00:00Z") from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _currency(code: str) -> str:
    if code and not re.fullmatch("[A-Z]{3}", code):
        raise ValueError(f"{code!r} is no ISO 4217 code; write three capitals, such as EUR")
    return code


Moment = Annotated[
    datetime | None,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "ISO 8601 time"}),
]


def _look_back(text: str) -> str:
    """Refuse what is no span of time that a window can look back; none said is one."""
    if text and microseconds(text) > microseconds(LOOKBACK):
        raise ValueError(f"{text!r} is longer than the look-back; take {LOOKBACK} or less")
    return text


def _look_backs(texts: list[str]) -> list[str]:
    """Sort the spans; refuse none at all, one that is none, and one twice."""
    lengths = {microseconds(_look_back(text)) for text in texts}
    if not texts or len(lengths) < len(texts):
        raise ValueError(f"{texts} are no different spans; write them like ['1d', '7d']")
    return sorted(texts, key=microseconds)


def _said(text: str) -> str:
    """Refuse an empty text."""
    if not text.strip():
        raise ValueError("it is empty; say it in a few words")
    return text


Span = Annotated[str, AfterValidator(_span), Field(json_schema_extra={"format": "span of time"})]
SPAN_FORMAT = Field(json_schema_extra={"format": "span of time"})
LookBack = Annotated[str, AfterValidator(_look_back), SPAN_FORMAT]
LookBacks = Annotated[list[str], AfterValidator(_look_backs)]
Said = Annotated[str, AfterValidator(_said)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class PortfolioTable(BaseModel):
    """A table of the file: it knows its keys, takes each by its type alone, and never changes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Csv(PortfolioTable):
    """How the source's csv files are written; `"auto"` is found out from each file, and said."""

    delimiter: str = Field(default=AUTO, min_length=1, description="sign between two fields")
    quote: str = Field(
        default='"', max_length=1, description='sign around a field; `""` where there is none'
    )
    decimal: Literal["auto", ".", ","] = Field(
        default=AUTO, description="sign before the decimals of a number"
    )
    thousands: Literal["auto", "", ",", ".", "'", " "] = Field(
        default=AUTO, description="sign between the thousands of a number"
    )
    encoding: str = Field(default=AUTO, description="such as utf-8, utf-16, latin-1, cp1252")
    nulls: list[str] = Field(default=[], description="further words for a value that is missing")
    header: Literal["auto", "yes", "no"] = Field(
        default=AUTO,
        description="whether names stand above the rows; without, they are column0, column1, ...",
    )


class Source(PortfolioTable):
    """Where rows come from: files, or a database by its URL and a query; and how they are read."""

    path: str = Field(
        default="",
        description="file, folder (`region=fr` gives a column), pattern or Delta table, relative "
        "to portfolio.toml: csv, tsv, json (objects in lines, or one list of them) or "
        "Parquet, plain or as gzip, zstd or zip",
    )
    # may carry a password
    url: str = Field(default="", repr=False, description="address of a database, instead of `path`")
    tables: dict[str, str] = Field(
        default={},
        description="further files by the name that `query` has for them, each a path as `path` is",
    )
    query: str = Field(
        default="",
        description="SQL that returns the rows: with `url` of the database, with `path` one SELECT "
        "over `source`, the rows of one file of it, and `tables`; a row of `source` gives one row "
        "or none",
    )
    watermark: str = Field(
        default="",
        description="a column of the query of a database that only grows, such as when a row last "
        "changed: rows at or above its greatest value so far are read",
    )
    where: str = Field(
        default="", description="SQL over their columns: which rows are payments; others stay out"
    )
    csv: Csv = Csv()
    time_format: str = Field(
        default="",
        description="how times are written: `seconds`, `milliseconds` or `microseconds` since "
        "1970, or a pattern such as `%d.%m.%Y %H:%M`; ISO 8601 needs none",
    )
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(
        default="UTC", description="the zone of times that have no offset"
    )
    amount_unit: Literal["major", "minor"] = Field(
        default="major", description="minor: cents, by the currency's own number of decimals"
    )
    identity: list[str] = Field(
        default=[],
        description="their columns that tell one row from another, where there is no "
        "transaction_id; `[]` is all that are mapped, but for the label",
    )
    tokens: list[str] = Field(
        default=[],
        description="their columns whose values look like card numbers and are tokens; what looks "
        "like one and stands not here is refused",
    )
    delay: Span = Field(
        default=NO_DELAY,
        description="how late a row may reach us and still stand at its event_time in history",
    )
    settle: Span = Field(
        default="60s",
        description="how long a file whose end is missing must have been unchanged",
    )
    feed: bool = Field(
        default=False,
        description="rows are known from their ingestion on, not from their event_time",
    )
    feed_since: Moment = Field(
        default=None,
        description="from this event_time on rows come by a feed, known from their ingestion on; "
        "earlier ones are history, known at their event_time",
    )
    on_change: Literal["correct", "keep", "refuse"] = Field(
        default="correct",
        description="a row that comes again with other content: a correction, passed over, or "
        "sent to quarantine",
    )
    max_bad_share: NotNegative = Field(
        default=0.01,
        le=1,
        description="share of a file's rows, from 20 on, that may lack a required value for one "
        "reason; beyond it the file waits whole",
    )


class LabelValues(PortfolioTable):
    """What the source's labels say, as text; true and false, yes and no, 1 and 0 need not stand."""

    fraud: list[str] = Field(default=[], description="values that mean fraud")
    legitimate: list[str] = Field(default=[], description="values that mean legitimate")
    unlabelled: list[str] = Field(default=[], description="values that mean no label yet")


class Labels(PortfolioTable):
    """When the label of a transaction is known, how it is written, and files of labels alone.

    Such files are found out like the source's; its `time_format`, `time_zone`, `amount_unit` and
    words for null hold for them, too. A day without a time is known when it is over; a label that
    has neither, `delay` after its payment where both came at once, else when it came.
    """

    delay: Span = Field(
        default="7d",
        description="how long after its transaction a label is known that says no time",
    )
    prior: NotNegative = Field(
        default=0.0,
        lt=1,
        description="the stream's share of fraud, where the rows are a sample that has another: "
        "probabilities and expected losses follow it; 0 where the rows are the stream",
    )
    values: LabelValues = LabelValues()
    path: str = Field(
        default="",
        description="file, folder or pattern of labels in files of their own, such as chargebacks",
    )
    columns: dict[str, str] = Field(
        default={},
        description="ours, each with theirs or SQL over theirs: `transaction_id`, `is_fraud` "
        '(`"true"` where every row is a fraud), `label_known_at`, and those of `match`',
    )
    match: list[str] = Field(
        default=[],
        description="ours that name the payment where a label has no transaction_id, such as "
        '`["account_id", "event_time", "amount"]`; of event_time its day; what fits several '
        "payments waits",
    )


class Currency(PortfolioTable):
    """The one currency of features, ranks, limits and costs, where the data has several.

    The lake keeps amounts as they came. An amount of day D is converted by the rate of the latest
    day not after D, which may be at most 7 days older. A rate is what one unit of its currency is
    worth in units of `reporting`: with `"EUR"` that of JPY is about 0.006. A payment without a
    currency is taken to be in `reporting`.
    """

    reporting: Annotated[str, AfterValidator(_currency)] = Field(
        default="", description="ISO 4217 code, such as `EUR`"
    )
    rates: str = Field(
        default="",
        description="csv file with the columns currency, day (ISO 8601) and rate, relative to "
        "portfolio.toml",
    )


class KeyTable(PortfolioTable):
    """A key of the portfolio's own: a stage with the usual facts of what is done with its values.

    They are counts and sums, whether the value is new to the account, how many accounts were new to
    it, the amount beside the usual one, the time since it was last seen, and what was known of its
    fraud.
    """

    column: Said = Field(
        description="a column of ours that is mapped, else a column of theirs or SQL over theirs",
    )
    meaning: Said = Field(description='what it is in words, such as "e-mail domain"')
    after: str = Field(default="", description="the group behind which its stage stands; else last")
    spans: LookBacks = Field(
        default=list(SPANS), description="the spans of time its facts look back, 90d at most"
    )


class FeatureTable(PortfolioTable):
    """A feature of the portfolio's own, in the language of the declarations.

    It is an aggregate of what a key did in a span before the payment, or `sql` over the payment
    itself. An expression (`of`, `where`, `sql`) reads columns and features, never a label, and
    looks at one row.
    """

    group: str = Field(description="the group whose stage takes it in: a usual one, or a key")
    meaning: Said = Field(description="what it is in words, as the reasons say it")
    unit: str = Field(default="", description="of its values: `currency`, `s`, `d`, `ratio`, ...")
    aggregate: DeclaredFunction = Field(
        default="", description="what is made of the rows, or labels, of the key in the span"
    )
    of: str = Field(default="", description="the column or expression whose values are aggregated")
    where: str = Field(default="", description='which of the key\'s rows count; `""` is all')
    key: str = Field(
        default="",
        description="`account`, `ip`, `device`, `merchant`, `counterparty`, one of `[keys]`, or a "
        "pair such as `account+email`",
    )
    span: LookBack = Field(default="", description="how far it looks back, 90d at most")
    sql: str = Field(
        default="", description="an expression over columns and features, instead of an aggregate"
    )


class ExtraColumn(PortfolioTable):
    """A column of the portfolio's own, or a set of them, as further facts of a group."""

    group: str = Field(description="the group whose stage takes it in")
    kind: ExtraKind = Field(default="number", description="what it holds")
    columns: str = Field(
        default="",
        description="a pattern for the names of theirs, such as `V*`: all columns that fit and are "
        "not mapped otherwise, each called by its name in lower case",
    )


class Groups(PortfolioTable):
    """The groups of facts, each one stage of the network."""

    order: list[str] | Literal["auto"] = Field(
        default=[],
        description="the groups taken, in their order; `[]` is all whose columns are there, and "
        '`"auto"` lets a training order them by what they tell for their price',
    )
    select: Literal["all", "auto"] = Field(
        default="all",
        description='`"auto"` lets a training leave out groups, and so keys, without which the '
        "training's later days are told better",
    )
    prices: dict[str, NotNegative] = Field(
        default={}, description="price of one look-up of a group, in the portfolio's currency"
    )
    extra: dict[str, ExtraColumn] = Field(
        default={}, description="columns of the portfolio's own, each (or each set) with its name"
    )


class Review(PortfolioTable):
    """What the analysts can do, and what a decision costs (major units of the one currency)."""

    capacity_per_day: int = Field(
        default=100, ge=1, description="accounts that can be reviewed in a day"
    )
    minutes: NotNegative = Field(default=3.0, description="minutes that a review takes")
    cost: NotNegative = Field(default=2.5, description="what a review costs")
    friction_cost: NotNegative = Field(
        default=5.0, description="what it costs to stop a legitimate customer"
    )
    recovered_share: NotNegative = Field(
        default=0.6, le=1, description="share of the loss that a review recovers"
    )


class Rule(PortfolioTable):
    """A hand-written condition and what follows when it holds."""

    when: str = Field(description="SQL over the columns and features of one transaction")
    action: Literal["alert"] = Field(default="alert", description="what follows when it holds")


class PortfolioTables(PortfolioTable):
    """What stands before the tables, and the tables."""

    name: str = Field(
        pattern=r"\A[a-z][a-z0-9_-]{0,62}\z",
        description="the data set's name: lower-case letters, digits, `-` and `_`",
    )
    source: Source = Source()
    columns: dict[str, str] = Field(
        default={},
        description="Strata's columns, each with theirs: a column's name, or SQL over them",
    )
    keys: dict[str, KeyTable] = Field(
        default={}, description="keys of the portfolio's own, each with its name"
    )
    features: dict[str, FeatureTable] = Field(
        default={}, description="features of the portfolio's own, each with its name"
    )
    groups: Groups = Groups()
    labels: Labels = Labels()
    currency: Currency = Currency()
    review: Review = Review()
    rules: dict[str, Rule] = Field(default={}, description="hand-written rules, each with a name")
