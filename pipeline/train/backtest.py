"""Backtest: train as one would have on a day, score the weeks that came after, write every score.

Training rows are those of the train span whose label was known when the test span begins; a test
row's features use every earlier transaction and every label known at its own moment.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.build import BuildConfig
from pipeline.evaluation.time_split import Split, labelled_rows, rows_between
from pipeline.lake.snapshot import NoDataError, read_snapshot
from pipeline.lake.tables import Lake
from pipeline.models.calibration import prior_shift
from pipeline.models.layered.model import Layered
from pipeline.models.layered.training import TrainConfig
from pipeline.portfolio import Portfolio
from pipeline.progress import SILENT, Progress
from pipeline.train.candidates import Candidate, check_models, fit_candidates
from pipeline.train.group_order import of_groups
from pipeline.train.train import groups_in_order


def backtest(
    portfolio: Portfolio,
    lake: Lake,
    split: Split,
    models: Sequence[str],
    *,
    build_config: BuildConfig,
    seed: int = 1,
    config: TrainConfig | None = None,
    progress: Progress = SILENT,
) -> pd.DataFrame:
    """Return the scores of each model for each row of the test span.

    The columns are transaction_id, model, score (calibrated), logit and stage_<group>.
    """
    check_models(models)
    snapshot = read_snapshot(portfolio, lake, until=split.test_until, known_by=split.test_from)
    with progress.step("features"):
        features = snapshot.features(build_config=build_config, since=split.train_from)
    rows, y = labelled_rows(
        features, snapshot.labels, split.train_from, split.train_until, known_by=split.test_from
    )
    test = features.filter(pa.array(rows_between(features, split.test_from, split.test_until)))
    if not test.num_rows:
        span = f"{split.test_from:%Y-%m-%d %H:%M:%S} to {split.test_until:%Y-%m-%d %H:%M:%S} UTC"
        raise NoDataError(
            f"portfolio {portfolio.name} has no transactions from {span}; name other spans"
        )
    groups = groups_in_order(portfolio, snapshot.groups, rows, y, seed=seed)
    candidates = fit_candidates(
        models,
        of_groups(rows, groups),
        y,
        groups,
        seed=seed,
        label_delay=portfolio.label_delay,
        config=config,
        progress=progress,
    )
    shift = prior_shift(y.mean(), portfolio.labels.prior)
    return pd.concat(
        [scored(candidate.shifted(shift), test) for candidate in candidates.values()],
        ignore_index=True,
    )


def scored(candidate: Candidate, features: pa.Table) -> pd.DataFrame:
    """Score the rows with one model; the layered network also tells its stages."""
    table = pd.DataFrame(
        {"transaction_id": features["transaction_id"].to_pandas(), "model": candidate.name}
    )
    if not isinstance(candidate.model, Layered):
        logit = candidate.logit(features)
        return table.assign(score=candidate.calibration.probability(logit), logit=logit)
    logit, stages = candidate.model.score(features)
    return table.assign(score=candidate.calibration.probability(logit), logit=logit, **stages)


def write_scores(scores: pd.DataFrame, file: Path) -> None:
    """Write the scores as Parquet, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    try:
        pq.write_table(pa.Table.from_pandas(scores, preserve_index=False), part)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
