"""Why this score? The chosen transaction's way from the base rate to its probability."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from dashboards import formatting
from dashboards.desk.waterfall import Step, render_bar, waterfall
from pipeline.casework import Verdict
from pipeline.flagged import Fact, FlaggedTransaction, NearCase, StageReason

MIN_UNATTRIBUTED = 0.05  # log-odds
WEIGHT_TEXT = (
    "Each bar is the weight of evidence of one group of facts given the groups before it, "
    "in log-odds: not what the group would say alone. "
    "The bars add up from the base rate to the final log-odds. "
    "Behind a fact stands its part of its group's weight. "
    "All else is what the group's other facts say, and what usual ones would have said after "
    "the stages before."
)
NEAREST_TEXT = (
    "Confirmed transactions that the network takes to be most like this one, of all facts "
    "together: 0 is the same, 1.4 is as far apart as two cases taken at random."
)


@dataclass(frozen=True, kw_only=True)
class FactRow:
    """One fact of a stage, and its part of the stage's weight where that is known."""

    text: str
    unusual: bool
    attribution: str


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """One stage of the chosen transaction: its facts, its weight, and the log-odds after it.

    `rest` is what the facts leave of the weight.
    """

    name: str
    facts: tuple[FactRow, ...]
    rest: str
    increment: float
    text: str
    odds: str
    after: float
    bar: Markup


@dataclass(frozen=True, kw_only=True)
class NearCaseRow:
    """One of the nearest confirmed cases.

    `href` leads to the alert it was in, where there is one.
    """

    transaction_id: str
    href: str | None
    event_time: datetime
    amount: str
    verdict: Verdict
    distance: str


@dataclass(frozen=True, kw_only=True)
class Reasons:
    """The chosen transaction's way from the base rate to its probability."""

    transaction_id: str
    model_version: str
    base: str
    base_bar: Markup
    base_probability: str
    stages: tuple[StageRow, ...]
    logit: str
    score: str
    explanation: str
    nearest: tuple[NearCaseRow, ...]
    nearest_explanation: str


def reasons(one: FlaggedTransaction, alerts_near: Mapping[str, int]) -> Reasons:
    """The transaction's reasons; `alerts_near` are the alerts its near cases were in."""
    first, *steps = waterfall(one.base, [(stage.group, stage.increment) for stage in one.stages])
    stages = zip(one.stages, steps, strict=True)
    return Reasons(
        transaction_id=one.transaction_id,
        model_version=one.model_version,
        base=formatting.signed(one.base),
        base_bar=render_bar(first),
        base_probability=formatting.percent(formatting.probability(one.base)),
        stages=tuple(_stage(stage, step) for stage, step in stages),
        logit=formatting.signed(one.logit),
        score=formatting.percent(one.score),
        explanation=WEIGHT_TEXT,
        nearest=tuple(
            _near_case(case, alerts_near.get(case.transaction_id)) for case in one.nearest
        ),
        nearest_explanation=NEAREST_TEXT,
    )


def _stage(stage: StageReason, step: Step) -> StageRow:
    rest = stage.unattributed
    is_worth_a_line = rest is not None and abs(rest) >= MIN_UNATTRIBUTED
    return StageRow(
        name=formatting.title(stage.group),
        facts=tuple(_fact(fact) for fact in stage.facts),
        rest=_signed(rest) if is_worth_a_line else "",
        increment=stage.increment,
        text=formatting.signed(stage.increment),
        odds=formatting.odds(stage.increment),
        after=step.after,
        bar=render_bar(step),
    )


def _fact(fact: Fact) -> FactRow:
    return FactRow(text=fact.text, unusual=fact.unusual, attribution=_signed(fact.attribution))


def _signed(attribution: float | None) -> str:
    return "" if attribution is None else formatting.signed(attribution)


def _near_case(case: NearCase, alert_id: int | None) -> NearCaseRow:
    asked = formatting.query(transaction=case.transaction_id)
    return NearCaseRow(
        transaction_id=case.transaction_id,
        href=None if alert_id is None else f"/alerts/{alert_id}?{asked}#reasons",
        event_time=case.event_time,
        amount=formatting.money(case.amount, case.currency),
        verdict="fraud" if case.is_fraud else "legitimate",
        distance=f"{case.distance:.2f}",
    )
