"""The networks without torch: as operators of an ONNX graph.

All seeds are computed side by side: S is the seeds, the first dimension of every weight. B is the
batch, D the width, K the stages. What a norm scales and shifts is worked into the linear layer
behind it, what a linear layer makes of an embedding into a table.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pipeline.export.onnx_graph import Array, Graph
from pipeline.models.layered.network import CATEGORY_WIDTH, LayeredNetwork

Weights = Mapping[str, npt.NDArray[np.float32]]  # by their names in the network, each [S, ...]


def add_networks(graph: Graph, networks: Sequence[LayeredNetwork], numbers: str, codes: str) -> str:
    """Add the increments of the networks, their mean over the seeds.

    Shape: numbers [B, N] as float64 before the signed logarithm, NaN where missing; codes [B, C] ->
    increments [B, K].
    """
    shape, states = networks[0], [network.state_dict() for network in networks]
    weights = {name: _stacked(states, name) for name in states[0]}
    missing = graph.add("IsNaN", numbers)
    columns = _columns(graph, weights, shape.numbers, signed_log(graph, numbers), missing)
    texts = _texts(graph, weights, shape.codes, codes)
    present = _present(graph, shape, missing, codes)
    known: list[str] = []
    for stage in range(len(shape.numbers)):
        vector = _vector(
            graph, weights, f"facts.{stage}", columns.get(stage), texts.get(stage), present[stage]
        )
        known.append(
            _injected(graph, weights, f"injections.{stage - 1}", known[-1], vector)
            if stage
            else vector
        )
    return _heads(graph, weights, known)


def _stacked(states: Sequence[Mapping[str, Tensor]], name: str) -> Array:
    """One weight of all seeds, [S, ...]."""
    return np.stack([state[name].numpy() for state in states])


def signed_log(graph: Graph, numbers: str) -> str:
    """Add sign(x) log(1 + |x|), as exact near zero as log1p is.

    The rounding of 1 + |x| is divided out (Kahan).
    """
    size = graph.add("Abs", numbers)
    above = graph.add("Add", size, np.float64(1))
    ratio = graph.add("Div", size, graph.add("Sub", above, np.float64(1)))
    exact = graph.add("Mul", graph.add("Log", above), ratio)
    logs = graph.add("Where", graph.add("Equal", above, np.float64(1)), size, exact)
    return graph.cast(graph.add("Mul", graph.add("Sign", numbers), logs), np.float32)


def _columns(
    graph: Graph, weights: Weights, spans: Sequence[slice], logs: str, missing: str
) -> dict[int, str]:
    """Each stage's piecewise-linear, scaled and missing columns.

    All are min(max(x * slope + start, low), high). A column is a row here, [columns, B] a stage: to
    repeat a number for its pieces is then to copy it as one run of memory.
    """
    stages = [stage for stage, own in enumerate(spans) if own.stop > own.start]
    if not stages:
        return {}
    found = {
        stage: _lines(weights, f"facts.{stage}", spans[stage].start, behind=spans[-1].stop)
        for stage in stages
    }
    place, *lines = (np.concatenate(column) for column in zip(*found.values(), strict=True))
    slope, start, low, high = (line[:, None] for line in lines)
    middle = np.concatenate([weights[f"facts.{stage}.middle"][0] for stage in stages])
    inputs = graph.add(
        "Concat", graph.add("Where", missing, middle, logs), graph.cast(missing, np.float32), axis=1
    )
    chosen = graph.add(
        "Gather", graph.cast(graph.add("Transpose", inputs, perm=[1, 0]), np.float64), place
    )
    # torch rounds x * slope + start once; between narrow knots a second rounding would show, hence
    # float64
    line = graph.cast(graph.add("Add", graph.add("Mul", chosen, slope), start), np.float32)
    columns = graph.add(
        "Min", graph.add("Max", line, low.astype(np.float32)), high.astype(np.float32)
    )
    return dict(
        zip(
            stages,
            graph.split(columns, [len(own[0]) for own in found.values()], axis=0),
            strict=True,
        )
    )


def _lines(weights: Weights, facts: str, first: int, *, behind: int) -> tuple[Array, ...]:
    """Place, slope, start, low and high of a stage's columns, as its linear layer takes them.

    The learned knots are every seed's. The numbers stand at `first` and after it, what says that
    they are missing `behind` places further.
    """
    slopes, starts = (weights[f"{facts}.pieces.impl.{name}"][0] for name in ("weight", "bias"))
    middle, spread = (
        weights[f"{facts}.{name}"][0].astype(np.float64) for name in ("middle", "spread")
    )
    number, piece = np.nonzero(slopes)  # what is padding has no slope
    every, slope, start = np.arange(len(middle)), slopes[number, piece], starts[number, piece]
    return (
        first + np.concatenate([number, every, every + behind]),
        np.concatenate([slope, 1 / spread, np.ones_like(middle)]),
        np.concatenate([start, -middle / spread, np.zeros_like(middle)]),
        *(weights[f"{facts}.columns.{bound}"][0] for bound in ("low", "high")),
    )


def _present(graph: Graph, shape: LayeredNetwork, missing: str, codes: str) -> list[str]:
    """Whether a row has any fact of each stage, [B, 1] a stage."""
    known = [graph.add("Not", missing), graph.add("Greater", codes, np.int64(0))]
    facts = graph.add("Concat", *(graph.cast(one, np.float32) for one in known), axis=1)
    numbers, texts = shape.numbers[-1].stop, shape.codes[-1].stop
    member = np.zeros((numbers + texts, len(shape.numbers)), dtype=np.float32)
    for stage, (own, coded) in enumerate(zip(shape.numbers, shape.codes, strict=True)):
        member[own, stage] = 1
        member[numbers:][coded, stage] = 1
    any_fact = graph.add("Greater", graph.add("MatMul", facts, member), np.float32(0))
    return graph.split(any_fact, [1] * len(shape.numbers))


def _texts(graph: Graph, weights: Weights, spans: Sequence[slice], codes: str) -> dict[int, str]:
    """What each stage's categories add to its vector, [S, B, D] a stage.

    They are rows of tables, one table below the other.
    """
    counts = {
        stage: own.stop - own.start for stage, own in enumerate(spans) if own.stop > own.start
    }
    if not counts:
        return {}
    tables = [
        _table(weights, f"facts.{stage}", place)
        for stage, count in counts.items()
        for place in range(count)
    ]
    below = graph.add(
        "Add", codes, np.cumsum([0, *(table.shape[1] for table in tables[:-1])], dtype=np.int64)
    )
    parts, rows = graph.split(below, list(counts.values())), np.concatenate(tables, axis=1)
    return {
        stage: graph.add(
            "ReduceSum", graph.add("Gather", rows, part, axis=1), np.array([2]), keepdims=0
        )
        for stage, part in zip(counts, parts, strict=True)
    }


def _table(weights: Weights, facts: str, place: int) -> Array:
    """What each value of a category adds to the vector, [S, values, D].

    It is the embedding through its part of the linear layer.
    """
    own = slice(place * CATEGORY_WIDTH, (place + 1) * CATEGORY_WIDTH)
    return weights[f"{facts}.embeddings.{place}.weight"] @ _turned(
        weights[f"{facts}.linear.weight"][:, :, own]
    )


def _vector(
    graph: Graph, weights: Weights, facts: str, columns: str | None, texts: str | None, present: str
) -> str:
    """A stage's facts as vectors, [S, B, D]; the absent vector where a row has none."""
    vector: str | Array = weights[f"{facts}.linear.bias"][:, None]
    if columns is not None:
        count = len([name for name in weights if name.startswith(f"{facts}.embeddings.")])
        weight = weights[f"{facts}.linear.weight"][:, :, count * CATEGORY_WIDTH :]
        vector = graph.add(
            "Add",
            graph.add("Transpose", graph.add("MatMul", weight, columns), perm=[0, 2, 1]),
            vector,
        )
    if texts is not None:
        vector = graph.add("Add", texts, vector)
    return graph.add("Where", present, vector, weights[f"{facts}.absent"][:, None])


def _injected(graph: Graph, weights: Weights, site: str, state: str, vector: str) -> str:
    """The state that knows the stage's vector, [S, B, D]."""
    strength = weights[f"{site}.strength"][:, None]
    first = _behind_norm(weights, f"{site}.norm", f"{site}.mix.0")
    last = (
        strength[:, None] * weights[f"{site}.mix.3.weight"],
        strength * weights[f"{site}.mix.3.bias"],
    )
    width = first[0].shape[1]
    mixed = _linear(graph, graph.add("Concat", _normed(graph, state, width), vector, axis=2), first)
    mixed = _linear(graph, graph.add("Relu", mixed), last)
    state = graph.add("Add", graph.add("Add", state, vector), mixed)
    for number in range(
        len(
            [
                name
                for name in weights
                if name.startswith(f"{site}.blocks.") and name.endswith(".4.bias")
            ]
        )
    ):
        block = f"{site}.blocks.{number}"
        hidden = _linear(
            graph, _normed(graph, state, width), _behind_norm(weights, f"{block}.0", f"{block}.1")
        )
        last = weights[f"{block}.4.weight"], weights[f"{block}.4.bias"]
        state = graph.add("Add", state, _linear(graph, graph.add("Relu", hidden), last))
    return state


def _heads(graph: Graph, weights: Weights, states: Sequence[str]) -> str:
    """The increments [B, K], their mean over the seeds: the heads of all stages at once."""
    heads = [f"heads.{stage}" for stage in range(len(states))]
    hidden = [_behind_norm(weights, f"{head}.norm", f"{head}.hidden") for head in heads]
    last = [(weights[f"{head}.last.weight"], weights[f"{head}.last.bias"]) for head in heads]
    normed = _normed(
        graph, graph.add("Concat", *states, axis=0), weights["heads.0.norm.weight"].shape[1]
    )
    each = _linear(graph, graph.add("Relu", _linear(graph, normed, _below(hidden))), _below(last))
    apart = graph.add("Reshape", each, np.array([len(states), len(last[0][0]), -1]))
    return graph.add(
        "Transpose", graph.add("ReduceMean", apart, np.array([1]), keepdims=0), perm=[1, 0]
    )


def _below(layers: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Layers as one, that of the first for the first states."""
    return np.concatenate([weight for weight, _ in layers]), np.concatenate(
        [bias for _, bias in layers]
    )


def _normed(graph: Graph, state: str, width: int) -> str:
    return graph.add("LayerNormalization", state, np.ones(width, dtype=np.float32), axis=-1)


def _behind_norm(weights: Weights, norm: str, linear: str) -> tuple[Array, Array]:
    """Weight and bias of a linear layer behind a norm that neither scales nor shifts.

    Its first inputs come from the norm.
    """
    scale, shift = weights[f"{norm}.weight"], weights[f"{norm}.bias"]
    weight, bias = weights[f"{linear}.weight"], weights[f"{linear}.bias"]
    own, rest = weight[:, :, : scale.shape[1]], weight[:, :, scale.shape[1] :]
    return np.concatenate([own * scale[:, None], rest], axis=2), bias + (own @ shift[:, :, None])[
        :, :, 0
    ]


def _linear(graph: Graph, value: str, layer: tuple[Array, Array]) -> str:
    """A linear layer a seed, [S, B, inputs] -> [S, B, outputs]."""
    weight, bias = layer
    return graph.add("Add", graph.add("MatMul", value, _turned(weight)), bias[:, None])


def _turned(weight: Array) -> Array:
    return weight.transpose(0, 2, 1)
