"""Tuned gradient boosting (xgboost), whose trees are chosen on held-out accounts."""

import json
import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd
import xgboost

from pipeline.arrays import BoolArray, FloatArray
from pipeline.evaluation.metrics import average_precision, both_classes
from pipeline.models.baselines.columns import Columns
from pipeline.models.baselines.folds import Sample, tuning_sample, tuning_settings
from pipeline.models.baselines.protocol import Settings
from pipeline.models.baselines.trees import Matrix, Node, TreeModel, Trees
from pipeline.models.baselines.tuning import EXACT_TUNING_VALUES, EXACT_VALUES

Splits = Literal["exact", "binned"]
MAX_BINS = 256
SPLITS: Mapping[Splits, dict[str, object]] = {
    "exact": {"tree_method": "exact"},
    "binned": {"tree_method": "hist", "max_bin": MAX_BINS},
}
TAILS = 0.5 ** np.arange(8, 18)  # shares at both ends that a bin of its own is kept for
QUANTILES = np.unique([*np.linspace(0, 1, 33), *TAILS, *(1 - TAILS)])
FRAUD_QUANTILES = np.linspace(0, 1, 100)


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How trees are grown; `trees` is how many are taken of those grown."""

    depth: int
    rate: float
    trees: int
    min_child_weight: float = 1.0
    reg_lambda: float = 1.0
    rows_share: float = 1.0
    columns_share: float = 1.0

    def booster_settings(self, *, seed: int, splits: Splits) -> dict[str, object]:
        """The same in xgboost's words."""
        shape = {"max_depth": self.depth, "eta": self.rate}
        restraint = {"min_child_weight": self.min_child_weight, "lambda": self.reg_lambda}
        drawn = {"subsample": self.rows_share, "colsample_bytree": self.columns_share}
        return {
            "objective": "binary:logistic",
            "base_score": 0.5,
            "seed": seed,
            **shape,
            **restraint,
            **drawn,
            **SPLITS[splits],
        }


GROWTH = tuple(Growth.__dataclass_fields__)


class XGBoost(TreeModel):
    """Gradient boosting (xgboost) whose trees are chosen by AP on held-out accounts.

    The choice: depth 3, 4 or 6 with 100, 150 or 200 trees at rate 0.1; then rate 0.05 with 200, 300
    or 400; then child weight 5 or lambda 10. Splits are exact where the values are few, else
    between the bins of `binned`.
    """

    name, file = "xgboost", "xgboost.ubj"

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings)
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
        self.settings = {
            **asdict(best),
            "splits": "exact" if matrix.size <= EXACT_VALUES else "binned",
            **tuning_settings(fraud, sample, ap=ap, seed=seed),
        }
        self._grow(matrix, fraud)
        return self

    @classmethod
    def proposed(cls, trial: optuna.trial.BaseTrial, *, is_exact: bool) -> Settings:
        """Settings that a search tries."""
        return {
            "depth": trial.suggest_int("depth", 2, 8),
            "rate": trial.suggest_float("rate", 0.02, 0.3, log=True),
            "trees": trial.suggest_int("trees", 50, 600, log=True),
            "min_child_weight": trial.suggest_float("min_child_weight", 0.5, 20, log=True),
            "reg_lambda": trial.suggest_float("reg_lambda", 0.3, 30, log=True),
            "rows_share": trial.suggest_float("rows_share", 0.5, 1),
            "columns_share": trial.suggest_float("columns_share", 0.3, 1),
            "splits": "exact" if is_exact else "binned",
        }

    def _grow(self, matrix: Matrix, fraud: BoolArray) -> None:
        known = {name: self.settings[name] for name in GROWTH if name in self.settings}
        growth = Growth(**known)  # type: ignore[arg-type]  # numbers, as they were written
        splits = cast(Splits, self.settings["splits"])
        settings = growth.booster_settings(seed=int(self.settings["seed"]), splits=splits)
        data = _to_learn(matrix, fraud, splits)
        self._booster = xgboost.train(settings, data, growth.trees)

    def _margin(self, matrix: Matrix) -> FloatArray:
        margin = self._booster.predict(xgboost.DMatrix(matrix), output_margin=True)
        return np.asarray(margin, dtype=np.float64)

    def _shares(self, matrix: Matrix) -> FloatArray:
        shares = self._booster.predict(xgboost.DMatrix(matrix), pred_contribs=True)
        return np.asarray(shares[:, :-1], dtype=np.float64)

    def trees(self) -> Trees:
        """The trees as plain nodes."""
        return trees_of(self._booster)

    def _save(self, file: Path) -> None:
        self._booster.save_model(file)

    def _load(self, file: Path) -> None:
        self._booster.load_model(file)


def trees_of(booster: xgboost.Booster) -> Trees:
    """The trees of a booster of one output, from its own JSON, as plain nodes.

    Raises ValueError for a booster of another kind.
    """
    learner = json.loads(booster.save_raw("json"))["learner"]
    name, kind = learner["objective"]["name"], learner["gradient_booster"]["name"]
    if name not in {"binary:logistic", "reg:squarederror"} or kind != "gbtree":
        raise ValueError(
            f"only trees of binary:logistic are exported, found {kind} of {name}; "
            "train the champion again"
        )
    # a text with brackets since version 3.1
    base = float(np.float32(learner["learner_model_param"]["base_score"].strip("[]")))
    is_probability = name == "reg:squarederror"
    grown = learner["gradient_booster"]["model"]["trees"]
    return Trees(
        trees=[_nodes(tree) for tree in grown],
        base=base if is_probability else math.log(base / (1 - base)),
        is_probability=is_probability,
    )


def _nodes(tree: Mapping[str, Any]) -> list[Node]:
    """The nodes of one tree.

    A row goes left where its value is below the split's, right otherwise, and the default way where
    it is missing.
    """
    if tree["categories"]:
        raise ValueError(
            "a tree splits by sets of categories, which are not exported; train the champion again"
        )
    parts = ("left_children", "right_children", "split_indices", "split_conditions", "default_left")
    nodes = zip(*map(tree.__getitem__, parts), strict=True)
    return [
        Node(value=value)
        if left < 0
        else Node(
            feature=feature,
            value=value,
            test="below",
            left=left,
            right=right,
            is_missing_left=bool(default_left),
        )
        for left, right, feature, value, default_left in nodes
    ]


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
