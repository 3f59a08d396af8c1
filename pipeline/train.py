"""Train: candidates fitted on the same rows, compared on the same later weeks; the layered network becomes a bundle."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.addresses import database_dates
from features.build import KEYS, BuildConfig
from features.digest import fingerprints
from pipeline.bundle import Bundle
from pipeline.candidates import LAYERED, Candidate, check_models, fit_candidates
from pipeline.compare import PairedDifference, comparison_table, paired_difference
from pipeline.evaluate import BoolArray, FloatArray, Metrics, average_precision, evaluate
from pipeline.history import History, read_history
from pipeline.lake import Lake
from pipeline.layered import Layered
from pipeline.model.train import TrainConfig
from pipeline.policy import Policy, learn_least_gain
from pipeline.portfolio import Portfolio
from pipeline.split import Split, labelled_rows, split_by_time

DEFAULT_MODELS = ("layered", "xgboost", "logistic")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training gives: the candidates, how they did on the test weeks, and the bundle that may become champion.

    `differences` are the layered network's AP minus each other model's; `stage_ap` is its AP after each stage.
    """

    as_of: datetime
    split: Split
    train_rows: int
    train_frauds: int
    candidates: dict[str, Candidate]
    metrics: dict[str, Metrics]
    differences: dict[str, PairedDifference]
    stage_ap: dict[str, float]
    bundle: Bundle

    @property
    def table(self) -> pd.DataFrame:
        """One row a model, best first; differences are the model's AP minus the layered network's."""
        turned = {
            name: PairedDifference(difference=-d.difference, low=-d.high, high=-d.low, draws=d.draws)
            for name, d in self.differences.items()
        }
        return comparison_table(self.metrics, turned, reference=LAYERED)


def train(
    portfolio: Portfolio,
    lake: Lake,
    *,
    as_of: datetime,
    building: BuildConfig,
    models: tuple[str, ...] = DEFAULT_MODELS,
    seed: int = 1,
    config: TrainConfig | None = None,
    progress: bool = False,
) -> Trained:
    """Train and compare what was known at `as_of`. Raises ValueError where the history does not allow it."""
    check_models(models)
    if LAYERED not in models:
        raise ValueError(f"{', '.join(models)} alone give no champion; train {LAYERED} beside them, or name them in a backtest")
    history = read_history(portfolio, lake, until=as_of)
    first = pc.min(history.transactions(["as_of"])["as_of"]).as_py()
    split = split_by_time(first, as_of, label_delay=portfolio.label_delay)
    features = history.features(building=building)
    rows, y = labelled_rows(features, history.labels, split.train_from, split.train_until, known_by=split.test_from)
    test, truth = labelled_rows(features, history.labels, split.test_from, split.test_until, known_by=as_of)
    candidates = fit_candidates(models, rows, y, history.groups, seed=seed, config=config, progress=progress)
    probabilities = {name: candidate.probability(test) for name, candidate in candidates.items()}
    judged = _judge(test, truth, probabilities, portfolio)
    layered = candidates[LAYERED]
    others = [name for name in models if name != LAYERED]
    accounts = _accounts(test)
    return Trained(
        as_of=as_of,
        split=split,
        train_rows=len(y),
        train_frauds=int(y.sum()),
        candidates=candidates,
        metrics=judged,
        differences={name: paired_difference(truth, probabilities[LAYERED], probabilities[name], accounts) for name in others},
        stage_ap=stage_precisions(layered.layered, test, truth),
        bundle=_bundle(portfolio, history, layered, judged[LAYERED], rows, as_of, building),
    )


def stage_precisions(model: Layered, test: pa.Table, truth: BoolArray) -> dict[str, float]:
    """Average precision of the layered network after each stage: the depth picture."""
    so_far = model.increments(test).cumsum(axis=1)
    return {name: average_precision(truth, so_far[:, place]) for place, name in enumerate(model.stages)}


def _judge(test: pa.Table, truth: BoolArray, probabilities: dict[str, FloatArray], portfolio: Portfolio) -> dict[str, Metrics]:
    amount = test["amount"].to_numpy()
    event_time = test["event_time"].to_pandas()
    capacity = portfolio.review.capacity_per_day
    accounts = _accounts(test)
    return {
        name: evaluate(truth, p, accounts=accounts, event_time=event_time, amount=amount, capacity_per_day=capacity)
        for name, p in probabilities.items()
    }


def _accounts(rows: pa.Table) -> npt.NDArray[np.str_]:
    return np.asarray(rows["account_id"].to_numpy(zero_copy_only=False).astype(str))


def _bundle(
    portfolio: Portfolio,
    history: History,
    layered: Candidate,
    metrics: Metrics,
    rows: pa.Table,
    as_of: datetime,
    building: BuildConfig,
) -> Bundle:
    """The bundle with its policy: the least gain is learned on the latest quarter of the rows trained on."""
    recent = rows.slice(rows.num_rows - rows.num_rows // 4)
    scored = recent.select(list(KEYS)).to_pandas().assign(probability=layered.probability(recent))
    return Bundle(
        portfolio=portfolio.name,
        model=layered.layered,
        calibration=layered.calibration,
        policy=learn_least_gain(scored, policy=Policy.of(portfolio.review)),
        feature_digest=history.feature_digest,
        features=fingerprints(history.groups),
        ip_databases=database_dates(building.ip_databases) if "ip_address" in history.columns else {},
        trained_as_of=as_of,
        metrics=metrics.as_dict(),
    )
