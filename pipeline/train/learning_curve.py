"""What more history gives: how well later days are told by how many days before them.

Models learn from nested spans, each the latest days of the next, and are judged on the same rows
behind all of them. The facts of a payment stay as they are: they look back as far as they do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.declarations import Group
from pipeline.arrays import BoolArray, FloatArray, IntArray, Moments
from pipeline.evaluation.bootstrap import PairedDifference, paired_bootstrap
from pipeline.evaluation.metrics import average_precision
from pipeline.evaluation.time_split import last_days
from pipeline.models.baselines.columns import as_frame
from pipeline.models.baselines.protocol import Baseline
from pipeline.models.layered.model import Layered
from pipeline.models.layered.training import TrainConfig
from pipeline.models.risk_encoding import RiskEncoding, out_of_fold, with_risk
from pipeline.progress import SILENT, Progress

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # of the time there is
MIN_FRAUDS = 30  # a span with fewer teaches nothing that a curve could show
LITTLE = 0.005  # AP below which nobody waits for more history


@dataclass(frozen=True, kw_only=True)
class Point:
    """AP on the judged rows after learning from the latest `days` before them."""

    days: float
    rows: int
    frauds: int
    ap: float


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """A model's points, the shortest span first, and what the last doubling of the time gave."""

    model: str
    points: tuple[Point, ...]
    doubled: PairedDifference

    @property
    def verdict(self) -> str:
        """Whether more history would pay, as far as the last doubling shows it.

        >>> gain = PairedDifference(difference=0.012, low=0.003, high=0.02, draws=1000)
        >>> LearningCurve(model="xgboost", points=(), doubled=gain).verdict
        'more history would pay: twice the days gave +0.012 [+0.003, +0.020]'
        """
        gain = self.doubled
        told = f"twice the days gave {gain.difference:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
        if gain.high < 0:
            return f"older history misleads: {told}"
        if gain.high < LITTLE:
            return f"more history would not pay: {told}"
        if gain.low > 0:
            return f"more history would pay: {told}"
        return f"it is not shown that more history would pay: {told}"


def learning_curve(
    model: str,
    told: Callable[[IntArray], FloatArray],
    moments: Moments,
    y: BoolArray,
    *,
    truth: BoolArray,
    accounts: npt.NDArray[np.str_],
    shares: Sequence[float] = SHARES,
    progress: Progress = SILENT,
) -> LearningCurve | None:
    """Learn from the latest `shares` of the time of `moments`, [R], which rise and end with 1.

    `told` gives the log-odds of the judged rows, [J], by a model that learned from the rows it is
    given; `y` is [R], `truth` and `accounts` are [J]. None where fewer than two spans have enough
    frauds.
    """
    days = (moments.max() - moments) / np.timedelta64(1, "D")
    spans = [np.flatnonzero(days <= share * days.max()) for share in shares]
    enough = [rows for rows in spans if y[rows].sum() >= MIN_FRAUDS]
    if len(enough) < 2:
        return None
    logits = []
    with progress.step(f"{model}: learning curve", len(enough)) as step:
        for rows in enough:
            logits.append(told(rows))
            step.advance()
    points = tuple(
        Point(
            days=float(days[rows].max()),
            rows=len(rows),
            frauds=int(y[rows].sum()),
            ap=average_precision(truth, logit),
        )
        for rows, logit in zip(enough, logits, strict=True)
    )
    doubled = paired_bootstrap(truth, logits[-1], logits[-2], accounts)
    return LearningCurve(model=model, points=points, doubled=doubled)


@dataclass(frozen=True, kw_only=True)
class History:
    """Rows of a training with their labels, [R], judged on the last days by what came before."""

    features: pa.Table
    y: BoolArray
    groups: Sequence[Group]
    risk: RiskEncoding
    label_delay: timedelta

    def of_classical(self, model: Baseline, *, progress: Progress = SILENT) -> LearningCurve | None:
        """The curve of a classical model with the settings it has chosen."""

        def told(rows: pa.Table, y: BoolArray, judged: pa.Table) -> FloatArray:
            return model.refit(as_frame(rows), y).logit(as_frame(judged))

        return self._curve(model.name, told, progress)

    def of_network(
        self, name: str, config: TrainConfig, *, progress: Progress = SILENT
    ) -> LearningCurve | None:
        """The curve of the layered network, trained anew with the first of the seeds."""
        alone, groups = replace(config, seeds=config.seeds[:1]), with_risk(self.groups, self.risk)

        def told(rows: pa.Table, y: BoolArray, judged: pa.Table) -> FloatArray:
            return Layered.fit(rows, y, _accounts(rows), groups, config=alone).logit(judged)

        return self._curve(name, told, progress)

    def _curve(
        self,
        name: str,
        told: Callable[[pa.Table, BoolArray, pa.Table], FloatArray],
        progress: Progress,
    ) -> LearningCurve | None:
        moments = self.features["as_of"].to_numpy()
        late = last_days(moments, self.y)
        if late is None:
            return None
        before, judged = np.flatnonzero(~late), np.flatnonzero(late)

        def of_span(span: IntArray) -> FloatArray:
            rows = before[span]
            both = np.concatenate([rows, judged])
            known = out_of_fold(
                self.features.take(both), self.y[both], self.risk, label_delay=self.label_delay
            )
            return told(known.slice(0, len(rows)), self.y[rows], known.slice(len(rows)))

        return learning_curve(
            name,
            of_span,
            moments[before],
            self.y[before],
            truth=self.y[judged],
            accounts=_accounts(self.features)[judged],
            progress=progress,
        )


def _accounts(rows: pa.Table) -> npt.NDArray[np.str_]:
    return np.asarray(rows["account_id"].to_numpy(zero_copy_only=False).astype(str))
