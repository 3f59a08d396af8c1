"""Logistic regression with an L2 penalty, on standardised logarithms and one-hot categories."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd
from pydantic import BaseModel, ConfigDict
from sklearn.linear_model import LogisticRegression

from features.stored_json import read_json
from pipeline.arrays import BoolArray, FloatArray
from pipeline.evaluation.metrics import average_precision, both_classes
from pipeline.models.baselines.columns import Columns
from pipeline.models.baselines.folds import Sample, tuning_sample, tuning_settings
from pipeline.models.baselines.protocol import Settings, write_json


@dataclass(frozen=True, kw_only=True)
class LinearInputs:
    """Features as a linear model takes them: signed log1p, standardised.

    What is missing; frequent categories one-hot.
    """

    columns: Columns
    mean: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def learn(cls, features: pd.DataFrame) -> "LinearInputs":
        """Means and scales over what is present; a constant or empty column keeps scale 1."""
        columns = Columns.learn(features, most=20, least_rows=20)
        logs = signed_log(columns.numbers_of(features))
        is_there = np.isfinite(logs)
        rows = np.maximum(is_there.sum(axis=0), 1)
        mean = logs.sum(axis=0, where=is_there) / rows
        scale = np.sqrt(np.square(logs - mean).sum(axis=0, where=is_there) / rows)
        return cls(
            columns=columns,
            mean=tuple(mean.tolist()),
            scale=tuple(np.where(scale > 1e-9, scale, 1.0).tolist()),
        )

    def matrix(self, features: pd.DataFrame) -> FloatArray:
        """[rows, 2 * numbers + sum of categories and their nulls]."""
        numbers = (signed_log(self.columns.numbers_of(features)) - self.mean) / self.scale
        codes = self.columns.codes_of(features)
        hot = [
            np.column_stack(
                [codes[:, [place]] == np.arange(len(values) + 1), np.isnan(codes[:, place])]
            )
            for place, values in enumerate(self.columns.categories.values())
        ]
        return np.column_stack([np.nan_to_num(numbers, nan=0.0), np.isnan(numbers), *hot]).astype(
            np.float64
        )


def signed_log(values: FloatArray) -> FloatArray:
    """sign(x) log(1 + |x|)."""
    return np.sign(values) * np.log1p(np.abs(values))


class StoredLogistic(BaseModel):
    """What logistic.json holds."""

    model_config = ConfigDict(frozen=True)

    inputs: LinearInputs
    weights: tuple[float, ...]
    intercept: float
    settings: Settings


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The weights of a logistic regression by column.

    A number has one for its standardised logarithm [N] and one for being missing [N]; a category
    has one for each frequent value, then for any other, then for none.
    """

    numbers: FloatArray
    missing: FloatArray
    categories: tuple[FloatArray, ...]
    intercept: float


class Logistic:
    """Logistic regression, its L2 penalty chosen by AP on held-out accounts."""

    name: ClassVar[str] = "logistic"
    STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # scikit-learn's C, its inverse

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings: Settings = dict(settings or {})
        self._inputs: LinearInputs | None = None
        self._weights = np.empty(0)
        self._intercept = 0.0

    def fit(
        self, features: pd.DataFrame, y: npt.ArrayLike, accounts: npt.ArrayLike, *, seed: int
    ) -> Self:
        """Choose C on three folds of accounts, then fit on all rows."""
        fraud = both_classes(y, rows=len(features))
        self._inputs = LinearInputs.learn(features)
        matrix = self._inputs.matrix(features)
        sample = tuning_sample(fraud, accounts, seed=seed)
        tried = (
            {c: self._held_out(matrix, fraud, sample, strength=c) for c in self.STRENGTHS}
            if sample.usable
            else {0.1: 0.0}
        )
        best = max(tried, key=lambda c: tried[c])
        self._weights, self._intercept = solve(matrix, fraud, strength=best)
        self.settings = {"C": best, **tuning_settings(fraud, sample, ap=tried[best], seed=seed)}
        return self

    def refit(self, features: pd.DataFrame, y: npt.ArrayLike) -> Self:
        """Fit other rows with the same penalty."""
        model = type(self)(self.settings)
        model._inputs = LinearInputs.learn(features)
        fraud = both_classes(y, rows=len(features))
        model._weights, model._intercept = solve(
            model._inputs.matrix(features), fraud, strength=float(self.settings["C"])
        )
        return model

    @classmethod
    def proposed(cls, trial: optuna.trial.BaseTrial, *, is_exact: bool) -> Settings:
        """Settings that a search tries."""
        del is_exact
        return {"C": trial.suggest_float("C", 1e-4, 100, log=True)}

    @staticmethod
    def _held_out(
        matrix: FloatArray, fraud: BoolArray, sample: Sample, *, strength: float
    ) -> float:
        inputs, kept, found = matrix[sample.rows], fraud[sample.rows], []
        for number in sample.usable:
            train, test = sample.fold != number, sample.fold == number
            weights, intercept = solve(inputs[train], kept[train], strength=strength)
            found.append(average_precision(kept[test], inputs[test] @ weights + intercept))
        return float(np.mean(found))

    def logit(self, features: pd.DataFrame) -> FloatArray:
        """Log-odds before calibration."""
        return np.asarray(self.inputs.matrix(features) @ self._weights + self._intercept)

    @property
    def inputs(self) -> LinearInputs:
        """How it takes features; raises ValueError before it has learned."""
        if self._inputs is None:
            raise ValueError(
                "the logistic regression has not learned yet; call fit or from_files first"
            )
        return self._inputs

    @property
    def columns(self) -> Columns:
        """The columns it reads; raises ValueError before it has learned."""
        return self.inputs.columns

    @property
    def terms(self) -> Terms:
        """Its weights, column by column."""
        count, sizes = (
            len(self.columns.numbers),
            [len(values) + 2 for values in self.columns.categories.values()],
        )
        hot = np.split(self._weights[2 * count :], np.cumsum(sizes)[:-1]) if sizes else []
        return Terms(
            numbers=self._weights[:count],
            missing=self._weights[count : 2 * count],
            categories=tuple(np.asarray(weights) for weights in hot),
            intercept=self._intercept,
        )

    def contributions(self, features: pd.DataFrame) -> FloatArray:
        """What each column adds to the log-odds, [rows, columns.names].

        A number adds nothing at its mean, and a category nothing at its most frequent value.
        """
        terms, inputs = self.terms, self.inputs
        numbers = (signed_log(self.columns.numbers_of(features)) - inputs.mean) / inputs.scale
        added = np.where(np.isnan(numbers), terms.missing, numbers * terms.numbers)
        ranks = self.columns.codes_of(features)
        texts = [
            weights[np.nan_to_num(ranks[:, place], nan=len(weights) - 1).astype(int)] - weights[0]
            for place, weights in enumerate(terms.categories)
        ]
        return np.column_stack([added, *texts])

    def to_files(self, folder: Path) -> None:
        """Write logistic.json."""
        kept = {
            "inputs": asdict(self.inputs),
            "weights": self._weights.tolist(),
            "intercept": self._intercept,
        }
        write_json(folder / "logistic.json", {**kept, "settings": self.settings})

    @classmethod
    def from_files(cls, folder: Path) -> Self:
        """Read logistic.json."""
        stored = read_json(StoredLogistic, folder / "logistic.json")
        model = cls()
        model._inputs, model._intercept = stored.inputs, stored.intercept
        model._weights, model.settings = np.asarray(stored.weights), stored.settings
        return model


def solve(matrix: FloatArray, fraud: BoolArray, *, strength: float) -> tuple[FloatArray, float]:
    """The weights [columns] and the intercept of least penalised log-loss.

    Columns that are alike are solved as one: k of them under an L2 penalty share their weight
    evenly, which is one column times sqrt(k). Of the simulated world's 335 columns 199 differ, and
    a Newton step costs the square of their number.

    >>> alike = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    >>> weights, _ = solve(alike, np.array([False, True, False, True]), strength=1.0)
    >>> bool(weights[0] == weights[1])
    True
    """
    # in order of appearance: a hash is another one in each process, and order decides the last bits
    place, _ = pd.factorize(np.array([hash(column.tobytes()) for column in matrix.T]))
    _, first, times = np.unique(place, return_index=True, return_counts=True)
    root = np.sqrt(times)
    model = LogisticRegression(C=strength, solver="newton-cholesky", max_iter=200)  # many rows
    model.fit(matrix[:, first] * root, fraud)
    return (model.coef_[0] / root)[place], float(model.intercept_[0])
