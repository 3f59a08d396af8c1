"""The champion for a machine without this code: onnxruntime and numpy score with its folder.

`model.onnx` takes raw features and says it all; `preprocessing.json` names its inputs; `scorer.py`
puts rows into them. The networks lie there too, each as a program of torch.export.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from features.encoder import FIRST_KNOWN, MISSING, UNKNOWN, Encoder, bucket_of
from pipeline.arrays import IntArray
from pipeline.export import scorer
from pipeline.export.inputs import Inputs
from pipeline.export.onnx_classical import add_classical, add_risks, looked_up
from pipeline.export.onnx_graph import Graph, tensor
from pipeline.export.onnx_networks import add_networks
from pipeline.export.torch_program import write_program
from pipeline.models.baselines.columns import Columns
from pipeline.models.baselines.protocol import Baseline
from pipeline.models.calibration import PlattScaling
from pipeline.models.layered.model import Layered
from pipeline.models.one_stage import Model, OneStage
from pipeline.registry.bundle import Bundle

FORMAT = 2
NO_COLUMNS = Columns(numbers=(), categories={})


def export(bundle: Bundle, folder: Path) -> Path:
    """Write the bundle for onnxruntime into a new folder.

    Raises ValueError when the folder holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds files already; name a new folder for the export")
    classical = _classical(bundle.model)
    columns = NO_COLUMNS if classical is None else classical.columns
    networks = bundle.model if isinstance(bundle.model, Layered) else None
    encoder = networks.encoder if networks else Encoder(groups=())
    inputs = Inputs.of(encoder, columns, bundle.model.risk)
    model = onnx_of(bundle, inputs)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save_model(model, folder / "model.onnx")
    facts = _facts(bundle, inputs, columns)
    (folder / "preprocessing.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(scorer.__file__, folder / "scorer.py")
    for number, network in enumerate(networks.networks if networks else ()):
        write_program(network, folder / f"network-{number}.pt2")
    return folder


def onnx_of(bundle: Bundle, inputs: Inputs) -> onnx.ModelProto:
    """The graph.

    Shape: numbers [B, N], codes [B, C] -> score [B], logit before calibration [B], increments
    [B, K].
    """
    graph, model = Graph(), bundle.model
    numbers = add_risks(graph, inputs)
    if isinstance(model, OneStage):
        so_far = add_classical(graph, model.baseline, inputs, numbers)
        increments = graph.add("Sub", so_far, np.float64(model.base_logit))
    else:
        increments, so_far = _layered(graph, model, inputs, numbers)
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


def _layered(graph: Graph, model: Layered, inputs: Inputs, numbers: str) -> tuple[str, str]:
    """Increments [B, K] and log-odds [B, 1] of the network and the stage behind it."""
    increments = graph.cast(_network_increments(graph, model, inputs, numbers), np.float64)
    so_far = _logit(graph, increments, model.base_logit)
    if model.stacking is None:
        return increments, so_far
    own = add_classical(graph, model.stacking.model, inputs, numbers)
    moved = graph.add("Mul", graph.add("Sub", own, so_far), np.float64(model.stacking.weight))
    blend = _calibrated(graph, graph.add("Add", so_far, moved), model.stacking.calibration)
    added = graph.add("Sub", blend, so_far)
    return graph.add("Concat", increments, added, axis=1), blend


def _network_increments(graph: Graph, model: Layered, inputs: Inputs, numbers: str) -> str:
    """Give the networks their numbers, and their own codes for the values of a category."""
    known = [code for group in model.encoder.groups for code in group.categories]
    tables = [_codes(code.vocabulary, inputs.categories[code.name]) for code in known]
    order = [code.name for group in model.encoder.groups for code in group.numbers]
    if order == list(inputs.columns[: len(order)]):
        ends = np.array([0]), np.array([len(order)]), np.array([1])
        own = graph.add("Slice", numbers, *ends)
    else:
        own = graph.add("Gather", numbers, _places(inputs.columns, order), axis=1)
    places = _places(list(inputs.categories), [code.name for code in known])
    codes = looked_up(graph, places, tables, np.int64)
    return add_networks(graph, model.networks, own, codes)


def _places(order: Sequence[str], names: Sequence[str]) -> IntArray:
    return np.array([order.index(name) for name in names], dtype=np.int64)


def _codes(vocabulary: Sequence[str], values: Sequence[str]) -> list[int]:
    """The networks' code of missing, of unknown, and of each value."""
    known = {value: place + FIRST_KNOWN for place, value in enumerate(vocabulary)}
    in_buckets = {value: known.get(bucket_of(value), UNKNOWN) for value in values}
    return [MISSING, UNKNOWN, *(known.get(value, in_buckets[value]) for value in values)]


def _calibrated(graph: Graph, logit: str, calibration: PlattScaling) -> str:
    return graph.add(
        "Add", graph.add("Mul", logit, np.float64(calibration.a)), np.float64(calibration.b)
    )


def _logit(graph: Graph, increments: str, base_logit: float) -> str:
    """Log-odds after these stages, [B, 1]."""
    return graph.add(
        "Add", graph.add("ReduceSum", increments, np.array([1]), keepdims=1), np.float64(base_logit)
    )


def _opinion(model: Model) -> dict[str, float | str] | None:
    """What the last stage makes of the classical model."""
    if not isinstance(model, Layered) or model.stacking is None:
        return None
    return model.stacking.to_json()


def _classical(model: Model) -> Baseline | None:
    """The classical model of a champion, where it has one."""
    if isinstance(model, OneStage):
        return model.baseline
    return model.stacking.model if model.stacking else None


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
        "opinion": _opinion(model),
        "calibration": bundle.calibration.to_json(),
        "classical": {"numbers": list(columns.numbers), "categories": list(columns.categories)},
    }
