"""The files that a source's path names, and which of them were taken before.

A file that was taken is known by its size and times, else by the digest of its bytes: a folder
costs what is new in it. What was taken stands in lake/deliveries, a row for each file.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

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
    ]
)


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file of the source: its name below the portfolio's folder, its form and its packing."""

    path: Path
    name: str
    form: Form
    packing: Packing

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size

    @property
    def changed_ns(self) -> int:
        """When the file last changed in any way, which nobody can set back."""
        return self.path.stat().st_ctime_ns

    def digest(self) -> str:
        """SHA-256 of the bytes."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def source_files(portfolio: Portfolio) -> list[SourceFile]:
    """The files that the path names, by name: one file, those of a folder or of a pattern.

    Raises PortfolioError where there is none, or one of a form that Strata does not read.
    """
    folder, path = portfolio.file.parent, portfolio.source.path
    named = folder / path
    if named.is_dir():
        files = sorted(file for file in named.rglob("*") if _is_source(file))
    elif any(sign in path for sign in "*?["):
        files = sorted(file for file in folder.glob(path) if file.is_file())
    else:
        files = [named] if named.is_file() else []
    if not files:
        raise PortfolioError(
            f"the source {named} of portfolio {portfolio.name} names no file; "
            "put one there or mend [source] path"
        )
    return [_source_file(file, folder) for file in files]


def _is_source(file: Path) -> bool:
    """Whether a file of a folder is data; what is being written has another name meanwhile."""
    return file.is_file() and file.name[0] not in "._" and _form(file.name) is not None


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
    if form is None:
        known = ", ".join(FORMS)
        raise PortfolioError(
            f"the source {file} is of a form that Strata does not read; it reads {known}, plain or "
            "as gzip, zstd or zip, and a database by url and query"
        )
    name = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)
    return SourceFile(path=file, name=name, form=form, packing=packing)


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


def unsettled(
    file: SourceFile, *, is_ended: bool, settle: timedelta, now: datetime, accept: bool
) -> str:
    """A sentence on a file whose last line may still be written; none where it is whole."""
    unchanged = now - datetime.fromtimestamp(file.path.stat().st_mtime, UTC)
    if is_ended or unchanged >= settle or accept:
        return ""
    return (
        f"{file.name} waits: its last line is not ended; it is taken once it has been unchanged "
        f"for {int(settle.total_seconds())} s"
    )


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
