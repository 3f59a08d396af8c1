"""Which ids and names of a delivery the lake may have: told by hashes kept beside it.

The hashes of a table go up to one of its versions; what came since is read from the log. Hashes
that are lost, or of another history, are made anew of all rows. A hash says no for certain: where
it says yes, the lake is asked.
"""

import shutil
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from pipeline.disk.durability import is_remote
from pipeline.disk.hash_pages import Hashes, HashPages, read_hashes, write_hashes
from pipeline.lake.changes import in_utc
from pipeline.lake.tables import Lake, TableName
from pipeline.sources.delivery import count_of, quoted

FOLDER = ".hashes"
SMALL_SHARE = 4  # a delivery is small where the table has so many times its rows
MAX_ROWS = 20_000  # of the lake that are held in memory; for more of them it is read as it is
HASH = "md5_number_lower({})"
NUMBER = "regexp_full_match({name}, '0*[1-9][0-9]*')"  # a name that zeros may stand before
BARE = "'#' || ltrim({name}, '0')"
KEPT_NAME = f"""
    SELECT {HASH.format("{name}")} FROM came WHERE {{name}} IS NOT NULL
    UNION SELECT {HASH.format(BARE)} FROM came WHERE {NUMBER}
"""
GIVEN = f"""
    SELECT DISTINCT {HASH.format("{name}")} AS name, {HASH.format(BARE)} AS bare
    FROM checked WHERE {NUMBER}
"""


def known_rows(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    table: TableName,
    *,
    time: str | None = None,
    is_dry: bool = False,
) -> ds.Dataset | pa.Table | None:
    """The rows of a table whose transaction_id is one of `checked`, among others perhaps.

    They stand at the `time` that `checked` says, most often. None where there is no table. A run
    that `is_dry` keeps no hashes, and gets all rows.
    """
    stored = lake.dataset(table)
    if stored is None or is_dry:
        return stored
    ids = _known_ids(connection, lake, table)
    if ids is None or len(ids) > MAX_ROWS:
        return stored
    if not len(ids):
        return stored.schema.empty_table()
    among = pc.field("transaction_id").isin(ids)
    if time is None:
        return in_utc(stored.to_table(filter=among))
    found = in_utc(stored.to_table(filter=among & _near(connection, ids, time)))
    ids = pc.filter(ids, pc.invert(pc.is_in(ids, found["transaction_id"].combine_chunks())))
    if not len(ids):
        return found
    further = in_utc(stored.to_table(filter=pc.field("transaction_id").isin(ids)))
    return pa.concat_tables([found, further])


def _known_ids(
    connection: duckdb.DuckDBPyConnection, lake: Lake, table: TableName
) -> pa.Array | None:
    """The ids of `checked` that the table may have; None where each may be."""
    given = connection.sql(
        "SELECT DISTINCT transaction_id AS id FROM checked WHERE transaction_id IS NOT NULL"
    ).to_arrow_table()["id"]
    if len(given) * SMALL_SHARE > lake.count(table):
        return None
    ids = given.cast(pa.string()).combine_chunks()
    kept = f"SELECT {HASH.format('transaction_id')} FROM came"
    connection.register("given_ids", pa.table({"id": ids}))
    hashes = _numbers(connection, f"SELECT {HASH.format('id')} FROM given_ids")
    connection.unregister("given_ids")
    is_known = _are_in(connection, lake, table, "transaction_id", kept, hashes)
    return None if is_known is None else ids.filter(pa.array(is_known))


def _near(connection: duckdb.DuckDBPyConnection, ids: pa.Array, time: str) -> pc.Expression:
    """That a row stands between the first and the last moment of the ids in `checked`."""
    connection.register("known_ids", pa.table({"id": ids}))
    bounds = connection.sql(
        f"SELECT min({quoted(time)}) AS first, max({quoted(time)}) AS last FROM checked "
        "WHERE transaction_id IN (SELECT id FROM known_ids)"
    ).to_arrow_table()
    connection.unregister("known_ids")
    first, last = (
        bounds[name].cast(pa.timestamp("us", tz="UTC"))[0] for name in bounds.schema.names
    )
    if not first.is_valid:
        return pc.scalar(True)
    return (pc.field(time) >= first) & (pc.field(time) <= last)


def has_twins(connection: duckdb.DuckDBPyConnection, lake: Lake, name: str) -> bool:
    """Whether a new name in `checked` may be one that the lake has, but for zeros before it."""
    if count_of(connection, "SELECT count(*) FROM checked") * SMALL_SHARE > lake.count(
        "transactions"
    ):
        return True
    column = quoted(name)
    given = connection.sql(GIVEN.format(name=column)).fetchnumpy()
    kept = KEPT_NAME.format(name=column)
    known = _are_in(connection, lake, "transactions", name, kept, given["name"])
    if known is None:
        return True
    fresh = given["bare"][~known]
    twins = _are_in(connection, lake, "transactions", name, kept, fresh)
    return twins is None or bool(twins.any())


def _are_in(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    table: TableName,
    column: str,
    kept: str,
    hashes: Hashes,
) -> npt.NDArray[np.bool_] | None:
    """Whether each hash is one of a table's column, `kept` by SQL of the rows that `came`.

    None where that cannot be told.
    """
    if is_remote(lake.url):
        return None
    folder = Path(lake.folder) / FOLDER / f"{table}-{column}"
    for _ in range(2):
        try:
            return _brought_up(connection, lake, table, folder, kept).has(hashes)
        except OSError:  # not as they were written: they are made anew
            shutil.rmtree(folder, ignore_errors=True)
    return None


def _brought_up(
    connection: duckdb.DuckDBPyConnection, lake: Lake, table: TableName, folder: Path, kept: str
) -> HashPages:
    """The hashes of all rows that the table has now. Raises OSError where they cannot be kept."""
    version = lake.version(table)
    mark = lake.mark(table, version)
    held = read_hashes(folder)
    if held and mark >= 0 and held.marks == {"version": version, "entry": mark}:
        return held
    came = None
    if held:
        was, entry = held.marks["version"], held.marks["entry"]
        came = lake.added_since(table, was, until=version, mark=entry, with_changed=True)
    if came is None:  # not to be told: all rows are read
        held, came = None, lake.dataset(table)
    connection.register("came", came)
    added = _numbers(connection, kept)
    connection.unregister("came")
    write_hashes(folder, held, added, {"version": version, "entry": mark})
    found = read_hashes(folder)
    if found is None:
        raise OSError(f"{folder} is not as it was written")
    return found


def _numbers(connection: duckdb.DuckDBPyConnection, query: str) -> Hashes:
    """What a query of one column of hashes gives."""
    (found,) = connection.sql(query).fetchnumpy().values()
    return np.ma.compressed(found).astype(np.uint64, copy=False)
