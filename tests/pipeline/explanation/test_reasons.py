"""Reasons in words: exact increments, the least usual facts first, values beside what is usual."""

import math

import numpy as np
import pytest

from features.declarations import Feature, Group, fact
from features.encoder import CategoryCode, Encoder, GroupCode, NumberCode
from pipeline.explanation.reasons import fact_attributions, in_words, reasons
from pipeline.explanation.typical_ranges import TypicalRange
from pipeline.flagged import StageReason
from tests.small_network import layered, table

NUMBERS = {"near": 1.0, "further": 3.0, "furthest": -5.0, "middling": 0.5, "usual": 0.1}


def number(name: str, *, middle: float = 0.0) -> NumberCode:
    return NumberCode(name=name, knots=(0.0, 1.0), middle=middle, spread=1.0)


ENCODER = Encoder(
    groups=(
        GroupCode(
            name="amount",
            numbers=(number("paid", middle=math.log1p(9)), number("far")),
            categories=(CategoryCode(name="channel", vocabulary=("pos",)),),
        ),
    )
)
GROUPS = (
    Group(
        name="amount",
        meaning="",
        needs=(),
        features=(
            fact("paid", "paid", "amount", unit="currency"),
            fact("far", "far", "distance", unit="km"),
            fact("channel", "channel", "channel", kind="category"),
        ),
    ),
)


def reasons_of(*rows: dict[str, object], increment: float = 0.5) -> list[tuple[StageReason, ...]]:
    return reasons(table(list(rows)), {"amount": np.full(len(rows), increment)}, ENCODER, GROUPS)


def words(reason: StageReason) -> list[str]:
    return [fact.text for fact in reason.facts]


def test_facts_stand_by_their_distance_from_the_usual() -> None:
    """The amount lies ln 10 from its middle of 9, the distance ln 1001 from its middle of 0."""
    ((reason,),) = reasons_of({"paid": 99.0, "far": 1000.0, "channel": "pos"})
    assert words(reason) == ["distance: 1,000 km", "amount: 99", "channel: pos"]
    assert [fact.unusual for fact in reason.facts] == [True, True, False]


def test_far_below_the_usual_is_unusual_too() -> None:
    ((reason,),) = reasons_of({"paid": 0.0})
    assert [(fact.text, fact.unusual) for fact in reason.facts] == [("amount: 0", True)]


def test_a_category_the_training_did_not_know_is_unusual() -> None:
    ((reason,),) = reasons_of({"channel": "carrier pigeon"})
    assert [(fact.text, fact.unusual) for fact in reason.facts] == [
        ("channel: carrier pigeon", True)
    ]


def test_a_row_of_nulls_has_its_increment_and_no_facts() -> None:
    assert reasons_of({}) == [(StageReason(group="amount", increment=0.5, facts=()),)]


def test_no_rows_have_no_reasons() -> None:
    assert reasons_of() == []


def test_a_stage_tells_its_four_least_usual_numbers() -> None:
    codes = tuple(number(name) for name in NUMBERS)
    encoder = Encoder(groups=(GroupCode(name="g", numbers=codes, categories=()),))
    groups = (
        Group(
            name="g",
            meaning="",
            needs=(),
            features=tuple(fact(name, name, name) for name in NUMBERS),
        ),
    )
    import pyarrow as pa

    ((reason,),) = reasons(
        pa.table({name: [value] for name, value in NUMBERS.items()}),
        {"g": np.ones(1)},
        encoder,
        groups,
    )
    assert [fact.name for fact in reason.facts] == ["furthest", "further", "near", "middling"]


def test_facts_with_shares_stand_by_their_size_categories_among_them() -> None:
    attributions = {"paid": np.array([0.1]), "far": np.array([-0.4]), "channel": np.array([0.2])}
    row = table([{"paid": 99.0, "far": 0.0, "channel": "pos"}])
    ((reason,),) = reasons(
        row, {"amount": np.array([0.5])}, ENCODER, GROUPS, attributions=attributions
    )
    assert [(fact.name, fact.attribution) for fact in reason.facts] == [
        ("far", -0.4),
        ("channel", 0.2),
        ("paid", 0.1),
    ]


def test_a_number_that_is_missing_is_told_where_that_weighs() -> None:
    attributions = {"paid": np.array([0.1]), "far": np.array([-0.4]), "channel": np.array([0.0])}
    ((reason,),) = reasons(
        table([{"paid": 99.0}]),
        {"amount": np.array([0.5])},
        ENCODER,
        GROUPS,
        attributions=attributions,
    )
    assert words(reason) == ["distance: none (never)", "amount: 99"]


def test_shares_are_told_only_of_increments_of_this_model() -> None:
    model = layered()
    rows = table([{"paid": 9.0, "channel": "pos", "far": 3.0, "country": "FR"}] * 2)
    added = dict(zip(("amount", "place"), model.increments(rows).T, strict=True))
    attributions = fact_attributions(model, rows, added | {"amount": added["amount"] + [0.0, 0.3]})
    assert (
        np.isnan(attributions["paid"]).tolist()
        == np.isnan(attributions["channel"]).tolist()
        == [False, True]
    )
    assert not np.isnan(attributions["far"]).any()
    assert fact_attributions(model, rows, {"place": added["place"]})["paid"] == pytest.approx(
        [np.nan, np.nan], nan_ok=True
    )


def test_a_stage_of_another_champion_is_told_without_facts() -> None:
    given = {"amount": np.array([0.5, np.nan]), "social": np.array([np.nan, 2.0])}
    first, second = reasons(table([{"paid": 9.0}, {"paid": 9.0}]), given, ENCODER, GROUPS)
    assert [reason.group for reason in first] == ["amount"]
    assert second == (StageReason(group="social", increment=2.0, facts=()),)


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        ("s", 30.0, "30 s"),
        ("s", 90.0, "1.5 min"),
        ("s", 7200.0, "2 h"),
        ("s", 129_600.0, "1.5 d"),
        ("share", 0.005, "0.5 %"),
        ("share", 1.0, "100 %"),
        ("share", 0.0, "0 %"),
        ("ratio", 12.345, "12.3"),
        ("ratio", 0.0000123, "0.0000123"),
        ("currency", 1234567.8, "1,234,568"),
        ("currency", 12.5, "12.5"),
        ("km", -3.0, "-3 km"),
        ("km/h", 812.3, "812 km/h"),
        ("", 7.0, "7"),
    ],
)
def test_a_value_is_said_with_its_unit(unit: str, value: float, text: str) -> None:
    assert in_words(fact("x", "x", "meaning", unit=unit), value) == f"meaning: {text}"


@pytest.mark.parametrize(
    ("feature", "value", "text"),
    [
        (fact("x", "x", "paid at night", kind="flag"), 1.0, "paid at night: yes"),
        (fact("x", "x", "paid at night", kind="flag"), 0.0, "paid at night: no"),
        (fact("x", "x", "channel", kind="category"), "pos", "channel: pos"),
    ],
    ids=["flag that holds", "flag that does not", "category"],
)
def test_flags_and_categories_are_said_in_words(feature: Feature, value: object, text: str) -> None:
    assert in_words(feature, value, typical=TypicalRange(low=0.0, high=0.2, own=True)) == text


@pytest.mark.parametrize(
    ("unit", "value", "span", "text"),
    [
        ("", 7.0, (0.0, 1.0), "7, usually 0 or 1"),
        ("", 7.0, (2.0, 9.0), "7, usually 2 to 9"),
        ("", 7.0, (0.0, 0.0), "7, usually 0"),
        ("", 7.0, (0.0, 1200.0), "7, usually 0 to 1,200"),
        ("", 1.5, (-0.5, 0.25), "1.5, usually -0.5 to 0.25"),
        ("s", 30.0, (7200.0, 18_000.0), "30 s, usually 2 to 5 h"),
        ("s", 30.0, (1800.0, 129_600.0), "30 s, usually 30 min to 1.5 d"),
        ("currency", 499.0, (12.0, 40.5), "499, usually 12 to 40.5"),
        ("share", 0.2, (0.05, 0.1), "20 %, usually 5 to 10 %"),
        ("km/h", 812.3, (3.0, 3.001), "812 km/h, usually 3 km/h"),
    ],
    ids=[
        "a count",
        "counts",
        "always none",
        "many",
        "no count",
        "hours",
        "two units",
        "money",
        "shares",
        "as good as equal",
    ],
)
def test_a_value_is_said_beside_the_accounts_usual(
    unit: str, value: float, span: tuple[float, float], text: str
) -> None:
    typical = TypicalRange(low=span[0], high=span[1], own=True)
    assert (
        in_words(fact("x", "x", "meaning", unit=unit), value, typical=typical) == f"meaning: {text}"
    )


def test_the_portfolios_usual_is_told_as_such() -> None:
    ranges = {"paid": TypicalRange(low=5.0, high=12.0, own=False)}
    ((reason,),) = reasons(
        table([{"paid": 99.0}]), {"amount": np.array([0.5])}, ENCODER, GROUPS, ranges=[ranges]
    )
    assert words(reason) == ["amount: 99, 5 to 12 in most payments"]
    assert reason.facts[0].unusual


def test_what_the_account_does_usually_is_not_unusual() -> None:
    """The amount of 99 is 2.3 spreads above the training's middle, and in the account's range."""
    ranges = {"paid": TypicalRange(low=80.0, high=120.0, own=True)}
    ((reason,),) = reasons(
        table([{"paid": 99.0}]), {"amount": np.array([0.5])}, ENCODER, GROUPS, ranges=[ranges]
    )
    assert [(fact.text, fact.unusual) for fact in reason.facts] == [
        ("amount: 99, usually 80 to 120", False)
    ]
