"""A training killed and begun again, or shared by two processes, gives what a whole one gives."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch

from features.encoder import Encoder
from pipeline.models.layered.network import NetworkConfig
from pipeline.models.layered.tensors import Tensors, increments_of
from pipeline.models.layered.training import (
    LayeredModule,
    Learned,
    TrainConfig,
    is_worth_processes,
    train_layered,
)
from tests.small_network import GROUPS, SMALL, training_rows

ROWS = 1500
CONFIG = TrainConfig(seeds=(1, 2), epochs=9, network=SMALL)
AN_EPOCH = ROWS // 256  # batches of an epoch with all accounts
ROOT = Path(__file__).parents[4]
KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.models.layered.training import LayeredModule
from tests.pipeline.models.layered.test_interrupted import CONFIG, run

step, left = LayeredModule.training_step, [int(sys.argv[2])]

def dying(module, batch, number):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(module, batch, number)

LayeredModule.training_step = dying
run(CONFIG, resume=Path(sys.argv[1]))
"""


def run(config: TrainConfig, *, resume: Path | None = None) -> list[Learned]:
    features = training_rows(ROWS, seed=3)
    encoder = Encoder.fit(features, GROUPS)
    return train_layered(
        encoder, encoder.encode(features), *labels(features), config=config, resume=resume
    )


def labels(features: pa.Table) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.str_]]:
    accounts = np.array(
        [f"a{number}" for number in np.random.default_rng(5).integers(300, size=features.num_rows)]
    )
    return np.log(features["paid"].to_numpy()) + features["far"].to_numpy() / 20 > 6, accounts


def said(found: list[Learned]) -> list[npt.NDArray[np.float64]]:
    features = training_rows(200, seed=4)
    rows = Tensors.of(
        Encoder.fit(training_rows(ROWS, seed=3), GROUPS).encode(features), torch.zeros(200)
    )
    return [increments_of(network, rows) for seed in found for network in seed.networks]


@pytest.fixture(scope="module")
def whole() -> list[Learned]:
    return run(CONFIG)


@pytest.fixture(scope="module")
def whole_steps(whole: list[Learned]) -> int:
    """Batches of all epochs: nine without who is held out and two with all, seed by seed."""
    return sum(9 * ((ROWS - len(seed.rows)) // 256) + 2 * AN_EPOCH for seed in whole)


@pytest.mark.parametrize(
    ("left", "checkpoints"),
    [(3 * AN_EPOCH, 3), (2, 4)],
    ids=["before all accounts", "on all accounts"],
)
def test_killed_in_the_second_seed_it_ends_as_if_it_had_not_been(
    whole: list[Learned],
    whole_steps: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    left: int,
    checkpoints: int,
) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(whole_steps - left)]
    killed = subprocess.run(command, check=False, cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("*.ckpt"))) == checkpoints, (
        "two a seed, the last behind its last whole epoch"
    )
    steps = count_steps(monkeypatch)
    found = run(CONFIG, resume=tmp_path)
    assert 0 < steps[0] < whole_steps / 2, "only what was missing is done"
    assert [seed.curve for seed in found] == [seed.curve for seed in whole]
    for ours, theirs in zip(said(found), said(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not list(tmp_path.iterdir()), "what is done needs no checkpoint"


def test_a_checkpoint_is_for_the_same_training_alone(
    whole_steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(monkeypatch, 6)
    with pytest.raises(InterruptedError):
        run(replace(CONFIG, seeds=(1,)), resume=tmp_path)
    monkeypatch.undo()
    steps = count_steps(monkeypatch)
    run(replace(CONFIG, seeds=(1,), weight_decay=0.1), resume=tmp_path)
    assert steps[0] > 0.45 * whole_steps, "all of one of the two seeds is done again"


def test_a_damaged_checkpoint_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(monkeypatch, 6)
    with pytest.raises(InterruptedError):
        run(replace(CONFIG, seeds=(1,)), resume=tmp_path)
    (checkpoint,) = tmp_path.iterdir()
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    monkeypatch.undo()
    found = run(replace(CONFIG, seeds=(1,)), resume=tmp_path)
    np.testing.assert_array_equal(said(found)[0], said(run(replace(CONFIG, seeds=(1,))))[0])


def test_seeds_side_by_side_learn_what_they_learn_one_after_the_other(
    whole: list[Learned], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.models.layered.training.SMALL", 1000)
    assert is_worth_processes(ROWS, CONFIG) or (os.cpu_count() or 1) == 1
    assert not is_worth_processes(ROWS, replace(CONFIG, seeds=(1,)))
    found = run(CONFIG)
    assert [seed.curve for seed in found] == [seed.curve for seed in whole]
    for ours, theirs in zip(said(found), said(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_two_processes_learn_what_one_does() -> None:
    """Without dropout, of which each process draws its own."""
    config = replace(
        CONFIG,
        seeds=(1,),
        epochs=2,
        network=NetworkConfig(width=16, head_width=8, dropout=0.0, group_dropout=0.0),
    )
    (one,), (both,) = run(config), run(replace(config, processes=2))
    np.testing.assert_allclose(said([both])[0], said([one])[0], atol=1e-5)
    np.testing.assert_allclose(both.curve.losses, one.curve.losses, rtol=1e-5)


def count_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    step, steps = LayeredModule.training_step, [0]

    def counting(module: LayeredModule, batch: Tensors, number: int) -> torch.Tensor:
        steps[0] += 1
        return step(module, batch, number)

    monkeypatch.setattr(LayeredModule, "training_step", counting)
    return steps


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    step, left = LayeredModule.training_step, [steps]

    def stopping(module: LayeredModule, batch: Tensors, number: int) -> torch.Tensor:
        left[0] -= 1
        if left[0] < 0:
            raise InterruptedError
        return step(module, batch, number)

    monkeypatch.setattr(LayeredModule, "training_step", stopping)
