"""Spark scores the lake's rows as this process does, from files alone, by the bundle meant."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from features.engines.protocol import EngineName
from features.engines.spark import Spark
from pipeline.lake.snapshot import read_snapshot
from pipeline.registry.bundle import BundleError, write_bundle
from pipeline.score.score import score
from pipeline.score.spark import _bundle, score_on_spark, score_table
from tests.demo_home import ROOT
from tests.old_home import unpack
from tests.small_world import AS_OF, BUILD_CONFIG, NOW, Desk, World
from tests.spark_here import local_spark, needs_spark


@pytest.fixture(scope="module")
def folder(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(world.trained.bundle, tmp_path_factory.mktemp("shipped") / "bundle")


@needs_spark
def test_scores_on_spark_are_those_of_this_process(
    world: World, folder: Path, tmp_path: Path
) -> None:
    snapshot = read_snapshot(world.portfolio, world.lake)
    with Spark(local_spark()) as engine:
        scores = score_on_spark(engine, snapshot, folder, build_config=BUILD_CONFIG, since=AS_OF)
        # one worker, as each takes seconds to import torch
        scores.coalesce(1).write.parquet(str(tmp_path / "scores"))
    found = pq.read_table(tmp_path / "scores")
    here = score_table(
        world.trained.bundle, snapshot.features(build_config=BUILD_CONFIG, since=AS_OF)
    )
    assert found.num_rows == world.unscored.num_rows > 100
    assert found.schema.remove_metadata() == here.schema
    pd.testing.assert_frame_equal(
        _by_name(found.to_pandas()), _by_name(here.to_pandas()), rtol=0, atol=1e-5
    )
    stages = [name for name in found.column_names if name.startswith("stage_")]
    summed = sum(found[name].to_numpy() for name in ["base", *stages])
    np.testing.assert_allclose(found["logit"].to_numpy(), summed, atol=1e-5)


@needs_spark
def test_a_run_on_spark_records_what_a_run_on_the_kernel_records(
    world: World, tmp_path: Path
) -> None:
    local_spark()
    stored = {}
    engines: tuple[EngineName, ...] = ("kernel", "spark")
    for engine in engines:
        desk = Desk.open(world, tmp_path / engine)
        done = score(
            world.portfolio,
            desk.lake,
            desk.casework,
            world.champion,
            build_config=replace(BUILD_CONFIG, engine=engine),
            now=NOW,
        )
        stored[engine] = done, desk.scores
    assert stored["spark"][0] == stored["kernel"][0]
    pd.testing.assert_frame_equal(stored["spark"][1], stored["kernel"][1], rtol=0, atol=1e-5)


def test_the_command_without_java_says_so(tmp_path: Path) -> None:
    home = unpack(tmp_path)
    shutil.rmtree(home.home / "lake" / "world" / "scores")
    words = [sys.executable, str(ROOT / "strata.py"), "score", "--adopt"]
    done = subprocess.run(
        [*words, str(home.portfolio), "--engine", "spark"],
        env={**home.environment, "PATH": "", "JAVA_HOME": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert re.fullmatch(r"strata: .*Spark .*(Java 17|pip install).*", done.stderr.splitlines()[-1])


def test_a_bundle_of_other_features_is_refused(world: World, tmp_path: Path) -> None:
    other = write_bundle(
        replace(world.trained.bundle, feature_digest="another"), tmp_path / "bundle"
    )
    with pytest.raises(BundleError, match="was trained on features another, this code builds"):
        score_on_spark(
            Spark(), read_snapshot(world.portfolio, world.lake), other, build_config=BUILD_CONFIG
        )


def test_a_worker_that_sees_another_bundle_refuses_it(folder: Path) -> None:
    with pytest.raises(
        BundleError,
        match=r"a worker sees another bundle under .*; put it where all of Spark's machines see",
    ):
        _bundle(folder, "the fingerprint of another")


def _by_name(scores: pd.DataFrame) -> pd.DataFrame:
    return scores.sort_values("transaction_id", ignore_index=True)
