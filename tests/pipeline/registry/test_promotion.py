"""Champion and challenger: registered when all is recorded, promoted on evidence, brought back on request."""

import json
import urllib.parse
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import pytest

from pipeline.export.scorer import Scorer
from pipeline.export.torch_program import read_program
from pipeline.lake.snapshot import read_snapshot
from pipeline.models.layered.training import increments_of
from pipeline.registry.promotion import Promotion, PromotionError, gates, promote, rollback
from pipeline.registry.versions import Registry, RegistryError, Version
from pipeline.train.recording import record
from tests.small_world import AS_OF, BUILD_CONFIG, World, trained_as

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
    decided, reasons = gates(Version(number="1", run_id="r", metrics=GOOD | figures))
    assert decided is allowed
    assert all(reason.startswith("yes: ") for reason in reasons) is allowed


def test_the_reasons_are_sentences_with_their_figures() -> None:
    figures = GOOD | over("logistic", 0.2, 0.1, 0.3) | over("xgboost", -0.2, -0.3, -0.1)
    assert gates(Version(number="1", run_id="r", metrics=figures))[1] == (
        "yes: its AP is 0.500, chance gives 0.0050",
        "yes: its AP minus logistic's is +0.200, 95 % interval +0.100 to +0.300, not wholly below -0.01",
        "no: its AP minus xgboost's is -0.200, 95 % interval -0.300 to -0.100, wholly below -0.01",
    )


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
    folder = Path(urllib.parse.urlparse(run.info.artifact_uri).path)
    pictures = {"comparison.svg", "depth.svg", "learning.svg", "responses.svg"}
    names = {
        "comparison.json",
        "comparison.html",
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
    folder = Path(
        mlflow.artifacts.download_artifacts(f"runs:/{run_id}/export", tracking_uri=registry.uri)
    )
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
    said = read_program(folder / "network-0.pt2")(rows.numbers, rows.missing, rows.codes)
    np.testing.assert_allclose(
        said.detach().numpy(), increments_of(model.networks[0], rows), atol=1e-5
    )


def test_promote_then_promote_then_roll_back(registry: Registry, world: World) -> None:
    first = record(registry, trained_as(world, "way"))
    assert promote(registry, "way").allowed
    assert registry.version("way", "champion") == first
    assert registry.version("way", "challenger") is None
    record(registry, trained_as(world, "way"))
    assert promote(registry, "way") == Promotion(
        version="2", allowed=True, reasons=promote_reasons()
    )
    back = rollback(registry, "way")
    assert (back.version, back.reasons) == ("1", ("version 2 is champion no more",))
    assert registry.champion("way").version == "1"
    with pytest.raises(
        PromotionError,
        match="the champion of portfolio way took over from nobody; there is nothing",
    ):
        rollback(registry, "way")


def promote_reasons() -> tuple[str, ...]:
    return (
        "yes: its AP is 0.500, chance gives 0.0050",
        "yes: its AP minus logistic's is +0.100, 95 % interval +0.050 to +0.150, not wholly below -0.01",
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
    assert registry.champion("refused").version == "1"


def test_a_promotion_killed_half_way_is_finished_by_the_next(
    registry: Registry, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the champion changed, before the challenger was dropped: it still took over from version 1."""
    record(registry, trained_as(world, "killed"))
    promote(registry, "killed")
    record(registry, trained_as(world, "killed"))

    def fail(*_: object) -> None:
        monkeypatch.undo()
        raise OSError("killed")

    monkeypatch.setattr(Registry, "drop_alias", fail)
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
        registry.champion("nobody")


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


def test_the_champion_loads_where_mlflow_may_unpickle_nothing(
    registry: Registry, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    record(registry, trained_as(world, "safe"))
    promote(registry, "safe")
    features = world.trained.bundle
    loaded = registry.champion("safe").bundle
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
