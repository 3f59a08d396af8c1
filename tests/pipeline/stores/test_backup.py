"""A backup fits together while runs go on, and is whole or none; a home is made of one."""

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks.store_kills import begin, codes, save
from pipeline.disk.durability import WATCHERS
from pipeline.failures import BrokenError, explain
from pipeline.lake.checking import find_faults, tables_in
from pipeline.lake.tables import Lake
from pipeline.registry.versions import Registry
from pipeline.settings import Settings
from pipeline.stores.backup import back_up, restore
from pipeline.stores.manifest import MANIFEST
from tests.command_line import run
from tests.demo_home import Demo
from tests.old_home import NOW, give_verdicts, labelled, reviewed, unpack, use, workspace_of

LATER = NOW + timedelta(days=1)


def saved(home: Demo, to: Path) -> Path:
    workspace = replace(workspace_of(home), file=None)
    back_up(workspace.agreement, workspace.registry, to, home=home.home, now=NOW)
    return to


def restored(backup: Path, to: Path) -> Demo:
    restore(backup, to)
    return Demo(home=to, printed="")


@pytest.fixture(scope="module")
def backup(settled: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(settled, tmp_path_factory.mktemp("backups") / "one")


def with_sources(home: Demo, of: Demo) -> Demo:
    """The portfolio's file and its source are the user's to keep."""
    shutil.copytree(of.home / "world", home.home / "world")
    return home


def test_all_verdicts_of_a_restored_home_reach_training(
    settled: Demo, backup: Path, tmp_path: Path
) -> None:
    home = with_sources(restored(backup, tmp_path / "home"), settled)
    given = give_verdicts(home.home, 28, by="bea", now=LATER)
    use(home)
    assert reviewed(home.home) == sorted(given)
    assert len(given) >= 28


def test_verdicts_that_the_lake_had_not_yet_are_in_the_backup(home: Demo, tmp_path: Path) -> None:
    before = reviewed(home.home)
    given = give_verdicts(home.home, 3, by="bea", now=LATER)
    again = with_sources(restored(saved(home, tmp_path / "b"), tmp_path / "again"), home)
    assert reviewed(again.home) == before
    use(again)
    assert reviewed(again.home) == sorted(given)


def test_a_restored_home_says_what_the_home_said(
    settled: Demo, backup: Path, tmp_path: Path
) -> None:
    home = restored(backup, tmp_path / "home")
    for table in ("transactions", "labels", "scores"):
        ours, theirs = (Lake(str(one.home / "lake"), "world") for one in (home, settled))
        assert ours.read(table) == theirs.read(table)
    folder = str(home.home / "lake" / "world")
    faults = [list(find_faults(uri, is_thorough=True)) for uri in tables_in(folder)]
    assert faults == [[]] * 3
    assert not [one for one in home.home.rglob("*") if one.name.endswith(("-wal", "-shm", ".part"))]


def test_the_commands_say_how_much_it_is(
    home: Demo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def strata(place: Path, *words: str) -> tuple[int, str, str]:
        monkeypatch.setenv("STRATA_HOME", str(place))
        monkeypatch.setattr("sys.argv", ["strata", *words])
        return run(capsys)

    backup = str(tmp_path / "b")
    assert strata(home.home, "backup", backup)[1].startswith("backed up ")
    code, told, _ = strata(tmp_path / "new", "restore", backup)
    assert (code, told[-20:]) == (0, "next: strata status\n")
    code, _, error = strata(home.home, "restore", backup)
    assert code == 2
    assert error.endswith("set STRATA_HOME to a folder that is empty or new\n")


def test_a_home_of_before_is_backed_up_as_it_is(tmp_path: Path) -> None:
    old = unpack(tmp_path)
    before = (old.home / "casework.db").read_bytes()
    home = with_sources(restored(saved(old, tmp_path / "b"), tmp_path / "again"), old)
    assert (old.home / "casework.db").read_bytes() == before
    use(home)


def test_a_backup_beside_verdicts_and_their_collection_fits_together(
    home: Demo, tmp_path: Path
) -> None:
    """Somebody decides and collects all the time; each backup's stores agree."""
    is_over = threading.Event()

    def work() -> None:
        number = 0
        while not is_over.is_set():
            give_verdicts(home.home, 1, by=f"user-{number}", now=LATER)
            use(home)
            number += 1

    worker = threading.Thread(target=work)
    worker.start()
    try:
        backups = [saved(home, tmp_path / f"b{number}") for number in range(3)]
    finally:
        is_over.set()
        worker.join()
    for place, one in enumerate(backups):
        again = with_sources(restored(one, tmp_path / f"h{place}"), home)
        use(again)
        engine = workspace_of(again).casework
        assert reviewed(again.home) == sorted(labelled(engine))


class PowerCutError(Exception):
    """The process ends here."""


def stop_after(syncs: int) -> Callable[[Path], None]:
    left = iter(range(syncs))

    def watch(_: Path) -> None:
        if next(left, None) is None:
            raise PowerCutError("the end")

    return watch


@pytest.mark.parametrize("syncs", [0, 5, 20])
def test_one_that_ended_early_is_no_backup_and_no_home(
    backup: Path, home: Demo, tmp_path: Path, syncs: int
) -> None:
    watch = stop_after(syncs)
    WATCHERS.append(watch)
    try:
        with pytest.raises(PowerCutError, match="the end"):
            saved(home, tmp_path / "b")
        with pytest.raises(PowerCutError, match="the end"):
            restore(backup, tmp_path / "new")
    finally:
        WATCHERS.remove(watch)
    assert not (tmp_path / "b").exists()
    assert not (tmp_path / "new").exists()
    restore(saved(home, tmp_path / "b"), tmp_path / "new")
    assert not list(tmp_path.glob(".*"))


def test_what_a_killed_one_left_goes_first(home: Demo, tmp_path: Path) -> None:
    left = tmp_path / ".b.part" / "lake" / "world"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"half")
    (tmp_path / ".b.part" / MANIFEST).write_text("{}", encoding="utf-8")
    backup = saved(home, tmp_path / "b")
    names = {str(one.relative_to(backup)) for one in backup.rglob("*") if one.is_file()}
    assert names == {*json.loads((backup / MANIFEST).read_text())["files"], MANIFEST}


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "a changed file": (lambda one: flip(one / "casework.db"), "casework.db is not as it was"),
    "a file that is gone": (lambda one: (one / "mlflow.db").unlink(), "mlflow.db is gone; restore"),
    "a cut manifest": (
        lambda one: (one / MANIFEST).write_text('{"format": 1,', encoding="utf-8"),
        "cannot be read; restore another backup",
    ),
    "a manifest that leads elsewhere": (
        lambda one: (one / MANIFEST).write_text(
            (one / MANIFEST).read_text().replace("casework.db", "../casework.db"), encoding="utf-8"
        ),
        "outside of it; restore another backup",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_backup_is_refused_and_leaves_nothing(
    backup: Path, tmp_path: Path, fault: str
) -> None:
    copy = shutil.copytree(backup, tmp_path / "copy")
    BROKEN[fault][0](copy)
    with pytest.raises(BrokenError, match=BROKEN[fault][1]) as raised:
        restore(copy, tmp_path / "new")
    assert explain(raised.value).code == 4
    assert [one.name for one in tmp_path.iterdir()] == ["copy"]


def test_a_home_that_is_broken_is_not_backed_up(home: Demo, tmp_path: Path) -> None:
    database = home.home / "casework.db"
    with closing(sqlite3.connect(database)) as opened:
        opened.execute("PRAGMA journal_mode = DELETE")
    database.write_bytes(database.read_bytes()[:8192])
    with pytest.raises(BrokenError, match=r"casework\.db .*put its backup back"):
        saved(home, tmp_path / "b")
    assert not list(tmp_path.glob("*b*"))


@pytest.mark.parametrize(
    ("to", "sentence"),
    [
        ("full", "is there and not empty"),
        ("full/file", "is there and not empty"),
        ("home/b", "lies in the home that it is to outlive"),
    ],
)
def test_a_folder_that_will_not_do_is_refused(
    home: Demo, tmp_path: Path, to: str, sentence: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ValueError, match=sentence):
        saved(home, tmp_path / to)


def test_what_is_no_backup_is_no_home(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is no backup, as it has no backup\.json"):
        restore(tmp_path, tmp_path / "new")


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ({"lake_url": "s3://lake"}, "aws s3 sync"),
        ({"database_url": "postgresql://db/strata"}, "pg_dump"),
    ],
    ids=["object store", "database server"],
)
def test_what_is_on_a_server_is_backed_up_by_its_own_tool(
    home: Demo, tmp_path: Path, address: dict[str, str], sentence: str
) -> None:
    workspace = workspace_of(home)
    agreement = replace(workspace.agreement, **address)
    with pytest.raises(ValueError, match=sentence):
        back_up(agreement, workspace.registry, tmp_path / "b", home=home.home, now=NOW)


def test_a_registry_on_a_server_is_backed_up_there(home: Demo, tmp_path: Path) -> None:
    there = Registry("http://models:5000", home.home / "mlflow-artifacts")
    agreement = workspace_of(home).agreement
    with pytest.raises(ValueError, match="the registry http://models:5000 is on a server"):
        back_up(agreement, there, tmp_path / "b", home=home.home, now=NOW)


def test_a_store_that_is_to_lie_elsewhere_is_not_restored(tmp_path: Path) -> None:
    elsewhere = {"STRATA_HOME": str(tmp_path), "STRATA_LAKE_URL": "s3://lake"}
    with pytest.raises(
        ValueError, match="STRATA_LAKE_URL is 's3://lake', and a backup is restored"
    ):
        Settings.read(elsewhere).require_in_home()


def test_an_empty_home_has_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is nothing to back up in"):
        saved(Demo(home=tmp_path / "new", printed=""), tmp_path / "b")


def test_two_backups_to_one_folder_make_one(home: Demo, tmp_path: Path) -> None:
    begun = [begin(save, str(home.home), str(tmp_path / "b")) for _ in range(3)]
    assert sorted(str(code) for code in codes(begun)) == ["0", "1", "1"]
    restore(tmp_path / "b", tmp_path / "new")
    assert not list(tmp_path.glob(".*"))
