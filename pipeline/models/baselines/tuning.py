"""Tuning: settings are searched on rows apart (Optuna's TPE, pruned, seeded, kept, resumable).

Rows apart are the later days of the training, so that what is chosen is right over time; where
those have too few frauds they are accounts.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from features.declarations import microseconds
from pipeline.arrays import BoolArray
from pipeline.evaluation.metrics import average_precision, both_classes
from pipeline.models.baselines.folds import Cut, account_cuts, day_cuts, tuning_sample
from pipeline.models.baselines.protocol import Baseline, Settings
from pipeline.progress import SILENT, Progress

EXACT_VALUES = 2_500_000  # rows times columns; above it the trees that stay are binned
EXACT_TUNING_VALUES = 300_000  # above it trees that only choose settings are
STARTUP_TRIALS = 8  # drawn at random before the search has anything to go by; none is pruned
Model = TypeVar("Model", bound=Baseline)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long a search may take for each model: trials and, where said, seconds.

    `file` keeps the trials: a search of the same rows with the same seed goes on where it stopped.
    """

    trials: int = 60
    seconds: float = float("inf")
    file: Path | None = None

    @classmethod
    def of(cls, span: str, *, file: Path) -> "Budget":
        """The budget of a span such as "5m", kept in a file. Raises ValueError for another word.

        >>> Budget.of("5m", file=Path("tuning.log")).seconds
        300.0
        """
        return cls(seconds=microseconds(span) / 1e6, file=file)


def tune(
    kind: type[Model],
    features: pd.DataFrame,
    y: npt.ArrayLike,
    accounts: npt.ArrayLike,
    moments: npt.NDArray[np.datetime64],
    *,
    seed: int,
    budget: Budget,
    progress: Progress = SILENT,
) -> Model:
    """A model fitted on all rows with the settings that did best on the training's later days.

    Every fraud counts, and so does a share of the legitimate rows (at most 20,000 rows in all).
    Seconds are those that trials took, in this run or one before: a search that was cut off, or is
    called again, has only what is left.
    """
    fraud = both_classes(y, rows=len(features))
    sample = tuning_sample(fraud, accounts, seed=seed)
    rows = sample.rows
    inputs, kept = features.iloc[rows], fraud[rows]
    cuts, apart = day_cuts(kept, moments[rows]), "later days"
    if not cuts:
        cuts, apart = account_cuts(sample, within=True), "accounts"
    if not cuts:
        return kind().fit(features, fraud, accounts, seed=seed)
    study = _study(kind, features, fraud, seed=seed, budget=budget)
    with progress.step(f"{kind.name}: tuning on {apart}", budget.trials) as step:
        step.advance(len(_ended(study)))
        while _spent(study) < budget.seconds and len(_ended(study)) < budget.trials:
            number = len(study.trials)
            study.sampler = optuna.samplers.TPESampler(
                seed=seed * 100_003 + number, n_startup_trials=STARTUP_TRIALS
            )  # a seed a trial: a resumed search draws what an uninterrupted one would have
            _try(kind, study, inputs, kept, cuts, seed=seed)
            step.advance()
    best, trials = study.best_trial, len(_ended(study))
    search = optuna.trial.FixedTrial(best.params)
    settings = kind.proposed(search, is_exact=features.size <= EXACT_VALUES)
    found: Settings = {
        **settings,
        "seed": seed,
        "rows": len(fraud),
        "frauds": int(fraud.sum()),
        "folds": len(cuts),
        "tuned_on": apart,
        "trials": trials,
        "held_out_ap": float(best.value or 0.0),
        "negatives_kept": sample.negatives_kept,
    }
    return kind(found).refit(features, fraud)


def best_of(
    kind: type[Baseline],
    settings: Sequence[Settings],
    features: pd.DataFrame,
    fraud: BoolArray,
    cuts: Sequence[Cut],
) -> tuple[Settings, float]:
    """The settings of the best mean AP on rows apart, and that; the first where none are apart."""
    if not cuts:
        return settings[0], 0.0
    tried = [_mean_ap(kind(one), features, fraud, cuts) for one in settings]
    best = int(np.argmax(tried))
    return settings[best], tried[best]


def _mean_ap(
    model: Baseline, features: pd.DataFrame, fraud: BoolArray, cuts: Sequence[Cut]
) -> float:
    return float(np.mean([held_out_ap(model, features, fraud, cut) for cut in cuts]))


def held_out_ap(model: Baseline, features: pd.DataFrame, fraud: BoolArray, cut: Cut) -> float:
    """AP on rows apart of a model with these settings, learned from the others."""
    learned = model.refit(features.iloc[cut.train], fraud[cut.train])
    return average_precision(fraud[cut.test], learned.logit(features.iloc[cut.test]))


def _try(
    kind: type[Baseline],
    study: optuna.Study,
    features: pd.DataFrame,
    fraud: BoolArray,
    cuts: Sequence[Cut],
    *,
    seed: int,
) -> None:
    """One trial: judged cut by cut, and given up where the others stood better by then."""
    trial = study.ask()
    is_exact = features.size <= EXACT_TUNING_VALUES
    model = kind({**kind.proposed(trial, is_exact=is_exact), "seed": seed})
    found: list[float] = []
    for place, cut in enumerate(cuts):
        found.append(held_out_ap(model, features, fraud, cut))
        trial.report(float(np.mean(found)), place)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return
    study.tell(trial, float(np.mean(found)))


def _study(
    kind: type[Baseline], features: pd.DataFrame, fraud: BoolArray, *, seed: int, budget: Budget
) -> optuna.Study:
    """The search, as far as it came before."""
    logging.getLogger("optuna").setLevel(logging.WARNING)
    storage = None
    if budget.file is not None:
        budget.file.parent.mkdir(parents=True, exist_ok=True)
        journal = JournalFileBackend(str(budget.file))
        storage = optuna.storages.JournalStorage(journal)
    return optuna.create_study(
        storage=storage,
        study_name=f"{kind.name} {_fingerprint(features, fraud)} seed {seed}",
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS),
        load_if_exists=True,
    )


def _fingerprint(features: pd.DataFrame, fraud: BoolArray) -> str:
    """What tells these rows from others: a digest of all of them."""
    digest = hashlib.sha256(fraud.tobytes())
    digest.update(" ".join(map(str, features.columns)).encode())
    digest.update(pd.util.hash_pandas_object(features, index=False).to_numpy().tobytes())
    return digest.hexdigest()[:12]


def _ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _spent(study: optuna.Study) -> float:
    """Seconds that trials have taken so far."""
    took = [trial.duration for trial in _ended(study) if trial.duration is not None]
    return sum(one.total_seconds() for one in took)
