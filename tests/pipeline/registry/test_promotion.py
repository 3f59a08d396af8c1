"""Champion and challenger: promoted on evidence, brought back on request."""

import pytest

from pipeline.registry import promotion
from pipeline.registry.champion import RegistryError, load_champion
from pipeline.registry.model_version import Version
from pipeline.registry.promotion import (
    NON_INFERIORITY_MARGIN,
    PromotionError,
    Rollback,
    gates,
    promote,
    rollback,
)
from pipeline.registry.versions import Registry
from pipeline.train.recording import record
from tests.small_world import World, trained_as

GOOD = {"ap": 0.5, "base_rate": 0.005, "ap_over_chance": 100.0, "stage_ap_amount": 0.2}


def over(name: str, difference: float, low: float, high: float) -> dict[str, float]:
    return {f"ap_over_{name}": difference, f"ap_over_{name}_low": low, f"ap_over_{name}_high": high}


@pytest.mark.parametrize(
    ("figures", "allowed"),
    [
        ({}, True),
        ({"ap": 0.005}, False),
        ({"ap": 0.0051}, True),
        (over("xgboost", 0.02, 0.01, 0.03), True),
        (over("xgboost", -0.05, -0.12, 0.01), True),
        (over("xgboost", -0.008, -0.0099, -0.006), True),
        (over("xgboost", -0.02, -0.04, -0.01), True),
        (over("xgboost", -0.02, -0.03, -0.0101), False),
        (over("logistic", 0.2, 0.1, 0.3) | over("xgboost", -0.2, -0.3, -0.1), False),
    ],
    ids=[
        "better than chance, nothing to compare with",
        "no better than chance",
        "just better than chance",
        "shown better",
        "worse, but not shown",
        "shown worse by less than is tolerated",
        "the interval ends on the bound",
        "shown worse",
        "better than one, shown worse than another",
    ],
)
def test_a_challenger_is_refused_only_on_evidence(figures: dict[str, float], allowed: bool) -> None:
    found = gates(Version(number="1", run_id="r", metrics=GOOD | figures))
    assert all(gate.passed for gate in found) is allowed
    assert all(gate.sentence.startswith("yes: ") for gate in found) is allowed


def test_the_reasons_are_sentences_with_their_figures() -> None:
    figures = GOOD | over("logistic", 0.2, 0.1, 0.3) | over("xgboost", -0.2, -0.3, -0.1)
    found = gates(Version(number="1", run_id="r", metrics=figures))
    assert [(gate.name, gate.value, gate.bound) for gate in found] == [
        ("chance", 0.5, 0.005),
        ("logistic", 0.3, NON_INFERIORITY_MARGIN),
        ("xgboost", -0.1, NON_INFERIORITY_MARGIN),
    ]
    assert tuple(gate.sentence for gate in found) == (
        "yes: its AP is 0.500, chance gives 0.0050",
        "yes: its AP minus logistic's is +0.200, 95 % interval +0.100 to +0.300, "
        "not wholly below -0.01",
        "no: its AP minus xgboost's is -0.200, 95 % interval -0.300 to -0.100, wholly below -0.01",
    )


def test_promote_then_promote_then_roll_back(registry: Registry, world: World) -> None:
    first = record(registry, trained_as(world, "way"))
    assert promote(registry, "way").allowed
    assert registry.version("way", "champion") == first
    assert registry.version("way", "challenger") is None
    record(registry, trained_as(world, "way"))
    second = promote(registry, "way")
    assert (second.version, second.allowed, second.reasons) == ("2", True, promote_reasons())
    assert rollback(registry, "way") == Rollback(version="1", replaced="2")
    assert load_champion(registry, "way").version == "1"
    with pytest.raises(
        PromotionError,
        match="the champion of portfolio way took over from nobody; there is nothing",
    ):
        rollback(registry, "way")


def promote_reasons() -> tuple[str, ...]:
    return (
        "yes: its AP is 0.500, chance gives 0.0050",
        "yes: its AP minus logistic's is +0.100, 95 % interval +0.050 to +0.150, "
        "not wholly below -0.01",
    )


def test_a_refused_challenger_stays_challenger(registry: Registry, world: World) -> None:
    record(registry, trained_as(world, "refused"))
    promote(registry, "refused")
    worse = record(registry, trained_as(world, "refused", ap=0.001))
    refused = promote(registry, "refused")
    assert (refused.allowed, refused.reasons[0]) == (
        False,
        "no: its AP is 0.001, chance gives 0.0050",
    )
    assert registry.version("refused", "challenger") == worse
    assert load_champion(registry, "refused").version == "1"


def test_a_promotion_killed_half_way_is_finished_by_the_next(
    registry: Registry, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the champion changed, before the challenger was dropped.

    It still took over from version 1.
    """
    record(registry, trained_as(world, "killed"))
    promote(registry, "killed")
    record(registry, trained_as(world, "killed"))

    def fail(*_: object) -> None:
        monkeypatch.undo()
        raise OSError("killed")

    monkeypatch.setattr(promotion, "drop_alias", fail)
    with pytest.raises(OSError, match="killed"):
        promote(registry, "killed")
    assert promote(registry, "killed").version == "2"
    assert rollback(registry, "killed").version == "1"


def test_without_a_challenger_nothing_is_promoted(registry: Registry) -> None:
    with pytest.raises(
        PromotionError, match="portfolio nobody has no challenger; run strata train first"
    ):
        promote(registry, "nobody")
    with pytest.raises(PromotionError, match="took over from nobody"):
        rollback(registry, "nobody")
    with pytest.raises(
        RegistryError,
        match="portfolio nobody has no champion; run strata train and strata promote first",
    ):
        load_champion(registry, "nobody")
