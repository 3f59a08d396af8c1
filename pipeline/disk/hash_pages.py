"""A set of 64-bit hashes on disk: whoever asks for a thousand reads a thousand pages, not all.

The hashes lie sorted in pages; a directory has the first of each page and its checksum. What is
added lies in a tail, until that is worth sorting in. A note, written last, says which files hold
and what the maker says of them: a set is as it was before, or as it is afterwards.
"""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from pipeline.disk.durability import sync

PAGE = 512  # hashes: 4 KiB
MAX_TAIL = 100_000  # hashes that are read whole: 0.8 MB
NOTE = "note.json"
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class HashPages:
    """A set in a folder; `marks` are what its maker noted: how far it goes."""

    folder: Path
    pages: str
    directory_name: str
    rows: int
    directory: Hashes
    tail: Hashes
    marks: dict[str, int]

    def has(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Whether each hash is in the set. Raises OSError where a page is not as it was written."""
        return np.asarray(np.isin(hashes, self.tail) | self._in_pages(hashes))

    def _in_pages(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        if not self.rows or not len(hashes):
            return np.zeros(len(hashes), np.bool_)
        first = self.directory[0]
        place = np.maximum(np.searchsorted(first, hashes, side="right").astype(np.int64) - 1, 0)
        return np.isin(hashes, self._checked(np.unique(place)))

    def all_pages(self) -> Hashes:
        """What lies in the pages. Raises OSError where one is not as it was written."""
        if not self.rows:
            return self.tail[:0]
        return self._checked(np.arange(self.directory.shape[1])).ravel()

    def _checked(self, places: npt.NDArray[np.int64]) -> Hashes:
        found = _read_pages(self.folder / self.pages, places)
        if (_sums(found) != self.directory[1][places]).any():
            raise OSError(f"{self.folder / self.pages} is not as it was written")
        return found


def _read_pages(file: Path, places: npt.NDArray[np.int64]) -> Hashes:
    """The pages of these places, (pages, PAGE); those that stand together are read at once."""
    breaks = np.flatnonzero(np.diff(places) != 1) + 1
    read = list[bytes]()
    with file.open("rb", buffering=0) as opened:
        for run in np.split(places, breaks):
            opened.seek(int(run[0]) * PAGE * 8)
            read.append(opened.read(len(run) * PAGE * 8))
    content = b"".join(read)
    if len(content) != len(places) * PAGE * 8:
        raise OSError(f"{file} is cut")
    return np.frombuffer(content, np.uint64).reshape(-1, PAGE)


def _sums(pages: Hashes) -> Hashes:
    mixed = pages ^ (np.arange(PAGE, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return np.asarray(np.bitwise_xor.reduce(mixed * np.uint64(0xBF58476D1CE4E5B9), axis=1))


def read_hashes(folder: Path) -> HashPages | None:
    """The set in a folder; None where there is none, or it is not as it was written."""
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        directory = (folder / note["directory"]).read_bytes()
        tail = (folder / note["tail"]).read_bytes()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if [zlib.crc32(directory), zlib.crc32(tail)] != note.get("checksums"):
        return None
    return HashPages(
        folder=folder,
        pages=note["pages"],
        directory_name=note["directory"],
        rows=note["rows"],
        directory=np.frombuffer(directory, np.uint64).reshape(2, -1),
        tail=np.frombuffer(tail, np.uint64),
        marks=note["marks"],
    )


def write_hashes(
    folder: Path, before: HashPages | None, added: Hashes, marks: dict[str, int]
) -> None:
    """Put hashes into the set in a folder, or begin it, and note the maker's marks with them."""
    folder.mkdir(parents=True, exist_ok=True)
    tail = np.union1d(before.tail, added) if before else np.unique(added)
    if before is None or len(tail) > MAX_TAIL:
        held = before.all_pages() if before else tail[:0]
        pages, directory, rows = _write_pages(folder, np.union1d(held, tail))
        tail = tail[:0]
    else:
        pages, directory, rows = before.pages, before.directory_name, before.rows
    _note(folder, pages, directory, _write(folder, "tail", tail), rows=rows, marks=marks)


def _note(
    folder: Path, pages: str, directory: str, tail: str, *, rows: int, marks: dict[str, int]
) -> None:
    """Make these files the set, in one step; others that lie there go."""
    names = {"pages": pages, "directory": directory, "tail": tail}
    sums = [zlib.crc32((folder / name).read_bytes()) for name in (directory, tail)]
    sync(folder / name for name in names.values())
    aside = folder / f"{NOTE}.new"
    told = {**names, "rows": rows, "marks": marks, "checksums": sums}
    aside.write_text(json.dumps(told), encoding="utf-8")
    sync([aside])
    aside.replace(folder / NOTE)
    for file in folder.iterdir():
        if file.name not in {NOTE, *names.values()}:
            file.unlink(missing_ok=True)


def _write_pages(folder: Path, hashes: Hashes) -> tuple[str, str, int]:
    """Write sorted hashes in pages, the last one filled up; returns names and rows."""
    filled = np.concatenate([hashes, np.repeat(hashes[-1:], -len(hashes) % PAGE)])
    pages = filled.reshape(-1, PAGE)
    directory = np.stack([pages[:, 0], _sums(pages)])
    return _write(folder, "pages", filled), _write(folder, "directory", directory), len(hashes)


def _write(folder: Path, kind: str, values: Hashes) -> str:
    name = f"{kind}-{uuid4().hex}"
    (folder / name).write_bytes(values.tobytes())
    return name
