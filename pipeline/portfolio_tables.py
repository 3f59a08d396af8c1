"""The tables of a portfolio.toml: each key with its type, default, bounds and meaning.

The models say what a file may hold; `pipeline.portfolio` reads one, and `docs/portfolio.md` is made
from them.
"""

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from features.declarations import microseconds
from features.groups.catalogue import ExtraKind

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


Span = Annotated[str, AfterValidator(_span), Field(json_schema_extra={"format": "span of time"})]
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
    query: str = Field(default="", description="SQL that returns the rows, with `url`")
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
    """When the label of a transaction is known, and how it is written."""

    delay: Span = Field(
        default="7d",
        description="how long after its transaction a label is known that says no time",
    )
    values: LabelValues = LabelValues()


class ExtraColumn(PortfolioTable):
    """A column of the portfolio's own, as one more fact of a group."""

    group: str = Field(description="the group whose stage takes it in")
    kind: ExtraKind = Field(default="number", description="what it holds")


class Groups(PortfolioTable):
    """The groups of facts, each one stage of the network."""

    order: list[str] | Literal["auto"] = Field(
        default=[],
        description="the groups taken, in their order; `[]` is all whose columns are there, and "
        '`"auto"` lets a training order them by what they tell for their price',
    )
    prices: dict[str, NotNegative] = Field(
        default={}, description="price of one look-up of a group, in the portfolio's currency"
    )
    extra: dict[str, ExtraColumn] = Field(
        default={}, description="columns of the portfolio's own, each with its name"
    )


class Review(PortfolioTable):
    """What the analysts can do, and what a decision costs (major units of the currency)."""

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
    groups: Groups = Groups()
    labels: Labels = Labels()
    review: Review = Review()
    rules: dict[str, Rule] = Field(default={}, description="hand-written rules, each with a name")
