"""What the layered network is worth: beside its rivals, by its shape, by its speed.

Rivals are the best classical model, a flat network and TabM.

    python -m benchmarks.model --shared ../shared [--home DIR] [--parts
    handbook,longer,sffsd,baskets,worlds,curve,rivals,speed,shape,export,transfer,depth]
        [--seeds 1 2 3] [--again]

The layered network is what `strata train` makes, the mean of all seeds; a figure of a `single`
network, and those of the rivals and of shape, are medians of the seeds. Nothing is chosen on what
is measured here: settings were chosen on weeks before the judged ones (`tasks.EARLIER`). A home
keeps the figures of each part with the commit they were measured on; without `--again` only what is
not there is measured. The last line is one JSON object with the figures of all parts that are
there, the worst where there are several.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks import bare, curve, later, onnx_speed, rivals, tasks, weeks
from benchmarks.fits import CLASSICAL_SEED, Fits, Measured
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
from pipeline.train.candidates import BOOSTING, Candidate, fit_classical, with_stacking

SEEDS = (1, 2, 3)
# 148 linear layers on the way of a row through four groups, head and facts among them
DEEP = NetworkConfig(blocks=23)
THRESHOLDS = (0.05, 0.1, 0.3, 0.5)
# figures of one kind, of which the worst is told
WORST: Mapping[str, Callable[[Sequence[float]], float]] = {
    "network_behind": max,
    "last_stage_loss": max,
    "paired_low": min,
}
Figures = dict[str, float]


def main() -> None:
    """Run the parts and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--home", type=Path, help="Keeps what was ingested and built.")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--again", action="store_true", help="Measures what is kept, too.")
    arguments = parser.parse_args()
    named = [name for name in arguments.parts.split(",") if name] or list(PARTS)
    if unknown := [name for name in named if name not in PARTS]:
        sys.exit(f"there is no part {unknown[0]!r}; choose from {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as folder:
        home = (arguments.home or Path(folder)).absolute()
        measured = Measured(arguments.shared.absolute(), home, tuple(arguments.seeds))
        kept = Kept(home / "figures")
        for name in named:
            for figure, value in kept.of(name, measured, again=arguments.again).items():
                print(f"{name:<10}{figure:<34}{value}", flush=True)
        print(json.dumps(joined(kept.all(measured))))


class Kept:
    """The figures of each part in a folder, a file for each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def of(self, part: str, measured: Measured, *, again: bool) -> Figures:
        """The figures of a part, measured unless these seeds have them."""
        found = self._read(part, measured)
        if found is None or again:
            found = {name: round(value, 6) for name, value in PARTS[part](measured).items()}
            stored = {"commit": commit(), "seeds": measured.seeds, "figures": found}
            (self.folder / f"{part}.json").write_text(json.dumps(stored), encoding="utf-8")
        return found

    def all(self, measured: Measured) -> Figures:
        """The figures of all parts that are there."""
        found = [self._read(part, measured) for part in PARTS]
        return {name: value for figures in found if figures for name, value in figures.items()}

    def _read(self, part: str, measured: Measured) -> Figures | None:
        file = self.folder / f"{part}.json"
        if not file.is_file():
            return None
        stored = json.loads(file.read_text(encoding="utf-8"))
        if stored["seeds"] != list(measured.seeds):
            return None
        print(f"{part:<10}measured on {stored['commit']}", flush=True)
        return dict(stored["figures"])


def commit() -> str:
    """The commit of this code, and whether it has changed since."""
    words = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    folder = Path(__file__).parent
    done = subprocess.run(words, check=True, capture_output=True, text=True, cwd=folder)
    return done.stdout.strip()


def joined(figures: Figures) -> Figures:
    """The figures, and the worst of those that are of one kind."""
    kinds = {kind: [v for name, v in figures.items() if name.endswith(kind)] for kind in WORST}
    return figures | {kind: WORST[kind](values) for kind, values in kinds.items() if values}


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
        figures[f"{rival}_{'gap' if rival == 'tabm' else 'gain'}"] = min(
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
    for place in range(len(measured.seeds)):
        gaps, absent = [], []
        for fold, fitted in measured.own.folds:
            candidate = fitted.single(place)
            network = replace(candidate.layered, stacking=None)
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
    ((fold, fitted),) = Fits(tasks.world(measured.home), measured.seeds).folds
    found = [
        worst_error(fold, probabilities(fitted.single(place), fold))
        for place in range(len(measured.seeds))
    ]
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
    for place, seed in enumerate(measured.seeds):
        usual, aps = [], []
        for fold, fitted in measured.own.folds:
            network = replace(fitted.network, networks=(fitted.network.networks[place],))
            usual.append(average_precision(fold.truth, network.logit(fold.test)))
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
    fold, fitted = measured.own.folds[0]
    candidate, rows = fitted.single(0), fold.test
    alone = replace(candidate.layered, stacking=None)
    figures = onnx_speed.figures(replace(candidate, model=alone), rows)
    return figures | {
        f"with_trees_{name}": value for name, value in onnx_speed.figures(candidate, rows).items()
    }


def speed(measured: Measured) -> Figures:
    """Our training against a bare loop over the same network and tensors."""
    task = measured.own.task
    fold = task.folds[0]
    return {
        "train_vs_bare": bare.ratio(fold, task.groups),
        "seeds_vs_bare": bare.seeds_ratio(fold, task.groups),
        "step_speedup": bare.step_speedup(fold, task.groups),
    }


PARTS: Mapping[str, Callable[[Measured], Figures]] = {
    "handbook": weeks.accuracy,
    "longer": weeks.longer,
    "sffsd": lambda at: later.real_payments(at.shared, at.home, at.seeds),
    "baskets": lambda at: later.without_history(at.seeds),
    "worlds": lambda at: later.worlds(at.home, at.seeds, datetime.now(UTC).date()),
    "curve": lambda at: curve.curves(at.shared, at.home, at.seeds[0]),
    "rivals": against_rivals,
    "speed": speed,
    "shape": shape,
    "export": exported,
    "transfer": transfer,
    "depth": depth,
}


if __name__ == "__main__":
    main()
