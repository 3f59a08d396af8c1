"""Each fault of a home has its sentence and exit code, and the next run after it is complete."""

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from benchmarks.store_kills import first_command, save
from pipeline.failures import explain
from pipeline.registry.bundle import MANIFEST
from tests.demo_home import Demo
from tests.old_home import give_verdicts, unpack, use, workspace_of
from tests.pipeline.lake.test_faults import room_for

NOBODY = 65_534


def bundle_of(home: Path) -> Path:
    (folder,) = home.glob("mlflow-artifacts/*/*/artifacts/bundle")
    return folder


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def be_of_format(folder: Path, number: int) -> None:
    facts = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**facts, "format": number}))


BUNDLE_FAULTS: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "cut": (
        lambda folder: cut(folder / "network-0.safetensors"),
        4,
        "is missing or altered; put its folder back from a backup, or run strata rollback",
    ),
    "without a manifest": (lambda folder: (folder / MANIFEST).unlink(), 4, "version 1 of portfol"),
    "with a cut manifest": (lambda folder: cut(folder / MANIFEST), 4, "no readable manifest.json"),
    "gone": (shutil.rmtree, 4, "; put its folder back from a backup, or run strata rollback"),
    "of a former format": (
        lambda folder: be_of_format(folder, 3),
        2,
        "was made by another release of Strata, as the bundle",
    ),
}


@pytest.mark.parametrize("fault", BUNDLE_FAULTS)
def test_a_champion_whose_bundle_does_not_serve_is_named_with_what_to_do(
    home: Demo, tmp_path: Path, fault: str
) -> None:
    spoil, code, sentence = BUNDLE_FAULTS[fault]
    bundle = bundle_of(home.home)
    copy = shutil.copytree(bundle, tmp_path / "copy")
    spoil(bundle)
    with pytest.raises(ValueError, match="version 1 of portfolio world") as raised:
        use(home)
    assert explain(raised.value).code == code
    assert sentence in explain(raised.value).sentence
    shutil.rmtree(bundle, ignore_errors=True)
    shutil.copytree(copy, bundle)
    use(home)


def test_a_casework_database_that_stays_locked_is_busy(
    home: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.casework.database.BUSY_TIMEOUT_MS", 50)
    with closing(sqlite3.connect(home.home / "casework.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Exception, match="locked") as raised:
            give_verdicts(home.home, 1, by="bea")
        failure = explain(raised.value)
        assert failure.code == 3
        assert "run the command again when that is done" in failure.sentence
        other.execute("ROLLBACK")
    give_verdicts(home.home, 1, by="bea")
    use(home)


def test_a_registry_that_stays_locked_is_busy(home: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.registry.sqlite_file.WAIT_SECONDS", 0.05)
    with closing(sqlite3.connect(home.home / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked") as raised:
            use(home)
        failure = explain(raised.value)
        assert failure.code == 3
        assert "run the command again when that is done" in failure.sentence
    use(home)


def test_a_backup_of_a_database_that_stays_locked_is_busy(
    home: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.stores.backup.WAIT_SECONDS", 0.05)
    with closing(sqlite3.connect(home.home / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked") as raised:
            save(str(home.home), str(tmp_path / "b"))
        assert explain(raised.value).code == 3
    save(str(home.home), str(tmp_path / "b"))


def test_where_the_disk_is_full_there_is_no_backup_and_a_sentence(
    home: Demo, tmp_path: Path
) -> None:
    for size in (0, 30_000, 200_000):
        with room_for(size), pytest.raises(Exception, match=r"\w") as raised:
            save(str(home.home), str(tmp_path / "b"))
        failure = explain(raised.value)
        assert (failure.code, failure.is_expected) == (4, True), failure.sentence
        assert "; " in failure.sentence
        assert [one.name for one in tmp_path.iterdir()] == ["home"]
    save(str(home.home), str(tmp_path / "b"))


@contextmanager
def nobodys(folder: Path, mode: int) -> Iterator[None]:
    """Folders have this mode, and this process is of a user whom that binds."""
    folders = [folder, *(one for one in folder.rglob("*") if one.is_dir())]
    for one in folders:
        one.chmod(mode)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for one in folders:
            one.chmod(0o755)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that everybody may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("mode", [0o555, 0o000], ids=["read-only", "without permission"])
def test_a_home_that_may_not_be_written_to_is_told_and_complete_once_it_may(
    reachable: Path, mode: int
) -> None:
    home = unpack(reachable)
    workspace = workspace_of(home)
    _ = workspace.portfolio, use  # what is imported may lie where nobody may read
    with nobodys(home.home, mode), pytest.raises(Exception, match=r"\w") as raised:
        use(home)
    failure = explain(raised.value)
    assert (failure.code, failure.is_expected) == (4, True), failure.sentence
    assert "; " in failure.sentence
    use(home)


@pytest.mark.parametrize("name", ["casework.db", "mlflow.db"])
def test_a_database_that_may_not_be_read_is_told_and_complete_once_it_may(
    reachable: Path, name: str
) -> None:
    home = unpack(reachable)
    workspace = workspace_of(home)
    _ = workspace.portfolio, use  # what is imported may lie where nobody may read
    for one in home.home.rglob("*"):
        one.chmod(0o755)
    (home.home / name).chmod(0o000)
    with nobodys(home.home, 0o777), pytest.raises(Exception, match=r"\w") as raised:
        use(home)
    failure = explain(raised.value)
    assert (failure.code, failure.is_expected) == (4, True), failure.sentence
    assert f"{name} " in failure.sentence
    assert "; " in failure.sentence
    (home.home / name).chmod(0o644)
    use(home)


@pytest.mark.parametrize("mode", [0o555, 0o000], ids=["read-only", "without permission"])
def test_a_folder_where_nothing_may_be_made_is_no_home(reachable: Path, mode: int) -> None:
    with nobodys(reachable, mode), pytest.raises(Exception, match=r"\w") as raised:
        first_command(str(reachable / "new"))
    failure = explain(raised.value)
    assert (failure.code, failure.is_expected) == (4, True), failure.sentence
    assert str(reachable) in failure.sentence


def test_a_home_where_a_file_stands_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(OSError, match=r"\w") as raised:
        first_command(str(tmp_path / "home"))
    failure = explain(raised.value)
    assert (failure.code, failure.is_expected) == (4, True)
    assert str(tmp_path / "home") in failure.sentence


@pytest.mark.parametrize("name", ["network-0.safetensors", MANIFEST])
def test_a_backup_of_a_bundle_that_was_changed_says_so(
    home: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    cut(bundle_of(home.home) / name)
    save(str(home.home), str(tmp_path / "b"))
    assert f"bundle/{name} is not as it was written, and is copied so" in capsys.readouterr().err
