"""Settings come from the environment that is passed in, and lie under STRATA_HOME where they are not set."""

from pathlib import Path

import pytest

from pipeline.settings import Settings


def test_everything_lies_under_home_by_default(tmp_path: Path) -> None:
    settings = Settings.read({"STRATA_HOME": str(tmp_path)})
    assert settings.lake_url == str(tmp_path / "lake")
    assert settings.database_url == f"sqlite:///{tmp_path}/casework.db"
    assert settings.mlflow_tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert settings.ip_database.is_file()


def test_without_a_home_it_is_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.read({}).home == Settings.read({"STRATA_HOME": ""}).home == tmp_path / ".strata"


def test_each_address_can_be_set_alone(tmp_path: Path) -> None:
    (tmp_path / "ip.mmdb").touch()
    settings = Settings.read(
        {
            "STRATA_LAKE_URL": "s3://bank/lake",
            "STRATA_DATABASE_URL": "postgresql://host/db",
            "MLFLOW_TRACKING_URI": "http://host:5000",
            "STRATA_IP_DATABASE": str(tmp_path / "ip.mmdb"),
        }
    )
    assert (settings.lake_url, settings.database_url) == ("s3://bank/lake", "postgresql://host/db")
    assert (settings.mlflow_tracking_uri, settings.ip_database) == ("http://host:5000", tmp_path / "ip.mmdb")


def test_an_ip_database_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"STRATA_IP_DATABASE is /nowhere\.mmdb, where no file is; name an \.mmdb file or unset it"
    ):
        Settings.read({"STRATA_IP_DATABASE": "/nowhere.mmdb"})


def test_reading_makes_nothing(tmp_path: Path) -> None:
    Settings.read({"STRATA_HOME": str(tmp_path / "home")})
    assert list(tmp_path.iterdir()) == []
