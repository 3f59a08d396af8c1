"""A classical model as a part of an ONNX graph: raw features in, log-odds out."""

from collections.abc import Sequence

import numpy as np

from pipeline.arrays import FloatArray, IntArray
from pipeline.export.inputs import Inputs
from pipeline.export.onnx_graph import Graph
from pipeline.export.onnx_trees import add_trees
from pipeline.models.baselines.columns import Columns
from pipeline.models.baselines.logistic import Logistic
from pipeline.models.baselines.protocol import Baseline
from pipeline.models.baselines.trees import TreeModel


def add_classical(graph: Graph, model: Baseline, inputs: Inputs) -> str:
    """Add a classical model. Shape: numbers [B, N] and codes [B, C] of the graph -> [B, 1]."""
    if isinstance(model, TreeModel):
        return add_trees(graph, model.trees(), _tree_columns(graph, inputs, model.columns))
    if isinstance(model, Logistic):
        return _add_logistic(graph, model, inputs)
    raise ValueError(
        f"a model of the kind {type(model).__name__} is not exported; train another champion"
    )


def _tree_columns(graph: Graph, inputs: Inputs, columns: Columns) -> str:
    """The columns that trees read: numbers, then the rank of each category's value.

    NaN where missing.
    """
    numbers = graph.cast(_numbers(graph, inputs, columns), np.float32)
    tables = [
        _ranks(values, inputs.categories[name], missing=np.nan)
        for name, values in columns.categories.items()
    ]
    ranks = looked_up(graph, _places(inputs, columns), tables, np.float32)
    return graph.add("Concat", numbers, ranks, axis=1)


def _add_logistic(graph: Graph, model: Logistic, inputs: Inputs) -> str:
    """Weights times standardised signed logarithms, and a weight for each value of a category."""
    columns, own, terms = model.columns, model.inputs, model.terms
    numbers = _numbers(graph, inputs, columns)
    size = graph.add("Add", graph.add("Abs", numbers), np.float64(1))
    logs = graph.add("Mul", graph.add("Sign", numbers), graph.add("Log", size))
    scaled = graph.add(
        "Div", graph.add("Sub", logs, np.array(own.mean)), np.array(own.scale, dtype=np.float64)
    )
    added = graph.add(
        "Where",
        graph.add("IsNaN", numbers),
        terms.missing,
        graph.add("Mul", scaled, terms.numbers),
    )
    tables = [
        _weights(values, inputs.categories[name], weights)
        for (name, values), weights in zip(
            columns.categories.items(), terms.categories, strict=True
        )
    ]
    texts = looked_up(graph, _places(inputs, columns), tables, np.float64)
    whole = graph.add("Concat", added, texts, axis=1)
    total = graph.add("ReduceSum", whole, np.array([1]), keepdims=1)
    return graph.add("Add", total, np.float64(terms.intercept))


def _numbers(graph: Graph, inputs: Inputs, columns: Columns) -> str:
    places = np.array([inputs.numbers.index(name) for name in columns.numbers], dtype=np.int64)
    return graph.add("Gather", "numbers", places, axis=1)


def _places(inputs: Inputs, columns: Columns) -> IntArray:
    order = list(inputs.categories)
    return np.array([order.index(name) for name in columns.categories], dtype=np.int64)


def _ranks(frequent: Sequence[str], values: Sequence[str], *, missing: float) -> list[float]:
    """The rank of missing, of unknown, and of each value."""
    known = {value: rank for rank, value in enumerate(frequent)}
    return [missing, len(known), *(known.get(value, len(known)) for value in values)]


def _weights(frequent: Sequence[str], values: Sequence[str], weights: FloatArray) -> list[float]:
    """A column's weight of missing, of unknown, and of each value."""
    ranks = _ranks(frequent, values, missing=len(weights) - 1)
    return [float(weights[int(rank)]) for rank in ranks]


def looked_up(
    graph: Graph, places: IntArray, tables: Sequence[Sequence[float]], kind: type[np.generic]
) -> str:
    """What each category's table says of the codes in these places, [B, places]."""
    chosen = graph.add("Gather", "codes", places, axis=1)
    if not tables:
        return graph.cast(chosen, kind)
    starts = np.cumsum([0, *(len(table) for table in tables[:-1])], dtype=np.int64)
    return graph.add(
        "Gather", np.concatenate(tables).astype(kind), graph.add("Add", chosen, starts), axis=0
    )
