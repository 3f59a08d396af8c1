"""Rows in: each source row ends in exactly one of transactions or quarantine, however often it is offered.

A row is known by its transaction_id and the digest of what it says. Said again, it changes nothing; saying something
else under a known id, it goes to quarantine. Batches are appended one commit each, so a killed run is simply run again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import pandas as pd
import pyarrow as pa

from features.schema import BY_NAME, LABELS, Kind, SchemaError, transactions_schema
from pipeline.lake import Lake
from pipeline.portfolio import Portfolio, missing_columns
from pipeline.quarantine import QUARANTINE, as_quarantined, convert, digests, failures, settle
from pipeline.source import TORN, source_batches

WRITER = "ingest"
LABEL_NAMES = ("is_fraud", "label_known_at")
Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """What became of the rows read: read = taken + known + quarantined. `examples` are reasons of this run."""

    read: int = 0
    taken: int = 0
    known: int = 0
    quarantined: int = 0
    labels: int = 0
    examples: tuple[str, ...] = ()

    def __add__(self, other: "Ingested") -> "Ingested":
        return Ingested(
            read=self.read + other.read,
            taken=self.taken + other.taken,
            known=self.known + other.known,
            quarantined=self.quarantined + other.quarantined,
            labels=self.labels + other.labels,
            examples=(*self.examples, *other.examples)[:3],
        )


def ingest(portfolio: Portfolio, lake: Lake, *, now: datetime, progress: Progress = lambda rows: None) -> Ingested:
    """Take in what the portfolio's source has and the lake has not.

    `now` is the moment of ingestion (UTC): nothing may have happened after it. Raises PortfolioError when the source cannot be
    read, SchemaError when it lacks a required column, LakeBusyError when another process is writing.
    """
    total = Ingested()
    for raw in source_batches(portfolio):
        total += _ingest_batch(raw, portfolio, lake, now)
        progress(total.read)
    return total


def mapped_columns(portfolio: Portfolio, found: list[str]) -> dict[str, str]:
    """Return theirs -> ours for the source's columns. Raises SchemaError when a mapped or required one is not there."""
    absent = [theirs for theirs in portfolio.columns if theirs not in found]
    if absent:
        raise SchemaError(f"[columns] of {portfolio.file} maps {absent[0]!r}, which the source lacks; it has {', '.join(found)}")
    own = {name: name for name in found if name in BY_NAME or name in portfolio.extra}
    taken = set(portfolio.columns.values())
    mapping = {theirs: ours for theirs, ours in own.items() if ours not in taken} | portfolio.columns
    if missing := missing_columns(portfolio, found):
        told = ", ".join(missing)
        raise SchemaError(f"the source of {portfolio.name} lacks {told}; it has {', '.join(found)}; map them in [columns] of {portfolio.file}")
    return mapping


def _ingest_batch(raw: pd.DataFrame, portfolio: Portfolio, lake: Lake, now: datetime) -> Ingested:
    if TORN in raw.columns:
        return _keep_torn(raw, lake, now)
    number = lake.version("transactions") + 1
    raw = raw.reset_index(drop=True)
    mapping = mapped_columns(portfolio, list(raw.columns))
    raw = raw[list(mapping)].rename(columns=mapping)
    kinds: dict[str, Kind] = {name: BY_NAME[name].kind if name in BY_NAME else portfolio.extra_kinds[name] for name in raw.columns}
    rows = pd.DataFrame({name: convert(raw[name], kinds[name]) for name in raw.columns})
    reasons = failures(raw, rows, kinds=kinds, now=now)
    facts = [name for name in rows.columns if name not in LABEL_NAMES]
    rows["row_digest"] = digests(rows[facts])
    good = rows.drop(index=reasons.index)
    good, doubled, clashing = _split_known(good, lake)
    reasons = pd.concat([reasons, clashing])

    labels = _new_labels(pd.concat([good, doubled]), portfolio, lake, now)
    raw_digests = digests(raw.astype("string")) if len(reasons) or lake.exists("quarantine") else pd.Series(dtype="int64")
    quarantined = _quarantine(raw, raw_digests, reasons, lake, now)
    if len(good):
        lake.append("transactions", _as_transactions(good, portfolio, now), writer=WRITER, number=number)
    if labels.num_rows:
        lake.append("labels", labels, writer=WRITER, number=lake.version("labels") + 1)
    if len(raw_digests):
        settle(lake, raw_digests.drop(index=reasons.index))
    return Ingested(
        read=len(raw),
        taken=len(good),
        known=len(raw) - len(good) - quarantined.num_rows,
        quarantined=quarantined.num_rows,
        labels=labels.num_rows,
        examples=tuple(quarantined["reason"].to_pylist()[:3]),
    )


def _split_known(good: pd.DataFrame, lake: Lake) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """Divide rows into new ones, those said before, and the reasons of those that contradict a known transaction_id."""
    first = good.drop_duplicates("transaction_id")[["transaction_id", "row_digest"]]
    stored = lake.read("transactions", columns=["transaction_id", "row_digest"])
    if stored is not None:
        known = stored.to_pandas(types_mapper={pa.string(): pd.StringDtype()}.get)
        known = known[known["transaction_id"].isin(first["transaction_id"])]
        first = pd.concat([known, first]).drop_duplicates("transaction_id")
        is_new = ~good["transaction_id"].isin(known["transaction_id"]) & ~good.duplicated("transaction_id")
    else:
        is_new = ~good.duplicated("transaction_id")
    said = good["transaction_id"].map(first.set_index("transaction_id")["row_digest"])
    same = said == good["row_digest"]
    clashing = good.loc[~is_new & ~same, "transaction_id"]
    told = [f"transaction_id is {name!r}, a duplicate of a row that says something else" for name in clashing]
    return good[is_new], good[~is_new & same], pd.Series(told, index=clashing.index, dtype="object")


def _as_transactions(good: pd.DataFrame, portfolio: Portfolio, now: datetime) -> pa.Table:
    """Complete the rows: known_at, and as_of, where each stands in history. Columns the source has not stay out of the lake."""
    known_at = _known_at(good, portfolio, now)
    late = known_at - good["event_time"] > portfolio.arrival_delay
    rows = good.assign(known_at=known_at, as_of=good["event_time"].where(~late, known_at))
    schema = pa.schema([field for field in transactions_schema(portfolio.extra_kinds) if field.name in rows])
    return pa.Table.from_arrays([pa.array(rows[field.name], field.type, from_pandas=True) for field in schema], schema=schema)


def _known_at(rows: pd.DataFrame, portfolio: Portfolio, now: datetime) -> pd.Series:
    if "known_at" in rows.columns:
        return rows["known_at"].fillna(rows["event_time"])
    if portfolio.source.feed:
        return pd.Series(pd.Timestamp(now), index=rows.index, dtype="datetime64[us, UTC]")
    return rows["event_time"]


def _new_labels(rows: pd.DataFrame, portfolio: Portfolio, lake: Lake, now: datetime) -> pa.Table:
    """Labels that the source tells and that differ from what it last told of the transaction."""
    if "is_fraud" not in rows.columns:
        return LABELS.empty_table()
    told = rows[rows["is_fraud"].notna()]
    matured: pd.Series | pd.Timestamp = pd.Timestamp(now) if portfolio.source.feed else told["event_time"] + pd.Timedelta(portfolio.label_delay)
    known_at = told["label_known_at"].fillna(matured) if "label_known_at" in told.columns else matured
    labels = pd.DataFrame(
        {"transaction_id": told["transaction_id"], "is_fraud": told["is_fraud"].astype(bool), "known_at": known_at, "source": "source"}
    )
    stored = lake.read("labels")
    if stored is not None:
        before = stored.to_pandas(types_mapper={pa.string(): pd.StringDtype()}.get).query("source == 'source'")
        before = before.sort_values("known_at", kind="stable").drop_duplicates("transaction_id", keep="last")
        last = labels["transaction_id"].map(before.set_index("transaction_id")["is_fraud"])
        labels = labels[last.isna() | (last != labels["is_fraud"])]
    return pa.Table.from_pandas(labels, schema=LABELS, preserve_index=False)


def _quarantine(raw: pd.DataFrame, digest: pd.Series, reasons: pd.Series, lake: Lake, now: datetime) -> pa.Table:
    """Keep the failed rows that are not in quarantine yet; returns them."""
    if not len(reasons):
        return QUARANTINE.empty_table()
    held = lake.read("quarantine", columns=["row_digest"])
    bad = digest.loc[reasons.index]
    fresh = ~bad.duplicated()
    if held is not None:
        fresh &= ~bad.isin(held["row_digest"].to_pylist())
    table = as_quarantined(raw, digest, reasons[fresh], now=now)
    if table.num_rows:
        lake.append("quarantine", table, writer=WRITER, number=lake.version("quarantine") + 1)
    return table


def _keep_torn(raw: pd.DataFrame, lake: Lake, now: datetime) -> Ingested:
    raw = raw.reset_index(drop=True)
    reasons = pd.Series("the line has too few or too many fields", index=raw.index, dtype="object")
    table = _quarantine(raw, digests(raw.astype("string")), reasons, lake, now)
    count = table.num_rows
    return Ingested(read=len(raw), known=len(raw) - count, quarantined=count, examples=tuple(table["reason"].to_pylist()[:3]))


