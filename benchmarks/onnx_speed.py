"""How fast an exported bundle scores with onnxruntime, and how far its scores are from ours."""

import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.export.export import export
from pipeline.export.scorer import BLOCK, Scorer
from pipeline.policy.selection import Policy
from pipeline.portfolio_tables import Review
from pipeline.registry.bundle import Bundle
from pipeline.train.candidates import Candidate

SINGLE, ROUNDS = 3000, 5  # rows scored one by one, and times that all rows are scored in blocks


def figures(candidate: Candidate, rows: pa.Table) -> dict[str, float]:
    """Microseconds of one raw row, rows a second in blocks, largest difference of a score."""
    bundle = Bundle(
        portfolio="benchmark",
        model=candidate.layered,
        calibration=candidate.calibration,
        policy=Policy.of(Review()),
        feature_digest="",
        features={},
        ip_databases={},
        trained_as_of=datetime(2018, 1, 1, tzinfo=UTC),
        metrics={},
    )
    with tempfile.TemporaryDirectory() as folder:
        scorer = Scorer(export(bundle, Path(folder) / "exported"))
    inputs = scorer.inputs(rows.to_pydict())
    ours = bundle.probability(bundle.model.logit(rows))
    said = scorer.score(rows.to_pydict()).score
    one = [rows_of(inputs, row, 1) for row in range(SINGLE)]
    blocks = [rows_of(inputs, start, BLOCK) for start in range(0, len(said) - BLOCK, BLOCK)]
    for row in one[:500]:
        scorer.session.run(None, row)
    took = []
    for row in one:
        started = perf_counter()
        scorer.session.run(None, row)
        took.append(perf_counter() - started)
    rates = []
    for _ in range(ROUNDS):
        started = perf_counter()
        for block in blocks:
            scorer.session.run(None, block)
        rates.append(len(blocks) * BLOCK / (perf_counter() - started))
    return {
        "export_gap": float(np.abs(said - ours).max()),
        "onnx_p50_us": float(np.quantile(took, 0.5) * 1e6),
        "onnx_p99_us": float(np.quantile(took, 0.99) * 1e6),
        "onnx_rows_per_second": float(np.median(rates)),
    }


def rows_of(inputs: Mapping[str, npt.NDArray[Any]], start: int, count: int) -> dict[str, object]:
    """So many of the rows, as the graph takes them."""
    return {name: values[start : start + count] for name, values in inputs.items()}
