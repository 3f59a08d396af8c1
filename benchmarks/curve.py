"""Learning curves: a single network and boosting by how much they learned from.

The Handbook's first fold, a week to a hundred days before the same test week, and a simulated world
of two million payments. The rows of a span are the latest of the next.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import tasks
from benchmarks.fits import CLASSICAL_SEED
from benchmarks.tasks import Fold, Task
from pipeline.arrays import FloatArray, IntArray
from pipeline.models.baselines.boosting import XGBoost
from pipeline.models.baselines.columns import as_frame
from pipeline.models.layered.model import Layered
from pipeline.models.layered.training import TrainConfig
from pipeline.train.candidates import BOOSTING, LAYERED
from pipeline.train.learning_curve import SHARES, learning_curve

LONGEST, DAYS = 100, (7, 14, 28, 56, 100)  # of the Handbook, learned from
WORLD_SEED, WORLD_ROWS = 31, 2_000_000


def curves(shared: Path, home: Path, seed: int) -> dict[str, float]:
    """AP by rows learned from, and what the last doubling gave, of both models on both tasks."""
    handbook = tasks.handbook(shared, home, published=False, days=LONGEST)
    spans = [days / LONGEST for days in DAYS]
    world = tasks.world(home, seed=WORLD_SEED, rows=WORLD_ROWS)
    return {
        **of_task("handbook", handbook, spans, seed=seed),
        **of_task("world", world, SHARES, seed=seed),
    }


def of_task(name: str, task: Task, shares: Sequence[float], *, seed: int) -> dict[str, float]:
    """The curves of a task's first fold."""
    fold = task.folds[0]
    figures: dict[str, float] = {}
    for model, told in ((BOOSTING, _by_boosting(fold)), (LAYERED, _by_network(task, fold, seed))):
        curve = learning_curve(
            model,
            told,
            fold.train["as_of"].to_numpy(),
            fold.y,
            truth=fold.truth,
            accounts=tasks.accounts(fold.test),
            shares=shares,
        )
        if curve is None:
            raise ValueError(f"{name} has too few frauds for a learning curve")
        own = f"curve_{name}_{model}"
        figures |= {f"{own}_{point.rows}": point.ap for point in curve.points}
        figures |= {f"{own}_doubled": curve.doubled.difference, f"{own}_low": curve.doubled.low}
        points = ", ".join(f"{p.days:.0f} days {p.rows:,} rows {p.ap:.4f}" for p in curve.points)
        print(f"          {own}: {points}; {curve.verdict}", flush=True)
    return figures


def _by_boosting(fold: Fold) -> Callable[[IntArray], FloatArray]:
    """Boosting with the settings that all rows chose."""
    frame, judged = as_frame(fold.train), as_frame(fold.test)
    fitted = XGBoost().fit(frame, fold.y, fold.accounts, seed=CLASSICAL_SEED)
    return lambda rows: fitted.refit(frame.iloc[rows], fold.y[rows]).logit(judged)


def _by_network(task: Task, fold: Fold, seed: int) -> Callable[[IntArray], FloatArray]:
    config, accounts = TrainConfig(seeds=(seed,)), fold.accounts

    def told(rows: IntArray) -> FloatArray:
        known = fold.train.take(rows)
        network = Layered.fit(known, fold.y[rows], accounts[rows], task.groups, config=config)
        return network.logit(fold.test)

    return told
