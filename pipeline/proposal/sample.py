"""A bounded part of the files: what a proposal looks at, and what it is tried on.

A small file is taken whole; of a large one some parts are written into a folder as a file of the
same form, so that the readers read them like any other.
"""

import codecs
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path

import duckdb

from pipeline.portfolio import Portfolio, PortfolioError
from pipeline.portfolio_tables import Csv, Source
from pipeline.sources.delivery import count_of, file_literal, literal, unreadable
from pipeline.sources.files import PACKED, SourceFile, source_files
from pipeline.sources.readers import find_dialect
from pipeline.sources.text_files import HEAD, LineCounter, read_head

WHOLE_BYTES = {"csv": 24 << 20, "jsonl": 24 << 20, "parquet": 12 << 20}  # of all files together
PART_BYTES = 8 << 20  # of a large one
NAMES_BYTES = 1 << 16
ROWS = 120_000  # of a large Parquet file
MAX_FILES = 3  # of a folder: the first, one from its middle, the last
GLOB = "*?["


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Files of the same columns: all of them, and the parts of some that are looked at.

    `share` of all rows is in the parts; `reaches_end` says that the last rows are among them.
    """

    files: tuple[SourceFile, ...]
    names: tuple[str, ...]
    parts: tuple[Path, ...] = ()
    is_whole: bool = True
    share: float = 1.0
    reaches_end: bool = True

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.size for file in self.files)


def find_sheets(paths: Sequence[Path]) -> list[Sheet]:
    """The files that are named, those of the same columns together.

    Raises PortfolioError where there is none, or one that cannot be read.
    """
    found: dict[tuple[str, ...], list[SourceFile]] = {}
    for path in paths:
        for file in find_files(path):
            names = column_names(file)
            if file not in found.setdefault(names, []):
                found[names].append(file)
    return [Sheet(files=tuple(files), names=names) for names, files in found.items()]


def find_files(path: Path) -> list[SourceFile]:
    """The files that a path names: one, those of a folder or of a pattern."""
    absolute = path.absolute()
    is_pattern = any(sign in path.name for sign in GLOB) and not path.exists()
    if not is_pattern and not path.exists():
        raise PortfolioError(f"there is no file or folder {path}; name the data that you have")
    folder = absolute.parent
    looked_at = Portfolio(
        name="proposal",
        file=folder / "portfolio.toml",
        source=Source(path=absolute.name),
        columns={},
    )
    try:
        return source_files(looked_at)
    except PortfolioError as error:
        if "names no file" not in str(error):
            raise
        what = "names no file" if is_pattern else "has no file that Strata reads"
        reads = "csv, tsv, json lines or Parquet, plain or as gzip, zstd or zip"
        raise PortfolioError(f"{path} {what}; it reads {reads}") from None


def column_names(file: SourceFile) -> tuple[str, ...]:
    """The names of a file's columns, from its beginning."""
    if file.size == 0:
        raise PortfolioError(f"the file {file.path} is empty; name one that has rows")
    if file.form == "parquet":
        try:
            read = f"SELECT * FROM read_parquet({file_literal(file.path)}) LIMIT 0"
            with duckdb.connect() as connection:
                return tuple(connection.sql(read).columns)
        except duckdb.Error as error:
            raise unreadable(file, error) from error
    head = _text(read_head(file, NAMES_BYTES), file)
    if file.form == "jsonl":
        return _keys(head)
    return find_dialect(head, Csv()).names


def _text(head: bytes, file: SourceFile) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return head[: len(head) & ~1].decode("utf-16", errors="ignore")
    if not head.strip():
        raise PortfolioError(f"the file {file.path} is empty; name one that has rows")
    if b"\0" in head:
        raise PortfolioError(
            f"the file {file.path} holds bytes that are no text; name a csv, json lines or Parquet "
            "file"
        )
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return head.decode("cp1252", errors="replace")


def _keys(head: str) -> tuple[str, ...]:
    """The keys of the first lines of a file of objects."""
    found: dict[str, None] = {}
    for line in head.splitlines()[:50]:
        try:
            one = json.loads(line)
        except ValueError:
            continue
        found |= dict.fromkeys(one if isinstance(one, dict) else ())
    return tuple(found)


def take_parts(sheet: Sheet, folder: Path) -> Sheet:
    """The sheet with what is looked at of it: files in a folder of their own."""
    folder.mkdir()
    if sheet.size <= WHOLE_BYTES[sheet.files[0].form] and len(sheet.files) <= 100:
        wholes = [_linked(file, folder, at) for at, file in enumerate(sheet.files)]
        if all(_is_short(file) for file in sheet.files):
            return replace(sheet, parts=tuple(wholes))
        for whole in wholes:
            whole.unlink()
    places = sorted({0, len(sheet.files) // 2, len(sheet.files) - 1})[:MAX_FILES]
    chosen = [sheet.files[place] for place in places]
    parts = [_part(file, folder, at, 1 / len(chosen)) for at, file in enumerate(chosen)]
    pairs = zip(chosen, parts, strict=True)
    looked_at = sum(file.size * _share(file, part) for file, part in pairs)
    return replace(
        sheet,
        parts=tuple(parts),
        is_whole=False,
        share=min(1.0, looked_at / sheet.size),
        reaches_end=len(chosen) > 1 or chosen[0].packing == "none",
    )


def _share(file: SourceFile, part: Path) -> float:
    """Which share of a file's rows is in a part of it; of a packed one about so."""
    if file.form == "parquet":
        rows = "SELECT sum(num_rows) FROM parquet_file_metadata({})"
        with duckdb.connect() as connection:
            counts = [
                count_of(connection, rows.format(file_literal(path))) for path in (part, file.path)
            ]
        return counts[0] / max(1, counts[1])
    if file.packing == "none":
        return part.stat().st_size / file.size
    packed = len(zlib.compress(part.read_bytes()[:HEAD], 6))
    return packed / min(HEAD, part.stat().st_size) * part.stat().st_size / file.size


def _is_short(file: SourceFile) -> bool:
    """Whether a packed file is small when it is unpacked, too."""
    limit = WHOLE_BYTES[file.form]
    return file.packing == "none" or len(read_head(file, limit + 1)) <= limit


def _linked(file: SourceFile, folder: Path, at: int) -> Path:
    link = folder / f"{at:03d}-{file.path.name}"
    link.symlink_to(file.path.absolute())
    return link


def _part(file: SourceFile, folder: Path, at: int, share: float) -> Path:
    """Parts of a file, as a file of the same form."""
    name = f"{at:03d}-{file.path.name}"
    for ending in PACKED:
        name = name.removesuffix(ending)
    part = folder / name
    if file.form == "parquet":
        _copy_rows(file, part, int(ROWS * share))
    else:
        part.write_bytes(_lines(file, int(PART_BYTES * share)))
    return part


def _copy_rows(file: SourceFile, part: Path, rows: int) -> None:
    """Copy rows from the file's beginning, middle and end."""
    read = f"read_parquet({file_literal(file.path)})"
    with duckdb.connect() as connection:
        count = count_of(connection, f"SELECT count(*) FROM {read}")
        third = rows // 3
        starts = [0] if count <= rows else [0, count // 2, count - third]
        size = rows if count <= rows else third
        picked = [f"(SELECT * FROM {read} LIMIT {size} OFFSET {start})" for start in starts]
        connection.execute(
            f"COPY ({' UNION ALL '.join(picked)}) TO {literal(str(part))} (FORMAT parquet)"
        )


def _lines(file: SourceFile, size: int) -> bytes:
    """Whole lines from the file's beginning; of a plain one also from its middle and end."""
    head = read_head(file, size // 2 if file.packing == "none" else size)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = head[: len(head) & ~1].decode("utf-16", errors="ignore")
        return text[: text.rfind("\n") + 1].encode("utf-16")
    if len(head) >= file.size and file.packing == "none":
        return head
    head = head[: head.rfind(b"\n") + 1]
    if file.packing != "none" or not _is_line_a_record(head):
        return head
    quarter = size // 4
    with file.path.open("rb") as stream:
        for place in (max(file.size // 2, len(head)), file.size - quarter):
            stream.seek(max(place, len(head)))
            stream.readline()
            head += stream.read(quarter)
            head = head[: head.rfind(b"\n") + 1]
    return head


def _is_line_a_record(head: bytes) -> bool:
    """Whether no record has a line end in its quotes, so that any line's end is a record's."""
    counter = LineCounter('"')
    counter.add(head)
    return counter.lines == sum(1 for line in head.splitlines() if line.strip())


def path_of(sheet: Sheet, home: Path) -> str:
    """The path that names the files of a sheet and no others, as the portfolio in `home` says it.

    A file, a folder, or a pattern; where no pattern names them alone, the nearest one.
    """
    files = [file.path.absolute() for file in sheet.files]
    if len(files) == 1:
        return _relative(files[0], home)
    folder = Path(os.path.commonpath([file.parent for file in files]))
    if folder != home and {*_data_files(folder)} == {*files}:
        return _relative(folder, home)
    names = [file.relative_to(folder).as_posix() for file in files]
    first = _common_start(names)
    last = _common_start([name[len(first) :][::-1] for name in names])[::-1]
    deep = "**/" if any("/" in name[len(first) :] for name in names) else ""
    pattern = f"{escape(first)}{deep}*{escape(last)}"
    return pattern if folder == home else f"{escape(_relative(folder, home))}/{pattern}"


def _common_start(names: Sequence[str]) -> str:
    """What all names begin with, as do the first and the last of them in their order."""
    first, last = min(names), max(names)
    pairs = enumerate(zip(first, last, strict=False))
    return first[: next((at for at, (one, other) in pairs if one != other), len(first))]


def _data_files(folder: Path) -> list[Path]:
    return [file.path.absolute() for file in find_files(folder)]


def _relative(path: Path, home: Path) -> str:
    return Path(os.path.relpath(path, home)).as_posix()
