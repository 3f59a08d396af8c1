"""A random forest (Breiman 2001), grown by xgboost as one round of many trees.

Trees that minimise the squared error of 0 and 1 split by Gini's impurity. So grown, a forest has a
file that holds no code, takes missing values, and is exported as boosted trees are.
"""

from pathlib import Path

import numpy as np
import optuna
import xgboost
from scipy.special import logit

from pipeline.arrays import BoolArray, FloatArray
from pipeline.models.baselines.boosting import SPLITS, binned, trees_of
from pipeline.models.baselines.protocol import Settings
from pipeline.models.baselines.trees import Matrix, TreeModel, Trees, chosen

LEAST, MOST = 1e-4, 1 - 1e-4  # shares of trees are no probabilities at their ends
ROWS_SHARE = 0.632  # of rows a tree sees, as many as a bootstrap sample has different ones


class Forest(TreeModel):
    """A random forest; its log-odds are those of the mean share of frauds in its leaves."""

    name, file = "forest", "forest.ubj"
    untuned = (
        {"depth": 8, "trees": 200, "columns_share": 0.2, "min_rows": 2},
        {"depth": 14, "trees": 200, "columns_share": 0.2, "min_rows": 1},
        {"depth": 14, "trees": 200, "columns_share": 0.5, "min_rows": 3},
    )

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings)
        self._booster = xgboost.Booster()

    @classmethod
    def proposed(cls, trial: optuna.trial.BaseTrial, *, is_exact: bool) -> Settings:
        """Settings that a search tries; bins lie where frauds are, and cost the forest nothing."""
        del is_exact
        return {
            "depth": trial.suggest_int("depth", 4, 16),
            "trees": trial.suggest_int("trees", 100, 300),
            "columns_share": trial.suggest_float("columns_share", 0.05, 0.7, log=True),
            "min_rows": trial.suggest_int("min_rows", 1, 10, log=True),
        }

    def _grow(self, matrix: Matrix, fraud: BoolArray) -> None:
        settings = {
            "objective": "reg:squarederror",
            "base_score": 0.0,
            "eta": 1.0,
            "lambda": 0.0,
            "subsample": ROWS_SHARE,
            "num_parallel_tree": int(self.settings["trees"]),
            "max_depth": int(self.settings["depth"]),
            "min_child_weight": chosen(self.settings, "min_rows"),
            "colsample_bynode": chosen(self.settings, "columns_share"),
            "seed": int(self.settings["seed"]),
            **SPLITS["binned"],
        }
        data = xgboost.DMatrix(binned(matrix, fraud), label=fraud)
        self._booster = xgboost.train(settings, data, 1)

    def _share_of_frauds(self, matrix: Matrix) -> FloatArray:
        found = self._booster.predict(xgboost.DMatrix(matrix))
        return np.clip(np.asarray(found, dtype=np.float64), LEAST, MOST)

    def _margin(self, matrix: Matrix) -> FloatArray:
        return np.asarray(logit(self._share_of_frauds(matrix)))

    def _shares(self, matrix: Matrix) -> FloatArray:
        """What each column adds to the share on the trees' paths, stretched to log-odds.

        By paths (Saabas 2014): exact Shapley values of deep trees take minutes for a few rows.
        """
        shares = self._booster.predict(
            xgboost.DMatrix(matrix), pred_contribs=True, approx_contribs=True
        ).astype(np.float64)
        typical = float(logit(np.clip(shares[:, -1].mean(), LEAST, MOST)))
        moved = self._margin(matrix) - typical
        size = shares[:, :-1].sum(axis=1)
        stretch = np.divide(moved, size, out=np.zeros_like(moved), where=np.abs(size) > 1e-12)
        return np.asarray(shares[:, :-1] * stretch[:, None])

    def trees(self) -> Trees:
        """The trees as plain nodes."""
        return trees_of(self._booster)

    def _save(self, file: Path) -> None:
        self._booster.save_model(file)

    def _load(self, file: Path) -> None:
        self._booster.load_model(file)
