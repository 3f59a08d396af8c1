"""Why a transaction scored as it did: its stages' increments, and what of them its facts explain.

The increments add up to the logit, and the attributions of a stage's facts to its increment but for
what it says of typical facts (see `pipeline.explanation.integrated_gradients`). The facts are raw
values beside what is usual: of the account, else of the portfolio.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from features.declarations import CIRCLE, Feature, Group
from features.encoder import Encoder, GroupCode
from pipeline.arrays import FloatArray
from pipeline.explanation.integrated_gradients import stage_attributions
from pipeline.explanation.typical_ranges import TypicalRange
from pipeline.flagged import Fact, StageReason
from pipeline.models.layered.model import Layered
from pipeline.models.layered.stacking import CLASSICAL
from pipeline.models.one_stage import Model, OneStage
from pipeline.models.risk_encoding import encoded_category

FACTS_PER_STAGE = 4
CLASSICAL_FACT = Fact(
    name=CLASSICAL, text="what the classical model makes of all these facts together", unusual=False
)
UNUSUAL = 2.0  # spreads away from the middle, on the signed-log scale


def reasons(
    features: pa.Table,
    increments: Mapping[str, FloatArray],
    encoder: Encoder,
    groups: Sequence[Group],
    *,
    ranges: Sequence[Mapping[str, TypicalRange]] = (),
    attributions: Mapping[str, FloatArray] | None = None,
) -> list[tuple[StageReason, ...]]:
    """Return for each row the reason of each stage.

    `increments` are [R] by group, in log-odds before calibration; `ranges` is for each row what is
    usual of its facts; `attributions` are those of the facts, [R] by feature. NaN means that the
    model which scored the row has no such stage, or is another than the one that gave the
    attributions; a stage that `encoder` does not know has no facts.
    """
    declared = {feature.name: feature for group in groups for feature in group.features}
    encoder = _of_facts(encoder, declared)
    codes = {code.name: code for code in encoder.groups}
    rows, distances = features.to_pylist(), _distances(features, encoder)
    by_row = _by_row(attributions or {}, features.num_rows)
    ranges = ranges or [{}] * features.num_rows
    found = []
    for place, row in enumerate(rows):
        known = distances[place], by_row[place], ranges[place]
        stages = []
        for name, added in increments.items():
            if np.isnan(added[place]):
                continue
            facts: tuple[Fact, ...] = (CLASSICAL_FACT,) * (name == CLASSICAL)
            if name in codes:
                facts = _facts(row, codes[name], *known, declared)
            reason = StageReason(group=name, increment=float(added[place]), facts=facts)
            stages.append(reason)
        found.append(tuple(stages))
    return found


def fact_attributions(
    model: Model, features: pa.Table, increments: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """What each fact adds to its stage's increment, [R] by feature.

    NaN in rows whose increment is not this model's.
    """
    if isinstance(model, OneStage):
        return _contributions(model, features, increments)
    return _attributions(model, features, increments)


def _contributions(
    model: OneStage, features: pa.Table, increments: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """What each fact contributes to a classical model's log-odds."""
    unknown = np.full(features.num_rows, np.nan)
    stored = increments.get(CLASSICAL, unknown)
    own = np.isclose(model.increments(features)[:, 0], stored, atol=1e-3)
    shares = model.contributions(features)
    return {name: np.where(own, shares[:, place], np.nan) for place, name in enumerate(model.facts)}


def _attributions(
    model: Layered, features: pa.Table, increments: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """What each fact adds inside a stage of the network."""
    rows = model.tensors(features)
    by_network = [stage_attributions(network, rows) for network in model.networks]
    attributions: dict[str, FloatArray] = {}
    for place, code in enumerate(model.encoder.groups):
        facts = np.mean([stages[place].facts.numpy() for stages in by_network], axis=0)
        rest = np.mean([stages[place].rest.numpy() for stages in by_network], axis=0)
        own = np.isclose(
            facts.sum(axis=1) + rest,
            increments.get(code.name, np.full(len(rest), np.nan)),
            atol=1e-3,
        )
        names = [one.name for part in (code.numbers, code.categories) for one in part]
        for number, name in enumerate(map(encoded_category, names)):
            share = np.where(own, facts[:, number], np.nan)  # the risk of a value is its category's
            attributions[name] = attributions.get(name, 0.0) + share
    return attributions


def _by_row(attributions: Mapping[str, FloatArray], rows: int) -> list[dict[str, float]]:
    """The attributions of each row that are known."""
    by_row = [
        dict(zip(attributions, values, strict=True))
        for values in zip(*attributions.values(), strict=True)
    ]
    return [_known(row) for row in by_row] or [{} for _ in range(rows)]


def _known(values: Mapping[str, float]) -> dict[str, float]:
    """The values that are none of them missing."""
    return {name: float(value) for name, value in values.items() if not math.isnan(value)}


def _of_facts(encoder: Encoder, declared: Mapping[str, Feature]) -> Encoder:
    """The encoder of facts alone, without what was made of them."""

    def facts(group: GroupCode) -> GroupCode:
        return replace(group, numbers=tuple(one for one in group.numbers if one.name in declared))

    return Encoder(groups=tuple(map(facts, encoder.groups)))


def _distances(features: pa.Table, encoder: Encoder) -> list[dict[str, float]]:
    """For each row its numbers' distances from the middle, in spreads.

    A missing number has none.
    """
    encoded = encoder.encode(features)
    codes = [code for group in encoder.groups for code in group.numbers]
    names = [code.name for code in codes]
    middle, spread = (
        np.array([code.middle for code in codes]),
        np.array([code.spread for code in codes]),
    )
    far = np.where(encoded.missing > 0, np.nan, (encoded.numbers - middle) / spread)
    return [_known(dict(zip(names, row, strict=True))) for row in far.tolist()]


def _facts(
    row: Mapping[str, object],
    code: GroupCode,
    distance: Mapping[str, float],
    attribution: Mapping[str, float],
    ranges: Mapping[str, TypicalRange],
    declared: Mapping[str, Feature],
) -> tuple[Fact, ...]:
    """The facts that count most.

    By their attribution, else the numbers furthest from the middle, and all categories.
    """
    numbers = [
        Fact(
            name=number.name,
            text=in_words(declared[number.name], row[number.name], typical=ranges.get(number.name)),
            unusual=abs(distance[number.name]) > UNUSUAL
            and not _is_habit(row[number.name], ranges.get(number.name)),
            attribution=attribution.get(number.name),
        )
        for number in sorted(code.numbers, key=lambda number: -abs(distance.get(number.name, 0.0)))
        if number.name in distance and declared[number.name].unit != CIRCLE
    ]
    texts = [
        Fact(
            name=category.name,
            text=in_words(declared[category.name], row[category.name]),
            unusual=row[category.name] not in category.vocabulary,
            attribution=attribution.get(category.name),
        )
        for category in code.categories
        if row[category.name] is not None
    ]
    if not any(
        fact.name in attribution for group in (code.numbers, code.categories) for fact in group
    ):
        return (*numbers[:FACTS_PER_STAGE], *texts)
    missing = [
        Fact(
            name=number.name,
            text=in_words(declared[number.name], None),
            unusual=False,
            attribution=attribution[number.name],
        )
        for number in code.numbers
        if row[number.name] is None and declared[number.name].unit != CIRCLE
    ]
    return tuple(
        sorted((*numbers, *texts, *missing), key=lambda fact: -abs(fact.attribution or 0.0))[
            :FACTS_PER_STAGE
        ]
    )


def in_words(feature: Feature, value: object, *, typical: TypicalRange | None = None) -> str:
    """Say a feature's value beside what is usual.

    >>> from features.declarations import fact
    >>> paid = fact("paid", "x", "payments in 10 minutes")
    >>> in_words(paid, 7.0, typical=TypicalRange(low=0, high=1, own=True))
    'payments in 10 minutes: 7, usually 0 or 1'
    >>> speed = fact("speed", "x", "implied speed", unit="km/h")
    >>> in_words(speed, 812.3, typical=TypicalRange(low=0, high=4.2, own=False))
    'implied speed: 812 km/h, 0 to 4.2 km/h in most payments'
    """
    meaning = feature.meaning
    if value is None:
        return f"{meaning}: none ({feature.null})"
    if isinstance(value, str):
        return f"{meaning}: {value}"
    number = float(value)  # type: ignore[arg-type]
    if feature.kind == "flag":
        return f"{meaning}: {'yes' if number else 'no'}"
    text = f"{meaning}: {_with_unit(number, feature.unit)}"
    if typical is None:
        return text
    span = _span(typical, feature.unit, whole=feature.unit == "" and number.is_integer())
    return f"{text}, usually {span}" if typical.own else f"{text}, {span} in most payments"


def _is_habit(value: object, typical: TypicalRange | None) -> bool:
    """Whether the account's own range covers the value, however far that is from others'."""
    if typical is None or not typical.own:
        return False
    return typical.low <= value <= typical.high  # type: ignore[operator]  # a number's value


def _span(typical: TypicalRange, unit: str, *, whole: bool) -> str:
    """Say where a range lies: "0 or 1", "2 to 5 h", "30 s to 2 h"; `whole` for what is counted."""
    low, high = (round(value) if whole else value for value in (typical.low, typical.high))
    least, most = _with_unit(low, unit), _with_unit(high, unit)
    if least == most:
        return most
    if whole and high - low == 1:
        return f"{least} or {most}"
    (number, *own), other = least.split(" ", maxsplit=1), most.split(" ", maxsplit=1)[1:]
    return f"{number} to {most}" if own == other else f"{least} to {most}"


def _with_unit(number: float, unit: str) -> str:
    if unit == "s":
        number, unit = next(
            (
                (number / size, name)
                for size, name in ((86_400, "d"), (3_600, "h"), (60, "min"))
                if abs(number) >= size
            ),
            (number, "s"),
        )
    if unit == "share":
        number, unit = 100 * number, "%"
    text = (
        f"{number:,.0f}"
        if abs(number) >= 100
        else np.format_float_positional(number, 3, fractional=False, trim="-")
    )
    return text if unit in {"", "ratio", "currency"} else f"{text} {unit}"
