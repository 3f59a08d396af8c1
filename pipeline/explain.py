"""Why a transaction scored as it did: each stage's increment, and the facts of it that are least usual, in words.

Level one is exact: the increments add up to the logit. The facts below a stage are raw values beside what is usual in the
training period, ordered by how far they lie from it; they are not shares of the increment.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from features.encode import Encoder, GroupCode
from features.windows import Feature, Group

from pipeline.casework import Fact, StageReason
from pipeline.evaluate import FloatArray

FACTS_PER_STAGE = 4
UNUSUAL = 2.0  # spreads away from the middle, on the signed-log scale


def reasons(features: pa.Table, increments: FloatArray, encoder: Encoder, groups: Sequence[Group]) -> list[tuple[StageReason, ...]]:
    """Return for each row the reason of each stage; `increments` are [R, K] in calibrated log-odds."""
    declared = {feature.name: feature for group in groups for feature in group.features}
    rows = features.to_pylist()
    encoded = encoder.encode(features)
    distances = _distances(encoded.numbers, encoded.missing, encoder)
    return [
        tuple(
            StageReason(group=code.name, increment=float(increments[row, stage]), facts=_facts(rows[row], code, distances[row], declared))
            for stage, code in enumerate(encoder.groups)
        )
        for row in range(features.num_rows)
    ]


def _distances(numbers: np.ndarray, missing: np.ndarray, encoder: Encoder) -> list[dict[str, float]]:  # type: ignore[type-arg]
    codes = [code for group in encoder.groups for code in group.numbers]
    middle, spread = np.array([code.middle for code in codes]), np.array([code.spread for code in codes])
    far = np.where(missing > 0, 0.0, (numbers - middle) / spread)
    return [dict(zip([code.name for code in codes], row, strict=True)) for row in far.tolist()]


def _facts(row: Mapping[str, object], code: GroupCode, distance: Mapping[str, float], declared: Mapping[str, Feature]) -> tuple[Fact, ...]:
    furthest = sorted(code.numbers, key=lambda number: -abs(distance[number.name]))
    known = [number for number in furthest if row[number.name] is not None][:FACTS_PER_STAGE]
    told = [
        Fact(
            name=number.name,
            text=in_words(declared[number.name], row[number.name], usual=_unlogged(number.middle)),
            unusual=abs(distance[number.name]) > UNUSUAL,
        )
        for number in known
    ]
    texts = [
        Fact(name=category.name, text=in_words(declared[category.name], row[category.name]), unusual=row[category.name] not in category.vocabulary)
        for category in code.categories
        if row[category.name] is not None
    ]
    return (*told, *texts)


def in_words(feature: Feature, value: object, *, usual: float | None = None) -> str:
    """Say a feature's value beside the usual one.

    >>> from features.windows import fact
    >>> in_words(fact("speed", "x", "implied speed", unit="km/h"), 812.3, usual=4.0)
    'implied speed: 812 km/h, usually 4 km/h'
    """
    meaning = feature.meaning
    if isinstance(value, str):
        return f"{meaning}: {value}"
    number = float(value)  # type: ignore[arg-type]
    if feature.kind == "flag":
        return f"{meaning}: {'yes' if number else 'no'}"
    beside = "" if usual is None else f", usually {_with_unit(usual, feature.unit)}"
    return f"{meaning}: {_with_unit(number, feature.unit)}{beside}"


def _with_unit(number: float, unit: str) -> str:
    if unit == "s":
        number, unit = next(((number / size, name) for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")) if abs(number) >= size), (number, "s"))
    if unit == "share":
        return f"{100 * number:.2g} %"
    text = f"{number:,.0f}" if abs(number) >= 100 or number == int(number) else f"{number:.3g}"
    return text if unit in {"", "ratio", "currency"} else f"{text} {unit}"


def _unlogged(value: float) -> float:
    """Undo the signed logarithm."""
    return float(np.sign(value) * np.expm1(abs(value)))
