"""What a killed run may leave: files that no version names, spilled rows, halves of a state."""

import json
from collections.abc import Iterator
from pathlib import Path

from deltalake import DeltaTable

from features.state.files import LIST
from pipeline.disk.durability import LOCK, LOG
from pipeline.lake.checking import tables_in
from pipeline.lake.tables import Lake


def leftovers(lake: Lake, spill: Path) -> Iterator[Path]:
    """Files that no version of a table names, notes of writers, and folders of spilled rows."""
    yield from spill.glob("*")
    for uri in tables_in(lake.folder):
        table = Path(uri)
        named = _named(table)
        files = [one for one in table.rglob("*.parquet") if LOG not in one.parts]
        yield from (one for one in files if str(one.relative_to(table)) not in named)
        yield from (one for one in (table / LOG).glob("*") if one.suffix == ".tmp")
        if (table / LOCK).stat().st_size:
            yield table / LOCK


def _named(table: Path) -> set[str]:
    named = set[str]()
    for version in range(DeltaTable(table).version() + 1):
        entry = table / LOG / f"{version:020}.json"
        for line in entry.read_text(encoding="utf-8").splitlines():
            action = json.loads(line)
            named |= {action[kind]["path"] for kind in ("add", "remove") if kind in action}
    return named


def leftovers_of_state(folder: Path) -> Iterator[Path]:
    """What lies in a folder of states and is not of the state that its list names."""
    for listed in folder.rglob(LIST):
        segments = json.loads(listed.read_text(encoding="utf-8"))["segments"]
        known = {LIST, *(one["name"] for one in segments)}
        yield from (one for one in listed.parent.iterdir() if one.name not in known)
