"""The stores know each other: one that is gone, older or another home's stops, or is adopted."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.casework import counts
from pipeline.failures import BrokenError, explain
from pipeline.lake.identity import read_identity
from pipeline.registry.champion import RegistryError
from pipeline.settings import Settings
from pipeline.status import status
from pipeline.workspace import Workspace
from strata import score_and_alert
from tests.demo_home import Demo
from tests.old_home import NOW, give_verdicts, reviewed, unpack, use, workspace_of

LATER = NOW + timedelta(days=1)


def refusal(home: Demo) -> str:
    """The one sentence that a command ends with, whose exit code is 4."""
    with pytest.raises((BrokenError, OSError), match=r"\w") as raised:
        use(home)
    failure = explain(raised.value)
    assert failure.code == 4
    assert "\n" not in failure.sentence
    return failure.sentence


def id_of(file: Path) -> tuple[str, str]:
    with closing(sqlite3.connect(file)) as database:
        found: tuple[str, str] = database.execute(
            "SELECT database_id, home_id FROM identity"
        ).fetchone()
    return found


def remove_casework(home: Path) -> None:
    for file in home.glob("casework.db*"):
        file.unlink()


def be_anothers(home: Path) -> None:
    with closing(sqlite3.connect(home / "casework.db")) as database, database:
        database.execute("UPDATE identity SET home_id = 'another', database_id = 'another'")


def be_older(home: Path) -> None:
    """As of before the two verdicts."""
    rewrite_labels(home, "DELETE FROM label WHERE id > 1")


def rewrite_labels(home: Path, query: str) -> None:
    """Change what is append-only, as only another copy of the file does."""
    with closing(sqlite3.connect(home / "casework.db")) as database, database:
        found = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in found.fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute(query)


def cut(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(0)


def break_up(file: Path) -> None:
    for beside in file.parent.glob(f"{file.name}-*"):
        beside.unlink()
    file.write_bytes(b"this is no database, and it is long enough to be read as one" * 100)


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "casework deleted": (remove_casework, "casework.db is gone; put its backup back, or run"),
    "casework cut": (lambda home: cut(home / "casework.db"), "casework.db is gone; put its"),
    "casework is no database": (
        lambda home: break_up(home / "casework.db"),
        "cannot be opened (file is not a database); check the address, or put its backup back",
    ),
    "casework older": (be_older, "casework.db is older than the lake; put the right copy back"),
    "casework of another home": (be_anothers, "are of two homes; set the addresses of one home"),
    "lake deleted": (
        lambda home: shutil.rmtree(home / "lake"),
        "lake is gone or older than the casework database; put",
    ),
    "scores deleted": (
        lambda home: shutil.rmtree(home / "lake" / "world" / "scores"),
        "lake is older than the casework database; put the right copy back, or run",
    ),
    "mlflow deleted": (
        lambda home: (home / "mlflow.db").unlink(),
        "mlflow.db is gone, and",
    ),
    "mlflow cut": (lambda home: cut(home / "mlflow.db"), "mlflow.db is gone, and"),
    "mlflow is no database": (
        lambda home: break_up(home / "mlflow.db"),
        "mlflow.db cannot be read (file is not a database); put its backup back",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_store_that_does_not_fit_stops_with_one_sentence(home: Demo, fault: str) -> None:
    break_it, sentence = FAULTS[fault]
    break_it(home.home)
    assert sentence in refusal(home)
    with pytest.raises(BrokenError, match=r"put|set the addresses"):
        status("world", Workspace(settings=Settings.read({"STRATA_HOME": str(home.home)})))


def test_a_home_of_before_gets_its_identity_in_silence(settled: Demo) -> None:
    lake = read_identity(str(settled.home / "lake"))
    assert lake is not None
    assert id_of(settled.home / "casework.db") == (lake.database, lake.home)


def test_an_old_home_whose_casework_was_deleted_is_told_from_a_new_one(tmp_path: Path) -> None:
    old = unpack(tmp_path)
    remove_casework(old.home)
    assert "is older than the lake" in refusal(old)


def test_all_verdicts_of_a_new_database_reach_training(home: Demo) -> None:
    before = reviewed(home.home)
    remove_casework(home.home)
    assert "casework.db is gone" in refusal(home)
    score_and_alert(workspace_of(home, adopt=True), None)  # which raises the alerts anew
    given = give_verdicts(home.home, 28, by="bea", now=LATER)
    assert len(given) >= 28
    use(home)
    assert reviewed(home.home) == sorted([*before, *given])


def test_all_verdicts_of_an_older_copy_reach_training_once(home: Demo, tmp_path: Path) -> None:
    with closing(sqlite3.connect(home.home / "casework.db")) as database:
        database.execute("VACUUM INTO ?", (str(tmp_path / "copy.db"),))
    before = reviewed(home.home)
    lost = give_verdicts(home.home, 3, by="bea", now=LATER)[len(before) :]
    use(home)
    remove_casework(home.home)
    shutil.move(tmp_path / "copy.db", home.home / "casework.db")
    assert "is older than the lake" in refusal(home)
    use(home, adopt=True)
    given = give_verdicts(home.home, 28, by="cleo", now=LATER)[len(before) :]
    use(home)
    use(home)
    assert reviewed(home.home) == sorted([*before, *lost, *given])


def test_verdicts_given_in_an_older_copy_before_anybody_looked_are_not_lost(home: Demo) -> None:
    """Their ids are those of the verdicts that were lost: the lake looks at what they say."""
    rewrite_labels(home.home, "UPDATE label SET known_at = '2025-06-30 12:00:00.000000'")
    assert "is older than the lake" in refusal(home)


def test_a_model_of_another_home_does_not_decide_here_unless_it_is_adopted(home: Demo) -> None:
    with closing(sqlite3.connect(home.home / "mlflow.db")) as database, database:
        database.execute(
            "INSERT INTO model_version_tags (name, version, key, value, workspace) "
            "VALUES ('strata-world', 1, 'strata_home', 'another', 'default')"
        )
    told = refusal(home)
    assert "version 1 of portfolio world in" in told
    assert "is of another home" in told
    use(home, adopt=True)
    use(home)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("casework of another home", "adopted the casework database"),
        ("casework older", "adopted the casework database"),
        ("lake deleted", "adopted the lake"),
    ],
)
def test_what_is_adopted_is_taken_on_as_it_is_and_said(
    home: Demo, fault: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    FAULTS[fault][0](home.home)
    use(home, adopt=True)
    assert sentence in capsys.readouterr().err
    use(home)
    assert capsys.readouterr().err == ""


def test_a_registry_that_is_gone_begins_without_a_model_when_it_is_adopted(home: Demo) -> None:
    FAULTS["mlflow deleted"][0](home.home)
    for adopt in (True, False):
        with pytest.raises(RegistryError, match="world has no champion; run strata train"):
            use(home, adopt=adopt)


def test_a_second_home_with_the_addresses_of_the_first_joins_it(home: Demo, tmp_path: Path) -> None:
    """As on another machine: only the addresses are the same."""
    addresses = {
        "STRATA_LAKE_URL": str(home.home / "lake"),
        "STRATA_DATABASE_URL": f"sqlite:///{home.home / 'casework.db'}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{home.home / 'mlflow.db'}",
        "STRATA_HOME": str(tmp_path / "second"),
    }
    workspace = Workspace(settings=Settings.read(addresses), file=home.portfolio)
    assert workspace.champion.version == "1"
    assert counts(workspace.casework)["alerts"]["open"] > 0
