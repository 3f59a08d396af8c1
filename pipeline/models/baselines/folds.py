"""Rows apart, to choose settings on and to judge a model: later days, or whole accounts."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.arrays import BoolArray, FloatArray, IntArray
from pipeline.evaluation.metrics import both_classes
from pipeline.models.baselines.protocol import Baseline, Settings

FOLDS = 3


# above it, legitimate rows are thinned while settings are chosen, and there only
TUNING_ROWS = 20_000


LATER_SHARE = 1 / 3  # of the days of a training: what is later
MIN_FRAUDS = 15  # on later days, in each part of them; with fewer, an AP says little
LATER_PARTS = 3


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Rows to learn from, and rows apart to be judged on, by their places."""

    train: IntArray
    test: IntArray


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The rows settings are chosen on, and the fold each is held out in.

    An account is in one fold alone.
    """

    rows: IntArray
    fold: IntArray
    usable: tuple[int, ...]  # folds with both classes inside and outside
    negatives_kept: float


def tuning_sample(
    fraud: BoolArray, accounts: npt.ArrayLike, *, seed: int, most_rows: int = TUNING_ROWS
) -> Sample:
    """Deal accounts into folds, the defrauded ones evenly.

    Keep all frauds and a share of the legitimate rows.
    """
    generator = np.random.default_rng(seed)
    share = float(np.clip((most_rows - fraud.sum()) / (~fraud).sum(), 0.1, 1.0))
    rows = np.flatnonzero(fraud | (generator.random(len(fraud)) < share))
    folds = account_folds(fraud, accounts, generator)
    fold, kept = folds[rows], fraud[rows]
    usable = tuple(number for number in range(FOLDS) if _is_usable(kept, fold == number))
    return Sample(rows=rows, fold=fold, usable=usable, negatives_kept=share)


def account_cuts(sample: Sample, *, within: bool = False) -> list[Cut]:
    """A cut for each usable fold of accounts; its places are those of `within` the sample, or all.

    A legitimate row that the sample left out is in no cut.
    """
    places = np.arange(len(sample.rows)) if within else sample.rows
    folds = [sample.fold == number for number in sample.usable]
    return [Cut(train=places[~apart], test=places[apart]) for apart in folds]


def day_cuts(
    fraud: BoolArray, moments: npt.NDArray[np.datetime64], *, parts: int = LATER_PARTS
) -> list[Cut]:
    """The last third of the days in parts, each to be judged by what was learned of all before it.

    There are fewer parts where frauds are few, and none where even one has fewer than 15.

    >>> days = np.datetime64("2026-01-01") + np.arange(180).astype("timedelta64[D]")
    >>> cuts = day_cuts(np.arange(180) % 2 == 0, days, parts=2)
    >>> [(len(cut.train), len(cut.test)) for cut in cuts]
    [(120, 30), (150, 30)]
    """
    days = moments.astype("datetime64[D]")
    first, end = days.min(), days.max() + np.timedelta64(1, "D")
    later = int(np.ceil((end - first).astype(int) * LATER_SHARE))
    for count in range(min(parts, later), 0, -1):
        edges = end - np.linspace(later, 0, count + 1).round().astype("timedelta64[D]")
        cuts = [
            Cut(
                train=np.flatnonzero(days < low), test=np.flatnonzero((days >= low) & (days < high))
            )
            for low, high in pairwise(edges)
        ]
        if all(_has_both(fraud, cut) for cut in cuts):
            return cuts
    return []


def _has_both(fraud: BoolArray, cut: Cut) -> bool:
    """Whether frauds and legitimate rows are learned from, and enough of them are apart."""
    learned, judged = fraud[cut.train], fraud[cut.test]
    can_learn = learned.sum() >= MIN_FRAUDS and not learned.all()
    return bool(can_learn and judged.sum() >= MIN_FRAUDS and not judged.all())


def _is_usable(fraud: BoolArray, inside: BoolArray) -> bool:
    """Whether both classes are inside a fold and outside it."""
    parts = (fraud[inside], fraud[~inside])
    return all(part.any() and not part.all() for part in parts)


def account_folds(
    fraud: BoolArray, accounts: npt.ArrayLike, generator: np.random.Generator
) -> IntArray:
    """The fold of each row: accounts are dealt at random and whole, the defrauded ones evenly."""
    account, names = pd.factorize(np.asarray(accounts))
    legitimate = np.bincount(account, weights=fraud, minlength=len(names)) == 0
    dealt = np.empty(len(names), dtype=np.int64)
    dealt[np.lexsort((generator.random(len(names)), legitimate))] = np.arange(len(names)) % FOLDS
    return np.asarray(dealt[account])


def out_of_fold(
    model: Baseline,
    features: pd.DataFrame,
    y: npt.ArrayLike,
    accounts: npt.ArrayLike,
    *,
    seed: int,
    on_fold: Callable[[], None] = lambda: None,
) -> FloatArray:
    """The logits [R] that refits of a model give the accounts they did not learn from."""
    fraud = both_classes(y, rows=len(features))
    folds = account_folds(fraud, accounts, np.random.default_rng(seed))
    logits = np.empty(len(features))
    for number in range(FOLDS):
        apart = folds == number
        if not fraud[~apart].any():
            raise ValueError(
                "all frauds are of one account, and no model can be judged on others; "
                "take a longer span"
            )
        logits[apart] = model.refit(features[~apart], fraud[~apart]).logit(features[apart])
        on_fold()
    return logits


def tuning_settings(fraud: BoolArray, sample: Sample, *, ap: float, seed: int) -> Settings:
    """What a fit chose its settings on, and how well they did."""
    counts: Settings = {
        "rows": len(fraud),
        "frauds": int(fraud.sum()),
        "folds": len(sample.usable),
        "seed": seed,
    }
    return {**counts, "held_out_ap": ap, "negatives_kept": sample.negatives_kept}
