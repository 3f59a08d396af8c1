"""Tuned gradient boosting (xgboost), whose trees are chosen on held-out accounts."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, Self, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import xgboost
from pydantic import BaseModel, ConfigDict

from features.stored_json import read_json
from pipeline.arrays import BoolArray, FloatArray
from pipeline.evaluation.metrics import average_precision, both_classes
from pipeline.models.baselines.columns import Columns
from pipeline.models.baselines.folds import Sample, tuning_sample, tuning_settings
from pipeline.models.baselines.protocol import Settings, write_json

Splits = Literal["exact", "binned"]
Matrix = npt.NDArray[np.float32]
MAX_BINS = 256
SPLITS: Mapping[Splits, dict[str, object]] = {
    "exact": {"tree_method": "exact"},
    "binned": {"tree_method": "hist", "max_bin": MAX_BINS},
}
EXACT_VALUES = 4_500_000  # rows times columns; above it the trees that stay are binned
EXACT_TUNING_VALUES = 300_000  # above it trees that only choose settings are
TAILS = 0.5 ** np.arange(8, 18)  # shares at both ends that a bin of its own is kept for
QUANTILES = np.unique([*np.linspace(0, 1, 33), *TAILS, *(1 - TAILS)])
FRAUD_QUANTILES = np.linspace(0, 1, 100)


class StoredBoosting(BaseModel):
    """What xgboost.json holds."""

    model_config = ConfigDict(frozen=True)

    columns: Columns
    settings: Settings


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How trees are grown; `trees` is how many are taken of those grown."""

    depth: int
    rate: float
    trees: int
    min_child_weight: float = 1.0
    reg_lambda: float = 1.0

    def booster_settings(self, *, seed: int, splits: Splits) -> dict[str, object]:
        """The same in xgboost's words."""
        shape = {"max_depth": self.depth, "eta": self.rate}
        restraint = {"min_child_weight": self.min_child_weight, "lambda": self.reg_lambda}
        return {
            "objective": "binary:logistic",
            "base_score": 0.5,
            "seed": seed,
            **shape,
            **restraint,
            **SPLITS[splits],
        }


class XGBoost:
    """Gradient boosting (xgboost) whose trees are chosen by AP on held-out accounts.

    The choice: depth 3, 4 or 6 with 100, 150 or 200 trees at rate 0.1; then rate 0.05 with 200, 300
    or 400; then child weight 5 or lambda 10. Splits are exact where the values are few, else
    between the bins of `binned`.
    """

    def __init__(self) -> None:
        self.settings: Settings = {}
        self._columns: Columns | None = None
        self._booster = xgboost.Booster()

    def fit(
        self, features: pd.DataFrame, y: npt.ArrayLike, accounts: npt.ArrayLike, *, seed: int
    ) -> Self:
        """Choose how trees grow on three folds of accounts, then grow them on all rows."""
        fraud = both_classes(y, rows=len(features))
        self._columns = Columns.learn(features, most=1000, least_rows=5)
        matrix = self._matrix(features)
        sample = tuning_sample(fraud, accounts, seed=seed)
        best, ap = tuned_growth(matrix, fraud, sample, seed=seed)
        splits: Splits = "exact" if matrix.size <= EXACT_VALUES else "binned"
        self._grow(matrix, fraud, best, seed=seed, splits=splits)
        self.settings = {
            **asdict(best),
            "splits": splits,
            **tuning_settings(fraud, sample, ap=ap, seed=seed),
        }
        return self

    def refit(self, features: pd.DataFrame, y: npt.ArrayLike) -> Self:
        """Grow as many trees the same way on other rows."""
        model = type(self)()
        model._columns, model.settings = (
            Columns.learn(features, most=1000, least_rows=5),
            self.settings,
        )
        growth = Growth(**{name: self.settings[name] for name in Growth.__dataclass_fields__})  # type: ignore[arg-type]
        splits = cast(Splits, self.settings["splits"])
        model._grow(
            model._matrix(features),
            both_classes(y, rows=len(features)),
            growth,
            seed=int(self.settings["seed"]),
            splits=splits,
        )
        return model

    def _grow(
        self,
        matrix: npt.NDArray[np.float32],
        fraud: BoolArray,
        growth: Growth,
        *,
        seed: int,
        splits: Splits,
    ) -> None:
        data = _to_learn(matrix, fraud, splits)
        self._booster = xgboost.train(
            growth.booster_settings(seed=seed, splits=splits), data, growth.trees
        )

    def logit(self, features: pd.DataFrame) -> FloatArray:
        """Log-odds before calibration."""
        data = xgboost.DMatrix(self._matrix(features))
        return np.asarray(self._booster.predict(data, output_margin=True), dtype=np.float64)

    def to_files(self, folder: Path) -> None:
        """Write xgboost.ubj, the native booster, and xgboost.json, the columns it reads."""
        columns = self._fitted()
        self._booster.save_model(folder / "xgboost.ubj")
        write_json(folder / "xgboost.json", {"columns": asdict(columns), "settings": self.settings})

    @classmethod
    def from_files(cls, folder: Path) -> Self:
        """Read xgboost.ubj and xgboost.json."""
        stored = read_json(StoredBoosting, folder / "xgboost.json")
        model = cls()
        model._columns, model.settings = stored.columns, stored.settings
        model._booster.load_model(folder / "xgboost.ubj")
        return model

    def _matrix(self, features: pd.DataFrame) -> npt.NDArray[np.float32]:
        columns = self._fitted()
        return np.column_stack([columns.numbers_of(features), columns.codes_of(features)]).astype(
            np.float32
        )

    def _fitted(self) -> Columns:
        if self._columns is None:
            raise ValueError(
                "the gradient boosting has not learned yet; call fit or from_files first"
            )
        return self._columns


def tuned_growth(
    matrix: npt.NDArray[np.float32], fraud: BoolArray, sample: Sample, *, seed: int
) -> tuple[Growth, float]:
    """The growth of the best held-out AP, and that AP: each choice is made on the best before."""
    if not sample.usable:  # frauds of one account alone: nothing to hold out
        return Growth(depth=3, rate=0.1, trees=100), 0.0
    inputs, kept = matrix[sample.rows], fraud[sample.rows]
    splits: Splits = "exact" if inputs.size <= EXACT_TUNING_VALUES else "binned"
    parts = [_held_out(inputs, kept, sample.fold == number, splits) for number in sample.usable]
    tried: dict[Growth, float] = {}

    def attempt(growth: Growth, counts: tuple[int, ...]) -> None:
        settings = growth.booster_settings(seed=seed, splits=splits) | {"nthread": 1}

        def held_out_ap(part: tuple[xgboost.DMatrix, xgboost.DMatrix, BoolArray]) -> list[float]:
            train, test, truth = part
            booster = xgboost.train(settings, train, max(counts))
            scores = [
                booster.predict(test, iteration_range=(0, count), output_margin=True)
                for count in counts
            ]
            return [average_precision(truth, score) for score in scores]

        with ThreadPoolExecutor(os.cpu_count()) as folds:
            # a fold a thread: threads inside a tree wait for one another
            found = list(folds.map(held_out_ap, parts))
        for count, ap in zip(counts, np.mean(found, axis=0), strict=True):
            tried[replace(growth, trees=count)] = float(ap)

    for depth in (3, 4, 6):
        attempt(Growth(depth=depth, rate=0.1, trees=200), (100, 150, 200))
    best = max(tried, key=lambda growth: tried[growth])
    attempt(replace(best, rate=0.05), (200, 300, 400))
    best = max(tried, key=lambda growth: tried[growth])
    for regular in (replace(best, min_child_weight=5.0), replace(best, reg_lambda=10.0)):
        attempt(regular, (best.trees,))
    best = max(tried, key=lambda growth: tried[growth])
    return best, tried[best]


def _to_learn(inputs: Matrix, fraud: BoolArray, splits: Splits) -> xgboost.DMatrix:
    """What trees with these splits are grown on."""
    return xgboost.DMatrix(binned(inputs, fraud) if splits == "binned" else inputs, label=fraud)


def _held_out(
    inputs: Matrix, fraud: BoolArray, out: BoolArray, splits: Splits
) -> tuple[xgboost.DMatrix, xgboost.DMatrix, BoolArray]:
    """What trees are grown on, what they are judged on, and its truth."""
    training = _to_learn(inputs[~out], fraud[~out], splits)
    return training, xgboost.DMatrix(inputs[out]), fraud[out]


def binned(matrix: Matrix, fraud: BoolArray) -> Matrix:
    """Each value of [rows, columns] as the lower edge of its bin; a column has 256 bins at most.

    Trees grown on the edges split the values themselves alike: a value is below an edge where its
    bin is. The edges lie where frauds are and in the tails, as the best splits lie between values
    of different classes (Fayyad and Irani 1992); bins of equal mass lose a rule such as "amount
    above the 99.8th percentile".

    >>> binned(np.array([[1.0], [2.0], [np.nan]], dtype=np.float32), np.array([False, True, True]))
    array([[ 1.],
           [ 2.],
           [nan]], dtype=float32)
    """
    found = np.array(matrix)
    for column in range(matrix.shape[1]):
        values = matrix[:, column]
        is_there = ~np.isnan(values)
        if is_there.any():
            edges = _edges(values[is_there], values[is_there & fraud])
            places = np.searchsorted(edges, values[is_there], side="right") - 1
            found[is_there, column] = edges[places]
    return found


def _edges(values: npt.NDArray[np.float32], frauds: npt.NDArray[np.float32]) -> Matrix:
    """The least value, quantiles of all, and both sides of quantiles of the frauds."""
    edges = [np.quantile(values, QUANTILES, method="lower")]
    if len(frauds):
        low = np.quantile(frauds, FRAUD_QUANTILES, method="lower")
        edges += [low, np.nextafter(low, np.float32(np.inf))]
    return np.unique(np.concatenate(edges).astype(np.float32))
