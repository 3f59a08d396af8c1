"""Boosted trees as an operator of an ONNX graph, read from the booster's own JSON."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xgboost

from pipeline.export.onnx_graph import Graph


def add_trees(graph: Graph, booster: xgboost.Booster, columns: str) -> str:
    """Add the log-odds of a binary booster.

    Shape: columns [B, F] as float32, NaN where missing -> [B, 1]. Raises ValueError for a booster
    of another kind.
    """
    learner = json.loads(booster.save_raw("json"))["learner"]
    name, kind = learner["objective"]["name"], learner["gradient_booster"]["name"]
    if (name, kind) != ("binary:logistic", "gbtree"):
        raise ValueError(
            f"only trees of binary:logistic are exported, found {kind} of {name}; "
            "train the champion again"
        )
    trees = learner["gradient_booster"]["model"]["trees"]
    nodes: dict[str, list[int | float | str]] = {name: [] for name in NODE}
    leaves: dict[str, list[int | float]] = {name: [] for name in LEAF}
    for number, tree in enumerate(trees):
        _add_tree(number, tree, nodes, leaves)
    return graph.add(
        "TreeEnsembleRegressor",
        columns,
        domain="ai.onnx.ml",
        n_targets=1,
        base_values=[_base_logit(learner["learner_model_param"]["base_score"])],
        **{f"nodes_{name}": values for name, values in nodes.items()},
        **{f"target_{name}": values for name, values in leaves.items()},
    )


NODE = (
    "treeids",
    "nodeids",
    "featureids",
    "modes",
    "values",
    "truenodeids",
    "falsenodeids",
    "missing_value_tracks_true",
)
LEAF = ("treeids", "nodeids", "ids", "weights")


def _add_tree(
    number: int,
    tree: Mapping[str, Any],
    nodes: dict[str, list[int | float | str]],
    leaves: dict[str, list[int | float]],
) -> None:
    """Add the nodes and leaves of one tree.

    A row goes left where its value is below the split's, right otherwise, and the default way where
    it is missing.
    """
    if tree["categories"]:
        raise ValueError(
            "a tree splits by sets of categories, which are not exported; train the champion again"
        )
    parts = (
        tree[name]
        for name in (
            "left_children",
            "right_children",
            "split_indices",
            "split_conditions",
            "default_left",
        )
    )
    for place, (left, right, feature, value, default_left) in enumerate(zip(*parts, strict=True)):
        is_leaf = left < 0
        whole = (
            number,
            place,
            feature,
            "LEAF" if is_leaf else "BRANCH_LT",
            value,
            max(left, 0),
            max(right, 0),
            default_left,
        )
        for name, own in zip(NODE, whole, strict=True):
            nodes[name].append(own)
        if is_leaf:
            for name, part in zip(LEAF, (number, place, 0, value), strict=True):
                leaves[name].append(part)


def _base_logit(base_score: str) -> float:
    """Log-odds of a base score, which xgboost writes as a text with brackets since version 3.1."""
    share = float(np.float32(base_score.strip("[]")))
    return math.log(share / (1 - share))
