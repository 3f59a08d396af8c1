"""What the tests of training and scoring share: one small world, trained once a session."""

import pytest

from pipeline.registry.versions import Registry
from pipeline.train.train import train
from tests.small_world import AS_OF, BUILD_CONFIG, MODELS, QUICK, World, simulated


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    portfolio, lake = simulated(folder)
    trained = train(
        portfolio,
        lake,
        as_of=AS_OF,
        build_config=BUILD_CONFIG,
        models=MODELS,
        champion="layered",
        config=QUICK,
    )
    return World(folder=folder, portfolio=portfolio, lake=lake, trained=trained)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """One registry for all tests, as making one takes seconds.

    Each test has a portfolio of its own.
    """
    folder = tmp_path_factory.mktemp("mlflow")
    return Registry(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts")
