"""What a training gives: candidates, their figures, the bundle, and the report of a terminal."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import pandas as pd

from pipeline.evaluation.bootstrap import PairedDifference, comparison_table
from pipeline.evaluation.metrics import Metrics
from pipeline.evaluation.reliability import CalibrationError
from pipeline.evaluation.time_split import Split
from pipeline.models.layered.model import Layered
from pipeline.registry.bundle import Bundle
from pipeline.train.candidates import LAYERED, Candidate
from pipeline.train.learning_curve import LearningCurve


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The model that a training recommends, and why."""

    model: str
    reason: str


def recommend(differences: Mapping[str, PairedDifference]) -> Recommendation:
    """The layered network, unless another model is shown to be better than it.

    Shown means that the whole interval of the difference of AP lies on one side.

    >>> behind = PairedDifference(difference=-0.03, low=-0.05, high=-0.01, draws=100)
    >>> recommend({"forest": behind}).reason
    "its AP is above the network's by 0.030 [0.010, 0.050]"
    """
    ahead = {name: found for name, found in differences.items() if found.high < 0}
    if ahead:
        best = min(ahead, key=lambda name: ahead[name].difference)
        found = ahead[best]
        interval = f"{-found.difference:.3f} [{-found.high:.3f}, {-found.low:.3f}]"
        return Recommendation(model=best, reason=f"its AP is above the network's by {interval}")
    level = [name for name, found in differences.items() if found.low <= 0]
    if level:
        others = ", ".join(level)
        told = f"no difference shown to {others}; it says after each stage what it knows so far"
        return Recommendation(model=LAYERED, reason=told)
    shown = "its AP is shown to be above that of every other model" if differences else "alone"
    return Recommendation(model=LAYERED, reason=shown)


@dataclass(frozen=True, kw_only=True)
class DataUsed:
    """Rows that models learned from or were judged on.

    They are of a `version` of the table at `uri`; `digest` is of their ids and labels.
    """

    purpose: Literal["training", "testing"]
    uri: str
    version: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a training gives.

    It has the candidates, how they did on the test weeks, and the bundle that may become champion.
    `differences` are the layered network's AP minus each other model's, `over` those of the model
    that is recommended; `stage_ap` is its AP after each stage, `learning_curves` say what more
    history gives, `stage_reliability` says whether what it gives out after each stage is a
    probability, `stage_error` how far it is from one, `activations` how active its stages are.
    `data` is what was found out of the data before, a line a fact; `data_used` says which rows.
    """

    as_of: datetime
    split: Split
    train_rows: int
    train_frauds: int
    candidates: dict[str, Candidate]
    metrics: dict[str, Metrics]
    differences: dict[str, PairedDifference]
    recommendation: Recommendation
    over: dict[str, PairedDifference]
    stage_ap: dict[str, float]
    learning_curves: tuple[LearningCurve, ...]
    stage_reliability: pd.DataFrame
    stage_error: dict[str, CalibrationError]
    activations: pd.DataFrame
    bundle: Bundle
    data: list[str]
    data_used: tuple[DataUsed, ...]

    @property
    def table(self) -> pd.DataFrame:
        """One row a model, best first.

        Differences are the model's AP minus the layered network's.
        """
        turned = {
            name: PairedDifference(
                difference=-d.difference, low=-d.high, high=-d.low, draws=d.draws
            )
            for name, d in self.differences.items()
        }
        return comparison_table(self.metrics, turned, reference=LAYERED)


def format_report(trained: Trained) -> str:
    """The comparison with all that is needed to believe it, as a terminal shows it."""
    test = trained.metrics[LAYERED]
    split = trained.split
    train_span = _format_span(split.train_from, split.train_until)
    test_span = _format_span(split.test_from, split.test_until)
    stages = ", ".join(f"{name} {ap:.3f}" for name, ap in trained.stage_ap.items())
    return "\n".join(
        [
            f"  train {train_span}: {_format_counts(trained.train_frauds, trained.train_rows)}",
            f"  test  {test_span}: {_format_counts(test.frauds, test.rows)}",
            "  model      AP     AUC    accounts found  AP minus layered's [95 %]",
            *(_format_model(row) for row in trained.table.reset_index().to_dict("records")),
            f"  AP after each stage: {stages}",
            *_format_worth(trained.candidates[LAYERED].layered),
            *(line for curve in trained.learning_curves for line in _format_curve(curve)),
            f"  recommended: {trained.recommendation.model} ({trained.recommendation.reason})",
        ]
    )


def _format_worth(model: Layered) -> list[str]:
    """What each stage was found to be worth on later days; nothing where there were none."""
    if not model.stage_weights:
        return []
    weights = [*model.stage_weights, *([model.stacking.weight] if model.stacking else [])]
    told = zip(model.stages, weights, strict=True)
    listed = ", ".join(f"{name} {weight:.2f}" for name, weight in told)
    return [f"  what each depth is worth on later days: {listed}"]


def _format_curve(curve: LearningCurve) -> list[str]:
    """AP on the last days by the days learned from, and whether more of them would pay."""
    told = ", ".join(f"{point.days:.0f} days {point.ap:.3f}" for point in curve.points)
    heading = f"AP of {curve.model} on the last days by what it learned from"
    return [f"  {heading}: {told}", f"    {curve.verdict}"]


def _format_span(since: datetime, until: datetime) -> str:
    return f"{since:%Y-%m-%d} to {until:%Y-%m-%d}"


def _format_counts(frauds: int, rows: int) -> str:
    return f"{frauds:,} frauds in {rows:,} labelled, base rate {frauds / rows:.2%}"


def _format_model(row: Mapping[Hashable, Any]) -> str:
    figures = (
        f"{row['model']:<10} {row['ap']:.3f}  {row['auc']:.3f}  {row['recall_at_capacity']:<14.0%}"
    )
    if row["model"] == LAYERED:
        return f"  {figures}  "
    interval = f"[{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]"
    return f"  {figures}  {row['ap_difference']:+.3f} {interval}"
