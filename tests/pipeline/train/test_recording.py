"""What a training leaves in MLflow: its run with all that was compared, and a challenger."""

import json

import mlflow
import numpy as np
import pytest

from pipeline.export.scorer import Scorer
from pipeline.export.torch_program import read_program
from pipeline.lake.snapshot import read_snapshot
from pipeline.models.layered.tensors import increments_of
from pipeline.registry.model_version import model_name
from pipeline.registry.versions import Registry
from pipeline.train.recording import record
from tests.small_world import AS_OF, BUILD_CONFIG, World, trained_as


def test_a_recorded_training_is_the_challenger_with_its_figures(
    registry: Registry, world: World
) -> None:
    version = record(registry, trained_as(world, "recorded", ap=0.42))
    assert registry.version("recorded", "challenger") == version
    assert registry.version("recorded", "champion") is None
    assert (version.number, version.metrics["ap"], version.metrics["ap_over_logistic_high"]) == (
        "1",
        0.42,
        0.15,
    )
    assert record(registry, trained_as(world, "recorded")).number == "2"


def test_the_run_holds_the_comparison_the_pictures_and_the_models(
    registry: Registry, world: World
) -> None:
    run_id = record(registry, trained_as(world, "pictured")).run_id
    client = mlflow.MlflowClient(tracking_uri=registry.uri)
    run = client.get_run(run_id)
    folder = registry.folder_of(run.info.artifact_uri)
    assert client.get_experiment(run.info.experiment_id).tags["mlflow.experimentKind"] == (
        "custom_model_development"
    )
    pictures = {
        "comparison.svg",
        "depth.svg",
        "history.svg",
        "learning.svg",
        "partial_dependence.svg",
    }
    names = {
        "comparison.json",
        "comparison.html",
        "data_report.txt",
        "stage_reliability.json",
        "activations.json",
        "bundle",
        "export",
        *pictures,
    }
    assert {file.name for file in folder.iterdir()} == names
    assert {row[0] for row in json.loads((folder / "comparison.json").read_text())["data"]} == {
        "layered",
        "logistic",
    }
    assert all(
        (folder / name).read_text().rstrip().endswith("</svg>")
        for name in names
        if name.endswith(".svg")
    )
    below = client.search_runs(
        [run.info.experiment_id], filter_string=f"tags.mlflow.parentRunId = '{run_id}'"
    )
    assert {one.info.run_name for one in below} == {"layered", "logistic"}
    assert run.data.params["train_rows"] == str(world.trained.train_rows)
    assert run.info.status == "FINISHED"


def test_the_learning_curves_have_a_step_an_epoch(registry: Registry, world: World) -> None:
    run_id = record(registry, trained_as(world, "curves")).run_id
    client = mlflow.MlflowClient(tracking_uri=registry.uri)
    of_run = f"tags.mlflow.parentRunId = '{run_id}' and attributes.run_name = 'layered'"
    (layered,) = client.search_runs(
        [client.get_run(run_id).info.experiment_id], filter_string=of_run
    )
    (curve,) = world.trained.candidates["layered"].layered.curves
    for name, values in (("loss", curve.losses), ("held_out_ap", curve.precisions)):
        kept = client.get_metric_history(layered.info.run_id, f"{name}_seed_{curve.seed}")
        assert [(point.step, point.value) for point in kept] == [
            (step + 1, value) for step, value in enumerate(values)
        ]


def test_what_is_recorded_scores_without_unpickling_and_without_this_code(
    registry: Registry, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    run_id = record(registry, trained_as(world, "exported")).run_id
    run = mlflow.MlflowClient(tracking_uri=registry.uri).get_run(run_id)
    folder = registry.folder_of(run.info.artifact_uri) / "export"
    features = (
        read_snapshot(world.portfolio, world.lake)
        .features(build_config=BUILD_CONFIG, since=AS_OF)
        .slice(0, 50)
    )
    model = world.trained.bundle.model
    np.testing.assert_allclose(
        Scorer(folder).score(features.to_pydict()).logit, model.logit(features), atol=1e-5
    )
    rows = model.tensors(features)
    increments = read_program(folder / "network-0.pt2")(rows.numbers, rows.missing, rows.codes)
    np.testing.assert_allclose(
        increments.detach().numpy(), increments_of(model.networks[0], rows), atol=1e-5
    )


def test_the_run_says_which_rows_of_which_version_were_learned_from(
    registry: Registry, world: World
) -> None:
    version = record(registry, trained_as(world, "sourced"))
    client = mlflow.MlflowClient(tracking_uri=registry.uri)
    used = client.get_run(version.run_id).inputs.dataset_inputs
    found = {one.tags[0].value: one.dataset for one in used}
    assert set(found) == {"training", "testing"}
    for purpose, known in zip(found, world.trained.data_used, strict=True):
        source = json.loads(found[purpose].source)
        assert found[purpose].digest == known.digest
        assert source["delta_table_version"] == world.lake.version("transactions")
        assert source["path"].endswith("/transactions")
    assert found["training"].digest != found["testing"].digest


def test_a_version_says_in_a_sentence_what_it_is(registry: Registry, world: World) -> None:
    version = record(registry, trained_as(world, "described"))
    client = mlflow.MlflowClient(tracking_uri=registry.uri)
    told = client.get_model_version(model_name("described"), version.number).description
    assert told.startswith(f"{world.trained.recommendation.model}, recommended: ")
    assert f"AP {world.trained.metrics[world.trained.recommendation.model].ap:.3f}" in told


@pytest.mark.parametrize("step", ["log_artifacts", "log_table", "log_metrics"])
def test_nothing_is_registered_when_recording_fails_half_way(
    registry: Registry, world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left")

    name = f"failed-{step.replace('_', '-')}"
    monkeypatch.setattr(mlflow, step, fail)
    with pytest.raises(OSError, match="no space left"):
        record(registry, trained_as(world, name))
    monkeypatch.undo()
    assert registry.version(name, "challenger") is None
    assert mlflow.active_run() is None
    assert record(registry, trained_as(world, name)).number == "1"
