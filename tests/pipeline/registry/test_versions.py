"""The registry as it is read: the same by us as by MLflow's client, wherever the home lies."""

from pathlib import Path
from socket import socket

import mlflow
import numpy as np
import pyarrow as pa
import pytest

from pipeline.failures import BrokenError
from pipeline.lake.snapshot import read_snapshot
from pipeline.registry import server
from pipeline.registry.champion import load_champion
from pipeline.registry.model_version import Version
from pipeline.registry.promotion import promote
from pipeline.registry.versions import Registry
from pipeline.train.recording import record
from tests.small_world import AS_OF, BUILD_CONFIG, World, trained_as


def test_a_sqlite_file_is_read_as_mlflow_reads_it(registry: Registry, world: World) -> None:
    """Written by MLflow's client, one figure no number: versions, aliases, tags and metrics."""
    record(registry, trained_as(world, "read"))
    promote(registry, "read")
    second = record(registry, trained_as(world, "read", ap=0.4))
    client = mlflow.MlflowClient(tracking_uri=registry.uri)
    client.log_metric(second.run_id, "odd", float("nan"))
    client.log_metric(second.run_id, "steps", 1.0, step=1)
    client.log_metric(second.run_id, "steps", 2.0, step=2)
    client.set_model_version_tag("strata-read", second.number, "note", "by hand")
    for alias in ("champion", "challenger"):
        ours, theirs = registry.version("read", alias), by_mlflow(registry.uri, "read", alias)
        assert ours is not None
        assert (ours.number, ours.run_id, ours.tags) == (
            theirs.number,
            theirs.run_id,
            theirs.tags,
        )
        np.testing.assert_equal(ours.metrics, theirs.metrics)
    promote(registry, "read")
    assert registry.predecessor("read") == by_mlflow(registry.uri, "read", number="1")
    client.delete_model_version("strata-read", "2")
    assert registry.version("read", "champion") is None


def by_mlflow(uri: str, portfolio: str, alias: str = "", number: str = "") -> Version:
    if number:
        return server.version_by_number(uri, portfolio, number)
    found = server.version_by_alias(uri, portfolio, alias)
    assert found is not None
    return found


def test_a_registry_that_is_not_there_has_no_version_and_none_is_made(tmp_path: Path) -> None:
    registry = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "mlflow-artifacts")
    assert registry.version("small", "champion") is None
    assert registry.predecessor("small") is None
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_gives_no_answer_is_said_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        registry = Registry(f"http://127.0.0.1:{unheard.getsockname()[1]}", Path("unused"))
        with pytest.raises(BrokenError, match=r"gives no answer within 5 s; start it, or"):
            registry.version("small", "champion")


def test_what_is_recorded_has_no_absolute_address(registry: Registry, world: World) -> None:
    run_id = record(registry, trained_as(world, "relative")).run_id
    client = mlflow.MlflowClient(tracking_uri=registry.uri)
    run = client.get_run(run_id)
    assert run.info.artifact_uri == f"artifacts/strata-relative/{run_id}/artifacts"
    places = [one.artifact_location for one in client.search_experiments()]
    assert all(place.startswith("artifacts/") for place in places), places


def test_the_champion_loads_where_mlflow_may_unpickle_nothing(
    registry: Registry, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    record(registry, trained_as(world, "safe"))
    promote(registry, "safe")
    features = world.trained.bundle
    loaded = load_champion(registry, "safe").bundle
    assert (loaded.feature_digest, loaded.calibration, loaded.policy) == (
        features.feature_digest,
        features.calibration,
        features.policy,
    )
    rows = later_features(world)
    np.testing.assert_allclose(
        loaded.increments(rows), world.trained.bundle.increments(rows), atol=1e-5
    )


def later_features(world: World) -> pa.Table:
    return read_snapshot(world.portfolio, world.lake).features(
        build_config=BUILD_CONFIG, since=AS_OF
    )
