"""A classical champion: one stage, whose reasons are what each fact contributes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.export.export import export
from pipeline.export.scorer import Scorer
from pipeline.lake.snapshot import read_snapshot
from pipeline.models.one_stage import OneStage
from pipeline.registry.bundle import BundleError, read_bundle, write_bundle
from pipeline.registry.champion import Champion
from pipeline.train.report import Trained
from pipeline.train.train import train
from tests.small_world import AS_OF, BUILD_CONFIG, QUICK, Desk, World


@pytest.fixture(scope="module")
def trained(world: World) -> Trained:
    return train(
        world.portfolio,
        world.lake,
        as_of=AS_OF,
        build_config=BUILD_CONFIG,
        models=("layered", "mean", "xgboost"),
        champion="xgboost",
        config=QUICK,
    )


@pytest.fixture(scope="module")
def folder(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(trained.bundle, tmp_path_factory.mktemp("classical") / "bundle")


def test_its_bundle_says_what_the_model_says_and_holds_no_pickle(
    world: World, trained: Trained, folder: Path
) -> None:
    bundle = read_bundle(folder)
    assert isinstance(bundle.model, OneStage)
    assert bundle.model.stages == ("classical",)
    rows = read_snapshot(world.portfolio, world.lake).features(build_config=BUILD_CONFIG)
    logit = bundle.model.logit(rows)
    np.testing.assert_allclose(
        bundle.probability(logit), trained.candidates["xgboost"].probability(rows), atol=1e-6
    )
    np.testing.assert_allclose(
        bundle.model.base_logit + bundle.model.increments(rows).sum(axis=1), logit, atol=1e-9
    )
    assert {file.suffix for file in folder.iterdir()} <= {".json", ".ubj", ".md", ".safetensors"}
    assert "xgboost" in (folder / "card.md").read_text(encoding="utf-8")


def test_it_scores_raises_alerts_and_gives_its_reasons(
    world: World, folder: Path, tmp_path: Path
) -> None:
    desk = Desk.open(world, tmp_path / "desk")
    done = desk.score(champion=Champion(version="7", bundle=read_bundle(folder)))
    assert done.scored == world.unscored.num_rows
    scores = desk.scores
    np.testing.assert_allclose(
        scores["base"] + scores["stage_classical"], scores["logit"], atol=1e-5
    )
    (case, *_) = desk.cases
    (row, *_) = case.transactions
    (stage,) = row.stages
    assert (stage.group, len(stage.facts)) == ("classical", 4)
    assert sum(abs(fact.attribution or 0) for fact in stage.facts) > 0
    assert row.nearest, "confirmed cases stand beside it"


def test_it_is_exported_as_it_scores(world: World, trained: Trained, tmp_path: Path) -> None:
    rows = read_snapshot(world.portfolio, world.lake).features(build_config=BUILD_CONFIG)
    rows = rows.slice(0, 300)
    scorer = Scorer(export(trained.bundle, tmp_path / "exported"))
    np.testing.assert_allclose(
        scorer.score(rows.to_pydict()).logit, trained.bundle.model.logit(rows), atol=1e-5
    )


def test_the_gates_compare_it_with_the_others(trained: Trained) -> None:
    assert set(trained.over) == {"layered", "mean"}
    assert trained.over["layered"].difference == pytest.approx(
        trained.metrics["xgboost"].ap - trained.metrics["layered"].ap
    )
    assert trained.bundle.metrics["ap"] == pytest.approx(trained.metrics["xgboost"].ap)


def test_a_damaged_model_of_it_is_refused(folder: Path, tmp_path: Path, trained: Trained) -> None:
    copy = write_bundle(trained.bundle, tmp_path / "bundle")
    (copy / "xgboost.ubj").write_bytes(b"cut")
    with pytest.raises(BundleError, match=r"xgboost\.ubj of the bundle .* is missing or altered"):
        read_bundle(copy)


def test_another_portfolio_cannot_begin_with_it(world: World, trained: Trained) -> None:
    with pytest.raises(ValueError, match="of a classical model, which another portfolio cannot"):
        train(
            replace(world.portfolio, order=("amount", "retailer")),
            world.lake,
            as_of=AS_OF,
            build_config=BUILD_CONFIG,
            models=("layered",),
            config=QUICK,
            start=trained.bundle,
        )


def test_a_champion_that_does_not_compete_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="the champion 'forest' is not among the models layered"):
        train(
            world.portfolio,
            world.lake,
            as_of=AS_OF,
            build_config=BUILD_CONFIG,
            models=("layered",),
            champion="forest",
            config=QUICK,
        )
