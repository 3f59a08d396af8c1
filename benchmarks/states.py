"""Whether features that are built on from a state are those of a rebuilt state and of no state."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

import pipeline.score.state
from features.build import BuildConfig
from features.ip.addresses import packaged_database
from pipeline.lake.snapshot import read_snapshot
from pipeline.lake.tables import Lake
from pipeline.portfolio import Portfolio
from pipeline.progress import SILENT
from pipeline.score.state import features_since

BUILD = BuildConfig(ip_databases=(packaged_database(),))
NEAR = 1e-9


def keep_of_few_rows() -> None:
    """Let this process keep a state of histories that are not worth it, too."""
    pipeline.score.state.MIN_ROWS = 0


def from_state(
    portfolio: Portfolio, lake: Lake, states: Path, *, since: datetime | None = None
) -> pa.Table:
    """Build the features of the rows from `since` on, else of the newest, from a state of few rows.

    The state is made or kept on the way.
    """
    keep_of_few_rows()
    snapshot = read_snapshot(portfolio, lake)
    return features_since(
        snapshot,
        since or _newest(lake),
        delay=portfolio.arrival_delay,
        build_config=replace(BUILD, state_folder=states),
        progress=SILENT,
    )


def is_unlike_rebuilt(
    portfolio: Portfolio, lake: Lake, states: Path, *, since: datetime | None = None
) -> bool:
    """Whether features differ between a state, one made anew, and one pass over everything."""
    since = since or _newest(lake)
    going_on = from_state(portfolio, lake, states, since=since)
    with TemporaryDirectory() as empty:
        rebuilt = from_state(portfolio, lake, Path(empty), since=since)
    whole = read_snapshot(portfolio, lake).features(build_config=BUILD, since=since)
    return not (are_equal(going_on, whole) and are_equal(rebuilt, whole))


def _newest(lake: Lake) -> datetime:
    bounds = lake.bounds("transactions", "as_of")
    if bounds is None:
        raise ValueError(f"the lake in {lake.folder} has no transactions; ingest some first")
    newest: datetime = bounds[1]
    return newest


def are_equal(ours: pa.Table, theirs: pa.Table) -> bool:
    """Whether two tables of features have the same rows, sums to 1e-9 and all else exactly."""
    ours, theirs = (one.sort_by("transaction_id") for one in (ours, theirs))
    if ours.schema.names != theirs.schema.names or ours.num_rows != theirs.num_rows:
        return False
    return all(_is_near(ours[name], theirs[name]) for name in ours.schema.names)


def _is_near(ours: pa.ChunkedArray, theirs: pa.ChunkedArray) -> bool:
    if not pa.types.is_floating(ours.type):
        return bool(ours.equals(theirs))
    if not ours.is_null().equals(theirs.is_null()):
        return False
    near = np.isclose(ours.to_numpy(), theirs.to_numpy(), rtol=NEAR, atol=NEAR, equal_nan=True)
    return bool(near.all())
