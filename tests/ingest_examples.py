"""Small portfolios with the rows of their source, and what the lake has after taking them in."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ingest.ingest import ingest
from pipeline.ingest.ingested import Ingested
from pipeline.lake.tables import Lake, TableName
from pipeline.portfolio import Portfolio, read_portfolio

NOW = datetime(2025, 6, 1, tzinfo=UTC)
PARQUET = 'path = "rows.parquet"'
FEED = f"{PARQUET}\nfeed = true"
Row = Mapping[str, Any]


def row(name: object = "t1", **changes: object) -> dict[str, Any]:
    """A good row whose values are all text, as a csv file has them."""
    good = {
        "transaction_id": name,
        "event_time": "2025-05-01T10:00:00Z",
        "account_id": "a1",
        "amount": "12.5",
        "is_fraud": "0",
    }
    return {**good, **changes}


def portfolio_of(folder: Path, *, source: str = PARQUET, more: str = "") -> Portfolio:
    """Write portfolio.toml into the folder and read it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "portfolio.toml"
    file.write_text(f'name = "small"\n[source]\n{source}\n{more}', encoding="utf-8")
    return read_portfolio(file)


def write_rows(portfolio: Portfolio, rows: Sequence[Row]) -> None:
    """Write the rows as the portfolio's source; a column some rows lack is null there."""
    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: pa.array([], pa.string()) for name in row()})
    if rows:
        table = pa.Table.from_pylist([{**dict.fromkeys(names), **row} for row in rows])
    pq.write_table(table, portfolio.file.parent / portfolio.source.path)


def take_in(
    folder: Path,
    *batches: Sequence[Row],
    batch_rows: int = 100,
    now: datetime = NOW,
    source: str = PARQUET,
    more: str = "",
    again: bool = False,
) -> tuple[Lake, list[Ingested]]:
    """Ingest each batch in turn as the source's whole content into the folder's lake."""
    portfolio = portfolio_of(folder, source=source, more=more)
    lake = Lake(str(folder / "lake"), portfolio.name)
    done = []
    for rows in batches:
        write_rows(portfolio, rows)
        done.append(ingest(portfolio, lake, now=now, batch_rows=batch_rows, again=again))
    return lake, done


def stored(lake: Lake, table: TableName) -> list[dict[str, Any]]:
    """The table's rows, in an order that depends on nothing but them."""
    rows = lake.read(table)
    return [] if rows is None else sorted(rows.to_pylist(), key=str)


def end_state(lake: Lake) -> dict[str, list[dict[str, Any]]]:
    """All that the lake has of the portfolio after ingesting, however it was delivered."""
    tables: tuple[TableName, ...] = ("transactions", "quarantine", "labels")
    rows = {name: stored(lake, name) for name in tables}
    for row in chain.from_iterable(rows.values()):
        row.pop("delivery", None)
    return {name: sorted(found, key=str) for name, found in rows.items()}


def reasons(lake: Lake) -> list[str]:
    """Why rows are in quarantine."""
    return sorted(held["reason"] for held in stored(lake, "quarantine"))
