"""A text file before it is read: whole or not, its encoding, and how many records it has.

The records are counted here a second way, apart from the reader that takes them in: lines that are
not blank, without those inside of quotes.
"""

import codecs
import csv
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import pyarrow as pa

from pipeline.portfolio import PortfolioError
from pipeline.portfolio_tables import AUTO
from pipeline.sources.files import Packing, SourceFile, zip_member

if TYPE_CHECKING:
    from _csv import Reader

BLOCK = 1 << 22
HEAD = 1 << 20  # of a file, to find out how it is written
BLANK_LINE = re.compile(rb"(?<![^\n])\r?\n")
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
NOT_CP1252 = set(b"\x81\x8d\x8f\x90\x9d")


class TornFileError(PortfolioError):
    """A file's end is missing: it is still being written, or came only in part."""


@dataclass(frozen=True, kw_only=True)
class TextFile:
    """A text file as UTF-8 that the reader can open: the file itself, or a copy of it."""

    path: Path
    packing: Packing
    encoding: str
    head: str
    lines: int  # that are not blank and not inside of quotes
    is_ended: bool  # the last line has its end
    is_translated: bool = False  # its line ends are others than the file's


def open_text(file: SourceFile, *, encoding: str, quote: str, spill: Path) -> TextFile:
    """Read a file once: check that it is whole, find its encoding, count its lines.

    What is not UTF-8, and what is in a zip, is copied into the spill folder. Raises TornFileError
    where packed bytes lack their end, PortfolioError where they are none.
    """
    try:
        found = _encoding(file) if encoding == AUTO else _named(encoding)
        if encoding != AUTO and found == "utf-8":
            _check_utf8(file)
        is_translated = _ends_with_returns(file, found)
        is_copied = found != "utf-8" or file.packing == "zip" or is_translated
        copy = spill / f"{file.path.name}.utf-8" if is_copied else None
        return _count(file, found, quote, copy, is_translated=is_translated)
    except (EOFError, zlib.error, zipfile.BadZipFile, pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise TornFileError(
            f"the source {file.path} cannot be read ({reason}); check that it is a whole file"
        ) from error
    except UnicodeError as error:
        raise PortfolioError(
            f"the source {file.path} is not written in {encoding} ({error}); "
            "mend encoding in [source] csv, or leave it out"
        ) from error


def _named(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        known = "take utf-8, utf-16, latin-1, cp1252 or another that Python knows"
        raise PortfolioError(f"encoding in [source] csv is {encoding!r}; {known}") from None


def _encoding(file: SourceFile) -> str:
    """Find a file's encoding: by its mark, UTF-8 where all of it is, else what Windows writes."""
    with _opened(file) as stream:
        head = stream.read(1 << 12)
    for mark, name in BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return name
    for name, place in (("utf-16-le", 1), ("utf-16-be", 0)):  # as Western text is, without a mark
        if head[place::2].count(0) > 0.9 * len(head) / 2:
            return name
    try:
        _check_utf8(file)
    except UnicodeDecodeError:
        return _of_windows(file)
    return "utf-8"


def _ends_with_returns(file: SourceFile, encoding: str) -> bool:
    """Whether lines end with a carriage return alone, or some with one and some without."""
    with _opened(file) as stream:
        head = stream.read(HEAD).decode(encoding, errors="ignore")
    if "\n" not in head:
        return "\r" in head[:-1]
    return 0 < head.count("\r\n") < head.count("\n")


def _check_utf8(file: SourceFile) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with _opened(file) as stream:
        for block in _blocks(stream):
            decoder.decode(block)
        decoder.decode(b"", final=True)


def _of_windows(file: SourceFile) -> str:
    """What Windows writes in the West, unless a byte is none of its letters."""
    seen = set[int]()
    with _opened(file) as stream:
        for block in _blocks(stream):
            seen.update(NOT_CP1252.intersection(block))
    return "latin-1" if seen else "cp1252"


def _opened(file: SourceFile) -> IO[bytes]:
    if file.packing == "gzip":
        return cast(IO[bytes], gzip.open(file.path))
    if file.packing == "zstd":
        stream = pa.CompressedInputStream(str(file.path), "zstd")
        return io.BufferedReader(stream, BLOCK)
    if file.packing == "zip":
        return _only_member(file.path)
    return file.path.open("rb")


def _only_member(path: Path) -> IO[bytes]:
    return zipfile.ZipFile(path).open(zip_member(path))


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """The file in blocks of whole lines."""
    while block := stream.read(BLOCK):
        yield block + stream.readline(BLOCK)


def _as_utf8(stream: IO[bytes], encoding: str, *, is_translated: bool) -> Iterator[bytes]:
    if encoding == "utf-8" and not is_translated:
        yield from _blocks(stream)
        return
    with io.TextIOWrapper(stream, encoding, newline=None if is_translated else "") as text:
        while block := text.read(BLOCK):
            yield (block + text.readline(BLOCK)).encode()


def _count(
    file: SourceFile, encoding: str, quote: str, copy: Path | None, *, is_translated: bool
) -> TextFile:
    """Count the lines, copying them where the reader could not read them as they are."""
    counter, head, last = LineCounter(quote), b"", b"\n"
    with _opened(file) as stream, open(copy or "/dev/null", "wb") as copied:  # noqa: PTH123
        for block in _as_utf8(stream, encoding, is_translated=is_translated):
            counter.add(block)
            head += block[: max(0, HEAD - len(head))]
            last = block[-1:]
            if copy is not None:
                copied.write(block)
    return TextFile(
        path=copy or file.path,
        packing="none" if copy else file.packing,
        encoding=encoding,
        head=head.decode(errors="ignore"),
        lines=counter.lines + (last != b"\n"),
        is_ended=last == b"\n",
        is_translated=is_translated,
    )


class LineCounter:
    r"""Counts lines that are neither blank nor inside of quotes, block by block.

    >>> counter = LineCounter('"')
    >>> counter.add(b'a,"b\n'), counter.add(b'c"\n\nd,e\n'), counter.lines
    (None, None, 2)
    """

    def __init__(self, quote: str) -> None:
        self.lines = 0
        self._quote = quote.encode()
        self._is_inside = False

    def add(self, block: bytes) -> None:
        """Take in the next block."""
        outside = block
        if self._quote and (self._is_inside or self._quote in block):
            parts = block.split(self._quote)
            outside = self._quote.join(parts[self._is_inside :: 2])
            outside = self._quote + outside if self._is_inside else outside
            self._is_inside ^= (len(parts) - 1) % 2 == 1
        has_blanks = outside.startswith((b"\n", b"\r\n")) or b"\n\n" in outside
        has_blanks = has_blanks or b"\n\r\n" in outside
        blanks = len(BLANK_LINE.findall(outside)) if has_blanks else 0
        self.lines += outside.count(b"\n") - blanks


def blocks_of(text: TextFile) -> Iterator[bytes]:
    """The bytes of a file that was opened, in blocks."""
    file = SourceFile(path=text.path, name="", form="csv", packing=text.packing)
    with _opened(file) as stream:
        yield from _blocks(stream)


def count_records(text: TextFile, *, delimiter: str, quote: str) -> int:
    """Count the records of a csv file as its rules have it, which takes longer.

    For files with quotes inside of their fields.
    """
    csv.field_size_limit(1 << 30)
    file = SourceFile(path=text.path, name="", form="csv", packing=text.packing)
    with io.TextIOWrapper(_opened(file), "utf-8", newline="") as lines:
        rows = csv_rows(lines, delimiter=delimiter, quote=quote)
        return sum(1 for row in rows if row)


def csv_rows(lines: Iterable[str], *, delimiter: str, quote: str) -> "Reader":
    """The rows of csv lines by the rules of Python's own reader."""
    if not quote:
        return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    return csv.reader(lines, delimiter=delimiter, quotechar=quote)


def read_head(file: SourceFile, size: int) -> bytes:
    """The first bytes of a text file, unpacked. Raises TornFileError where they cannot be."""
    try:
        with _opened(file) as stream:
            return stream.read(size)
    except (EOFError, zlib.error, zipfile.BadZipFile, pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise TornFileError(
            f"the source {file.path} cannot be read ({reason}); check that it is a whole file"
        ) from error
