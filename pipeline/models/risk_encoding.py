"""How often each value of a text category was fraud: a number beside the category.

Log-odds against the base rate, shrunk to it by as many rows as `shrinkage` says (Micci-Barreca
2001, SIGKDD Explorations 3:1). A row to learn from is told what rows before it say whose labels
were known by then, a row to score what all of them say: nothing is learned from a row's own label.
The encoding is kept where trees that learned before the last days tell these better by it, beyond
what chance does.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.declarations import Feature, Group, fact
from features.stored_json import read_json
from pipeline.arrays import BoolArray, FloatArray, IntArray, Moments

FILE = "risk.json"
PREFIX = "risk_of_"
BLOCKS = 8  # of the time: a row is told of those before its own
LEAST_VALUES, LEAST_ROWS = 3, 2  # of a category that is encoded, and of a value that is known
MOST_VALUES = 20_000  # the most frequent of a category


@dataclass(frozen=True, kw_only=True)
class CategoryRisk:
    """Of a category each known value's log-odds of fraud against the base rate."""

    name: str
    values: tuple[str, ...]
    log_odds: tuple[float, ...]

    @property
    def column(self) -> str:
        """The column that it adds."""
        return PREFIX + self.name

    def of(self, texts: pa.ChunkedArray) -> pa.ChunkedArray:
        """The number of each row: 0 of an unknown value, null of a missing one."""
        known = pa.array(self.log_odds, pa.float64())
        found = known.take(pc.index_in(texts, pa.array(self.values, pa.string())).combine_chunks())
        return pa.chunked_array([pc.if_else(pc.is_null(texts), None, pc.fill_null(found, 0.0))])


@dataclass(frozen=True, kw_only=True)
class RiskEncoding:
    """What is known of the values of the categories; of none where nothing was gained."""

    shrinkage: float = 0.0
    categories: tuple[CategoryRisk, ...] = ()

    def added_to(self, features: pa.Table) -> pa.Table:
        """The rows with a number for each category; what has them already stays as it is.

        Raises ValueError where a category is absent.
        """
        for one in self.categories:
            if one.column in features.column_names:
                continue
            if one.name not in features.column_names:
                raise ValueError(
                    f"the features lack {one.name}; "
                    "build them with the groups the model was trained on"
                )
            features = features.append_column(one.column, one.of(features[one.name]))
        return features

    def to_files(self, folder: Path) -> None:
        """Write risk.json, where there is something to know."""
        if self.categories:
            text = json.dumps(asdict(self), ensure_ascii=False)
            (folder / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_files(cls, folder: Path) -> "RiskEncoding":
        """Read what `to_files` wrote. Raises ValueError for anything else."""
        return read_json(cls, folder / FILE) if (folder / FILE).exists() else NO_RISK


NO_RISK = RiskEncoding()


def encoded_category(name: str) -> str:
    """The category that a column tells the risk of; any other column is itself.

    >>> encoded_category("risk_of_ip_country_code"), encoded_category("amount_paid")
    ('ip_country_code', 'amount_paid')
    """
    return name.removeprefix(PREFIX)


def with_risk(groups: Sequence[Group], risk: RiskEncoding) -> tuple[Group, ...]:
    """The groups with the number of each of their encoded categories."""
    known = {one.name: one.column for one in risk.categories}

    def widened(group: Group) -> Group:
        added = [_feature(known[own.name], own) for own in group.features if own.name in known]
        return replace(group, features=(*group.features, *added))

    return tuple(widened(group) for group in groups)


def _feature(column: str, category: Feature) -> Feature:
    meaning = f"how often it was fraud: {category.meaning}"
    return fact(column, column, meaning, unit="log-odds", null="where missing")


def fit_risk(
    features: pa.Table, y: BoolArray, groups: Sequence[Group], *, shrinkage: float
) -> RiskEncoding:
    """Learn the text categories of the groups from all rows; y is [R]."""
    categories = []
    for name in _categories(features, groups):
        codes, values = pd.factorize(features[name].to_pandas())
        log_odds = _log_odds(codes, y, len(values), shrinkage)
        categories.append(
            CategoryRisk(
                name=name,
                values=tuple(values[_known(codes, len(values))].tolist()),
                log_odds=tuple(log_odds[_known(codes, len(values))].tolist()),
            )
        )
    return RiskEncoding(shrinkage=shrinkage, categories=tuple(categories))


def out_of_fold(
    features: pa.Table, y: BoolArray, risk: RiskEncoding, *, label_delay: timedelta
) -> pa.Table:
    """The rows that were learned from, each told of what was known before it; y is [R]."""
    for one in risk.categories:
        moments = features["as_of"].to_numpy()
        codes, values = pd.factorize(features[one.name].to_pandas())
        told = np.zeros(len(y))
        for block, known in _blocks(moments, np.timedelta64(label_delay)):
            log_odds = _log_odds(codes[known], y[known], len(values), risk.shrinkage)
            told[block] = log_odds[codes[block]]
        column = pa.array(np.where(codes < 0, np.nan, told), from_pandas=True)
        features = features.append_column(one.column, column)
    return features


def _categories(features: pa.Table, groups: Sequence[Group]) -> list[str]:
    """The categories that have enough values to tell apart."""
    shown = [
        one.name
        for group in groups
        for one in group.features
        if one.shown and one.kind == "category"
    ]
    return [name for name in shown if pc.count_distinct(features[name]).as_py() >= LEAST_VALUES]


def _known(codes: IntArray, count: int) -> IntArray:
    """The values that are met often enough, the most frequent first."""
    rows = np.bincount(codes[codes >= 0], minlength=count)
    order = np.argsort(-rows, kind="stable")[:MOST_VALUES]
    return np.asarray(order[rows[order] >= LEAST_ROWS])


def _log_odds(codes: IntArray, y: BoolArray, count: int, shrinkage: float) -> FloatArray:
    """Of each value, [V], shrunk to the rate of these rows; 0 where there is nothing to go by."""
    rate = y.mean() if len(y) else 0.0
    if not 0 < rate < 1:
        return np.zeros(count)
    own, fraud = codes[codes >= 0], y[codes >= 0]
    rows = np.bincount(own, minlength=count)
    frauds = np.bincount(own, weights=fraud, minlength=count)
    odds = (frauds + shrinkage * rate) / (rows - frauds + shrinkage * (1 - rate))
    return np.asarray(np.log(odds) - np.log(rate / (1 - rate)))


def _blocks(moments: Moments, delay: np.timedelta64) -> list[tuple[BoolArray, BoolArray]]:
    """Rows of each stretch of time, and those whose labels were known when it began."""
    edges = np.quantile(moments.astype("int64"), np.arange(BLOCKS) / BLOCKS)
    starts = edges.astype("int64").astype(moments.dtype)
    place = np.searchsorted(starts, moments, side="right") - 1
    return [(place == block, moments + delay < start) for block, start in enumerate(starts)]
