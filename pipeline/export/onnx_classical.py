"""A classical model as a part of an ONNX graph: raw features in, log-odds out."""

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.arrays import FloatArray, IntArray
from pipeline.export.inputs import Inputs
from pipeline.export.onnx_graph import Graph
from pipeline.export.onnx_trees import add_trees
from pipeline.models.baselines.columns import Columns
from pipeline.models.baselines.logistic import Logistic
from pipeline.models.baselines.protocol import Baseline
from pipeline.models.baselines.trees import TreeModel
from pipeline.models.risk_encoding import CategoryRisk


def add_classical(graph: Graph, model: Baseline, inputs: Inputs, numbers: str) -> str:
    """Add a classical model.

    Shape: numbers [B, columns], and the codes of the graph [B, C] -> [B, 1].
    """
    if isinstance(model, TreeModel):
        columns = _tree_columns(graph, inputs, model.columns, numbers)
        return add_trees(graph, model.trees(), columns)
    if isinstance(model, Logistic):
        return _add_logistic(graph, model, inputs, numbers)
    raise ValueError(
        f"a model of the kind {type(model).__name__} is not exported; train another champion"
    )


def _tree_columns(graph: Graph, inputs: Inputs, columns: Columns, numbers: str) -> str:
    """The columns that trees read: numbers, then the rank of each category's value.

    NaN where missing.
    """
    own = graph.cast(_numbers(graph, inputs, columns, numbers), np.float32)
    tables = [
        _ranks(values, inputs.categories[name], missing=np.nan)
        for name, values in columns.categories.items()
    ]
    ranks = looked_up(graph, _places(inputs, columns.categories), tables, np.float32)
    return graph.add("Concat", own, ranks, axis=1)


def _add_logistic(graph: Graph, model: Logistic, inputs: Inputs, numbers: str) -> str:
    """Weights times standardised signed logarithms, and a weight for each value of a category."""
    columns, own, terms = model.columns, model.inputs, model.terms
    numbers = _numbers(graph, inputs, columns, numbers)
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
    texts = looked_up(graph, _places(inputs, columns.categories), tables, np.float64)
    whole = graph.add("Concat", added, texts, axis=1)
    total = graph.add("ReduceSum", whole, np.array([1]), keepdims=1)
    return graph.add("Add", total, np.float64(terms.intercept))


def _numbers(graph: Graph, inputs: Inputs, columns: Columns, numbers: str) -> str:
    places = np.array([inputs.columns.index(name) for name in columns.numbers], dtype=np.int64)
    return graph.add("Gather", numbers, places, axis=1)


def add_risks(graph: Graph, inputs: Inputs) -> str:
    """Add the risk of each value behind the numbers that the graph is given, [B, columns]."""
    if not inputs.risks:
        return "numbers"
    tables = [_risks(one, inputs.categories[one.name]) for one in inputs.risks]
    places = _places(inputs, [one.name for one in inputs.risks])
    return graph.add("Concat", "numbers", looked_up(graph, places, tables, np.float64), axis=1)


def _risks(risk: CategoryRisk, values: Sequence[str]) -> list[float]:
    """The risk of missing, of unknown, and of each value."""
    known = dict(zip(risk.values, risk.log_odds, strict=True))
    return [np.nan, 0.0, *(known.get(value, 0.0) for value in values)]


def _places(inputs: Inputs, names: Iterable[str]) -> IntArray:
    order = list(inputs.categories)
    return np.array([order.index(name) for name in names], dtype=np.int64)


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
