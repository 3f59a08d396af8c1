"""The models that compete: fitted on the same rows, calibrated on rows they did not see."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from features.declarations import Group
from pipeline.arrays import BoolArray, FloatArray
from pipeline.models.baselines.columns import as_frame
from pipeline.models.baselines.folds import FOLDS, out_of_fold
from pipeline.models.baselines.protocol import Baseline, Settings
from pipeline.models.baselines.registry import BASELINES
from pipeline.models.calibration import PlattScaling, fit_platt_scaling
from pipeline.models.layered.model import Layered, settings_of
from pipeline.models.layered.stacking import fit_stacking
from pipeline.models.layered.training import TrainConfig
from pipeline.progress import SILENT, Progress

LAYERED, BOOSTING = "layered", "xgboost"
MODELS = (LAYERED, *BASELINES)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A fitted model with its calibration, the settings it chose and the seconds of its fit."""

    name: str
    model: Layered | Baseline
    calibration: PlattScaling
    settings: Settings
    seconds: float

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
        return self.model.logit(as_frame(features))

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


def fit_candidates(
    names: Sequence[str],
    features: pa.Table,
    y: BoolArray,
    groups: Sequence[Group],
    *,
    seed: int,
    config: TrainConfig | None = None,
    start: Layered | None = None,
    resume: Path | None = None,
    progress: Progress = SILENT,
) -> dict[str, Candidate]:
    """Fit each named model on these rows; `y` is [R].

    Every model is calibrated by its scores of rows before it learned from them: a network of those
    that stopped its training, the last days or else some accounts, a classical model of all, by
    refits without an account; what then scores has learned from all rows. The layered network takes
    the gradient boosting's opinion as its last stage, trusted as far as both are right about the
    rows that stopped its training. It learns from nothing, or from what another portfolio's network
    (`start`) knows; `resume` is as in `train_layered`.
    """
    config = config or TrainConfig(seeds=(seed, seed + 1, seed + 2))
    accounts = features["account_id"].to_numpy(zero_copy_only=False).astype(str)
    needed = dict.fromkeys(
        [*(name for name in names if name != LAYERED), *([BOOSTING] if LAYERED in names else [])]
    )
    frame = as_frame(features)
    fitted = {
        name: fit_classical(name, frame, y, accounts, seed=seed, progress=progress)
        for name in needed
    }
    found = {name: classical.candidate for name, classical in fitted.items()}
    if LAYERED in names:
        started = perf_counter()
        network = (
            Layered.fit(
                features, y, accounts, groups, config=config, resume=resume, progress=progress
            )
            if start is None
            else start.transferred(features, y, accounts, groups, config=config, progress=progress)
        )
        layered = with_stacking(network, fitted[BOOSTING], frame, y)
        found[LAYERED] = replace(
            layered, seconds=perf_counter() - started + found[BOOSTING].seconds
        )
    return {name: found[name] for name in names}


def fit_classical(
    name: str,
    frame: pd.DataFrame,
    y: BoolArray,
    accounts: npt.NDArray[np.str_],
    *,
    seed: int,
    progress: Progress = SILENT,
) -> Classical:
    """Fit a classical model on these rows, and judge it on accounts that refits left out."""
    started = perf_counter()
    with progress.step(f"{name}: tuning"):
        model = BASELINES[name]().fit(frame, y, accounts, seed=seed)
    with progress.step(f"{name}: out of fold", FOLDS) as step:
        held_out = out_of_fold(model, frame, y, accounts, seed=seed, on_fold=step.advance)
    calibration, seconds = fit_platt_scaling(held_out, y), perf_counter() - started
    candidate = Candidate(
        name=name, model=model, calibration=calibration, settings=model.settings, seconds=seconds
    )
    return Classical(candidate=candidate, model=model, held_out=held_out)


def with_stacking(
    network: Layered, boosting: Classical, frame: pd.DataFrame, y: BoolArray
) -> Candidate:
    """The network with the boosting as its last, calibrating stage; y is [R].

    Both were just fitted on these rows. The boosting's opinion of the last days is that of a refit
    that has not seen them. Raises ValueError where the network has held nothing out.
    """
    apart = network.held_out
    if apart is None:
        raise ValueError(
            "the network has held out no rows to be calibrated on; "
            "fit it, or let it learn further, first"
        )
    if apart.are_late:
        before = np.setdiff1d(np.arange(len(y)), apart.rows)
        refit = boosting.model.refit(frame.iloc[before], y[before])
        classical = refit.logit(frame.iloc[apart.rows])
    else:
        classical = boosting.held_out[apart.rows]
    stacking = fit_stacking(
        boosting.model, network=apart.logit, classical=classical, y=y[apart.rows]
    )
    model = replace(network, stacking=stacking)
    return Candidate(
        name=LAYERED,
        model=model,
        calibration=PlattScaling(),
        settings=settings_of(model),
        seconds=0.0,
    )
