"""What several parts of `benchmarks.model` measure: tasks, and what was fitted on their folds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter

from benchmarks import tasks
from benchmarks.tasks import Fold, Task
from pipeline.evaluation.metrics import average_precision
from pipeline.models.baselines.columns import as_frame
from pipeline.models.layered.model import Layered
from pipeline.models.layered.training import TrainConfig
from pipeline.train.candidates import (
    BOOSTING,
    Candidate,
    fit_classical,
    with_chosen_risk,
    with_stacking,
)

CLASSICAL_SEED = 1
TREES = (BOOSTING, "lightgbm", "forest")


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The trees that refits tell best of, and the layered network of all seeds on top of them.

    `seconds` are those of the network's training; `boosted_seconds` those of gradient boosting.
    """

    trees: Candidate
    layered: Candidate
    seconds: float
    boosted_seconds: float

    @property
    def network(self) -> Layered:
        """The network without the trees' opinion."""
        return replace(self.layered.layered, stacking=None)

    def single(self, place: int) -> Candidate:
        """The network of one seed alone, with the trees' opinion."""
        network = self.layered.layered
        return replace(self.layered, model=replace(network, networks=(network.networks[place],)))


def fit(fold: Fold, task: Task, seeds: Sequence[int]) -> Fitted:
    """Fit trees and network on a fold as `strata train` does."""
    rows, groups, risk = with_chosen_risk(
        fold.train, fold.y, task.groups, label_delay=task.label_delay, seed=CLASSICAL_SEED
    )
    frame = as_frame(rows)
    fitted = {
        name: fit_classical(name, frame, fold.y, fold.accounts, seed=CLASSICAL_SEED)
        for name in TREES
    }
    best = max(fitted.values(), key=lambda one: average_precision(fold.y, one.held_out))
    started = perf_counter()
    config = TrainConfig(seeds=tuple(seeds))
    network = Layered.fit(rows, fold.y, fold.accounts, groups, config=config)
    layered = with_stacking(replace(network, risk=risk), best, frame, fold.y)
    return Fitted(
        trees=replace(best.candidate, risk=risk),
        layered=layered,
        seconds=perf_counter() - started,
        boosted_seconds=fitted[BOOSTING].candidate.seconds,
    )


class Fits:
    """A task with what was fitted on its folds, when it is first asked for."""

    def __init__(self, task: Task, seeds: Sequence[int]) -> None:
        self.task, self.seeds = task, tuple(seeds)

    @cached_property
    def folds(self) -> list[tuple[Fold, Fitted]]:
        """Each fold with its models."""
        return [(fold, fit(fold, self.task, self.seeds)) for fold in self.task.folds]


@dataclass(frozen=True)
class Measured:
    """Where the data is and where what was built of it is kept."""

    shared: Path
    home: Path
    seeds: tuple[int, ...]

    @cached_property
    def published(self) -> Fits:
        """The Handbook by its own features."""
        return Fits(tasks.handbook(self.shared, self.home, published=True), self.seeds)

    @cached_property
    def own(self) -> Fits:
        """The Handbook by ours."""
        return Fits(tasks.handbook(self.shared, self.home, published=False), self.seeds)
