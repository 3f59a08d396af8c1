"""The Handbook's weekly folds by their judge: both feature sets, and four weeks to learn from."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

import pandas as pd

from benchmarks import handbook, tasks
from benchmarks.fits import Fits, Fitted, Measured
from pipeline.train.candidates import LAYERED, Candidate

TREES, ALONE = "trees", "network"
LONGER = 28  # days to learn from, where the judge's folds have 7


def accuracy(measured: Measured) -> dict[str, float]:
    """Both feature sets: layered, network alone, each seed alone, beside the best trees."""
    figures: dict[str, float] = {}
    for name, fits in (("handbook_15", measured.published), ("handbook_own", measured.own)):
        figures |= of_weeks(name, fits, measured)
    figures["fold_seconds"] = median(
        one.seconds + one.boosted_seconds for _, one in measured.own.folds
    )
    return figures


def longer(measured: Measured) -> dict[str, float]:
    """The Handbook by our features, learned from four weeks."""
    task = tasks.handbook(measured.shared, measured.home, published=False, days=LONGER)
    return of_weeks(f"handbook_{LONGER}d", Fits(task, measured.seeds), measured)


def of_weeks(name: str, fits: Fits, measured: Measured) -> dict[str, float]:
    """What the judge says of a task's models, and what the last stage gives and takes."""
    singles = [f"seed{seed}" for seed in fits.seeds]
    report = judged(measured, fits, (LAYERED, TREES, ALONE, *singles))
    return {
        **{f"{name}_{figure}": report[f"{LAYERED}_{figure}"] for figure in ("ap", "auc", "cp100")},
        f"{name}_single_ap": median(report[f"{seed}_ap"] for seed in singles),
        f"{name}_network_ap": report[f"{ALONE}_ap"],
        f"{name}_trees_ap": report[f"{TREES}_ap"],
        f"{name}_paired": report[f"{LAYERED}_over_{TREES}"],
        f"{name}_paired_low": report[f"{LAYERED}_over_{TREES}_low"],
        f"{name}_paired_high": report[f"{LAYERED}_over_{TREES}_high"],
        f"{name}_network_behind": report[f"{TREES}_ap"] - report[f"{ALONE}_ap"],
        f"{name}_last_stage_loss": report[f"{ALONE}_ap"] - report[f"{LAYERED}_ap"],
    }


def judged(measured: Measured, fits: Fits, names: tuple[str, ...]) -> dict[str, float]:
    """Let the judge read the scores of all folds; the first model is compared with the others."""
    scores = []
    for number, (fold, fitted) in enumerate(fits.folds):
        every = models(fitted)
        ids = fold.test["transaction_id"].to_pandas()
        for name in names:
            rows = pd.DataFrame({"transaction_id": ids, "model": name, "fold": number})
            scores.append(rows.assign(score=every[name].logit(fold.test)))
    with tempfile.TemporaryDirectory() as folder:
        return handbook.judged(pd.concat(scores), measured.shared, list(names), Path(folder))


def models(fitted: Fitted) -> Mapping[str, Candidate]:
    """What was fitted on a fold, by name."""
    return {
        LAYERED: fitted.layered,
        TREES: fitted.trees,
        ALONE: replace(fitted.layered, model=fitted.network),
        **{
            f"seed{seed}": fitted.single(place)
            for place, seed in enumerate(c.seed for c in fitted.network.curves)
        },
    }
