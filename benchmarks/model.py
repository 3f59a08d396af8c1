"""What the layered network is worth: beside its rivals, by its shape, by its speed.

Rivals are the best classical model, a flat network and TabM.

    python -m benchmarks.model --shared ../shared [--home DIR] [--parts
    handbook,shape,export,speed,transfer,rivals,depth,sffsd,baskets,worlds]
        [--seeds 1 2 3]

A single network of each seed unless said, and the median of the seeds. Nothing is chosen on what is
measured here: settings were chosen on weeks before the judged ones (`tasks.EARLIER`). The last line
is one JSON object with the figures.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks import bare, handbook, later, onnx_speed, rivals, tasks
from benchmarks.tasks import Fold, Task
from pipeline.arrays import FloatArray
from pipeline.evaluation.metrics import average_precision, calibration_error
from pipeline.models.baselines.boosting import XGBoost
from pipeline.models.baselines.columns import as_frame
from pipeline.models.layered.model import Layered
from pipeline.models.layered.network import NetworkConfig
from pipeline.models.layered.stage_features import StageFeatures
from pipeline.models.layered.training import TrainConfig
from pipeline.policy.early_exit import bound_violations, stage_probabilities
from pipeline.train.candidates import (
    BOOSTING,
    LAYERED,
    Candidate,
    Classical,
    fit_classical,
    with_stacking,
)

SEEDS = (1, 2, 3)
CLASSICAL_SEED = 1
# 148 linear layers on the way of a row through four groups, head and facts among them
DEEP = NetworkConfig(blocks=23)
THRESHOLDS = (0.05, 0.1, 0.3, 0.5)
Figures = dict[str, float]


class Fits:
    """A task with what was fitted on its folds, each when it is first asked for."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._networks: dict[int, list[tuple[Candidate, float]]] = {}

    @cached_property
    def boosting(self) -> list[Classical]:
        """Tuned gradient boosting of each fold."""
        return [
            fit_classical(BOOSTING, as_frame(f.train), f.y, f.accounts, seed=CLASSICAL_SEED)
            for f in self.task.folds
        ]

    def networks(self, seed: int) -> list[tuple[Candidate, float]]:
        """A single network of each fold, stacked with the boosting, and its training's seconds."""
        if seed not in self._networks:
            pairs = zip(self.task.folds, self.boosting, strict=True)
            self._networks[seed] = [
                fitted(self.task, fold, boosting, seed) for fold, boosting in pairs
            ]
        return self._networks[seed]

    def aps(self, seed: int) -> list[float]:
        """AP of each fold, of the network without the opinion."""
        models = (without(candidate) for candidate, _ in self.networks(seed))
        return [
            average_precision(fold.truth, model.logit(fold.test))
            for fold, model in zip(self.task.folds, models, strict=True)
        ]


@dataclass(frozen=True)
class Measured:
    """Where the data is and where what was built of it is kept."""

    shared: Path
    home: Path
    seeds: tuple[int, ...]

    @cached_property
    def published(self) -> Fits:
        """The Handbook by its own features."""
        return Fits(tasks.handbook(self.shared, self.home, published=True))

    @cached_property
    def own(self) -> Fits:
        """The Handbook by ours."""
        return Fits(tasks.handbook(self.shared, self.home, published=False))


def fitted(task: Task, fold: Fold, boosting: Classical, seed: int) -> tuple[Candidate, float]:
    """Train a single network on a fold; its seconds are those of the training alone."""
    started = perf_counter()
    network = Layered.fit(
        fold.train, fold.y, fold.accounts, task.groups, config=TrainConfig(seeds=(seed,))
    )
    seconds = perf_counter() - started
    return with_stacking(network, boosting, as_frame(fold.train), fold.y), seconds


def main() -> None:
    """Run the parts and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--home", type=Path, help="Keeps what was ingested and built.")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    arguments = parser.parse_args()
    named = [name for name in arguments.parts.split(",") if name] or list(PARTS)
    if unknown := [name for name in named if name not in PARTS]:
        sys.exit(f"there is no part {unknown[0]!r}; choose from {', '.join(PARTS)}")
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        measured = Measured(
            arguments.shared.absolute(),
            (arguments.home or Path(folder)).absolute(),
            tuple(arguments.seeds),
        )
        for name in named:
            for figure, value in PARTS[name](measured).items():
                figures[figure] = round(value, 6)
                print(f"{name:<10}{figure:<34}{figures[figure]}", flush=True)
    print(json.dumps(figures))


def accuracy(measured: Measured) -> Figures:
    """Both feature sets by the judge: the median seed, and that seed's paired interval."""
    figures: Figures = {}
    for name, fits in (("handbook_15", measured.published), ("handbook_own", measured.own)):
        boosting = [classical.candidate for classical in fits.boosting]
        reports = {}
        for seed in measured.seeds:
            layered = [candidate for candidate, _ in fits.networks(seed)]
            reports[seed] = judged(measured, fits.task, {LAYERED: layered, BOOSTING: boosting})
        ranked = sorted(reports.values(), key=lambda report: report["layered_ap"])
        middle = ranked[len(ranked) // 2]
        for figure in ("ap", "auc", "cp100"):
            values = [report[f"layered_{figure}"] for report in reports.values()]
            figures[f"{name}_{figure}"] = median(values)
        figures |= {
            f"{name}_xgboost_ap": middle["xgboost_ap"],
            f"{name}_paired": middle["layered_over_xgboost"],
        }
        figures |= {
            f"{name}_paired_{end}": middle[f"layered_over_xgboost_{end}"] for end in ("low", "high")
        }
        figures[f"{name}_network_alone_ap"] = median(
            float(np.mean(fits.aps(seed))) for seed in measured.seeds
        )
        figures[f"{name}_trust"] = median(
            weight(candidate) for seed in measured.seeds for candidate, _ in fits.networks(seed)
        )
    figures["fold_seconds"] = median(
        seconds for seed in measured.seeds for _, seconds in measured.own.networks(seed)
    )
    return figures


def judged(measured: Measured, task: Task, models: Mapping[str, Sequence[Candidate]]) -> Figures:
    """Let the judge of the Handbook read the scores of all folds.

    The first model is compared with the others.
    """
    scores = [
        pd.DataFrame(
            {
                "transaction_id": fold.test["transaction_id"].to_pandas(),
                "model": name,
                "fold": number,
            }
        ).assign(score=candidates[number].logit(fold.test))
        for name, candidates in models.items()
        for number, fold in enumerate(task.folds)
    ]
    with tempfile.TemporaryDirectory() as folder:
        return handbook.judged(pd.concat(scores), measured.shared, list(models), Path(folder))


def without(candidate: Candidate) -> Layered:
    """The network alone."""
    return replace(candidate.layered, stacking=None)


def weight(candidate: Candidate) -> float:
    """How far the network trusts the boosting."""
    found = candidate.layered.stacking
    return 0.0 if found is None else found.weight


def against_rivals(measured: Measured) -> Figures:
    """AP of the network over a flat one and TabM, all of them without stacking."""
    every = {
        "handbook_15": measured.published.task,
        "handbook_own": measured.own.task,
        "world": tasks.world(measured.home),
        "s_ffsd": tasks.s_ffsd(measured.shared, measured.home),
    }
    figures: Figures = {}
    for name, task in every.items():
        found = {"layered": layered_alone, "flat": rivals.flat, "tabm": rivals.many}
        for rival, make in found.items():
            seeds = []
            for seed in measured.seeds:
                score = (
                    make
                    if rival == "layered"
                    else (lambda t, f, s, make=make: rivals.logits(make, t, f, seed=s))
                )
                seeds.append(
                    np.mean([average_precision(f.truth, score(task, f, seed)) for f in task.folds])
                )
            figures[f"{name}_{rival}_ap"] = float(median(seeds))
            print(f"          {name}_{rival}: {np.round(seeds, 4)}", flush=True)
    for rival in ("flat", "tabm"):
        gains = {
            name: figures[f"{name}_layered_ap"] - figures[f"{name}_{rival}_ap"] for name in every
        }
        figures |= {f"{name}_over_{rival}": gain for name, gain in gains.items()}
        figures[f"{rival}_gain"] = min(
            gain for name, gain in gains.items() if rival == "tabm" or name.startswith("handbook")
        )
    return figures


def layered_alone(task: Task, fold: Fold, seed: int) -> FloatArray:
    """What a single network says of the test rows."""
    network = Layered.fit(
        fold.train, fold.y, fold.accounts, task.groups, config=TrainConfig(seeds=(seed,))
    )
    return network.logit(fold.test)


def transfer(measured: Measured) -> Figures:
    """A network of another world, fine-tuned on 100 labelled frauds of this one."""
    source, target = (
        tasks.world(measured.home, seed=21, rows=300_000),
        tasks.world(measured.home, seed=22, rows=300_000),
    )
    teacher, pupil = source.folds[0], target.folds[0]
    few, many = (first_frauds(pupil, count) for count in (100, 400))
    boosting = XGBoost().fit(as_frame(many.train), many.y, many.accounts, seed=CLASSICAL_SEED)
    with_400 = average_precision(pupil.truth, boosting.logit(as_frame(pupil.test)))
    own = fit_classical(BOOSTING, as_frame(few.train), few.y, few.accounts, seed=CLASSICAL_SEED)
    found: dict[str, list[float]] = {"transfer": [], "scratch": [], "source": []}
    for seed in measured.seeds:
        config = TrainConfig(seeds=(seed,))
        known = Layered.fit(
            teacher.train, teacher.y, teacher.accounts, source.groups, config=config
        )
        tuned = known.transferred(few.train, few.y, few.accounts, target.groups, config=config)
        scratch = Layered.fit(few.train, few.y, few.accounts, target.groups, config=config)
        for name, network in (("transfer", tuned), ("scratch", scratch)):
            candidate = with_stacking(network, own, as_frame(few.train), few.y)
            found[name].append(average_precision(pupil.truth, candidate.logit(pupil.test)))
        found["source"].append(average_precision(pupil.truth, known.logit(pupil.test)))
    figures = {f"{name}_ap": median(values) for name, values in found.items()}
    with_100 = average_precision(pupil.truth, own.candidate.logit(pupil.test))
    boosted = {"xgboost_100_ap": with_100, "xgboost_400_ap": with_400}
    return figures | boosted | {"transfer_gain": figures["transfer_ap"] - with_400}


def first_frauds(fold: Fold, count: int) -> Fold:
    """The latest rows to learn from that hold so many frauds."""
    if fold.y.sum() < count:
        raise ValueError(
            f"the fold has {int(fold.y.sum())} frauds, and {count} are wanted; simulate more rows"
        )
    since = int(np.flatnonzero(fold.y)[-count])
    return replace(fold, train=fold.train.slice(since), y=fold.y[since:])


def shape(measured: Measured) -> Figures:
    """What only stages give: extraction, a missing group, calibration, the bound, additivity."""
    task = measured.own.task
    extraction, missing, errors, violated, parts = [], [], [], 0, 0.0
    for seed in measured.seeds:
        gaps, absent = [], []
        for fold, (candidate, _) in zip(task.folds, measured.own.networks(seed), strict=True):
            network = without(candidate)
            learner = make_pipeline(
                StageFeatures(network), StandardScaler(), LogisticRegression(C=0.01, max_iter=500)
            )
            from_states = learner.fit(fold.train, fold.y).decision_function(fold.test)
            own = average_precision(fold.truth, network.logit(fold.test))
            gaps.append(own - average_precision(fold.truth, from_states))
            lacking = without_group(fold.test, task, "clock")
            absent.append(average_precision(fold.truth, candidate.logit(lacking)))
            p = probabilities(candidate, fold)
            errors.append(worst_error(fold, p))
            violated += len(bound_violations(p, candidate.layered.stages, thresholds=THRESHOLDS))
            logit, columns = candidate.layered.score(fold.test)
            parts = max(
                parts,
                float(np.abs(candidate.layered.base_logit + sum(columns.values()) - logit).max()),
            )
            some = fold.test.slice(0, 200)
            alone = np.array(
                [candidate.logit(some.slice(row, 1))[0] for row in range(some.num_rows)]
            )
            parts = max(parts, float(np.abs(alone - logit[:200]).max()))
        extraction.append(float(np.mean(gaps)))
        missing.append(float(np.mean(absent)))
    retrained = []
    for fold in task.folds:
        columns = group_columns(task, "clock")
        model = XGBoost().fit(
            as_frame(fold.train.drop_columns(columns)), fold.y, fold.accounts, seed=CLASSICAL_SEED
        )
        retrained.append(
            average_precision(fold.truth, model.logit(as_frame(fold.test.drop_columns(columns))))
        )
    return {
        "extraction_gap": median(extraction),
        "missing_group_ap": median(missing),
        "xgboost_without_group_ap": float(np.mean(retrained)),
        "missing_group_gap": float(np.mean(retrained)) - median(missing),
        "stage_ece": median(errors),
        "stage_ece_worst": max(errors),
        **world_calibration(measured),
        "bound_violations": violated,
        "additivity": parts,
    }


def world_calibration(measured: Measured) -> Figures:
    """The same error where the rows judged are not chosen.

    The Handbook leaves out accounts already known to be compromised.
    """
    fits = Fits(tasks.world(measured.home))
    (fold,), found = fits.task.folds, []
    for seed in measured.seeds:
        (candidate, _), *_ = fits.networks(seed)
        found.append(worst_error(fold, probabilities(candidate, fold)))
    return {"world_stage_ece": median(found), "world_fraud_rate": float(fold.truth.mean())}


def probabilities(candidate: Candidate, fold: Fold) -> FloatArray:
    """The calibrated probability of the test rows after each stage, [R, K]."""
    return stage_probabilities(
        candidate.layered.base_logit, candidate.layered.increments(fold.test), candidate.calibration
    )


def worst_error(fold: Fold, p: FloatArray) -> float:
    """The largest calibration error among the stages of p [R, K]."""
    return max(calibration_error(fold.truth, stage, bins=10) for stage in p.T)


def group_columns(task: Task, name: str) -> list[str]:
    """The features of a group."""
    return [
        feature.name
        for group in task.groups
        if group.name == name
        for feature in group.features
        if feature.shown
    ]


def without_group(rows: pa.Table, task: Task, name: str) -> pa.Table:
    """The rows as they are where a group was not looked up: its facts are null."""
    for column in group_columns(task, name):
        place = rows.column_names.index(column)
        rows = rows.set_column(
            place, column, pa.nulls(rows.num_rows, rows.schema.field(column).type)
        )
    return rows


def depth(measured: Measured) -> Figures:
    """About 150 layers beside the default depth, network alone."""
    gaps = []
    for seed in measured.seeds:
        usual, aps = measured.own.aps(seed), []
        for fold in measured.own.task.folds:
            config = TrainConfig(seeds=(seed,), network=DEEP)
            deep = Layered.fit(
                fold.train, fold.y, fold.accounts, measured.own.task.groups, config=config
            )
            aps.append(average_precision(fold.truth, deep.logit(fold.test)))
        gaps.append(float(np.mean(usual) - np.mean(aps)))
        print(
            f"          seed {seed}: default {np.mean(usual):.4f}, deep {np.mean(aps):.4f}",
            flush=True,
        )
    return {"depth150_gap": median(gaps)}


def exported(measured: Measured) -> Figures:
    """The first fold's network for onnxruntime: without the trees, and with them."""
    candidate, _ = measured.own.networks(measured.seeds[0])[0]
    rows = measured.own.task.folds[0].test
    figures = onnx_speed.figures(replace(candidate, model=without(candidate)), rows)
    return figures | {
        f"with_trees_{name}": value for name, value in onnx_speed.figures(candidate, rows).items()
    }


def speed(measured: Measured) -> Figures:
    """Our training against a bare loop over the same network and tensors."""
    task = measured.own.task
    fold = task.folds[0]
    return {
        "train_vs_bare": bare.ratio(fold, task.groups),
        "step_speedup": bare.step_speedup(fold, task.groups),
    }


PARTS: Mapping[str, Callable[[Measured], Figures]] = {
    "handbook": accuracy,
    "shape": shape,
    "export": exported,
    "speed": speed,
    "transfer": transfer,
    "rivals": against_rivals,
    "depth": depth,
    "sffsd": lambda at: later.real_payments(at.shared, at.home, at.seeds),
    "baskets": lambda at: later.without_history(at.seeds),
    "worlds": lambda at: later.worlds(at.home, at.seeds, datetime.now(UTC).date()),
}


if __name__ == "__main__":
    main()
