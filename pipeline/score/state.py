"""The state of features: what is kept of the rows before a moment, so that a run reads what is new.

It lies in the home, and the lake stays the truth: where it is not of this lake, these declarations
and what both were made of, or an older row came, it is made again, and that is said.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.build import BuildConfig, Kept
from features.schema import LABELS
from features.state.files import (
    Arrays,
    Stamp,
    StateError,
    open_state,
    read_back,
    why_rebuild,
    write_state,
    written,
)
from pipeline.disk.durability import sync
from pipeline.lake.changes import is_untouched, rows_added
from pipeline.lake.currency import settled_digest
from pipeline.lake.identity import read_identity
from pipeline.lake.snapshot import Snapshot
from pipeline.progress import Progress
from pipeline.score.unscored import BEGINNING, MICROSECOND

BASE_AND_TAIL = 2  # segments of a state that is whole
MIN_ROWS = 50_000  # of a history that is worth it
MOST_BEHIND = 0.1  # of the rows that are kept: from there on the state is made again


@dataclass(frozen=True, kw_only=True)
class State:
    """What is kept of the rows before a moment, and the rows and labels to be told beside it."""

    kept: Kept
    rows: pa.Table
    told: pa.Table


def features_since(
    snapshot: Snapshot,
    since: datetime,
    *,
    delay: timedelta,
    build_config: BuildConfig,
    progress: Progress,
) -> pa.Table:
    """Build the features of the rows from `since` on, from what was kept of those before.

    Rows may come `delay` after their time: so much at the end of the history is not kept. Without
    a folder for states, with another engine, or of few rows, all of the history is read.
    """
    folder, is_kernel = build_config.state_folder, build_config.engine == "kernel"
    if folder is None or not is_kernel or snapshot.lake.count("transactions") < MIN_ROWS:
        return snapshot.features(build_config=build_config, since=since)
    own = folder / snapshot.lake.portfolio
    try:
        state = _go_on(snapshot, since, own, build_config)
        return _behind(snapshot, state, since, build_config)
    except StateError as reason:
        with progress.step(f"the state of features, made again ({reason})"):
            state = _make(snapshot, since, delay, own, build_config)
    return _behind(snapshot, state, since, build_config)


def _behind(
    snapshot: Snapshot, state: State, since: datetime, build_config: BuildConfig
) -> pa.Table:
    sources = state.rows, state.told
    return snapshot.features(
        build_config=build_config, since=since, sources=sources, kept=state.kept
    )


def _go_on(snapshot: Snapshot, since: datetime, folder: Path, build_config: BuildConfig) -> State:
    """The state as it was kept, with the labels that came since. Raises StateError without one."""
    found = open_state(folder)
    if len(found.segments) != BASE_AND_TAIL:
        raise StateError("its making was killed")
    base, tail = found.segments
    until = BEGINNING + int(base["until"][0]) * MICROSECOND
    stamp = _stamp(snapshot, until, build_config)
    if reason := why_rebuild(found.stamp, stamp):
        raise StateError(reason)
    if since < until:
        raise StateError(f"rows from {since:%Y-%m-%d %H:%M} on are asked, which it has taken in")
    if tail["marks"].tolist() != _marks(snapshot, found.stamp):
        raise StateError("tables of the lake were put back or repaired")
    uri = snapshot.lake.uri("transactions")
    versions = {"after": found.stamp.transactions, "until": stamp.transactions}
    if not is_untouched(uri, "as_of", until, **versions):
        raise StateError(f"rows from before {until:%Y-%m-%d %H:%M} came or changed")
    rows = snapshot.transactions(snapshot.columns, since=until)
    if rows.num_rows > max(MIN_ROWS, MOST_BEHIND * base["moments"].size):
        raise StateError(f"{rows.num_rows:,} rows came since")
    new = rows_added(snapshot.lake.uri("labels"), after=found.stamp.labels, until=stamp.labels)
    if new is None:
        raise StateError("labels were changed, or came too long ago to be told apart")
    told = pa.concat_tables([read_back(tail["told"]), _lines(new)])
    if stamp != found.stamp:
        write_state(folder, stamp, _tail(snapshot, stamp, told), keep=1, sync=sync)
    return State(kept=Kept(until=until, segments=[base]), rows=rows, told=told)


def _make(
    snapshot: Snapshot,
    since: datetime,
    delay: timedelta,
    folder: Path,
    build_config: BuildConfig,
) -> State:
    """Pass over the history, and keep what later rows need of it."""
    bounds = snapshot.lake.bounds("transactions", "as_of", version=snapshot.version)
    newest = since if bounds is None else bounds[1]
    until = min(newest - delay, since)
    kept = snapshot.keep(build_config=build_config, until=until)
    rows = snapshot.transactions(snapshot.columns, since=until)
    is_later = pc.field("transaction_id").isin(rows["transaction_id"].combine_chunks())
    told = snapshot.lake.read("labels", where=is_later, version=snapshot.label_version)
    lines, own = _lines(told), np.array([(until - BEGINNING) // MICROSECOND], np.int64)
    stamp = _stamp(snapshot, until, build_config)
    base = {**kept.segments[0], "until": own}
    write_state(folder, stamp, base, keep=0, sync=sync)
    write_state(folder, stamp, _tail(snapshot, stamp, lines), keep=1, sync=sync)
    return State(kept=kept, rows=rows, told=lines)


def _tail(snapshot: Snapshot, stamp: Stamp, told: pa.Table) -> Arrays:
    return {"told": written(told), "marks": np.array(_marks(snapshot, stamp), np.int64)}


def _marks(snapshot: Snapshot, stamp: Stamp) -> list[int]:
    """By what the versions that were read are known again."""
    lake = snapshot.lake
    return [lake.mark("transactions", stamp.transactions), lake.mark("labels", stamp.labels)]


def _lines(rows: pa.Table | None) -> pa.Table:
    if rows is None or not rows.num_rows:
        return LABELS.empty_table()
    return rows.select(LABELS.names).cast(LABELS)


def _stamp(snapshot: Snapshot, until: datetime, build_config: BuildConfig) -> Stamp:
    """What the features of rows before a moment depend on."""
    identity = read_identity(snapshot.lake.url)
    rates = settled_digest(snapshot.rates, by=until) if snapshot.rates else ""
    return Stamp(
        declarations=snapshot.feature_digest,
        lake=identity.home if identity else "",
        rates=rates,
        ip_data=_fingerprint(build_config.ip_databases),
        transactions=snapshot.version,
        labels=snapshot.label_version,
    )


def _fingerprint(files: tuple[Path, ...]) -> str:
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
