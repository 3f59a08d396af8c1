"""Where the network has to be right on data that nobody tuned on: payments, worlds and baskets.

Each is trained with three seeds, beside the trees that refits tell best of, and judged once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from zlib import crc32

from benchmarks import tasks
from benchmarks.baskets import baskets
from benchmarks.fits import fit
from benchmarks.tasks import Fold, Task
from pipeline.arrays import FloatArray
from pipeline.evaluation.bootstrap import paired_bootstrap
from pipeline.evaluation.metrics import average_precision

CHOSEN, DRAWN = (11, 21, 22), 2  # seeds of worlds, and how many more the day draws
WORLD_ROWS, WORLD_RATE = 220_000, 0.018  # 500 frauds to be judged on and more
MANY = 300  # training frauds: with fewer the network alone is not held to the trees


@dataclass(frozen=True, kw_only=True)
class Compared:
    """AP on later rows: of the trees, the network alone, the network with its last stage.

    `frauds` were learned from, `judged` are among the later rows. `low` is the lower end of the
    last one's difference to the trees.
    """

    name: str
    frauds: int
    judged: int
    trees: str
    trees_ap: float
    network_ap: float
    layered_ap: float
    low: float

    def told(self) -> str:
        """A line of it."""
        return (
            f"          {self.name:<16}{self.judged} frauds, {self.trees} {self.trees_ap:.4f}, "
            f"network {self.network_ap:.4f}, layered {self.layered_ap:.4f}, from {self.low:+.4f}"
        )


def compared(task: Task, seeds: Sequence[int], *, name: str) -> Compared:
    """Train and judge on the first fold of a task."""
    fold = task.folds[0]
    fitted = fit(fold, task, seeds)
    theirs = fitted.trees.logit(fold.test)
    own = fitted.layered.logit(fold.test)
    found = Compared(
        name=name,
        frauds=int(fold.y.sum()),
        judged=int(fold.truth.sum()),
        trees=fitted.trees.name,
        trees_ap=average_precision(fold.truth, theirs),
        network_ap=average_precision(fold.truth, fitted.network.logit(fold.test)),
        layered_ap=average_precision(fold.truth, own),
        low=_low(fold, own, theirs),
    )
    print(found.told(), flush=True)
    return found


def real_payments(shared: Path, home: Path, seeds: Sequence[int]) -> dict[str, float]:
    """S-FFSD by time, labels of the test never known."""
    found = compared(tasks.s_ffsd(shared, home), seeds, name="s-ffsd")
    return {
        "sffsd_ap": found.layered_ap,
        "sffsd_network_ap": found.network_ap,
        "sffsd_trees_ap": found.trees_ap,
        **_losses([found], "sffsd"),
    }


def without_history(seeds: Sequence[int]) -> dict[str, float]:
    """Baskets: one payment an account."""
    found = compared(baskets(), seeds, name="baskets")
    return {
        "baskets_gap": found.trees_ap - found.layered_ap,
        "baskets_network_behind": found.trees_ap - found.network_ap,
        "baskets_ap": found.layered_ap,
    }


def worlds(home: Path, seeds: Sequence[int], day: date) -> dict[str, float]:
    """Simulated worlds: some that were chosen, and some that the day draws."""
    drawn = [crc32(f"{day} {place}".encode()) % 100_000 for place in range(DRAWN)]
    found = [
        compared(
            tasks.world(home, seed=seed, rows=WORLD_ROWS, rate=WORLD_RATE),
            seeds,
            name=f"world {seed}",
        )
        for seed in (*CHOSEN, *drawn)
    ]
    lows = {f"{one.name.replace(' ', '_')}_paired_low": one.low for one in found}
    return {**lows, "world_paired_low": min(lows.values()), **_losses(found, "world")}


def _losses(found: Sequence[Compared], name: str) -> dict[str, float]:
    """How far the network alone is behind the trees, and what the last stage takes from it."""
    many = [one for one in found if one.frauds >= MANY] or found
    return {
        f"{name}_network_behind": max(one.trees_ap - one.network_ap for one in many),
        f"{name}_last_stage_loss": max(one.network_ap - one.layered_ap for one in found),
    }


def _low(fold: Fold, own: FloatArray, theirs: FloatArray) -> float:
    accounts = tasks.accounts(fold.test)
    return paired_bootstrap(fold.truth, own, theirs, accounts).low
