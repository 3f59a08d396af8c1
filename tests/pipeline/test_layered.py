"""The layered network as one model: what is written is what is read."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.layered import Layered
from tests.small_network import layered, training_rows


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
    assert names == {"encoder.json", "network.json", *(f"network-{number}.safetensors" for number in range(3))}
