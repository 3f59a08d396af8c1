"""A portfolio: what a data set's columns mean, and how its alerts are to be reviewed.

Read from portfolio.toml, whose tables stand in `pipeline.portfolio_tables`.
"""

import json
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from features.declarations import Group, microseconds
from features.expressions import LABELS, ExpressionError, names_of
from features.groups.catalogue import GROUPS, Extra, GroupError, portfolio_groups
from features.groups.column_sets import example_of, fits
from features.groups.declared import Declared, Key
from features.schema import BY_NAME, Kind
from pipeline.portfolio_errors import PortfolioError, close_to, first_error
from pipeline.portfolio_tables import (
    AUTO,
    NO_DELAY,
    Currency,
    ExtraColumn,
    FeatureTable,
    KeyTable,
    Labels,
    PortfolioTables,
    Review,
    Rule,
    Source,
)

__all__ = ["Portfolio", "PortfolioError", "read_portfolio"]

OWN_NAMES = (
    "as_of",
    "row_digest",
    "delivery",
    "corrected_at",
)  # columns of the lake beside those of the schema


@dataclass(frozen=True, kw_only=True)
class Portfolio:
    """One data set: source, columns (ours to theirs), keys, features, groups, labels, rules.

    `prices` are of one look-up of a group, in the portfolio's currency. With
    `is_ordered_by_information` a training decides the order, and `order` is empty; with
    `selects_groups` it leaves those out that mislead on its later days.
    """

    name: str
    file: Path
    source: Source
    columns: dict[str, str]
    order: tuple[str, ...] = ()
    is_ordered_by_information: bool = False
    selects_groups: bool = False
    prices: dict[str, float] = field(default_factory=dict)
    extra: dict[str, ExtraColumn] = field(default_factory=dict)
    sets: dict[str, ExtraColumn] = field(default_factory=dict)
    keys: dict[str, KeyTable] = field(default_factory=dict)
    features: dict[str, FeatureTable] = field(default_factory=dict)
    labels: Labels = field(default_factory=Labels)
    currency: Currency = field(default_factory=Currency)
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
    def currency_file(self) -> Path:
        """Where the rates of currencies stand."""
        return self.file.parent / self.currency.rates

    @property
    def settle(self) -> timedelta:
        """How long a file whose last line is not ended must have been unchanged."""
        return _delay(self.source.settle)

    @property
    def extra_kinds(self) -> dict[str, Kind]:
        """Arrow kinds of the portfolio's own columns, but for those of sets."""
        return {name: _kind_of(extra) for name, extra in self.extra.items()}

    @property
    def key_columns(self) -> dict[str, str]:
        """The keys that have a column of their own: theirs, or SQL over theirs, by name."""
        return {name: key.column for name, key in self.keys.items() if not self._is_ours(key)}

    @property
    def our_key_columns(self) -> list[str]:
        """Columns of ours that keys are over."""
        return [key.column for key in self.keys.values() if self._is_ours(key)]

    def own_kinds(self, names: Iterable[str]) -> dict[str, Kind]:
        """Arrow kinds of those of the columns that are the portfolio's own."""
        kinds = self.extra_kinds | dict.fromkeys(self.key_columns, TEXT)
        own = [name for name in names if name not in BY_NAME and name not in OWN_NAMES]
        return {
            name: kinds[name] if name in kinds else _kind_of(self.sets[one])
            for name in own
            if (one := self.set_of(name)) or name in kinds
        }

    def kind(self, name: str) -> Kind:
        """What a column of Strata's, or one of the portfolio's own, holds."""
        return BY_NAME[name].kind if name in BY_NAME else self.own_kinds([name])[name]

    def set_of(self, name: str) -> str:
        """The set that has a column of the lake; none where another table of the file says it."""
        if name in BY_NAME or name in OWN_NAMES or name in self.extra or name in self.key_columns:
            return ""
        return next((one for one, extra in self.sets.items() if fits(extra.columns, name)), "")

    def groups(self, columns: Iterable[str]) -> tuple[Group, ...]:
        """The groups of facts that data with these columns has.

        Raises GroupError where a column of its own is not there, ValueError where a feature of its
        own cannot be computed.
        """
        columns = list(columns)
        found = {name: one for name in columns if (one := self.set_of(name))}
        for name, one_set in self.sets.items():
            if name not in found.values():
                raise GroupError(
                    f"[groups.extra.{name}] columns = {one_set.columns!r} fits no column that was "
                    "taken in; mend the pattern, or run strata ingest --again"
                )
        extra = {name: _extra_of(own) for name, own in self.extra.items()}
        extra |= {name: _extra_of(self.sets[one]) for name, one in found.items()}
        return portfolio_groups(
            columns,
            order=self.order,
            extra=extra,
            keys={name: self._key(name, key) for name, key in self.keys.items()},
            features={name: Declared(**one.model_dump()) for name, one in self.features.items()},
        )

    def _key(self, name: str, key: KeyTable) -> Key:
        column = key.column if self._is_ours(key) else name
        return Key(column=column, meaning=key.meaning, after=key.after, spans=tuple(key.spans))

    def _is_ours(self, key: KeyTable) -> bool:
        """Whether a key is over a column of ours, or one that the portfolio has beside them."""
        ours = [*LABELS, *self.extra, *(self.columns or BY_NAME)]
        return key.column in ours


TEXT: Kind = "text"


def _kind_of(extra: ExtraColumn) -> Kind:
    return "number" if extra.kind == "number" else "text"


def _extra_of(extra: ExtraColumn) -> Extra:
    return Extra(group=extra.group, kind=extra.kind)


def read_portfolio(file: Path) -> Portfolio:
    """Read and check a portfolio.toml.

    Raises PortfolioError with the key, the value seen and what it may be.
    """
    text = _read_toml(file)
    try:
        tables = PortfolioTables.model_validate(text)
    except ValidationError as error:
        raise first_error(error, text, file) from None  # its text repeats what a url may hold
    groups = tables.groups
    portfolio = Portfolio(
        name=tables.name,
        file=file.absolute(),
        source=tables.source,
        columns=tables.columns,
        order=() if groups.order == AUTO else tuple(groups.order),
        is_ordered_by_information=groups.order == AUTO,
        selects_groups=groups.select == AUTO,
        prices=groups.prices,
        extra={name: one for name, one in groups.extra.items() if not one.columns},
        sets={name: one for name, one in groups.extra.items() if one.columns},
        keys=tables.keys,
        features=tables.features,
        labels=tables.labels,
        currency=tables.currency,
        review=tables.review,
        rules=tables.rules,
    )
    _check_columns(portfolio, file)
    _check_source(portfolio.source, file)
    _check_labels(portfolio.labels, file)
    _check_currency(portfolio.currency, file)
    _check_groups(portfolio, file)
    return portfolio


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PortfolioError(
            f"there is no portfolio file {file}; name an existing portfolio.toml"
        ) from None
    except PermissionError:  # nothing is wrong with what it says
        raise
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PortfolioError(f"{file} cannot be read as TOML: {error}; mend it there") from error


def _delay(span: str) -> timedelta:
    return timedelta() if span == NO_DELAY else timedelta(microseconds=microseconds(span))


def _check_columns(portfolio: Portfolio, file: Path) -> None:
    known = [*BY_NAME, *portfolio.extra]
    choice = f"choose from {', '.join(BY_NAME)} or declare it in [groups.extra]"
    for ours, theirs in portfolio.columns.items():
        if ours in known:
            continue
        if theirs in known:
            raise PortfolioError(_turned_round(portfolio.columns, known, file))
        mapped = f"{ours!r} in [columns] of {file}, mapped to {theirs!r}, is no column of Strata"
        raise PortfolioError(f"{mapped}; {close_to(ours, known, otherwise=choice)}")


def _turned_round(columns: dict[str, str], known: list[str], file: Path) -> str:
    """The sentence for columns that are written theirs = ours, as release 0.1 had them."""
    old = {theirs: ours for theirs, ours in columns.items() if ours in known}
    lines = "\n".join(f"{ours} = {json.dumps(theirs)}" for theirs, ours in old.items())
    first = next(iter(old))
    found = f"[columns] of {file} has {json.dumps(first)} = {json.dumps(old[first])}, theirs = ours"
    return f"{found}; since release 0.2 it is ours = theirs, so write:\n{lines}"


def _check_source(source: Source, file: Path) -> None:
    if bool(source.path) == bool(source.url):
        found = "both" if source.path else "neither"
        raise PortfolioError(f"[source] of {file} has {found} of path and url; give one of them")
    if source.url and not source.query:
        raise PortfolioError(f"[source] of {file} has a url and no query; a database needs both")
    if source.watermark and not source.url:
        raise PortfolioError(
            f"[source] of {file} has a watermark and no url; files need none, each is taken once"
        )
    _check_tables(source, file)
    if source.feed and source.feed_since:
        raise PortfolioError(
            f"[source] of {file} has both feed = true and feed_since; take feed out where rows "
            "before feed_since are history, else feed_since"
        )


def _check_tables(source: Source, file: Path) -> None:
    """Tables are files that a query joins to the source's."""
    if source.tables and source.url:
        raise PortfolioError(
            f"[source] of {file} has url and tables; join the tables of a database in its query"
        )
    if source.tables and not source.query:
        raise PortfolioError(
            f"[source] of {file} has tables and no query; say how they are joined to source, "
            "as docs/your-data.md shows under Transactions and identities"
        )
    for name in source.tables:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name.lower() == "source":
            raise PortfolioError(
                f"tables in [source] of {file} cannot be called {name!r}; take letters, digits "
                "and _, and not source"
            )


def _check_labels(labels: Labels, file: Path) -> None:
    """Labels of their own source say which payment they are of, and what they say of it."""
    if not labels.path:
        if labels.columns or labels.match:
            key = "columns" if labels.columns else "match"
            raise PortfolioError(
                f"[labels] of {file} has {key} and no path; say path where labels have files of "
                "their own, else map is_fraud in [columns]"
            )
        return
    given = {*labels.columns, *labels.match}
    unknown = [name for name in (*labels.columns, *labels.match) if name not in BY_NAME]
    if unknown:
        choice = f"choose from {', '.join(BY_NAME)}"
        raise PortfolioError(
            f"[labels] of {file} names {unknown[0]!r}, which is no column of Strata; "
            f"{close_to(unknown[0], [*BY_NAME], otherwise=choice)}"
        )
    if "is_fraud" not in given:
        raise PortfolioError(
            f"columns in [labels] of {file} lack is_fraud; map it, or write is_fraud = "
            '"true" where every row is a fraud'
        )
    if "transaction_id" not in labels.columns and not labels.match:
        raise PortfolioError(
            f"[labels] of {file} does not say which payment a label is of; map transaction_id in "
            'its columns, or write match = ["account_id", "event_time", "amount"]'
        )
    if absent := [name for name in labels.match if name not in labels.columns]:
        raise PortfolioError(
            f"match in [labels] of {file} names {absent[0]}, which its columns lack; map it there"
        )
    if no_fact := [name for name in labels.match if name in NO_MATCH]:
        raise PortfolioError(
            f"match in [labels] of {file} names {no_fact[0]!r}, which tells no payments apart; "
            "name columns of the payment, such as account_id, event_time and amount"
        )


def _check_currency(currency: Currency, file: Path) -> None:
    if bool(currency.reporting) != bool(currency.rates):
        there, absent = ("reporting", "rates") if currency.reporting else ("rates", "reporting")
        raise PortfolioError(f"[currency] of {file} has {there} and no {absent}; give both")


NO_MATCH = ("transaction_id", "is_fraud", "label_known_at", "known_at")


def _check_groups(portfolio: Portfolio, file: Path) -> None:
    groups = [*GROUPS, *portfolio.keys]
    for name in portfolio.prices:
        if name not in groups:
            named = f"[groups.prices] of {file} names {name!r}, which is no group"
            raise PortfolioError(f"{named}; choose from {', '.join(groups)}")
    for name in (*portfolio.extra, *portfolio.sets):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in OWN_NAMES:
            refused = f"[groups.extra.{name}] of {file} cannot be called {name!r}"
            allowed = f"lower-case letters, digits and _, and none of {', '.join(OWN_NAMES)}"
            raise PortfolioError(f"{refused}; take {allowed}")
    try:
        portfolio.groups(_possible_columns(portfolio))
    except ValueError as error:
        raise PortfolioError(f"{file}: {error}") from error


def _possible_columns(portfolio: Portfolio) -> list[str]:
    """Columns that the lake can have: of a set one that fits, and those that features read."""
    is_own = portfolio.columns and (portfolio.keys or portfolio.features)
    mapped = portfolio.columns if is_own else BY_NAME
    read = [name for feature in portfolio.features.values() for name in _names_in(feature)]
    of_sets = [example_of(extra.columns) for extra in portfolio.sets.values()]
    named = [name for name in (*read, *of_sets) if portfolio.set_of(name)]
    return [*mapped, *portfolio.extra, *portfolio.key_columns, *dict.fromkeys(named)]


def _names_in(feature: FeatureTable) -> list[str]:
    try:
        said = [one for one in (feature.of, feature.where, feature.sql) if one]
        return [name for one in said for name in names_of(one)]
    except ExpressionError:  # refused where it is read whole
        return []
