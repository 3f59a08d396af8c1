"""The champion for a machine without this code: onnxruntime and numpy score with its folder.

`model.onnx` takes raw features and says it all; `preprocessing.json` names its inputs; `scorer.py`
puts rows into them. The networks lie there too, each as a program of torch.export.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import xgboost

from features.encoder import FIRST_KNOWN, MISSING, UNKNOWN, Encoder, bucket_of
from features.stored_json import read_json
from pipeline.arrays import IntArray
from pipeline.export import scorer
from pipeline.export.onnx_graph import Graph, tensor
from pipeline.export.onnx_networks import add_networks
from pipeline.export.onnx_trees import add_trees
from pipeline.export.torch_program import write_program
from pipeline.models.baselines.boosting import StoredBoosting, XGBoost
from pipeline.models.baselines.columns import Columns
from pipeline.models.calibration import PlattScaling
from pipeline.models.layered.model import Layered
from pipeline.models.layered.stacking import Stacking
from pipeline.registry.bundle import Bundle

FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the graph is given: numbers in their order, and the known values of each category.

    A value is known where one of the models knows it.
    """

    numbers: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, encoder: Encoder, columns: Columns) -> "Inputs":
        """The networks' inputs in their order, then those that the classical model alone reads."""
        numbers = [code.name for group in encoder.groups for code in group.numbers]
        known = {
            code.name: code.vocabulary for group in encoder.groups for code in group.categories
        }
        both = {
            name: (*known.get(name, ()), *columns.categories.get(name, ()))
            for name in (*known, *columns.categories)
        }
        return cls(
            numbers=tuple(dict.fromkeys([*numbers, *columns.numbers])),
            categories={name: tuple(dict.fromkeys(values)) for name, values in both.items()},
        )


def export(bundle: Bundle, folder: Path) -> Path:
    """Write the bundle for onnxruntime into a new folder.

    Raises ValueError when the folder holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds files already; name a new folder for the export")
    stacking = bundle.model.stacking
    booster, columns = (
        (None, Columns(numbers=(), categories={})) if stacking is None else _parts(stacking)
    )
    inputs = Inputs.of(bundle.model.encoder, columns)
    model = onnx_of(bundle, inputs, booster, columns)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save_model(model, folder / "model.onnx")
    facts = _facts(bundle, inputs, columns)
    (folder / "preprocessing.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(scorer.__file__, folder / "scorer.py")
    for number, network in enumerate(bundle.model.networks):
        write_program(network, folder / f"network-{number}.pt2")
    return folder


def onnx_of(
    bundle: Bundle, inputs: Inputs, booster: xgboost.Booster | None, columns: Columns
) -> onnx.ModelProto:
    """The graph.

    Shape: numbers [B, N], codes [B, C] -> score [B], logit before calibration [B], increments
    [B, K].
    """
    graph, model = Graph(), bundle.model
    increments = graph.cast(_network_increments(graph, model, inputs), np.float64)
    so_far = _logit(graph, increments, model.base_logit)
    if booster is not None and model.stacking is not None:
        own = graph.cast(
            add_trees(graph, booster, _boosting_inputs(graph, inputs, columns)), np.float64
        )
        moved = graph.add("Mul", graph.add("Sub", own, so_far), np.float64(model.stacking.weight))
        blend = _calibrated(graph, graph.add("Add", so_far, moved), model.stacking.calibration)
        increments, so_far = (
            graph.add("Concat", increments, graph.add("Sub", blend, so_far), axis=1),
            blend,
        )
    logit = graph.add("Squeeze", so_far, np.array([1]))
    score = graph.add("Sigmoid", _calibrated(graph, logit, bundle.calibration))
    given = [
        tensor("numbers", np.float64, "B", len(inputs.numbers)),
        tensor("codes", np.int64, "B", len(inputs.categories)),
    ]
    outputs = [tensor("score", np.float64, "B"), tensor("logit", np.float64, "B")]
    return graph.model(
        given,
        [*outputs, tensor("increments", np.float64, "B", len(model.stages))],
        [score, logit, increments],
    )


def _network_increments(graph: Graph, model: Layered, inputs: Inputs) -> str:
    """Give the networks their numbers, and their own codes for the values of a category."""
    known = [code for group in model.encoder.groups for code in group.categories]
    tables = [_codes(code.vocabulary, inputs.categories[code.name]) for code in known]
    count = sum(len(group.numbers) for group in model.encoder.groups)
    numbers = graph.add("Slice", "numbers", np.array([0]), np.array([count]), np.array([1]))
    codes = _looked_up(graph, np.arange(len(tables)), tables, np.int64)
    return add_networks(graph, model.networks, numbers, codes)


def _boosting_inputs(graph: Graph, inputs: Inputs, columns: Columns) -> str:
    """The columns of the boosting: numbers, then the rank of each category's value.

    NaN where missing.
    """
    places = np.array([inputs.numbers.index(name) for name in columns.numbers], dtype=np.int64)
    numbers = graph.cast(graph.add("Gather", "numbers", places, axis=1), np.float32)
    own = columns.categories
    tables = [_ranks(values, inputs.categories[name]) for name, values in own.items()]
    order = list(inputs.categories)
    chosen = np.array([order.index(name) for name in own], dtype=np.int64)
    ranks = _looked_up(graph, chosen, tables, np.float32)
    return graph.add("Concat", numbers, ranks, axis=1)


def _codes(vocabulary: Sequence[str], values: Sequence[str]) -> list[int]:
    """The networks' code of missing, of unknown, and of each value."""
    known = {value: place + FIRST_KNOWN for place, value in enumerate(vocabulary)}
    in_buckets = {value: known.get(bucket_of(value), UNKNOWN) for value in values}
    return [MISSING, UNKNOWN, *(known.get(value, in_buckets[value]) for value in values)]


def _ranks(frequent: Sequence[str], values: Sequence[str]) -> list[float]:
    """The boosting's rank of missing, of unknown, and of each value."""
    known = {value: rank for rank, value in enumerate(frequent)}
    return [np.nan, len(known), *(known.get(value, len(known)) for value in values)]


def _looked_up(
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


def _calibrated(graph: Graph, logit: str, calibration: PlattScaling) -> str:
    return graph.add(
        "Add", graph.add("Mul", logit, np.float64(calibration.a)), np.float64(calibration.b)
    )


def _logit(graph: Graph, increments: str, base_logit: float) -> str:
    """Log-odds after these stages, [B, 1]."""
    return graph.add(
        "Add", graph.add("ReduceSum", increments, np.array([1]), keepdims=1), np.float64(base_logit)
    )


def _parts(stacking: Stacking) -> tuple[xgboost.Booster, Columns]:
    """The booster and its columns, from the files that every bundle has of them."""
    if not isinstance(stacking.model, XGBoost):
        raise ValueError(  # noqa: TRY004 - the champion is wrong, not the call
            f"the classical opinion is of {type(stacking.model).__name__}, "
            "and only XGBoost is exported; train it again"
        )
    with tempfile.TemporaryDirectory() as name:
        stacking.model.to_files(Path(name))
        stored = read_json(StoredBoosting, Path(name) / "xgboost.json")
        return xgboost.Booster(model_file=Path(name) / "xgboost.ubj"), stored.columns


def _facts(bundle: Bundle, inputs: Inputs, columns: Columns) -> dict[str, object]:
    """What a reader of the folder needs to know of the graph."""
    model = bundle.model
    return {
        "format": FORMAT,
        "portfolio": bundle.portfolio,
        "trained_as_of": bundle.trained_as_of.isoformat(),
        "feature_digest": bundle.feature_digest,
        "numbers": list(inputs.numbers),
        "categories": {name: list(values) for name, values in inputs.categories.items()},
        "rules": {
            "numbers": "as built, float64, NaN where missing; "
            "the graph takes sign(x) log(1 + |x|) and knows what is missing",
            "codes": "0 missing, 1 unknown, then the category's values in order",
        },
        "stages": list(model.stages),
        "base_logit": model.base_logit,
        "opinion": None if model.stacking is None else model.stacking.to_json(),
        "calibration": bundle.calibration.to_json(),
        "xgboost": {"numbers": list(columns.numbers), "categories": list(columns.categories)},
    }
