"""A copy of all stores of a home that fits together, and a home made of such a copy.

Runs go on: they wait while databases and logs are copied. Data files come after that, as those that
leave a table stay for two days. A copy is written aside, its manifest last, and moved in one step.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO
from urllib.parse import quote

from deltalake import DeltaTable

from pipeline.disk.durability import LOCK, LOG, is_remote, sync
from pipeline.disk.turns import is_made, wait_for
from pipeline.failures import BrokenError
from pipeline.lake.checking import CHECKPOINT, is_as_written, require_whole, tables_in
from pipeline.lake.commits import paths_of
from pipeline.lake.identity import FOLDER
from pipeline.lake.tables import Lake
from pipeline.registry.model_version import BUNDLE
from pipeline.registry.versions import Registry
from pipeline.stores.agreement import Agreement
from pipeline.stores.manifest import Manifest, read_manifest, seal, stored, sync_tree

LAKE, CASEWORK, REGISTRY, ARTIFACTS = "lake", "casework.db", "mlflow.db", "mlflow-artifacts"
BUNDLE_MANIFEST = "manifest.json"
WAIT_SECONDS = 30.0


def back_up(
    agreement: Agreement, registry: Registry, to: Path, *, home: Path, now: datetime
) -> Manifest:
    """Copy lake, databases and models to a new folder, as they are at one moment.

    Raises ValueError where one lies on a server or the folder will not do, BrokenError where one is
    broken or gone, BusyError where another process is at work for too long.
    """
    to = to.resolve()
    _require_files(agreement, registry)
    if to.is_relative_to(home.resolve()) or to.is_relative_to(Path(agreement.lake_url).resolve()):
        raise ValueError(f"{to} lies in the home that it is to outlive; name a folder elsewhere")
    _require_none(to, "name a new folder")
    agreement.check_lake()
    with _made_aside(to) as part:
        paths = _copy_moment(agreement, registry, part)
        for path in paths:
            _copy_data(Path(agreement.lake_url) / path, part / LAKE / path)
        if registry.artifacts.is_dir():
            shutil.copytree(registry.artifacts, part / ARTIFACTS)
            for name in _changed(part / ARTIFACTS):
                agreement.tell(
                    f"{registry.artifacts / name} is not as it was written, and is copied so; put "
                    "it back from an earlier backup"
                )
        return seal(part, now)


def restore(backup: Path, home: Path) -> Manifest:
    """Make a home of a backup, each file compared with the manifest.

    Raises ValueError where the home is not empty or there is no backup, BrokenError where the
    backup has a file that is not as it was.
    """
    manifest, home = read_manifest(backup), home.resolve()
    _require_none(home, "set STRATA_HOME to a folder that is empty or new")
    with _made_aside(home) as part:
        for name, stated in manifest.files.items():
            file = part / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if not (backup / name).is_file():
                raise BrokenError(f"{backup / name} is gone; restore another backup")
            shutil.copyfile(backup / name, file)
            if stored(file) != stated:
                raise BrokenError(
                    f"{backup / name} is not as it was backed up; restore another backup"
                )
        sync_tree(part)
    return manifest


def _require_files(agreement: Agreement, registry: Registry) -> None:
    """Only what lies in files of this machine is copied here."""
    elsewhere = {
        f"the lake {agreement.lake_url} lies in an object store; back up with its own tool, such "
        "as aws s3 sync": is_remote(agreement.lake_url),
        "the casework database is on a server; back up with pg_dump": agreement.file is None,
        f"the registry {registry.uri} is on a server; back up its database and its artifacts with "
        "the tools of that server": registry.file is None,
    }
    found = [sentence for sentence, is_so in elsewhere.items() if is_so]
    if found:
        raise ValueError(f"{found[0]}, while nothing runs, and copy the other stores beside it")
    if agreement.is_expected and not (agreement.file and is_made(agreement.file)):
        raise BrokenError(f"{agreement.file} is gone; put its backup back, then back up again")
    if not agreement.is_expected and not Path(agreement.lake_url).is_dir():
        raise ValueError(f"there is nothing to back up in {agreement.lake_url}; set STRATA_HOME")


def _require_none(folder: Path, remedy: str) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(f"{folder} is there and not empty, and nothing is written over; {remedy}")
    if folder.is_mount():
        raise ValueError(f"{folder} is a mount, which nothing can be moved to; name a folder in it")


@contextmanager
def _made_aside(target: Path) -> Iterator[Path]:
    """A folder beside the target that takes its place in one step, or goes.

    What was left of it by one that was killed goes first.
    """
    part = target.with_name(f".{target.name}.part")
    with closing(_hold(part, what=str(target))):
        try:
            _require_none(target, "another process has just made it")
            for left in part.iterdir():
                if left.is_dir():
                    shutil.rmtree(left)
                elif left.name != LOCK:
                    left.unlink()
            yield part
            (part / LOCK).unlink()
            part.rename(target)
            sync([], [target.parent])
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def _hold(part: Path, *, what: str) -> IO[str]:
    """The lock of a folder, which goes with it: who waited may have to begin anew."""
    while True:
        part.mkdir(parents=True, exist_ok=True)
        held = (part / LOCK).open("a", encoding="utf-8")
        wait_for(held, what=what)
        now_there = (part / LOCK).stat() if (part / LOCK).exists() else None
        if now_there and os.path.samestat(os.fstat(held.fileno()), now_there):
            return held
        held.close()


def _copy_moment(agreement: Agreement, registry: Registry, part: Path) -> list[str]:
    """Copy databases and logs while nobody writes; returns the data files that belong to them."""
    lakes = [Lake(agreement.lake_url, name) for name in agreement.portfolios]
    folder = Path(agreement.lake_url)
    with ExitStack() as turns:
        for lake in lakes:
            turns.enter_context(lake.turn())
            require_whole(lake.folder)
        for file, name in ((agreement.file, CASEWORK), (registry.file, REGISTRY)):
            if file is not None and is_made(file):
                _copy_database(file, part / name)
        tables = [table for lake in lakes for table in tables_in(lake.folder)]
        names = [Path(table).relative_to(folder) for table in [*tables, str(folder / FOLDER)]]
        found = [_copy_log(folder, name, part / LAKE / name) for name in names]
    return [path for paths in found for path in paths]


def _copy_database(file: Path, to: Path) -> None:
    """Copy an SQLite file as it is at one moment, whoever has it open."""
    with closing(_read_whole(file)) as source, closing(sqlite3.connect(to)) as copy:
        try:
            source.backup(copy)
        except sqlite3.DatabaseError as error:  # the source was read whole just now
            remedy = "free some space, or name another folder"
            raise BrokenError(f"{to.name} cannot be written ({error}); {remedy}") from error


def _read_whole(file: Path) -> sqlite3.Connection:
    """A reading of a database that is in order, at one moment; it lasts until it is closed."""
    address, remedy = f"file:{quote(str(file))}?mode=ro", "put its backup back"
    source = sqlite3.connect(address, uri=True, timeout=WAIT_SECONDS)
    try:
        # here and not by the backup itself, which would wait for ever
        source.execute("BEGIN")
        found = str(source.execute("PRAGMA quick_check").fetchone()[0])
    except sqlite3.OperationalError as error:
        source.close()
        if "locked" in str(error):
            raise
        found, remedy = str(error), "see that it may be read, and that its disk is not full"
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        source.close()
        raise BrokenError(f"{file} cannot be read ({' '.join(found.split())}); {remedy}")
    return source


def _copy_log(lake: Path, name: Path, to: Path) -> list[str]:
    """Copy a table's log up to its version; returns the paths of that version's files."""
    uri = lake / name
    if not DeltaTable.is_deltatable(str(uri)):
        return []
    table = DeltaTable(uri)
    (to / LOG).mkdir(parents=True)
    for entry in (uri / LOG).iterdir():
        number = entry.name.partition(".")[0]
        if entry.name == CHECKPOINT or (number.isdigit() and int(number) <= table.version()):
            shutil.copyfile(entry, to / LOG / entry.name)
    return [str(name / path) for path in paths_of(table)]


def _copy_data(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, to)
    if not is_as_written(to):
        raise BrokenError(f"{file} was changed since it was written; see strata check --repair")


def _changed(artifacts: Path) -> Iterator[Path]:
    """Files of bundles that are not what their manifests say."""
    for manifest in sorted(artifacts.rglob(f"{BUNDLE}/{BUNDLE_MANIFEST}")):
        try:
            digests = dict(json.loads(manifest.read_text(encoding="utf-8"))["files"])
        except (ValueError, KeyError, TypeError):
            yield manifest.relative_to(artifacts)
            continue
        for name, digest in digests.items():
            file = manifest.parent / name
            if not file.is_file() or stored(file).digest != digest:
                yield file.relative_to(artifacts)
