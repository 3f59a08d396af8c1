"""Settings come from the environment passed in; what is not set lies under STRATA_HOME."""

import os
from pathlib import Path
from urllib.parse import quote

import pytest

from features.ip.addresses import packaged_database
from pipeline.ingest.ingest import ingest
from pipeline.lake.tables import Lake
from pipeline.settings import Settings
from pipeline.workspace import Workspace
from tests.features.mmdb import write_database
from tests.ingest_examples import NOW, portfolio_of, row, write_rows


def test_everything_lies_under_home_by_default(tmp_path: Path) -> None:
    settings = Settings.read({"STRATA_HOME": str(tmp_path)})
    assert settings.lake_url == str(tmp_path / "lake")
    assert settings.database_url == f"sqlite:///{tmp_path}/casework.db"
    assert settings.mlflow_tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert settings.ip_databases == (packaged_database(),)


def test_without_a_home_it_is_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.read({}).home == Settings.read({"STRATA_HOME": ""}).home == tmp_path / ".strata"


def test_each_address_can_be_set_alone(tmp_path: Path) -> None:
    settings = Settings.read(
        {
            "STRATA_LAKE_URL": "s3://bank/lake",
            "STRATA_DATABASE_URL": "postgresql://host/db",
            "MLFLOW_TRACKING_URI": "http://host:5000",
        }
    )
    assert (settings.lake_url, settings.database_url) == ("s3://bank/lake", "postgresql://host/db")
    assert (settings.mlflow_tracking_uri, settings.home) == (
        "http://host:5000",
        Path(".strata").absolute(),
    )


def test_several_ip_databases_are_asked_in_their_order(tmp_path: Path) -> None:
    files = [
        write_database(tmp_path / f"{name}.mmdb", "Places", {"8.8.8.0/24": {"country": "US"}})
        for name in ("first", "second")
    ]
    assert Settings.read(
        {"STRATA_IP_DATABASE": os.pathsep.join(map(str, files))}
    ).ip_databases == tuple(files)


def test_an_ip_database_that_cannot_serve_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"database /nowhere\.mmdb is no file; name an \.mmdb file, or unset STRATA_IP_",
    ):
        Settings.read({"STRATA_IP_DATABASE": "/nowhere.mmdb"})
    wines = write_database(tmp_path / "wines.mmdb", "Wines", {"8.8.8.0/24": {"grape": "Riesling"}})
    with pytest.raises(ValueError, match=r"wines\.mmdb is of the kind 'Wines' and tells nothing"):
        Settings.read(
            {"STRATA_IP_DATABASE": os.pathsep.join(map(str, (packaged_database(), wines)))}
        )


def test_reading_makes_nothing(tmp_path: Path) -> None:
    Settings.read({"STRATA_HOME": str(tmp_path / "home")})
    assert list(tmp_path.iterdir()) == []


def test_the_engine_that_builds_features_is_named() -> None:
    assert Settings.read({}).build_config.engine == "kernel"
    assert Settings.read({"STRATA_ENGINE": "spark"}).build_config.engine == "spark"
    for other in ("sparc", "duckdb"):
        with pytest.raises(
            ValueError, match=f"STRATA_ENGINE is '{other}'; set it to kernel or spark, or unset it"
        ):
            Settings.read({"STRATA_ENGINE": other})


def test_the_lake_of_a_file_address_is_the_folder_it_names(tmp_path: Path) -> None:
    folder = tmp_path / "a lake"
    for address in (folder.as_uri(), f"file://localhost{quote(str(folder))}", str(folder)):
        settings = Settings.read({"STRATA_HOME": str(tmp_path), "STRATA_LAKE_URL": address})
        assert settings.lake_url == str(folder)
    described = portfolio_of(tmp_path)
    write_rows(described, [row("one")])
    ingest(described, Lake(settings.lake_url, described.name), now=NOW)
    assert Workspace(settings=settings).portfolios == [described.name]


@pytest.mark.parametrize("address", ["file://server/lake", "file:lake"])
def test_a_file_address_that_names_no_folder_here_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=f"URL is '{address}', no folder of this machine; write"):
        Settings.read({"STRATA_LAKE_URL": address})
