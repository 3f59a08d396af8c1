"""What a backup holds: its files by their names, with the size and the digest of each."""

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from features.stored_json import read_json
from pipeline.disk.durability import LOCK, sync
from pipeline.failures import BrokenError

MANIFEST = "backup.json"


class StoredFile(BaseModel):
    """How many bytes a file has, and their SHA-256."""

    model_config = ConfigDict(frozen=True)

    size: int
    digest: str


class Manifest(BaseModel):
    """What backup.json holds: when the copy was made, and all other files by their names."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1]
    made_at: AwareDatetime
    files: dict[str, StoredFile]

    @property
    def told(self) -> str:
        """How much it is, in words."""
        size = sum(file.size for file in self.files.values())
        return f"{len(self.files):,} files of {size:,} bytes, as of {self.made_at:%Y-%m-%d %H:%M}"


def seal(folder: Path, now: datetime) -> Manifest:
    """Write the manifest of a folder, once all that it names is on the disk."""
    sync_tree(folder)
    files = {str(file.relative_to(folder)): stored(file) for file in files_in(folder)}
    manifest = Manifest(format=1, made_at=now, files=files)
    text = json.dumps(manifest.model_dump(mode="json"), indent=1)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    sync([folder / MANIFEST])
    return manifest


def read_manifest(backup: Path) -> Manifest:
    """Read it. Raises ValueError where there is none, BrokenError where it makes no sense."""
    file = backup / MANIFEST
    if not file.is_file():
        raise ValueError(f"{backup} is no backup, as it has no {MANIFEST}; name one that was made")
    try:
        manifest = read_json(Manifest, file)
    except ValueError as error:
        raise BrokenError(f"{file} cannot be read; restore another backup") from error
    outside = [name for name in manifest.files if ".." in Path(name).parts or name[:1] == "/"]
    if outside:
        raise BrokenError(f"{file} names {outside[0]}, outside of it; restore another backup")
    return manifest


def stored(file: Path) -> StoredFile:
    """The size and the digest of a file."""
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return StoredFile(size=file.stat().st_size, digest=digest)


def files_in(folder: Path) -> Iterable[Path]:
    """All files of a folder but its lock, in an order of their own."""
    return sorted(one for one in folder.rglob("*") if one.is_file() and one != folder / LOCK)


def sync_tree(folder: Path) -> None:
    """Return when all of the folder is on the disk."""
    folders = [one for one in folder.rglob("*") if one.is_dir()]
    sync(files_in(folder), [*folders, folder])
