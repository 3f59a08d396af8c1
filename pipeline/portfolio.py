"""A portfolio: what a data set's columns mean, and how its alerts are to be reviewed.

Read from portfolio.toml.
"""

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

from features.declarations import Group, microseconds
from features.groups.catalogue import GROUPS, Extra, ExtraKind, GroupError, portfolio_groups
from features.schema import BY_NAME, Kind

NO_DELAY = "0s"
AUTO = "auto"  # the order of the groups is left to a training
OWN_NAMES = ("as_of", "row_digest")  # columns of the lake beside those of the schema


class PortfolioError(ValueError):
    """A portfolio.toml says something that Strata does not understand."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where rows come from: a csv or parquet file (relative to the toml), or a database URL with a query."""

    path: str = ""
    url: str = field(default="", repr=False)  # may carry a password
    query: str = ""
    delay: str = NO_DELAY
    feed: bool = False


@dataclass(frozen=True, kw_only=True)
class Labels:
    """How long after its transaction a label is known, where the source does not say."""

    delay: str = "7d"


@dataclass(frozen=True, kw_only=True)
class Review:
    """What the analysts can do, and what a decision costs (major units of the currency)."""

    capacity_per_day: int = 100
    minutes: float = 3.0
    cost: float = 2.5
    friction_cost: float = 5.0
    recovered_share: float = 0.6


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A hand-written condition (SQL over columns and features) and what follows when it holds."""

    when: str
    action: Literal["alert"] = "alert"


@dataclass(frozen=True, kw_only=True)
class Portfolio:
    """One data set: its source, its columns (theirs to ours), its groups in order, its labels, reviews and rules.

    `prices` are of one look-up of a group, in the portfolio's currency. With
    `is_ordered_by_information` a training decides the order, and `order` is empty.
    """

    name: str
    file: Path
    source: Source
    columns: dict[str, str]
    order: tuple[str, ...] = ()
    is_ordered_by_information: bool = False
    prices: dict[str, float] = field(default_factory=dict)
    extra: dict[str, Extra] = field(default_factory=dict)
    labels: Labels = field(default_factory=Labels)
    review: Review = field(default_factory=Review)
    rules: dict[str, Rule] = field(default_factory=dict)

    @property
    def label_delay(self) -> timedelta:
        """How long labels take to mature."""
        return _delay(self.labels.delay)

    @property
    def arrival_delay(self) -> timedelta:
        """How late a row may reach us and still stand at its event_time."""
        return _delay(self.source.delay)

    @property
    def extra_kinds(self) -> dict[str, Kind]:
        """Arrow kinds of the portfolio's own columns."""
        return {
            name: "number" if extra.kind == "number" else "text"
            for name, extra in self.extra.items()
        }

    def groups(self, columns: list[str]) -> tuple[Group, ...]:
        """The groups of facts that data with these columns has."""
        return portfolio_groups(columns, order=self.order, extra=self.extra)


def _delay(span: str) -> timedelta:
    return timedelta() if span == NO_DELAY else timedelta(microseconds=microseconds(span))


def read_portfolio(file: Path) -> Portfolio:
    """Read and check a portfolio.toml. Raises PortfolioError with the key, the value seen and what it may be."""
    try:
        text = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PortfolioError(
            f"there is no portfolio file {file}; name an existing portfolio.toml"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PortfolioError(f"{file} cannot be read as TOML: {error}; mend it there") from error
    allowed = {"name", "source", "columns", "groups", "labels", "review", "rules"}
    _known_keys(text, allowed, where=str(file))
    groups = _table(text, "groups", file)
    _known_keys(groups, {"order", "extra", "prices"}, where=f"[groups] of {file}")
    extra = _table(groups, "extra", file, inside="groups.")
    portfolio = Portfolio(
        name=_name(text, file),
        file=file.absolute(),
        source=_section(Source, _table(text, "source", file), f"[source] of {file}"),
        columns=_columns(_table(text, "columns", file), file),
        order=_order(groups.get("order", []), file),
        is_ordered_by_information=groups.get("order") == AUTO,
        prices=_prices(_table(groups, "prices", file, inside="groups."), file),
        extra={n: _section(Extra, e, f"[groups.extra.{n}] of {file}") for n, e in extra.items()},
        labels=_section(Labels, _table(text, "labels", file), f"[labels] of {file}"),
        review=_section(Review, _table(text, "review", file), f"[review] of {file}"),
        rules={
            n: _section(Rule, r, f"[rules.{n}] of {file}")
            for n, r in _table(text, "rules", file).items()
        },
    )
    _check(portfolio, file)
    return portfolio


Section = TypeVar("Section")


def _section(kind: type[Section], values: Any, where: str) -> Section:
    """Build a section's dataclass from its TOML table, checking names, types and what is required."""
    if not isinstance(values, dict):
        raise PortfolioError(f"{where} is {values!r}; write it as a table")
    types = {f.name: f.type for f in fields(cast(Any, kind))}
    _known_keys(values, set(types), where=where)
    for name, value in values.items():
        expected = cast(
            Any,
            {str: str, bool: bool, int: int, float: (int, float)}.get(cast(Any, types[name]), str),
        )
        if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
            raise PortfolioError(
                f"{name} in {where} is {value!r}; it must be of type {getattr(types[name], '__name__', 'text')}"
            )
    try:
        return kind(**values)
    except TypeError as error:
        raise PortfolioError(f"{where} is incomplete ({error}); add what is missing") from error


def _known_keys(values: Mapping[str, Any], allowed: set[str], *, where: str) -> None:
    for name in values:
        if name not in allowed:
            close = get_close_matches(name, allowed, n=1)
            hint = (
                f"did you mean {close[0]!r}?" if close else f"it knows {', '.join(sorted(allowed))}"
            )
            raise PortfolioError(f"{where} has {name!r}, which means nothing to Strata; {hint}")


def _table(text: dict[str, Any], name: str, file: Path, *, inside: str = "") -> dict[str, Any]:
    value = text.get(name, {})
    if not isinstance(value, dict):
        raise PortfolioError(
            f"{name} of {file} is {value!r}; write it as the table [{inside}{name}]"
        )
    return value


def _order(value: object, file: Path) -> tuple[str, ...]:
    if value == AUTO:
        return ()
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise PortfolioError(
            f"order in [groups] of {file} is {value!r}; write it as a list of group names, or as {AUTO!r}"
        )
    return tuple(value)


def _prices(values: dict[str, Any], file: Path) -> dict[str, float]:
    for name, price in values.items():
        if name not in GROUPS:
            raise PortfolioError(
                f"[groups.prices] of {file} names {name!r}, which is no group; choose from {', '.join(GROUPS)}"
            )
        if (
            isinstance(price, bool)
            or not isinstance(price, int | float)
            or not 0 <= price < math.inf
        ):
            raise PortfolioError(
                f"the price of {name} in [groups.prices] of {file} is {price!r}; give a number of 0 or more"
            )
    return {name: float(price) for name, price in values.items()}


def _name(text: dict[str, Any], file: Path) -> str:
    name = text.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name):
        raise PortfolioError(
            f"the name of {file} is {name!r}; give it one of lower-case letters, digits, - and _"
        )
    return name


def _columns(values: dict[str, Any], file: Path) -> dict[str, str]:
    for theirs, ours in values.items():
        if not isinstance(ours, str):
            raise PortfolioError(
                f"{theirs!r} in [columns] of {file} is mapped to {ours!r}; map it to the name of a column"
            )
    return values


def _check(portfolio: Portfolio, file: Path) -> None:
    source = portfolio.source
    known = set(BY_NAME) | set(portfolio.extra)
    for theirs, ours in portfolio.columns.items():
        if ours not in known:
            close = get_close_matches(ours, known, n=1)
            hint = (
                f"did you mean {close[0]!r}?"
                if close
                else f"choose from {', '.join(BY_NAME)} or declare it in [groups.extra]"
            )
            raise PortfolioError(
                f"{theirs!r} in [columns] of {file} is mapped to {ours!r}, which is no column of Strata; {hint}"
            )
        if list(portfolio.columns.values()).count(ours) > 1:
            raise PortfolioError(f"[columns] of {file} maps two columns to {ours!r}; map one")
    if bool(source.path) == bool(source.url):
        found = "both" if source.path else "neither"
        raise PortfolioError(f"[source] of {file} has {found} of path and url; give one of them")
    if bool(source.url) != bool(source.query):
        there, absent = ("url", "query") if source.url else ("query", "url")
        raise PortfolioError(
            f"[source] of {file} has a {there} and no {absent}; a database needs both"
        )
    _check_spans(portfolio, file)
    _check_extra(portfolio, file)
    try:
        portfolio.groups([*BY_NAME, *portfolio.extra])
    except GroupError as error:
        raise PortfolioError(f"{file}: {error}") from error
    _check_review(portfolio.review, file)
    for name, rule in portfolio.rules.items():
        if rule.action != "alert":
            raise PortfolioError(
                f"action in [rules.{name}] of {file} is {rule.action!r}; it must be 'alert'"
            )


def _check_spans(portfolio: Portfolio, file: Path) -> None:
    for section, span in (("source", portfolio.source.delay), ("labels", portfolio.labels.delay)):
        try:
            _ = span if span == NO_DELAY else microseconds(span)
        except ValueError as error:
            raise PortfolioError(f"delay in [{section}] of {file}: {error}") from error


def _check_extra(portfolio: Portfolio, file: Path) -> None:
    for name, extra in portfolio.extra.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in OWN_NAMES:
            told = f"[groups.extra.{name}] of {file} cannot be called {name!r}"
            raise PortfolioError(
                f"{told}; take lower-case letters, digits and _, and none of {', '.join(OWN_NAMES)}"
            )
        if extra.kind not in get_args(ExtraKind):
            raise PortfolioError(
                f"kind in [groups.extra.{name}] of {file} is {extra.kind!r}; it must be 'number' or 'category'"
            )


def _check_review(review: Review, file: Path) -> None:
    bounds = {
        "capacity_per_day": (1, math.inf),
        "minutes": (0, math.inf),
        "cost": (0, math.inf),
        "friction_cost": (0, math.inf),
        "recovered_share": (0, 1),
    }
    for name, (least, most) in bounds.items():
        value = getattr(review, name)
        if not (least <= value <= most and math.isfinite(value)):
            to = "at least {}" if most == math.inf else "from {} to {}"
            raise PortfolioError(
                f"{name} in [review] of {file} is {value}; it must be {to.format(least, most)}"
            )
