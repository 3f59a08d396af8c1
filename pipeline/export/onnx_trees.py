"""Trees as an operator of an ONNX graph, whatever library grew them."""

import numpy as np

from pipeline.export.onnx_graph import Graph
from pipeline.models.baselines.forest import LEAST, MOST
from pipeline.models.baselines.trees import Node, Trees

MODES = {"below": "BRANCH_LT", "at most": "BRANCH_LEQ", "leaf": "LEAF"}
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


def add_trees(graph: Graph, trees: Trees, columns: str) -> str:
    """Add the log-odds of trees.

    Shape: columns [B, F] as float32, NaN where missing -> [B, 1] as float64.
    """
    nodes: dict[str, list[int | float | str]] = {name: [] for name in NODE}
    leaves: dict[str, list[int | float]] = {name: [] for name in LEAF}
    for number, tree in enumerate(trees.trees):
        for place, node in enumerate(tree):
            _add_node(number, place, node, nodes, leaves)
    found = graph.add(
        "TreeEnsembleRegressor",
        columns,
        domain="ai.onnx.ml",
        n_targets=1,
        base_values=[trees.base],
        **{f"nodes_{name}": values for name, values in nodes.items()},
        **{f"target_{name}": values for name, values in leaves.items()},
    )
    total = graph.cast(found, np.float64)
    return _log_odds(graph, total) if trees.is_probability else total


def _add_node(
    number: int,
    place: int,
    node: Node,
    nodes: dict[str, list[int | float | str]],
    leaves: dict[str, list[int | float]],
) -> None:
    whole: tuple[int | float | str, ...] = (
        number,
        place,
        node.feature,
        MODES[node.test],
        node.value,
        node.left,
        node.right,
        int(node.is_missing_left),
    )
    for name, own in zip(NODE, whole, strict=True):
        nodes[name].append(own)
    if node.test == "leaf":
        weight: tuple[int | float, ...] = (number, place, 0, node.value)
        for name, part in zip(LEAF, weight, strict=True):
            leaves[name].append(part)


def _log_odds(graph: Graph, share: str) -> str:
    """The log-odds of a share of frauds that is kept from 0 and 1."""
    kept = graph.add("Min", graph.add("Max", share, np.float64(LEAST)), np.float64(MOST))
    odds = graph.add("Div", kept, graph.add("Sub", np.float64(1), kept))
    return graph.add("Log", odds)
