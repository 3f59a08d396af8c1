"""Train: candidates fitted on the same rows, compared on the same later weeks.

The model that is recommended becomes a bundle.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.build import KEYS, BuildConfig, shown_features
from features.declarations import Group
from features.digest import difference, fingerprints
from features.ip.addresses import database_dates
from pipeline.arrays import BoolArray, FloatArray
from pipeline.evaluation.bootstrap import PairedDifference, paired_bootstrap
from pipeline.evaluation.metrics import Metrics, average_precision, evaluate
from pipeline.evaluation.reliability import expected_calibration_error, stage_reliability
from pipeline.evaluation.time_split import known_labels, labelled_rows
from pipeline.explanation.nearest_cases import CaseIndex, currencies
from pipeline.explanation.typical_ranges import typical_ranges
from pipeline.lake.currency import settled_digest
from pipeline.lake.snapshot import Snapshot, read_snapshot
from pipeline.lake.tables import Lake
from pipeline.models.baselines.tuning import Budget
from pipeline.models.calibration import prior_shift
from pipeline.models.layered.diagnostics import ROWS, activations
from pipeline.models.layered.model import Layered
from pipeline.models.layered.training import TrainConfig
from pipeline.models.one_stage import OneStage
from pipeline.models.risk_encoding import RiskEncoding
from pipeline.policy.early_exit import stage_probabilities
from pipeline.policy.selection import Policy, learn_least_gain
from pipeline.portfolio import Portfolio
from pipeline.progress import SILENT, Progress
from pipeline.registry.bundle import Bundle
from pipeline.train.candidates import LAYERED, Candidate, check_models, fit_candidates
from pipeline.train.data_report import DataReport, data_report, format_data_report
from pipeline.train.group_order import (
    Worth,
    by_information,
    of_groups,
    those_that_pay,
    worth_on_later_days,
)
from pipeline.train.learning_curve import History, LearningCurve
from pipeline.train.report import DataUsed, Trained, recommend

DRAWS = 200  # of accounts, for the interval of a stage's calibration error
DEFAULT_MODELS = ("layered", "xgboost", "logistic")


def train(
    portfolio: Portfolio,
    lake: Lake,
    *,
    as_of: datetime | None = None,
    build_config: BuildConfig,
    models: tuple[str, ...] = DEFAULT_MODELS,
    champion: str | None = None,
    seed: int = 1,
    config: TrainConfig | None = None,
    start: Bundle | None = None,
    resume: Path | None = None,
    budget: Budget | None = None,
    has_network_curve: bool = False,
    report: DataReport | None = None,
    progress: Progress = SILENT,
) -> Trained:
    """Train and compare what was known at `as_of`; without, all that is there.

    The bundle is of the model `champion`; without, of the one that the comparison recommends.
    The layered network starts from nothing, or from another portfolio's bundle (`start`). `resume`
    is a folder for checkpoints: killed and called again, the training goes on; `report`
    is what was found out of the data before; `budget` is as in `fit_candidates`. A learning curve
    is that of the classical model whose opinion the network takes, and the network's own with
    `has_network_curve`. Raises ValueError where the history does not allow it, or features of the
    bundle mean something else here.
    """
    check_models(models)
    if champion is not None and champion not in models:
        raise ValueError(
            f"the champion {champion!r} is not among the models {', '.join(models)}; name it there"
        )
    if LAYERED not in models:
        raise ValueError(
            f"{', '.join(models)} alone are compared with nothing; "
            f"train {LAYERED} beside them, or name them in a backtest"
        )
    report = report or data_report(portfolio, lake, as_of=as_of)
    until, split = report.until, report.split
    snapshot = read_snapshot(portfolio, lake, until=until, known_by=as_of)
    known = None if start is None else _known(start, snapshot.groups)
    with progress.step("features"):
        features = snapshot.features(build_config=build_config)
    rows, y = labelled_rows(
        features, snapshot.labels, split.train_from, split.train_until, known_by=split.test_from
    )
    test, truth = labelled_rows(
        features, snapshot.labels, split.test_from, split.test_until, known_by=until
    )
    with progress.step("what each group is worth"):
        worth = worth_on_later_days(rows, y, snapshot.groups, seed=seed)
        groups = groups_in_order(portfolio, snapshot.groups, rows, y, seed=seed)
    candidates = fit_candidates(
        models,
        of_groups(rows, groups),
        y,
        groups,
        seed=seed,
        label_delay=portfolio.label_delay,
        config=config,
        start=known,
        resume=resume,
        budget=budget,
        progress=progress,
    )
    history = History(
        features=of_groups(rows, groups),
        y=y,
        groups=groups,
        risk=candidates[LAYERED].layered.risk,
        label_delay=portfolio.label_delay,
    )
    network_config = (config or TrainConfig(seeds=(seed,))) if has_network_curve else None
    curves = _learning_curves(history, candidates[LAYERED].layered, network_config, progress)
    with progress.step("comparison"):
        probabilities = {
            name: candidate.probability(test) for name, candidate in candidates.items()
        }
        judged = _evaluate_candidates(test, truth, probabilities, portfolio)
        layered, shift = candidates[LAYERED], prior_shift(y.mean(), portfolio.labels.prior)
        accounts = _accounts(test)
        differences = _differences(LAYERED, probabilities, truth, accounts)
        recommendation = recommend(differences)
        best = champion or recommendation.model
        stages, increments = layered.layered.stages, layered.layered.increments(test)
        p = stage_probabilities(layered.layered.base_logit, increments, layered.calibration)
        return Trained(
            as_of=until,
            split=split,
            train_rows=len(y),
            train_frauds=int(y.sum()),
            candidates=candidates,
            metrics=judged,
            differences=differences,
            recommendation=recommendation,
            over=differences
            if best == LAYERED
            else _differences(best, probabilities, truth, accounts),
            stage_ap={
                name: average_precision(truth, p[:, place]) for place, name in enumerate(stages)
            },
            stage_reliability=stage_reliability(truth, p, stages),
            stage_error={
                name: expected_calibration_error(truth, p[:, place], accounts=accounts, draws=DRAWS)
                for place, name in enumerate(stages)
            },
            learning_curves=curves,
            data_used=(
                _data_used("training", snapshot, rows, y),
                _data_used("testing", snapshot, test, truth),
            ),
            activations=activations(
                {LAYERED: layered.layered}, layered.layered.tensors(test.slice(0, ROWS))
            ),
            data=[
                *format_data_report(report, portfolio),
                *_format_worth(worth, groups),
                *_left_out(groups, layered.layered),
                *_format_risk(layered.layered.risk),
            ],
            bundle=_bundle(
                portfolio,
                snapshot,
                candidates[best].shifted(shift),
                judged[best],
                rows,
                y,
                groups,
                until,
                build_config,
            ),
        )


def _data_used(
    purpose: Literal["training", "testing"], snapshot: Snapshot, rows: pa.Table, y: BoolArray
) -> DataUsed:
    ids = rows["transaction_id"].to_pylist()
    known = hashlib.sha256("\n".join(map(str, ids)).encode() + np.packbits(y).tobytes())
    uri = snapshot.lake.uri("transactions")
    return DataUsed(
        purpose=purpose, uri=uri, version=snapshot.version, digest=known.hexdigest()[:16]
    )


def _learning_curves(
    history: History, network: Layered, config: TrainConfig | None, progress: Progress
) -> tuple[LearningCurve, ...]:
    """That of the classical model in the last stage, and with a `config` the network's."""
    found = []
    if network.stacking is not None:
        found.append(history.of_classical(network.stacking.model, progress=progress))
    if config is not None:
        found.append(history.of_network(LAYERED, config, progress=progress))
    return tuple(curve for curve in found if curve is not None)


def _differences(
    name: str,
    probabilities: Mapping[str, FloatArray],
    truth: BoolArray,
    accounts: npt.NDArray[np.str_],
) -> dict[str, PairedDifference]:
    """The AP of a model minus that of each other one."""
    own = probabilities[name]
    others = [(other, p) for other, p in probabilities.items() if other != name]
    return {other: paired_bootstrap(truth, own, p, accounts) for other, p in others}


def _format_worth(worth: Sequence[Worth], groups: Sequence[Group]) -> list[str]:
    """What each group is worth on later days, and which are left out; nothing without such days."""
    kept = {group.name for group in groups}
    told = [
        f"{one.group} {one.nats:+.1f}{'' if one.group in kept else ' (left out)'}" for one in worth
    ]
    heading = "log loss of the last days without each group, in nats more"
    return [f"  {heading}: {', '.join(told)}"] if told else []


def _left_out(groups: Sequence[Group], network: Layered) -> list[str]:
    """Which facts the network does not take, a line where there are some."""
    known = set(network.encoder.names)
    left = [one.name for one in shown_features(groups) if one.name not in known]
    return [f"  left out, the same in all rows: {', '.join(left)}"] if left else []


def _format_risk(risk: RiskEncoding) -> list[str]:
    """Which categories have their risk told, a line where there are some."""
    names = ", ".join(one.name for one in risk.categories)
    heading = f"told how often each value was fraud, {risk.shrinkage:g} rows to the base rate"
    return [f"  {heading}: {names}"] if names else []


def groups_in_order(
    portfolio: Portfolio, groups: tuple[Group, ...], rows: pa.Table, y: BoolArray, *, seed: int
) -> tuple[Group, ...]:
    """The groups that the portfolio takes, as it orders them.

    Where it leaves that open, those are taken that later days bear out, and they are ordered by
    what they tell about these rows.
    """
    if portfolio.selects_groups:
        groups = those_that_pay(rows, y, groups, seed=seed)
    if not portfolio.is_ordered_by_information:
        return groups
    return by_information(rows, y, _accounts(rows), groups, prices=portfolio.prices, seed=seed)


def _known(bundle: Bundle, groups: Sequence[Group]) -> Layered:
    """The model of a bundle whose features mean here what they meant there."""
    ours = fingerprints(groups)
    other = {name: printed for name, printed in bundle.features.items() if name in ours}
    if any(ours[name] != printed for name, printed in other.items()):
        changed = difference({name: ours[name] for name in other}, other)
        raise ValueError(
            f"the bundle of {bundle.portfolio} was trained on other features ({changed}); "
            "train that portfolio again"
        )
    if not isinstance(bundle.model, Layered):
        raise ValueError(  # noqa: TRY004 - a wrong file, not a wrong call
            f"the bundle of {bundle.portfolio} is of a classical model, which another portfolio "
            f"cannot begin with; name one of a {LAYERED} network"
        )
    return bundle.model


def _evaluate_candidates(
    test: pa.Table, truth: BoolArray, probabilities: dict[str, FloatArray], portfolio: Portfolio
) -> dict[str, Metrics]:
    amount = test["amount"].to_numpy()
    event_time = test["event_time"].to_pandas()
    capacity = portfolio.review.capacity_per_day
    accounts = _accounts(test)
    return {
        name: evaluate(
            truth,
            p,
            accounts=accounts,
            event_time=event_time,
            amount=amount,
            capacity_per_day=capacity,
        )
        for name, p in probabilities.items()
    }


def _accounts(rows: pa.Table) -> npt.NDArray[np.str_]:
    return np.asarray(rows["account_id"].to_numpy(zero_copy_only=False).astype(str))


def _bundle(
    portfolio: Portfolio,
    snapshot: Snapshot,
    candidate: Candidate,
    metrics: Metrics,
    rows: pa.Table,
    y: BoolArray,
    groups: Sequence[Group],
    as_of: datetime,
    build_config: BuildConfig,
) -> Bundle:
    """The bundle with its policy.

    The least gain is learned on the latest quarter of the rows trained on. Its confirmed cases are
    among those rows too, with the labels that stand at `as_of`: some were reversed since.
    """
    probability = candidate.probability(rows)
    model = (
        candidate.model
        if isinstance(candidate.model, Layered)
        else OneStage.of(candidate.model, rows, y, groups, candidate.risk)
    )
    recent = rows.num_rows - rows.num_rows // 4
    scored = (
        rows.slice(recent).select(list(KEYS)).to_pandas().assign(probability=probability[recent:])
    )
    is_fraud = known_labels(rows["transaction_id"], snapshot.labels, by=as_of).to_numpy(
        dtype=np.bool_
    )
    return Bundle(
        portfolio=portfolio.name,
        model=model,
        calibration=candidate.calibration,
        policy=learn_least_gain(scored, policy=Policy.of(portfolio.review)),
        feature_digest=snapshot.feature_digest,
        features=fingerprints(snapshot.groups),
        ip_databases=database_dates(build_config.ip_databases)
        if "ip_address" in snapshot.columns
        else {},
        trained_as_of=as_of,
        metrics=metrics.as_dict(),
        currency=snapshot.currency,
        rates=settled_digest(snapshot.rates, by=as_of) if snapshot.rates else "",
        typical_ranges=typical_ranges(rows, snapshot.groups),
        cases=CaseIndex.of(model, rows, is_fraud, probability, currencies(snapshot, rows)),
    )
