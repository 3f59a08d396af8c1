"""Parquet files as a part of a Delta table: moved into its folder, with what their footers say."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
from deltalake.transaction import AddAction

LONGEST = 64  # a text that is longer bounds nothing in the log


def moved(file: Path, folder: Path) -> Path:
    """Move a file into the folder of a table, under a name that no other has."""
    return Path(shutil.move(file, folder / f"{uuid4()}.parquet"))


def added_file(file: Path) -> AddAction:
    """What Delta's log says of a file: how many rows, and of each column bounds and nulls."""
    found = file.stat()
    return AddAction(
        path=file.name,
        size=found.st_size,
        partition_values={},
        modification_time=int(found.st_mtime * 1_000),
        data_change=True,
        stats=json.dumps(_statistics(pq.read_metadata(file))),
    )


def _statistics(footer: pq.FileMetaData) -> dict[str, Any]:
    """Statistics of the whole file; a column has bounds only where all its row groups have."""
    least, most, nulls = dict[str, Any](), dict[str, Any](), dict[str, int]()
    groups = [footer.row_group(at) for at in range(footer.num_row_groups)]
    for at in range(footer.num_columns):
        name = footer.schema.column(at).path
        columns = [group.column(at).statistics for group in groups]
        found = [one for one in columns if one is not None]
        if len(found) < len(groups) or not all(one.has_null_count for one in found):
            continue
        nulls[name] = sum(one.null_count for one in found)
        filled = [one for one in found if one.num_values]
        if filled and all(one.has_min_max for one in filled):
            bounds = min(one.min for one in filled), max(one.max for one in filled)
            if all(_is_exact(one) for one in bounds):
                least[name], most[name] = (_plain(one) for one in bounds)
    return {
        "numRecords": footer.num_rows,
        "minValues": least,
        "maxValues": most,
        "nullCount": nulls,
    }


def _is_exact(bound: object) -> bool:
    return not isinstance(bound, str | bytes) or len(bound) < LONGEST


def _plain(bound: object) -> object:
    """A bound as JSON has it."""
    if isinstance(bound, datetime):
        return bound.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return bound
