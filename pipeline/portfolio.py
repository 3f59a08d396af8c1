"""A portfolio: what a data set's columns mean, and how its alerts are to be reviewed; read from portfolio.toml."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from features.groups import Extra, GroupError, portfolio_groups
from features.schema import BY_NAME, REQUIRED, Kind
from features.windows import Group, microseconds


class PortfolioError(ValueError):
    """A portfolio.toml says something that Strata does not understand."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where rows come from: a csv or parquet file (relative to the toml), or a database URL with a query."""

    path: str = ""
    url: str = ""
    query: str = ""
    delay: str = "0s"
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
    """One data set: its source, its columns (theirs to ours), its groups in order, its labels, reviews and rules."""

    name: str
    file: Path
    source: Source
    columns: dict[str, str]
    order: tuple[str, ...] = ()
    extra: dict[str, Extra] = field(default_factory=dict)
    labels: Labels = field(default_factory=Labels)
    review: Review = field(default_factory=Review)
    rules: dict[str, Rule] = field(default_factory=dict)

    @property
    def label_delay(self) -> timedelta:
        """How long labels take to mature."""
        return timedelta(microseconds=microseconds(self.labels.delay))

    @property
    def arrival_delay(self) -> timedelta:
        """How late a row may reach us and still stand at its event_time."""
        return timedelta() if self.source.delay == "0s" else timedelta(microseconds=microseconds(self.source.delay))

    @property
    def extra_kinds(self) -> dict[str, Kind]:
        """Arrow kinds of the portfolio's own columns."""
        return {name: "number" if extra.kind == "number" else "text" for name, extra in self.extra.items()}

    def groups(self, columns: list[str]) -> tuple[Group, ...]:
        """The groups of facts that data with these columns has."""
        return portfolio_groups(columns, order=self.order, extra=self.extra)


def read_portfolio(file: Path) -> Portfolio:
    """Read and check a portfolio.toml. Raises PortfolioError with the key, the value seen and what it may be."""
    try:
        text = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PortfolioError(f"there is no portfolio file {file}; name an existing portfolio.toml") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PortfolioError(f"{file} cannot be read as TOML: {error}; mend it there") from error
    allowed = {"name", "source", "columns", "groups", "labels", "review", "rules"}
    _known_keys(text, allowed, where=str(file))
    groups = _table(text, "groups", file)
    _known_keys(groups, {"order", "extra"}, where=f"[groups] of {file}")
    portfolio = Portfolio(
        name=_name(text, file),
        file=file.absolute(),
        source=_section(Source, _table(text, "source", file), f"[source] of {file}"),
        columns=_columns(_table(text, "columns", file), file),
        order=tuple(groups.get("order", ())),
        extra={n: _section(Extra, e, f"[groups.extra.{n}] of {file}") for n, e in groups.get("extra", {}).items()},
        labels=_section(Labels, _table(text, "labels", file), f"[labels] of {file}"),
        review=_section(Review, _table(text, "review", file), f"[review] of {file}"),
        rules={n: _section(Rule, r, f"[rules.{n}] of {file}") for n, r in _table(text, "rules", file).items()},
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
        expected = {str: str, bool: bool, int: int, float: (int, float)}.get(cast(Any, types[name]), str)
        if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
            raise PortfolioError(f"{name} in {where} is {value!r}; it must be of type {getattr(types[name], '__name__', 'text')}")
    try:
        return kind(**values)
    except TypeError as error:
        raise PortfolioError(f"{where} is incomplete ({error}); add what is missing") from error


def _known_keys(values: Mapping[str, Any], allowed: set[str], *, where: str) -> None:
    for name in values:
        if name not in allowed:
            close = get_close_matches(name, allowed, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it knows {', '.join(sorted(allowed))}"
            raise PortfolioError(f"{where} has {name!r}, which means nothing to Strata; {hint}")


def _table(text: dict[str, Any], name: str, file: Path) -> dict[str, Any]:
    value = text.get(name, {})
    if not isinstance(value, dict):
        raise PortfolioError(f"{name} of {file} is {value!r}; write it as the table [{name}]")
    return value


def _name(text: dict[str, Any], file: Path) -> str:
    name = text.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name):
        raise PortfolioError(f"the name of {file} is {name!r}; give it one of lower-case letters, digits, - and _")
    return name


def _columns(values: dict[str, Any], file: Path) -> dict[str, str]:
    for theirs, ours in values.items():
        if not isinstance(ours, str):
            raise PortfolioError(f"{theirs!r} in [columns] of {file} is mapped to {ours!r}; map it to the name of a column")
    return values


def _check(portfolio: Portfolio, file: Path) -> None:
    source, review = portfolio.source, portfolio.review
    known = set(BY_NAME) | set(portfolio.extra)
    for theirs, ours in portfolio.columns.items():
        if ours not in known:
            close = get_close_matches(ours, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(BY_NAME)} or declare it in [groups.extra]"
            raise PortfolioError(f"{theirs!r} in [columns] of {file} is mapped to {ours!r}, which is no column of Strata; {hint}")
        if list(portfolio.columns.values()).count(ours) > 1:
            raise PortfolioError(f"[columns] of {file} maps two columns to {ours!r}; map one")
    if bool(source.path) == bool(source.url):
        raise PortfolioError(f"[source] of {file} needs either path or url; give one of them")
    if bool(source.url) != bool(source.query):
        raise PortfolioError(f"[source] of {file} has url {source.url!r} and query {source.query!r}; a database needs both")
    try:
        microseconds(portfolio.labels.delay)
        _ = portfolio.arrival_delay
        portfolio.groups([*BY_NAME, *portfolio.extra])
    except (GroupError, ValueError) as error:
        raise PortfolioError(f"{file}: {error}") from error
    if review.capacity_per_day < 1 or min(review.minutes, review.cost, review.friction_cost) < 0 or not 0 <= review.recovered_share <= 1:
        raise PortfolioError(f"[review] of {file} is {review}; capacity is at least 1, costs at least 0, recovered_share from 0 to 1")
    for name, rule in portfolio.rules.items():
        if rule.action != "alert":
            raise PortfolioError(f"[rules.{name}] of {file} has the action {rule.action!r}; the action is 'alert'")


def missing_columns(portfolio: Portfolio, found: list[str]) -> list[str]:
    """Return the required columns of ours that a source with these columns does not give."""
    given = set(portfolio.columns.values()) | (set(found) & set(BY_NAME))
    return [name for name in REQUIRED if name not in given]
