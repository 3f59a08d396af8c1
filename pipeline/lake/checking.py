"""What is broken in a lake: a log entry or a data file that is empty, cut, changed or gone.

Looked at before each run, for what sizes and the log tell; `strata check` reads all content, too.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from pipeline.disk.durability import COMPACTED, DIGEST_BYTES, LINES, LOCK, LOG, is_remote
from pipeline.failures import BrokenError
from pipeline.lake.log import open_table

PARQUET = b"PAR1"  # how such a file begins and ends
CHECKPOINT = "_last_checkpoint"
NEEDED = {"CREATE TABLE": ("protocol", "metaData"), "ADD COLUMN": ("metaData",)}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is broken in a table.

    `name` is the file's in the table's folder, `version` the last one that is whole: -1 for none.
    """

    uri: str
    kind: Literal["log", "checkpoint", "file"]
    name: str
    what: str
    version: int

    @property
    def sentence(self) -> str:
        """What is broken, and the way back."""
        return f"{self.uri}: {self.name} {self.what}; {self._remedy}"

    @property
    def _remedy(self) -> str:
        if self.kind == "checkpoint":
            return "strata check --repair does without it"
        if self.version < 0:
            return "put a copy back, or let strata check --repair set the table aside"
        if self.kind == "log":
            return f"strata check --repair brings the table back to version {self.version}"
        return "put a copy back, or let strata check --repair take it out of the table"


def require_whole(folder: str) -> None:
    """Refuse a portfolio's folder of tables of which one is broken, as far as a look tells.

    Raises BrokenError with the first fault.
    """
    for uri in tables_in(folder):
        fault = next(find_faults(uri), None)
        if fault is not None:
            raise BrokenError(fault.sentence)


def tables_in(folder: str) -> list[str]:
    """The tables of a portfolio; an object store looks after its files itself."""
    path = Path(folder)
    if is_remote(folder) or not path.is_dir():
        return []
    return sorted(str(one) for one in path.iterdir() if one.is_dir() and one.name[0] not in "._")


def find_faults(uri: str, *, is_thorough: bool = False) -> Iterator[Fault]:
    """What is broken in a table; where it `is_thorough`, all content is read for it."""
    log = Path(uri) / LOG
    fault = _fault_of_log(Path(uri), log)
    if fault is not None:
        yield fault
    elif any(log.glob("*.json")):
        yield from _faults_of_files(uri, is_thorough)


def _fault_of_log(table: Path, log: Path) -> Fault | None:
    """The first fault of the log, from its newest checkpoint on."""
    names = sorted(_names_in(log))
    entries = [int(one[:-5]) for one in names if one.endswith(".json") and one[:-5].isdigit()]
    checkpoints = [one for one in names if ".checkpoint" in one and one.endswith(".parquet")]
    if not entries and not checkpoints:
        return _fault_of_no_log(table)
    first = min(entries, default=0)
    if checkpoints:
        newest = log / checkpoints[-1]
        first = int(newest.name.partition(".")[0])
        if not is_parquet(newest):
            return _log_fault(table, newest, "is no whole checkpoint", first, kind="checkpoint")
    if (log / CHECKPOINT).exists() and _lines(log / CHECKPOINT) is None:
        return _log_fault(table, log / CHECKPOINT, "is cut", first, kind="checkpoint")
    start = first + 1 if checkpoints else 0
    for version in range(start, max(entries, default=0) + 1):
        file = log / f"{version:020}.json"
        what = _fault_of_entry(file)
        if what:
            return _log_fault(table, file, what, version - 1)
    return None


def _names_in(log: Path) -> list[str]:
    if not log.is_dir():
        return []
    with os.scandir(log) as found:
        return [one.name for one in found]


def _log_fault(
    table: Path, file: Path, what: str, version: int, *, kind: Literal["log", "checkpoint"] = "log"
) -> Fault:
    name = str(file.relative_to(table))
    return Fault(uri=str(table), kind=kind, name=name, what=what, version=version)


def _fault_of_no_log(table: Path) -> Fault | None:
    """A table that has data and no log; one that a killed first run began has noted its data."""
    note = table / LOCK
    noted = set(note.read_text(encoding="utf-8").splitlines()) if note.exists() else set()
    found = {str(file.relative_to(table)) for file in table.rglob("*.parquet")}
    if found <= noted:
        return None
    return _log_fault(table, table / LOG, "is gone", -1)


def _fault_of_entry(file: Path) -> str | None:
    if not file.exists():
        return "is missing"
    if not file.stat().st_size:
        return "is empty"
    actions = _lines(file)
    if not actions or "commitInfo" not in actions[0]:
        # a log of others may have its lines in another order
        has_info = actions is not None and any("commitInfo" in one for one in actions)
        return None if has_info else "is cut"
    info = actions[0]["commitInfo"]
    said = int(info.get(LINES, len(actions)))
    kinds = {kind for action in actions for kind in action}
    is_whole = said == len(actions) and kinds.issuperset(NEEDED.get(info["operation"], ()))
    return None if is_whole else "is cut"


def _lines(file: Path) -> list[dict[str, dict[str, str]]] | None:
    """The lines of JSON in a file; None where one is none, as where it was cut."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines] or None
    except ValueError:
        return None


def _faults_of_files(uri: str, is_thorough: bool) -> Iterator[Fault]:
    try:
        table = open_table(uri)
        actions = table.get_add_actions()
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        yield _log_fault(Path(uri), Path(uri) / LOG, f"cannot be read ({reason})", -1)
        return
    sizes = actions.column("size_bytes").to_pylist()
    for path, size in zip(actions.column("path").to_pylist(), sizes, strict=True):
        what = _fault_of_file(Path(uri) / path, size, is_thorough)
        if what:
            yield Fault(uri=uri, kind="file", name=path, what=what, version=table.version())


def _fault_of_file(file: Path, size: int, is_thorough: bool) -> str | None:
    try:
        found = file.stat().st_size
    except FileNotFoundError:
        return "is gone"
    if found != size:
        return f"has {found:,} bytes instead of {size:,}"
    if is_thorough and not (is_parquet(file) and is_as_written(file)):
        return "was changed since it was written"
    return None


def is_as_written(file: Path) -> bool:
    """Whether a file has the content that its name says; one of a former version says nothing.

    >>> is_as_written(Path("2025-03/part-00000-of-a-former-version.snappy.parquet"))
    True
    """
    said = file.stem.rsplit("-", maxsplit=1)[-1]
    if not file.name.startswith((f"{COMPACTED}-", "part-")) or len(said) != 2 * DIGEST_BYTES:
        return True
    digest = blake2b(digest_size=DIGEST_BYTES)
    with file.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == said


def is_parquet(file: Path) -> bool:
    """Whether a file begins and ends as a Parquet file does.

    >>> is_parquet(Path(__file__))
    False
    """
    with file.open("rb") as opened:
        content = opened.read(4)
        opened.seek(max(0, file.stat().st_size - 4))
        return content == opened.read() == PARQUET
