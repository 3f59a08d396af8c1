"""The layered network as one model: what is written is what is read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from pipeline.models.baselines.boosting import XGBoost
from pipeline.models.calibration import PlattScaling
from pipeline.models.layered.model import Layered
from pipeline.models.layered.stacking import Stacking, fit_stacking, fit_stage_weights
from tests.small_network import layered, training_rows

FEW = settings(deadline=None, max_examples=20)


def test_what_is_read_scores_as_what_was_written(tmp_path: Path) -> None:
    model, rows = layered(networks=2), training_rows()
    model.to_files(tmp_path)
    read = Layered.from_files(tmp_path)
    np.testing.assert_allclose(read.logit(rows), model.logit(rows), atol=1e-5)
    assert read.base_logit == model.base_logit == pytest.approx(-5.5)  # the mean of -5 and -6
    assert (read.stages, read.shape, read.encoder) == (model.stages, model.shape, model.encoder)


def test_one_file_of_weights_for_each_seed(tmp_path: Path) -> None:
    layered(networks=3).to_files(tmp_path)
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {
        "encoder.json",
        "network.json",
        *(f"network-{number}.safetensors" for number in range(3)),
    }


def with_stacking(*, weight: float) -> Layered:
    rows = training_rows()
    y, accounts = rows["paid"].to_numpy() > 60, np.arange(rows.num_rows).astype(str)
    boosting = XGBoost().fit(rows.to_pandas(), y, accounts, seed=1)
    return replace(
        layered(),
        stacking=Stacking(model=boosting, weight=weight, calibration=PlattScaling(a=1.5, b=-0.5)),
    )


def test_the_classical_opinion_is_a_stage_that_adds_up(tmp_path: Path) -> None:
    model, rows = with_stacking(weight=0.25), training_rows()
    assert model.stages == (*layered().stages, "classical")
    assert model.stacking is not None
    network, classical = layered().logit(rows), model.stacking.model.logit(rows.to_pandas())
    np.testing.assert_allclose(
        model.logit(rows), 1.5 * (0.75 * network + 0.25 * classical) - 0.5, atol=1e-5
    )
    np.testing.assert_array_equal(model.increments(rows)[:, :-1], layered().increments(rows))
    np.testing.assert_allclose(
        model.base_logit + model.increments(rows).sum(axis=1), model.logit(rows), atol=1e-5
    )
    model.to_files(tmp_path)
    np.testing.assert_allclose(
        Layered.from_files(tmp_path).logit(rows), model.logit(rows), atol=1e-5
    )


@pytest.mark.parametrize(("right", "weight"), [("classical", 1.0), ("network", 0.0)])
def test_the_model_that_is_right_is_trusted(right: str, weight: float) -> None:
    random = np.random.default_rng(0)
    truth = random.normal(-2, 2, 4000)
    y = random.random(4000) < 1 / (1 + np.exp(-truth))
    says = {"classical": random.normal(-2, 2, 4000), "network": random.normal(-2, 2, 4000)} | {
        right: truth
    }
    learned = fit_stacking(XGBoost(), network=says["network"], classical=says["classical"], y=y)
    assert learned.weight == pytest.approx(weight, abs=0.1)


def test_few_rows_leave_the_weight_at_a_half() -> None:
    random = np.random.default_rng(0)
    y = np.arange(40) < 4
    network, classical = random.normal(-3, 1, (2, 40))
    learned = fit_stacking(XGBoost(), network=network, classical=classical, y=y)
    assert learned.weight == pytest.approx(0.5, abs=0.15)


@FEW
@given(seed=st.integers(0, 1000))
def test_weighted_stages_add_up_and_are_what_a_network_does(seed: int) -> None:
    model, rows, random = layered(networks=1), training_rows(), np.random.default_rng(seed)
    weights, shift = random.uniform(0, 1.5, 2), float(random.normal())
    before, base = model.increments(rows), model.base_logit
    model.networks[0].weigh(weights.tolist(), shift)
    np.testing.assert_allclose(model.increments(rows), before * weights, atol=1e-4)
    assert model.base_logit == pytest.approx(base + shift, abs=1e-5)


def test_a_stage_is_weighted_by_what_it_is_worth() -> None:
    """The first is right, the second says the opposite of what is, the third nothing."""
    random = np.random.default_rng(0)
    parts = random.normal(0, 1.5, (6000, 3))
    y = random.random(6000) < expit(-2 + parts[:, 0] - 0.5 * parts[:, 1])
    found = fit_stage_weights(np.full(6000, -3.0), parts, y)
    assert found.weights == pytest.approx([1, 0, 0], abs=0.12)
    few = fit_stage_weights(np.full(20, -3.0), parts[:20], y[:20])
    assert found.shift == pytest.approx(1, abs=0.2)
    assert np.abs(few.weights - 1).max() < 0.3


@pytest.mark.parametrize("network_off", [-2.0, 0.0, 2.0])
def test_the_opinion_gives_out_as_many_frauds_as_there_are(network_off: float) -> None:
    random = np.random.default_rng(1)
    truth = random.normal(-2, 2, 4000)
    y = random.random(4000) < expit(truth)
    network, classical = 2 * truth + network_off, truth + random.normal(0, 1, 4000)
    learned = fit_stacking(XGBoost(), network=network, classical=classical, y=y)
    assert expit(learned.blend(network, classical)).sum() == pytest.approx(y.sum(), rel=0.01)
