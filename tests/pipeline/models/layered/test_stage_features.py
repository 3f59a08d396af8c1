"""States of the network as features: they fit scikit-learn, and carry what the heads read."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from features.encoder import EncodeError
from pipeline.models.layered.stage_features import StageFeatures
from tests.small_network import SMALL, layered, training_rows

ROWS = training_rows(60, seed=5)


def test_the_heads_increment_can_be_read_off_the_states() -> None:
    model = layered(networks=2)
    states = StageFeatures(model).fit_transform(ROWS)
    assert states.shape == (60, 2 * SMALL.width)
    with torch.inference_mode():
        told = [
            head(torch.from_numpy(states[:, seed * SMALL.width : (seed + 1) * SMALL.width])).numpy()
            for seed, head in enumerate(one.heads[-1] for one in model.networks)
        ]
    np.testing.assert_allclose(np.mean(told, axis=0), model.increments(ROWS)[:, -1], atol=1e-5)


def test_an_earlier_stage_does_not_know_later_groups() -> None:
    later = ROWS.set_column(ROWS.schema.get_field_index("far"), "far", [np.zeros(60)])
    early, last = (StageFeatures(layered(), stage) for stage in ("amount", None))
    assert (early.transform(later) == early.transform(ROWS)).all()
    assert (last.transform(later) != last.transform(ROWS)).any()


def test_it_stands_in_a_pipeline_is_cloned_and_names_its_columns() -> None:
    y = np.asarray(ROWS["paid"].to_numpy() > 20)
    frame = ROWS.to_pandas()
    steps = make_pipeline(
        StageFeatures(layered(networks=1), stage="place"), StandardScaler(), LogisticRegression()
    )
    assert clone(steps).fit(frame, y).predict_proba(frame).shape == (60, 2)
    named = (
        StageFeatures(layered(networks=1), stage="place")
        .set_output(transform="pandas")
        .fit_transform(frame)
    )
    assert isinstance(named, pd.DataFrame)
    assert list(named.columns[:2]) == ["place_0_0", "place_0_1"]


def test_an_unknown_stage_and_absent_features_are_refused() -> None:
    with pytest.raises(
        ValueError, match="the network has no stage 'moon'; choose from amount, place"
    ):
        StageFeatures(layered(), stage="moon").fit(ROWS)
    with pytest.raises(EncodeError, match="the features lack far"):
        StageFeatures(layered()).fit(ROWS.drop_columns(["far"]))
