"""Gradient boosting that grows its trees leaf by leaf (LightGBM, Ke et al. 2017)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import optuna

from pipeline.arrays import BoolArray, FloatArray
from pipeline.models.baselines.protocol import Settings
from pipeline.models.baselines.trees import Matrix, Node, TreeModel, Trees, at_most, chosen

FEW_BINS, MANY_BINS = 255, 2047  # many where values are few: a tail has bins of its own then
QUIET = {"verbosity": -1}


class LightGBM(TreeModel):
    """Gradient boosting (LightGBM) of trees with a number of leaves."""

    name, file = "lightgbm", "lightgbm.txt"
    untuned = (
        {"leaves": 8, "rate": 0.05, "trees": 200, "min_rows": 5, "bins": MANY_BINS},
        {"leaves": 16, "rate": 0.05, "trees": 200, "min_rows": 10, "bins": MANY_BINS},
        {"leaves": 31, "rate": 0.05, "trees": 200, "min_rows": 20, "bins": MANY_BINS},
    )

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings)
        self._booster: lightgbm.Booster | None = None

    @classmethod
    def proposed(cls, trial: optuna.trial.BaseTrial, *, is_exact: bool) -> Settings:
        """Settings that a search tries."""
        del is_exact  # thousands of bins are as good, and a histogram costs little
        return {
            "leaves": trial.suggest_int("leaves", 4, 63, log=True),
            "rate": trial.suggest_float("rate", 0.02, 0.3, log=True),
            "trees": trial.suggest_int("trees", 50, 600, log=True),
            "min_rows": trial.suggest_int("min_rows", 1, 50, log=True),
            "reg_lambda": trial.suggest_float("reg_lambda", 1e-2, 30, log=True),
            "rows_share": trial.suggest_float("rows_share", 0.5, 1),
            "columns_share": trial.suggest_float("columns_share", 0.3, 1),
            "bins": trial.suggest_categorical("bins", [FEW_BINS, MANY_BINS]),
        }

    def _grow(self, matrix: Matrix, fraud: BoolArray) -> None:
        drawn = {
            "bagging_fraction": float(self.settings.get("rows_share", 1.0)),
            "bagging_freq": 1,
            "feature_fraction": float(self.settings.get("columns_share", 1.0)),
        }
        settings = {
            "objective": "binary",
            "num_leaves": int(self.settings["leaves"]),
            "learning_rate": chosen(self.settings, "rate"),
            "min_data_in_leaf": int(self.settings["min_rows"]),
            "lambda_l2": float(self.settings.get("reg_lambda", 1.0)),
            "max_bin": int(self.settings["bins"]),
            "min_data_in_bin": 1,
            "seed": int(self.settings["seed"]),
            "deterministic": True,
            "force_row_wise": True,
            **drawn,
            **QUIET,
        }
        data = lightgbm.Dataset(matrix, label=fraud, params=settings)
        self._booster = lightgbm.train(settings, data, int(self.settings["trees"]))

    @property
    def _learned(self) -> lightgbm.Booster:
        if self._booster is None:
            raise ValueError(f"the model {self.name} has not learned yet; call fit or from_files")
        return self._booster

    def _margin(self, matrix: Matrix) -> FloatArray:
        return np.asarray(self._learned.predict(matrix, raw_score=True), dtype=np.float64)

    def _shares(self, matrix: Matrix) -> FloatArray:
        shares = np.asarray(self._learned.predict(matrix, pred_contrib=True), dtype=np.float64)
        return shares[:, :-1]

    def trees(self) -> Trees:
        """The trees as plain nodes."""
        found = self._learned.dump_model()["tree_info"]
        return Trees(trees=[_nodes(tree["tree_structure"]) for tree in found], base=0.0)

    def _save(self, file: Path) -> None:
        self._learned.save_model(file)

    def _load(self, file: Path) -> None:
        self._booster = lightgbm.Booster(model_file=str(file))


def _nodes(root: Mapping[str, Any]) -> list[Node]:
    """The nodes of one tree, the root first."""
    nodes: list[Node] = []
    _add(root, nodes)
    return nodes


def _add(part: Mapping[str, Any], nodes: list[Node]) -> int:
    """Add a part of a tree; returns its place."""
    place = len(nodes)
    nodes.append(Node(value=float(part.get("leaf_value", 0.0))))
    if "split_index" in part:
        left, right = (_add(part[side], nodes) for side in ("left_child", "right_child"))
        threshold = float(part["threshold"])
        # where training missed nothing, a missing value counts as 0
        as_zero = part["missing_type"] == "None"
        nodes[place] = Node(
            feature=int(part["split_feature"]),
            value=at_most(threshold),
            test="at most",
            left=left,
            right=right,
            is_missing_left=threshold >= 0 if as_zero else bool(part["default_left"]),
        )
    return place
