"""The models that compete: fitted on the same rows, calibrated on rows they did not see."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from features.declarations import Group
from pipeline.arrays import BoolArray, FloatArray, IntArray, Moments
from pipeline.evaluation.metrics import average_precision
from pipeline.models.baselines.columns import as_frame
from pipeline.models.baselines.folds import FOLDS, out_of_fold
from pipeline.models.baselines.oblivious import CatBoost, is_installed
from pipeline.models.baselines.protocol import Baseline, Settings
from pipeline.models.baselines.registry import BASELINES
from pipeline.models.baselines.tuning import Budget, tune
from pipeline.models.calibration import PlattScaling, fit_platt_scaling
from pipeline.models.layered.model import Layered, settings_of
from pipeline.models.layered.stacking import Stacking, fit_stacking
from pipeline.models.layered.training import TrainConfig
from pipeline.models.risk_encoding import (
    NO_RISK,
    RiskEncoding,
    with_risk,
)
from pipeline.models.risk_encoding import (
    out_of_fold as told_before,
)
from pipeline.progress import SILENT, Progress
from pipeline.train.group_order import chosen_risk

LAYERED, MEAN, BOOSTING = "layered", "mean", "xgboost"
MODELS = (LAYERED, MEAN, *BASELINES)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A fitted model with its calibration, the settings it chose and the seconds of its fit.

    `risk` is what a classical model has to be told of the values of categories; a network has its
    own.
    """

    name: str
    model: Layered | Baseline
    calibration: PlattScaling
    settings: Settings
    seconds: float
    risk: RiskEncoding = NO_RISK

    @property
    def layered(self) -> Layered:
        """The model, which is the layered network. Raises TypeError for a classical one."""
        if not isinstance(self.model, Layered):
            raise TypeError(f"the model {self.name} has no stages; take {LAYERED}")
        return self.model

    def shifted(self, by: float) -> "Candidate":
        """The candidate with so many log-odds more in its probabilities."""
        return replace(self, calibration=self.calibration.shifted(by))

    def logit(self, features: pa.Table) -> FloatArray:
        """Log-odds before calibration, [R]."""
        if isinstance(self.model, Layered):
            return self.model.logit(features)
        return self.model.logit(as_frame(self.risk.added_to(features)))

    def probability(self, features: pa.Table) -> FloatArray:
        """Calibrated probability of fraud, [R]."""
        return self.calibration.probability(self.logit(features))


@dataclass(frozen=True, kw_only=True)
class Classical:
    """A classical candidate, and its logits [R] for accounts that were left out of the fit."""

    candidate: Candidate
    model: Baseline
    held_out: FloatArray


def check_models(names: Sequence[str]) -> None:
    """Refuse models that do not exist, or none at all."""
    if not names:
        raise ValueError(f"no model is named; choose from {', '.join(MODELS)}")
    for name in names:
        if name not in MODELS:
            raise ValueError(f"there is no model {name!r}; choose from {', '.join(MODELS)}")
        if list(names).count(name) > 1:
            raise ValueError(f"the model {name!r} is named twice; name each once")
        if name == CatBoost.name and not is_installed():
            raise ValueError("the model 'catboost' is an extra; run pip install 'strata[catboost]'")


def fit_candidates(
    names: Sequence[str],
    features: pa.Table,
    y: BoolArray,
    groups: Sequence[Group],
    *,
    seed: int,
    label_delay: timedelta = timedelta(),
    config: TrainConfig | None = None,
    start: Layered | None = None,
    resume: Path | None = None,
    budget: Budget | None = None,
    progress: Progress = SILENT,
) -> dict[str, Candidate]:
    """Fit each named model on these rows; `y` is [R].

    Every model is calibrated by its scores of rows before it learned from them: a network of those
    that stopped its training, the last days or else some accounts, a classical model of all, by
    refits without an account; what then scores has learned from all rows. The layered network takes
    the opinion of the classical model that refits tell best of as its last stage, trusted as far as
    both are right about the rows that stopped its training; `mean` is the plain mean of the two. It
    learns from nothing, or from what another portfolio's network (`start`) knows; `resume` is as in
    `train_layered`. With a `budget`, which is for all of them, classical models are searched for
    their settings; else they choose from a few. Where later days bear it out, all are told how
    often the values of categories were fraud, of a row by labels that were known `label_delay`
    later, before it.
    """
    config = config or TrainConfig(seeds=(seed, seed + 1, seed + 2))
    with progress.step("risk of categories"):
        features, groups, risk = with_chosen_risk(
            features, y, groups, label_delay=label_delay, seed=seed
        )
    accounts = features["account_id"].to_numpy(zero_copy_only=False).astype(str)
    has_network = LAYERED in names or MEAN in names
    needed = dict.fromkeys(
        [*(name for name in names if name in BASELINES), *([BOOSTING] if has_network else [])]
    )
    frame = as_frame(features)
    moments = features["as_of"].to_numpy() if "as_of" in features.column_names else None
    each = budget and replace(budget, seconds=budget.seconds / len(needed))
    fitted = {
        name: fit_classical(
            name, frame, y, accounts, moments, seed=seed, budget=each, progress=progress
        )
        for name in needed
    }
    found = {name: replace(classical.candidate, risk=risk) for name, classical in fitted.items()}
    if has_network:
        started = perf_counter()
        network = (
            Layered.fit(
                features, y, accounts, groups, config=config, resume=resume, progress=progress
            )
            if start is None
            else start.transferred(features, y, accounts, groups, config=config, progress=progress)
        )
        best = max(fitted.values(), key=lambda one: average_precision(y, one.held_out))
        network = replace(network, risk=risk)
        seconds = perf_counter() - started + best.candidate.seconds
        stacked = with_stacking(network, best, frame, y), as_mean(network, best, frame, y)
        found |= {candidate.name: replace(candidate, seconds=seconds) for candidate in stacked}
    return {name: found[name] for name in names}


def with_chosen_risk(
    features: pa.Table,
    y: BoolArray,
    groups: Sequence[Group],
    *,
    label_delay: timedelta,
    seed: int,
) -> tuple[pa.Table, tuple[Group, ...], RiskEncoding]:
    """The rows and groups with the risk of categories where later days bear it out; y is [R]."""
    risk = chosen_risk(features, y, groups, label_delay=label_delay, seed=seed)
    rows = told_before(features, y, risk, label_delay=label_delay)
    return rows, with_risk(groups, risk), risk


def fit_classical(
    name: str,
    frame: pd.DataFrame,
    y: BoolArray,
    accounts: npt.NDArray[np.str_],
    moments: Moments | None = None,
    *,
    seed: int,
    budget: Budget | None = None,
    progress: Progress = SILENT,
) -> Classical:
    """Fit a classical model on these rows, and judge it on accounts that refits left out.

    With a `budget` its settings are searched for on the later days of `moments`, [R].
    """
    started, kind = perf_counter(), BASELINES[name]
    if budget is None or moments is None:
        with progress.step(f"{name}: tuning"):
            model = kind().fit(frame, y, accounts, seed=seed)
    else:
        model = tune(kind, frame, y, accounts, moments, seed=seed, budget=budget, progress=progress)
    with progress.step(f"{name}: out of fold", FOLDS) as step:
        held_out = out_of_fold(model, frame, y, accounts, seed=seed, on_fold=step.advance)
    calibration, seconds = fit_platt_scaling(held_out, y), perf_counter() - started
    candidate = Candidate(
        name=name, model=model, calibration=calibration, settings=model.settings, seconds=seconds
    )
    return Classical(candidate=candidate, model=model, held_out=held_out)


def with_stacking(
    network: Layered, opinion: Classical, frame: pd.DataFrame, y: BoolArray
) -> Candidate:
    """The network with a classical model as its last, calibrating stage; y is [R].

    Both were just fitted on these rows. The opinion on the last days is that of a refit that has
    not seen them. Raises ValueError where the network has held nothing out.
    """
    rows, told, classical = _held_out(network, opinion, frame, y)
    stacking = fit_stacking(opinion.model, network=told, classical=classical, y=y[rows])
    return _stacked(LAYERED, network, stacking)


def as_mean(network: Layered, other: Classical, frame: pd.DataFrame, y: BoolArray) -> Candidate:
    """The plain mean of the network's and a classical model's log-odds, calibrated.

    What is given and raised is as in `with_stacking`.
    """
    rows, told, classical = _held_out(network, other, frame, y)
    plain = Stacking(model=other.model, weight=0.5)
    calibration = fit_platt_scaling(plain.blend(told, classical), y[rows])
    return _stacked(MEAN, network, replace(plain, calibration=calibration))


def _held_out(
    network: Layered, other: Classical, frame: pd.DataFrame, y: BoolArray
) -> tuple[IntArray, FloatArray, FloatArray]:
    """The rows that stopped the network, and what both say of them without having seen them."""
    apart = network.held_out
    if apart is None:
        raise ValueError(
            "the network has held out no rows to be calibrated on; "
            "fit it, or let it learn further, first"
        )
    if not apart.are_late:
        return apart.rows, apart.logit, other.held_out[apart.rows]
    before = np.setdiff1d(np.arange(len(y)), apart.rows)
    refit = other.model.refit(frame.iloc[before], y[before])
    return apart.rows, apart.logit, refit.logit(frame.iloc[apart.rows])


def _stacked(name: str, network: Layered, stacking: Stacking) -> Candidate:
    model = replace(network, stacking=stacking)
    return Candidate(
        name=name,
        model=model,
        calibration=PlattScaling(),
        settings=settings_of(model),
        seconds=0.0,
    )
