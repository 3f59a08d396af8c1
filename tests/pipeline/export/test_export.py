"""An exported champion scores as its bundle does, without torch, xgboost, pandas or pyarrow."""

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import xgboost
from torch import nn

from features.declarations import Group
from features.encoder import Encoder
from pipeline.export.export import export
from pipeline.export.scorer import Scorer
from pipeline.export.torch_program import read_program, write_program
from pipeline.lake.snapshot import read_snapshot
from pipeline.models.baselines.boosting import XGBoost
from pipeline.models.baselines.registry import BASELINES
from pipeline.models.calibration import PlattScaling
from pipeline.models.layered.model import Layered
from pipeline.models.layered.network import LayeredNetwork
from pipeline.models.layered.stacking import Stacking
from pipeline.models.one_stage import OneStage
from pipeline.policy.selection import Policy
from pipeline.registry.bundle import Bundle
from pipeline.registry.changes import succeed
from pipeline.registry.versions import Registry
from pipeline.train.recording import record
from tests.command_line import run
from tests.small_network import COLUMNS, GROUPS, SMALL, layered, network, table, training_rows
from tests.small_world import AS_OF, BUILD_CONFIG, World, trained_as

ROW: dict[str, object] = {"paid": 12.5, "channel": "online", "far": 3.0, "country": "DE"}


def learned_rows() -> pa.Table:
    """Rows with gaps and a country too rare for the networks, which the boosting knows."""
    rows = training_rows().to_pandas()
    rows.loc[::7, "far"] = None
    rows.loc[::11, "channel"] = None
    rows.loc[:9, "country"] = "IS"
    return pa.Table.from_pandas(rows, schema=COLUMNS)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    rows = learned_rows()
    fraud = (rows["paid"].to_numpy() > 40) ^ (np.asarray(rows["country"]) == "IS")
    boosting = XGBoost().fit(rows.to_pandas(), fraud, np.arange(rows.num_rows).astype(str), seed=1)
    return Bundle(
        portfolio="world",
        model=replace(
            layered(networks=2),
            stacking=Stacking(model=boosting, weight=0.35, calibration=PlattScaling(a=1.2, b=0.4)),
        ),
        calibration=PlattScaling(a=0.9, b=-0.2),
        policy=Policy(capacity_per_day=7, cost=2.5, least_gain=1.25),
        feature_digest="0123456789abcdef",
        features={},
        ip_databases={},
        trained_as_of=datetime(2025, 2, 5, tzinfo=UTC),
        metrics={},
    )


@pytest.fixture(scope="module")
def folder(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(bundle, tmp_path_factory.mktemp("export") / "exported")


def fitted(rows: pa.Table, groups: tuple[Group, ...]) -> Layered:
    """A network that knows what these rows are like, its weights random."""
    encoder = Encoder.fit(rows, groups)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = LayeredNetwork(encoder, base_logit=-3.0, config=SMALL)
        for weights in made.parameters():
            nn.init.normal_(weights, std=0.3)
    return Layered(encoder=encoder, networks=(made.eval(),), shape=SMALL)


def assert_same(bundle: Bundle, scorer: Scorer, rows: pa.Table) -> None:
    """Score, logit and increments equal the bundle's own, in batch and for the first rows alone."""
    logit = bundle.model.logit(rows)
    found = scorer.score(rows.to_pydict())
    np.testing.assert_allclose(found.score, bundle.probability(logit), rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.logit, logit, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.increments, bundle.increments(rows), rtol=0, atol=1e-5)
    alone = [
        scorer.score(rows.slice(place, 1).to_pydict()).score[0]
        for place in range(min(20, rows.num_rows))
    ]
    np.testing.assert_allclose(alone, found.score[:20], rtol=0, atol=1e-5)


UNUSUAL = {
    "no numbers": [ROW | {"paid": None, "far": None}],
    "nothing known": [{}],
    "missing categories": [ROW | {"channel": None}, ROW | {"country": None}, {"paid": 3.0}],
    "unknown categories": [ROW | {"channel": "carrier pigeon", "country": "?"}, {"country": "?"}],
    "known to the boosting alone": [ROW | {"country": "IS"}],
    "extreme numbers": [
        ROW | {"paid": paid, "far": far}
        for paid in (-1e30, 0.0, 1e-300, 1e30)
        for far in (-5.0, 1e9)
    ],
}


def test_ordinary_rows_score_as_the_bundle_scores_them(bundle: Bundle, folder: Path) -> None:
    assert_same(bundle, Scorer(folder), learned_rows())


@pytest.mark.parametrize("rows", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_rows_score_as_the_bundle_scores_them(
    bundle: Bundle, folder: Path, rows: list[dict[str, object]]
) -> None:
    assert_same(bundle, Scorer(folder), table(rows))


def test_a_network_without_opinion_and_with_one_seed_is_exported_too(
    bundle: Bundle, tmp_path: Path
) -> None:
    lone = replace(bundle, model=layered(networks=1))
    scorer = Scorer(export(lone, tmp_path / "exported"))
    assert scorer.stages == ("amount", "place")
    assert_same(lone, scorer, training_rows())


def test_a_value_on_a_split_goes_the_way_that_xgboost_sends_it(
    bundle: Bundle, folder: Path, tmp_path: Path
) -> None:
    assert bundle.model.stacking is not None
    bundle.model.stacking.model.to_files(tmp_path)
    learner = json.loads(xgboost.Booster(model_file=tmp_path / "xgboost.ubj").save_raw("json"))[
        "learner"
    ]
    splits = {
        value
        for tree in learner["gradient_booster"]["model"]["trees"]
        for value, feature, left in zip(
            tree["split_conditions"], tree["split_indices"], tree["left_children"], strict=True
        )
        if left >= 0 and feature == 0  # the amount paid
    }
    assert splits
    assert_same(
        bundle,
        Scorer(folder),
        table([ROW | {"paid": float(np.float32(value))} for value in splits]),
    )


def test_a_stage_may_have_numbers_alone_or_categories_alone(bundle: Bundle, tmp_path: Path) -> None:
    amount, place = GROUPS
    groups = (
        replace(amount, features=amount.features[:1]),
        replace(place, features=place.features[1:]),
    )
    lone = replace(bundle, model=fitted(training_rows(), groups))
    assert_same(
        lone,
        Scorer(export(lone, tmp_path / "exported")),
        table([{}, ROW, {"paid": 3.0}, {"country": "DE"}]),
    )


def test_knots_close_to_one_another_round_as_torch_rounds_them(
    bundle: Bundle, tmp_path: Path
) -> None:
    """Amounts from 1,000 to 1,001: on the log scale knots are 1e-4 apart, slopes about 10,000."""
    rows = training_rows(2000)
    rows = rows.set_column(0, "paid", pa.array(1000 + np.random.default_rng(1).random(2000)))
    close = replace(bundle, model=fitted(rows, GROUPS))
    assert_same(close, Scorer(export(close, tmp_path / "exported")), rows)


def test_values_beyond_those_known_by_name_are_hashed_alike(bundle: Bundle, tmp_path: Path) -> None:
    """The networks know 1,200 countries by their hash, the boosting some of them by name."""
    rows = training_rows(2400)
    countries = pa.array([f"c{number % 1200}" for number in range(2400)])
    rows = rows.set_column(rows.column_names.index("country"), "country", countries)
    model = replace(fitted(rows, GROUPS), stacking=bundle.model.stacking)
    many = replace(bundle, model=model)
    asked = table([ROW | {"country": name} for name in ("c1", "c2", "DE", "IS", "never seen")])
    assert_same(many, Scorer(export(many, tmp_path / "exported")), asked)


def test_arrays_of_numpy_are_rows_too(folder: Path) -> None:
    given = {
        "paid": [3.0, None],
        "far": [1.0, 2.0],
        "channel": ["pos", None],
        "country": ["FR", "DE"],
    }
    arrays = {
        name: np.array(values, dtype=float if name in {"paid", "far"} else object)
        for name, values in given.items()
    }
    arrays["channel"][1] = float("nan")  # as pandas has missing texts
    np.testing.assert_array_equal(
        Scorer(folder).score(arrays).score, Scorer(folder).score(given).score
    )


def test_a_champion_of_the_simulated_world_scores_as_here(world: World, tmp_path: Path) -> None:
    bundle, snapshot = world.trained.bundle, read_snapshot(world.portfolio, world.lake)
    features = snapshot.features(build_config=BUILD_CONFIG, since=AS_OF)
    assert features.num_rows > 100
    assert bundle.model.stages[-1] == "classical"
    assert_same(bundle, Scorer(export(bundle, tmp_path / "exported")), features)


def test_what_the_stages_add_sums_up_to_the_score(folder: Path) -> None:
    facts = json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))
    found = Scorer(folder).score(training_rows(5).to_pydict())
    logit = facts["base_logit"] + found.increments.sum(axis=1)
    np.testing.assert_allclose(logit, found.logit, atol=1e-9)
    calibrated = facts["calibration"]["a"] * logit + facts["calibration"]["b"]
    np.testing.assert_allclose(1 / (1 + np.exp(-calibrated)), found.score, atol=1e-9)


def test_no_rows_have_no_scores(folder: Path) -> None:
    found = Scorer(folder).score({name: [] for name in ROW})
    assert (found.score.shape, found.increments.shape) == ((0,), (0, 3))


def test_more_rows_than_a_block_come_back_in_their_order(bundle: Bundle, folder: Path) -> None:
    rows = training_rows(1500, seed=3)
    np.testing.assert_allclose(
        Scorer(folder).score(rows.to_pydict()).logit, bundle.model.logit(rows), atol=1e-5
    )


ALONE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from scorer import Scorer
print(Scorer(sys.argv[1]).score(json.loads(sys.argv[2])).score[0])
print(json.dumps([name.split(".")[0] for name in sys.modules]))
"""


def test_a_process_without_our_libraries_scores_a_row(
    bundle: Bundle, folder: Path, tmp_path: Path
) -> None:
    row = json.dumps({name: [value] for name, value in ROW.items()})
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(folder), row],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    score, modules = done.stdout.splitlines()
    here = bundle.probability(bundle.model.logit(table([ROW])))[0]
    assert float(score) == pytest.approx(here, abs=1e-5)
    assert not {
        "torch",
        "classical",
        "pandas",
        "pyarrow",
        "sklearn",
        "onnx",
        "pipeline",
        "features",
    } & set(json.loads(modules))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"far": None}, r"the rows lack far; give every feature that preprocessing\.json names"),
        ({"far": [1.0, 2.0]}, r"paid has 1 rows and far 2; give each feature a value a row"),
        (
            {"far": ["near"]},
            r"far holds what is no number \(.*'near'\); give numbers, and None where missing",
        ),
        (
            {"far": [float("inf")]},
            r"far: infinite or beyond 3\.4e\+38; give None where it is missing",
        ),
        ({"far": [[1.0]]}, r"far holds 2 dimensions; give one value a row"),
        (
            {"country": [49]},
            r"country holds 49, which is no text; give texts, and None where missing",
        ),
    ],
    ids=["absent", "too long", "a text", "infinite", "a list in a list", "a number for a text"],
)
def test_a_row_that_cannot_be_scored_is_refused(
    folder: Path, change: dict[str, list[object] | None], sentence: str
) -> None:
    rows = {name: [value] for name, value in ROW.items()} | change
    with pytest.raises(ValueError, match=sentence):
        Scorer(folder).score({name: values for name, values in rows.items() if values is not None})


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_every_classical_model_is_exported_as_an_opinion_and_alone(
    bundle: Bundle, tmp_path: Path, name: str
) -> None:
    rows = learned_rows()
    fraud = rows["paid"].to_numpy() > 40
    accounts = np.arange(rows.num_rows).astype(str)
    model = BASELINES[name]().fit(rows.to_pandas(), fraud, accounts, seed=1)
    stacked = replace(layered(networks=1), stacking=Stacking(model=model, weight=0.6))
    alone = OneStage.of(model, rows, fraud, GROUPS)
    unusual = [row for some in UNUSUAL.values() for row in some]
    for kind, champion in (("stacked", stacked), ("alone", alone)):
        other = replace(bundle, model=champion)
        scorer = Scorer(export(other, tmp_path / kind))
        assert_same(other, scorer, rows.slice(0, 200))
        assert_same(other, scorer, table(unusual))


def test_the_command_says_what_is_missing_and_writes_to_a_new_folder_alone(
    world: World,
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, to = tmp_path / "portfolio.toml", tmp_path / "exported"
    text = world.portfolio.file.read_text(encoding="utf-8")
    file.write_text(
        text.replace(f'name = "{world.portfolio.name}"', 'name = "to-export"'), encoding="utf-8"
    )
    monkeypatch.setenv("STRATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.uri)
    monkeypatch.setattr(sys, "argv", ["strata", "export", str(file), "--to", str(to)])
    sentence = (
        "strata: portfolio to-export has no champion; run strata train and strata promote first\n"
    )
    assert run(capsys) == (2, "", sentence)
    succeed(registry, "to-export", record(registry, trained_as(world, "to-export")))
    printed = f"version 1 is in {to}; its scorer.py says how to score with it\n"
    assert run(capsys) == (0, printed, "")
    assert run(capsys) == (
        2,
        "",
        f"strata: {to} holds files already; name a new folder for the export\n",
    )


def test_a_program_of_torch_computes_what_its_network_does(tmp_path: Path) -> None:
    made = network(config=SMALL)
    write_program(made, tmp_path / "network.pt2")
    generator = torch.Generator().manual_seed(1)
    for rows in (1, 7):
        numbers, codes = (
            torch.randn(rows, 2, generator=generator),
            torch.randint(0, 4, (rows, 2), generator=generator),
        )
        missing = (torch.rand(rows, 2, generator=generator) < 0.3).float()
        with torch.inference_mode():
            expected = made(numbers, missing, codes)
        torch.testing.assert_close(
            read_program(tmp_path / "network.pt2")(numbers, missing, codes),
            expected,
            atol=1e-5,
            rtol=0,
        )


def test_a_program_of_torch_holds_no_pickle(tmp_path: Path) -> None:
    write_program(network(config=SMALL), tmp_path / "network.pt2")
    with zipfile.ZipFile(tmp_path / "network.pt2") as archive:
        for name in archive.namelist():
            start = archive.read(name)[:2]
            assert start != b"PK", f"{name} is an archive in the archive, as torch.save writes"
            assert start[:1] != b"\x80" or name.startswith("network/data/weights/"), (
                f"{name} starts as a pickle does"
            )
