"""The files that a source's path names, and which of them were taken before.

A file that was taken is known by its size and times, else by the digest of its bytes: a folder
costs what is new in it. What was taken stands in lake/deliveries, a row for each file.
"""

import hashlib
import json
import zipfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from features.schema import ARROW_TYPES
from pipeline.lake.tables import Lake, TableName
from pipeline.portfolio import Portfolio, PortfolioError

Form = Literal["csv", "jsonl", "parquet"]
Packing = Literal["none", "gzip", "zstd", "zip"]
FORMS: dict[str, Form] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".json": "jsonl",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
DELTA_LOG, OF_PARTITION = "_delta_log", "partition."
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"  # how Hive calls the folder of rows without a value
PACKED = (".gz", ".zst", ".zip")
MAGIC: dict[bytes, Packing] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}
DELIVERIES = pa.schema(
    [
        ("delivery", pa.int64()),  # the first half of the digest, which the rows carry
        ("name", pa.string()),
        ("digest", pa.string()),
        ("size", pa.int64()),
        ("changed_ns", pa.int64()),
        ("columns", pa.string()),  # ours, with a blank between them
        ("records", pa.int64()),
        ("left_out", pa.int64()),
        ("taken_at", ARROW_TYPES["time"]),
        ("mapping", pa.string()),  # a digest of how the portfolio read it
        ("shape", pa.string()),  # what a later one is compared with, as JSON
        ("changes", pa.string()),  # what was other than before, a sentence a line
        ("refused", pa.string()),  # why it was not taken
        ("watermark", pa.string()),  # the greatest value of a query's, as JSON
    ]
)


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file of the source: its name below the portfolio's folder, its form and its packing.

    `beside` are the files of the tables that its query joins, each with its table's name.
    `partitions` are columns whose value is the same in all its rows, as its folders are called
    (`region=fr`); a column of the same name in the file goes before it.
    """

    path: Path
    name: str
    form: Form
    packing: Packing
    partitions: tuple[tuple[str, str | None], ...] = ()
    beside: tuple[tuple[str, "SourceFile"], ...] = ()

    @property
    def size(self) -> int:
        """Bytes on disk, with those of the tables beside it."""
        return self.path.stat().st_size + sum(one.size for _, one in self.beside)

    @property
    def changed_ns(self) -> int:
        """When the file last changed in any way, which nobody can set back."""
        own = self.path.stat().st_ctime_ns
        return max([own, *(one.changed_ns for _, one in self.beside)])

    def digest(self) -> str:
        """SHA-256 of the bytes, of what its folders say, and of the tables beside it."""
        with self.path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256")
        if self.partitions:
            found.update(json.dumps(self.partitions).encode())
        for name, one in self.beside:
            found.update(f"{name} {one.digest()}".encode())
        return found.hexdigest()


def source_files(portfolio: Portfolio) -> list[SourceFile]:
    """The files that the path names, by name, each with those of the tables beside it.

    Raises PortfolioError where there is none, or one of a form that Strata does not read.
    """
    source = portfolio.source
    found = _named_files(portfolio, source.path, key="path")
    tables = {
        name: _named_files(portfolio, path, key=f"tables, {name},")
        for name, path in source.tables.items()
    }
    beside = tuple((name, file) for name, files in tables.items() for file in files)
    theirs = {file.path.resolve() for _, file in beside}
    own = [file for file in found if file.path.resolve() not in theirs] if theirs else found
    if not own:
        raise PortfolioError(
            f"path and tables in [source] of {portfolio.file} name the same files; "
            "name the payments in path, what is joined to them in tables"
        )
    return [replace(file, beside=beside) for file in own] if beside else own


def _named_files(portfolio: Portfolio, path: str, *, key: str) -> list[SourceFile]:
    folder = portfolio.file.parent
    named = folder / path
    if (named / DELTA_LOG).is_dir():
        return _files_of_delta(named, folder)
    if named.is_dir():
        files = sorted(file for file in named.rglob("*") if _is_source(file, named))
    elif named.is_file():
        files = [named]
    else:
        is_pattern = any(sign in path for sign in "*?[")
        found = folder.glob(path) if is_pattern else ()
        files = sorted(file for file in found if file.is_file())
    if not files:
        raise PortfolioError(
            f"the source {named} of portfolio {portfolio.name} names no file; "
            f"put one there or mend {key.rstrip(',')} in [source]"
        )
    return [_source_file(file, folder) for file in files]


def _is_source(file: Path, folder: Path) -> bool:
    """Whether a file of a folder is data; what is being written has another name meanwhile."""
    is_hidden = any(part[0] in "._" for part in file.relative_to(folder).parts)
    return file.is_file() and not is_hidden and _form(file.name) is not None


def _files_of_delta(table: Path, folder: Path) -> list[SourceFile]:
    """The files of a Delta table's newest version, by name; a file that left it is not read.

    Raises PortfolioError where the table cannot be read file by file.
    """
    try:
        delta = DeltaTable(table)
        features = set(delta.protocol().reader_features or ())
        actions = pa.table(delta.get_add_actions(flatten=True)).to_pylist()
    except DeltaError as error:
        reason = " ".join(str(error).split())
        raise PortfolioError(f"the Delta table {table} cannot be read ({reason})") from error
    if unread := features & {"deletionVectors", "columnMapping"}:
        raise PortfolioError(
            f"the Delta table {table} has {' and '.join(sorted(unread))}, which Strata does not "
            "read; write it anew without them, or export it as Parquet"
        )
    absent = {field.name: None for field in delta.schema().fields}
    files = []
    for action in sorted(actions, key=lambda one: str(one["path"])):
        said = {
            name.removeprefix(OF_PARTITION): None if value is None else str(value)
            for name, value in action.items()
            if name.startswith(OF_PARTITION)
        }
        file = _source_file(table / unquote(action["path"]), folder)
        files.append(replace(file, partitions=tuple({**absent, **said}.items())))
    return files


def _partitions(name: str) -> tuple[tuple[str, str | None], ...]:
    """What the folders of a file say of its rows.

    >>> _partitions("drop/region=fr/day=2025-01-01/part.parquet")
    (('region', 'fr'), ('day', '2025-01-01'))
    """
    parts = [part.split("=", maxsplit=1) for part in Path(name).parent.parts if "=" in part]
    return tuple(
        (unquote(key), None if value == NO_PARTITION else unquote(value)) for key, value in parts
    )


def _form(name: str) -> Form | None:
    """What the name says of a file's form; what is in a zip says more, once it is opened.

    >>> _form("monday.CSV.gz"), _form("tuesday.zip"), _form("readme.md")
    ('csv', 'csv', None)
    """
    path = Path(name.lower())
    inner = Path(path.stem).suffix if path.suffix in PACKED else path.suffix
    return FORMS.get(".csv" if path.suffix == ".zip" and not inner else inner)


def _source_file(file: Path, folder: Path) -> SourceFile:
    with file.open("rb") as opened:
        head = opened.read(4)
    found = [kind for magic, kind in MAGIC.items() if head.startswith(magic)]
    packing: Packing = found[0] if found else "none"
    form = "parquet" if head == b"PAR1" else _form(file.name)
    if packing == "zip" and file.suffix.lower() == ".zip":
        form = _form_in_zip(file) or form
    if form is None:
        known = ", ".join(FORMS)
        raise PortfolioError(
            f"the source {file} is of a form that Strata does not read; it reads {known}, plain or "
            "as gzip, zstd or zip, and a database by url and query"
        )
    name = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)
    return SourceFile(
        path=file, name=name, form=form, packing=packing, partitions=_partitions(name)
    )


def _form_in_zip(path: Path) -> Form | None:
    """The form of the one file in a zip; csv where the zip is not whole, which is said later."""
    try:
        name = zip_member(path)
    except (zipfile.BadZipFile, OSError):
        return "csv"
    if (form := _form(name)) == "parquet":
        raise PortfolioError(f"the source {path} holds {name}; unpack it, Parquet needs no zip")
    return form


def zip_member(path: Path) -> str:
    """The name of the one file in a zip, beside what macOS adds to it.

    Raises PortfolioError where there is another number of files in it.
    """
    with zipfile.ZipFile(path) as archive:
        names = [one.filename for one in archive.infolist() if not one.is_dir()]
    files = [name for name in names if not name.startswith("__MACOSX/")]
    if len(files) != 1:
        held = ", ".join(files) or "nothing"
        raise PortfolioError(f"the source {path} holds {held}; give a zip with one file in it")
    return files[0]


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A file that was taken, or refused: what it was, and how many records it had."""

    delivery: int
    name: str
    digest: str
    size: int
    changed_ns: int
    columns: tuple[str, ...]
    records: int
    left_out: int
    taken_at: datetime
    mapping: str = ""
    shape: str = ""
    changes: str = ""
    refused: str = ""
    watermark: str = ""


def is_settled(file: SourceFile, *, settle: timedelta, now: datetime) -> bool:
    """Whether a file has been unchanged for so long that nobody writes it any more."""
    return now - datetime.fromtimestamp(file.path.stat().st_mtime, UTC) >= settle


def waiting(file: SourceFile, why: str, settle: timedelta) -> str:
    """The sentence on a file that waits; `why` says what it lacks, and what becomes of it then."""
    seconds = int(settle.total_seconds())
    return f"{file.name} waits: {why} once it has been unchanged for {seconds} s"


def read_deliveries(lake: Lake, table: TableName = "deliveries") -> list[Taken]:
    """The files that were taken, the first one first."""
    rows = lake.read(table)
    found = [] if rows is None else rows.sort_by("taken_at").to_pylist()
    return [_taken(row) for row in found]


def _taken(row: dict[str, Any]) -> Taken:
    """A row as it was remembered; a home of a former version knows less of it."""
    known = {name: value for name, value in row.items() if value is not None}
    return Taken(**{**known, "columns": tuple(row["columns"].split())})


def remember(lake: Lake, taken: Taken, *, writer: str, table: TableName = "deliveries") -> None:
    """Note that a file was taken whole, or refused; the last thing that is done with it."""
    row = {**vars(taken), "columns": " ".join(taken.columns)}
    number = lake.next_number(table, writer)
    rows = pa.Table.from_pylist([row], schema=DELIVERIES)
    lake.append(table, rows, writer=writer, number=number)


def remember_refusal(
    lake: Lake, file: SourceFile, sentence: str, *, now: datetime, writer: str
) -> None:
    """Note that a file was refused, where that is not the last thing that is noted of it."""
    noted = [one for one in read_deliveries(lake) if one.name == file.name]
    if noted and noted[-1].refused == sentence:
        return
    refused = Taken(
        delivery=0,
        name=file.name,
        digest="",
        size=0,
        changed_ns=0,
        columns=(),
        records=0,
        left_out=0,
        taken_at=now,
        refused=sentence,
    )
    remember(lake, refused, writer=writer)


def find_taken(file: SourceFile, deliveries: list[Taken]) -> Taken | None:
    """The delivery that a file was, unread where its size and times are still the same."""
    deliveries = [one for one in reversed(deliveries) if not one.refused]
    for one in deliveries:
        is_same = (one.size, one.changed_ns) == (file.size, file.changed_ns)
        if one.name == file.name and is_same:
            return one
    same_size = [one for one in deliveries if one.size == file.size]
    digest = file.digest() if same_size else ""
    return next((one for one in same_size if one.digest == digest), None)


def delivery_number(digest: str) -> int:
    """The first half of a digest, as the rows of the lake carry it.

    >>> delivery_number("ff" * 32), delivery_number("00" * 7 + "01" + "00" * 24)
    (-1, 1)
    """
    return int.from_bytes(bytes.fromhex(digest[:16]), signed=True)
