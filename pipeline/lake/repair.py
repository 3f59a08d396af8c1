"""Repair: a broken table brought back to what is proven, and the rest left to be ingested again.

Nothing is deleted: what is taken out of a table lies in `_set_aside` beside it.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from features.state.files import StateError, check_state
from pipeline.disk.durability import COMPACTED, LOG, sync
from pipeline.failures import BrokenError
from pipeline.lake.checking import (
    CHECKPOINT,
    Fault,
    find_faults,
    is_as_written,
    is_parquet,
    tables_in,
)
from pipeline.lake.commits import Change, commit, paths_of, writing
from pipeline.lake.data_files import by_month
from pipeline.lake.statistics import count_rows, size_of
from pipeline.lake.tables import MONTH_OF, Lake, TableName

SET_ASIDE = "_set_aside"
REMOVES = "strata check --repair removes it, and the next strata score makes it again"
OF_FILES = ("transactions", "versions", "quarantine", "labels", "waiting_labels")


@dataclass(frozen=True, kw_only=True)
class Lost:
    """Rows that a table has no more, and of which deliveries they are; None where unknown."""

    rows: int
    deliveries: frozenset[int] | None = None
    is_nothing: bool = False


def repair(lake: Lake, *, now: datetime) -> list[str]:
    """Bring each broken table of a portfolio back; returns what was done, a sentence each."""
    done = []
    for table in get_args(TableName):
        aside = Path(lake.folder) / SET_ASIDE / f"{now:%Y%m%dT%H%M%S}" / table
        while fault := next(find_faults(lake.uri(table), is_thorough=True), None):
            lost = _mend(fault, table, aside)
            done.append(f"{table}: {fault.name} {fault.what}; {_what_is_lost(lake, table, lost)}")
    return done


def _mend(fault: Fault, table: TableName, aside: Path) -> Lost:
    if fault.kind == "checkpoint":
        return _without_checkpoint(fault, aside)
    if fault.version < 0:
        return _begin_anew(fault, aside)
    if fault.kind == "log":
        return _bring_back(fault, aside)
    return _take_out(fault, MONTH_OF.get(table), aside)


def _without_checkpoint(fault: Fault, aside: Path) -> Lost:
    """A checkpoint repeats what the entries say; without it they are read."""
    log = Path(fault.uri) / LOG
    for name in {CHECKPOINT, Path(fault.name).name}:
        _move(log / name, Path(fault.uri), aside)
    return Lost(rows=0, is_nothing=True)


def _begin_anew(fault: Fault, aside: Path) -> Lost:
    """No version is whole: the table is begun anew."""
    files = [one for one in Path(fault.uri).rglob("*.parquet") if LOG not in one.parts]
    lost = _rows_in([one for one in files if not one.name.startswith(COMPACTED)])
    aside.parent.mkdir(parents=True, exist_ok=True)
    Path(fault.uri).rename(aside)
    sync([], [Path(fault.uri).parent, aside.parent])
    return lost


def _bring_back(fault: Fault, aside: Path) -> Lost:
    """To the last whole version; the rows of later ones are those of files that it has not."""
    table = Path(fault.uri)
    with writing(fault.uri):
        before = _named_in_log(table, fault.version)
        for entry in (table / LOG).glob("*.json"):
            if entry.stem.isdigit() and int(entry.stem) > fault.version:
                _move(entry, table, aside)
        live = set(paths_of(DeltaTable(table)))
        files = [one for one in table.rglob("*.parquet") if LOG not in one.parts]
        named = {str(one.relative_to(table)): one for one in files}
        later = [file for name, file in named.items() if name not in live | before]
        fresh = [file for file in later if not file.name.startswith(COMPACTED)]
        is_nothing = bool(later) and not fresh  # only put together what stands in other files
        lost = Lost(rows=0, is_nothing=True) if is_nothing else _rows_in(fresh)
        for file in later:
            _move(file, table, aside)
    return lost


def _named_in_log(table: Path, version: int) -> set[str]:
    """The files that entries up to a version name: what left the table may still be read."""
    named = set[str]()
    for entry in (table / LOG).glob("*.json"):
        if entry.stem.isdigit() and int(entry.stem) <= version:
            for line in entry.read_text(encoding="utf-8").splitlines():
                action = json.loads(line)
                named |= {action[kind]["path"] for kind in ("add", "remove") if kind in action}
    return named


def _take_out(fault: Fault, month: str | None, aside: Path) -> Lost:
    """Out of the table with a broken file; what it was put together of takes its place."""
    table, lost = Path(fault.uri), Lost(rows=0, is_nothing=True)

    def without(stored: DeltaTable) -> Change:
        nonlocal lost
        rows = _former_rows(table, fault.name, month)
        actions = pa.table(stored.get_add_actions()).select(["path", "num_records"]).to_pylist()
        held = {one["path"]: one["num_records"] for one in actions}[fault.name]
        gone = held - (0 if rows is None else rows.num_rows)
        lost = Lost(rows=gone, is_nothing=not gone)
        return Change(
            rows=[] if rows is None else [rows],
            gone=[fault.name],
            month=month,
            is_compaction=rows is not None and not gone,
        )

    commit(fault.uri, pa.schema([]), without)
    _move(table / fault.name, table, aside)
    return lost


def _former_rows(table: Path, name: str, month: str | None) -> pa.Table | None:
    """The rows that a compaction put into a file, where all that it read is still there."""
    if not Path(name).name.startswith(f"{COMPACTED}-"):
        return None
    former = [table / one for one in _compacted_into(table, name)]
    if not former or not all(one.exists() and is_parquet(one) for one in former):
        return None
    if not all(is_as_written(one) for one in former):
        return None
    tables = [pq.ParquetFile(one).read() for one in former]
    rows = pa.concat_tables(tables, promote_options="default")
    if month is None or "/" not in name:
        return rows
    months = dict(by_month(rows, month))
    return months.get(f"{name.split('/', maxsplit=1)[0]}/", rows.slice(0, 0))


def _compacted_into(table: Path, name: str) -> Iterator[str]:
    """The files that left the table in the commit that a compacted file came with."""
    for entry in sorted((table / LOG).glob("*.json")):
        actions = [json.loads(line) for line in entry.read_text(encoding="utf-8").splitlines()]
        added = [one["add"]["path"] for one in actions if "add" in one]
        if name in added:
            yield from (one["remove"]["path"] for one in actions if "remove" in one)


def _rows_in(files: list[Path]) -> Lost:
    """How many rows files have, and whose; a file that cannot be read leaves that unknown."""
    readable = [one for one in files if is_parquet(one) and is_as_written(one)]
    rows = sum(pq.read_metadata(one).num_rows for one in readable)
    numbers = set[int]()
    is_known = bool(files) and len(readable) == len(files)
    for file in readable:
        if "delivery" not in pq.read_schema(file).names:
            is_known = False
            continue
        numbers |= set(pq.ParquetFile(file).read(["delivery"])["delivery"].unique().to_pylist())
    return Lost(rows=rows, deliveries=frozenset(numbers - {None}) if is_known else None)


def _move(file: Path, table: Path, aside: Path) -> None:
    if file.exists():
        to = aside / file.relative_to(table)
        to.parent.mkdir(parents=True, exist_ok=True)
        file.rename(to)
        sync([], [file.parent, to.parent])


def _what_is_lost(lake: Lake, table: TableName, lost: Lost) -> str:
    if lost.is_nothing:
        return "nothing is lost"
    if table == "scores":
        return f"{lost.rows:,} transactions have no score now; strata score scores them"
    if table not in OF_FILES:
        return "the files that it named are read again by the next strata ingest"
    sources = _forget(lake, lost)
    named = ", ".join(sources[:5]) + (f" and {len(sources) - 5} more" if len(sources) > 5 else "")
    what = f"{lost.rows:,} rows are lost" if lost.rows else "rows may be lost"
    return f"{what}; the next strata ingest reads {named or 'all that its source has'} again"


def _forget(lake: Lake, lost: Lost) -> list[str]:
    """Let the next ingest read again what rows were lost of; its other rows are known."""
    names = set[str]()
    for table in ("deliveries", "label_deliveries"):
        noted = lake.read(table, columns=["delivery", "name"])
        if noted is None:
            continue
        if lost.deliveries is not None:
            noted = noted.filter(pc.field("delivery").isin(list(lost.deliveries)))
        names |= set(noted["name"].to_pylist())
        if noted.num_rows:
            lake.remove(table, "delivery", noted["delivery"].combine_chunks())
    return sorted(names)


def check_lakes(
    lakes: Sequence[Lake],
    *,
    states: Path,
    is_repaired: bool,
    now: datetime,
    tell: Callable[[str], None],
) -> None:
    """Tell of each table, and of each state of features, whether it is whole.

    Raises BrokenError where one is not.
    """
    faults = list[str]()
    for lake in lakes:
        lines, found = check_tables(lake, is_repaired=is_repaired, now=now)
        told = _check_state(lake, states / lake.portfolio, is_repaired=is_repaired)
        tell("\n".join([*lines, *([f"  {'state':<18}{told}"] if told else [])]))
        faults += [fault.sentence for fault in found]
        if told.endswith(REMOVES):
            faults.append(told)
    if faults:
        more = f"; {len(faults) - 1} more faults stand above" if len(faults) > 1 else ""
        raise BrokenError(f"{faults[0]}{more}")


def _check_state(lake: Lake, folder: Path, *, is_repaired: bool) -> str:
    """What is said of a portfolio's state of features; nothing where it has none."""
    if not folder.is_dir():
        return ""
    with lake.turn():  # a run puts another in its place
        try:
            check_state(folder)
        except StateError as error:
            if not is_repaired:
                return f"{error}; {REMOVES}"
            shutil.rmtree(folder)
            return f"removed ({error}); the next strata score makes it again"
    return "whole"


def check_tables(lake: Lake, *, is_repaired: bool, now: datetime) -> tuple[list[str], list[Fault]]:
    """A line for each table of a portfolio, after those on what was repaired; and what is broken.

    Every file is read and compared with its digest, or as far as a former version tells.
    """
    lines = [f"{lake.portfolio}"]
    if is_repaired:
        lines += [f"  repaired {sentence}" for sentence in repair(lake, now=now)]
    found = []
    for uri in tables_in(lake.folder):
        faults = list(find_faults(uri, is_thorough=True))
        found += faults
        lines.append(f"  {Path(uri).name:<18}{_told(uri, faults)}")
    return lines, found


def _told(uri: str, faults: list[Fault]) -> str:
    if faults:
        return "; ".join(f"{fault.name} {fault.what}" for fault in faults)
    if not DeltaTable.is_deltatable(uri):
        return "nothing yet"
    size = size_of(uri)
    version, rows = DeltaTable(uri).version(), count_rows(uri)
    return f"{rows:,} rows, version {version}, {size.files:,} files of {size.bytes:,} bytes: whole"
