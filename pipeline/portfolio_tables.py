"""The tables of a portfolio.toml: each key with its type, default, bounds and meaning.

The models say what a file may hold; `pipeline.portfolio` reads one, and `docs/portfolio.md` is made
from them.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from features.declarations import microseconds
from features.groups.catalogue import ExtraKind

NO_DELAY = "0s"
AUTO: Literal["auto"] = "auto"  # the order of the groups is left to a training


def _span(text: str) -> str:
    """Refuse what is no span of time; none at all is one."""
    if text != NO_DELAY:
        microseconds(text)
    return text


Span = Annotated[str, AfterValidator(_span), Field(json_schema_extra={"format": "span of time"})]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class PortfolioTable(BaseModel):
    """A table of the file: it knows its keys, takes each by its type alone, and never changes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Source(PortfolioTable):
    """Where rows come from: a file, or a database by its URL and a query."""

    path: str = Field(default="", description="csv or parquet file, relative to portfolio.toml")
    # may carry a password
    url: str = Field(default="", repr=False, description="address of a database, instead of `path`")
    query: str = Field(default="", description="SQL that returns the rows, with `url`")
    delay: Span = Field(
        default=NO_DELAY,
        description="how late a row may reach us and still stand at its event_time in history",
    )
    feed: bool = Field(
        default=False,
        description="rows are known from their ingestion on, not from their event_time",
    )


class Labels(PortfolioTable):
    """When the label of a transaction is known, where the source does not say."""

    delay: Span = Field(default="7d", description="how long after its transaction a label is known")


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
        default={}, description="the source's columns, each with the name that Strata gives it"
    )
    groups: Groups = Groups()
    labels: Labels = Labels()
    review: Review = Review()
    rules: dict[str, Rule] = Field(default={}, description="hand-written rules, each with a name")
