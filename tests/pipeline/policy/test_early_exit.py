"""Early exit: the bound holds for calibrated probabilities, and its breach is seen."""

import numpy as np
import pytest
from scipy.special import expit

from pipeline.arrays import FloatArray
from pipeline.models.calibration import PlattScaling
from pipeline.policy.early_exit import bound_violations, exits, stage_probabilities

STAGES = ("amount", "ip", "retailer")
PRICES = {"ip": 0.01, "retailer": 0.1}


def believed(rows: int = 50_000, *, seed: int = 0) -> FloatArray:
    """Probabilities after each of three independent signals, by their known likelihood ratios."""
    random = np.random.default_rng(seed)
    fraud = random.random(rows) < 0.02
    signals = random.normal(fraud[:, None] * 1.5, 1.0, (rows, 3))
    weights = 1.5 * signals - 1.5**2 / 2  # of normal signals whose means are 1.5 apart
    return expit(np.log(0.02 / 0.98) + weights.cumsum(axis=1))


def test_the_bound_holds_where_every_stage_can_be_believed() -> None:
    p = believed()
    assert bound_violations(p, STAGES, thresholds=(0.1, 0.3, 0.5)).empty
    table = exits(p, STAGES, threshold=0.3, miss=0.05, prices=PRICES)
    assert (table["missed"] <= table["bound"]).all()
    assert (table["missed"][:2] > 0).all()


def test_a_stage_that_says_too_little_is_seen_to_break_the_bound() -> None:
    p = believed()
    p[:, 1] /= 20
    broken = bound_violations(p, STAGES, thresholds=(0.3,))
    assert set(broken["stage"]) == {"ip"}
    assert (broken["share"] > broken["bound"]).all()


def test_what_passes_early_saves_the_look_ups_behind_it() -> None:
    p = np.array([[0.001, 0.9, 0.9], [0.2, 0.001, 0.2], [0.2, 0.3, 0.4]])
    table = exits(p, STAGES, threshold=0.5, miss=0.01, prices=PRICES).set_index("stage")
    assert table["passed"].tolist() == [1, 1, 0]
    assert table["missed"].tolist() == [1, 0, 0]
    assert table["saved"].tolist() == pytest.approx([0.11, 0.1, 0.0])


def test_probabilities_after_the_stages_are_calibrated() -> None:
    p = stage_probabilities(-1.0, np.array([[0.5, -0.5]]), PlattScaling(a=2.0, b=1.0))
    np.testing.assert_allclose(p, expit([[0.0, -1.0]]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 0.0}, "the threshold is 0.0; give a number above 0, of 1 at most"),
        ({"miss": 1.5}, "the share that may be missed is 1.5; give a number above 0, of 1 at most"),
        (
            {"prices": {"moon": 1.0}},
            "there is a price of 'moon', which is no stage; choose from amount, ip, retailer",
        ),
        ({"prices": {"ip": -1.0}}, "the price of ip is -1.0; give a finite number of 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        exits(believed(10), STAGES, **{"threshold": 0.5, "miss": 0.1, "prices": PRICES} | settings)  # type: ignore[arg-type]
