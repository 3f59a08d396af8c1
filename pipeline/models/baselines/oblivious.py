"""Gradient boosting of oblivious trees (CatBoost, Prokhorenkova et al. 2018).

The library is an extra of the installation. An oblivious tree asks the same question in all places
of a level.
"""

import importlib.util
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna

from pipeline.arrays import BoolArray, FloatArray
from pipeline.models.baselines.protocol import Settings
from pipeline.models.baselines.trees import Matrix, Node, TreeModel, Trees, chosen

if TYPE_CHECKING:
    import catboost


def is_installed() -> bool:
    """Whether the extra package is there."""
    return importlib.util.find_spec("catboost") is not None


class CatBoost(TreeModel):
    """Gradient boosting (CatBoost) of oblivious trees."""

    name, file = "catboost", "catboost.cbm"
    untuned = (
        {"depth": 4, "rate": 0.08, "trees": 300, "reg_lambda": 3.0},
        {"depth": 6, "rate": 0.08, "trees": 300, "reg_lambda": 3.0},
    )

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings)
        self._booster: catboost.CatBoost | None = None

    @classmethod
    def proposed(cls, trial: optuna.trial.BaseTrial, *, is_exact: bool) -> Settings:
        """Settings that a search tries."""
        del is_exact  # it knows bins alone
        return {
            "depth": trial.suggest_int("depth", 2, 8),
            "rate": trial.suggest_float("rate", 0.02, 0.3, log=True),
            "trees": trial.suggest_int("trees", 50, 600, log=True),
            "reg_lambda": trial.suggest_float("reg_lambda", 0.3, 30, log=True),
        }

    def _grow(self, matrix: Matrix, fraud: BoolArray) -> None:
        import catboost  # noqa: PLC0415 - an extra, which need not be there

        booster = catboost.CatBoost(
            {
                "loss_function": "Logloss",
                "depth": int(self.settings["depth"]),
                "learning_rate": chosen(self.settings, "rate"),
                "iterations": int(self.settings["trees"]),
                "l2_leaf_reg": chosen(self.settings, "reg_lambda"),
                "random_seed": int(self.settings["seed"]),
                "allow_writing_files": False,
                "logging_level": "Silent",
            }
        )
        self._booster = booster.fit(catboost.Pool(matrix, label=fraud.astype(np.int8)))

    @property
    def _learned(self) -> "catboost.CatBoost":
        if self._booster is None:
            raise ValueError(f"the model {self.name} has not learned yet; call fit or from_files")
        return self._booster

    def _margin(self, matrix: Matrix) -> FloatArray:
        margin = self._learned.predict(matrix, prediction_type="RawFormulaVal")
        return np.asarray(margin, dtype=np.float64)

    def _shares(self, matrix: Matrix) -> FloatArray:
        import catboost  # noqa: PLC0415

        shares = self._learned.get_feature_importance(catboost.Pool(matrix), type="ShapValues")
        return np.asarray(shares, dtype=np.float64)[:, :-1]

    def trees(self) -> Trees:
        """The trees as plain nodes."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "trees.json"
            self._learned.save_model(str(file), format="json")
            found = json.loads(file.read_text(encoding="utf-8"))
        scale, (base,) = found["scale_and_bias"]
        facts = found["features_info"]["float_features"]
        missing = {one["feature_index"]: one["nan_value_treatment"] for one in facts}
        trees = [_nodes(tree, missing, scale) for tree in found["oblivious_trees"]]
        return Trees(trees=trees, base=float(base))

    def _save(self, file: Path) -> None:
        self._learned.save_model(str(file))

    def _load(self, file: Path) -> None:
        import catboost  # noqa: PLC0415

        self._booster = catboost.CatBoost().load_model(str(file))


def _nodes(tree: Mapping[str, Any], missing: Mapping[int, str], scale: float) -> list[Node]:
    """A binary tree of the same leaves, level by level: a value above a split's goes right.

    The first split is the lowest bit of a leaf's place, and asked last here.
    """
    splits: Sequence[Mapping[str, Any]] = (tree["splits"] or [])[::-1]
    nodes = []
    for level, split in enumerate(splits):
        feature = int(split["float_feature_index"])
        for place in range(2**level - 1, 2 ** (level + 1) - 1):
            nodes.append(
                Node(
                    feature=feature,
                    value=float(np.float32(split["border"])),
                    test="at most",
                    left=2 * place + 1,
                    right=2 * place + 2,
                    is_missing_left=missing[feature] != "AsTrue",
                )
            )
    return [*nodes, *(Node(value=scale * value) for value in tree["leaf_values"])]
