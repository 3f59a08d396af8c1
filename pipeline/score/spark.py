"""Batch scoring on Spark: features are built and scored where the rows lie.

No row passes through this process.

    with Spark() as engine:
        snapshot, config = read_snapshot(portfolio, lake), settings.build_config
        scores = score_on_spark(engine, snapshot, Path("bundle"), build_config=config)
        scores.write.parquet("scores")

Each of Spark's workers reads the bundle's folder once, as files that run nothing; all of them must
see it under that name.
"""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import torch

from features.build import BuildConfig, compute
from features.engines.spark import Spark, without_pandas_warning
from pipeline.lake.snapshot import Snapshot
from pipeline.models.layered.model import STAGE
from pipeline.registry.bundle import MANIFEST, Bundle, BundleError, read_bundle
from pipeline.registry.champion import Champion
from pipeline.score.score import check_features

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def score_on_spark(
    engine: Spark,
    snapshot: Snapshot,
    folder: Path,
    *,
    build_config: BuildConfig,
    since: datetime | None = None,
) -> "DataFrame":
    """Build the features of the transactions from `since` on and score them.

    Spark computes as the result is read. Raises BundleError where the bundle is damaged, or was
    trained on other features than this code builds.
    """
    check_features(Champion(version=str(folder), bundle=read_bundle(folder)), snapshot)
    transactions, labels = snapshot.sources
    built = compute(
        engine,
        transactions,
        labels,
        snapshot.groups,
        config=build_config,
        since=since,
        until=snapshot.until,
        rates=snapshot.rates,
    )
    return score_frame(engine.frame(built.query(built.first, built.last)), folder)


def score_frame(features: "DataFrame", folder: Path) -> "DataFrame":
    """Score rows of features.

    The result has transaction_id, score, logit before calibration, base, and each stage's
    increment.
    """
    folder, bundle = folder.absolute(), read_bundle(folder)
    numbers = ["score", "logit", "base", *(f"{STAGE}{name}" for name in bundle.model.stages)]
    schema = ", ".join(["transaction_id STRING", *(f"{name} DOUBLE" for name in numbers)])
    mark = _mark(folder)

    def scored(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                yield from score_table(
                    _bundle(folder, mark), pa.Table.from_batches([batch])
                ).to_batches()

    with without_pandas_warning():
        return features.mapInArrow(scored, schema)


def score_table(bundle: Bundle, features: pa.Table) -> pa.Table:
    """Score rows of features in this process."""
    logit, stages = bundle.model.score(features)
    columns = {"score": bundle.probability(logit), "logit": logit}
    base = pa.repeat(bundle.model.base_logit, features.num_rows)
    return pa.table(
        {"transaction_id": features["transaction_id"], **columns, "base": base, **stages}
    )


@cache
def _bundle(folder: Path, mark: str) -> Bundle:
    """The bundle, read once in each worker.

    Spark has a worker for each core, so each computes on one.
    """
    if _mark(folder) != mark:
        raise BundleError(
            f"a worker sees another bundle under {folder}; "
            "put it where all of Spark's machines see the same"
        )
    torch.set_num_threads(1)
    return read_bundle(folder)


def _mark(folder: Path) -> str:
    """A bundle's fingerprint; its manifest has those of all its files."""
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
