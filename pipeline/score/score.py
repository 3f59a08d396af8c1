"""Score: whatever is unscored up to a moment, once and for good; then raise the alerts.

Scores are appended with the number of their batch, and alerts are raised batch by batch (see
`pipeline.score.alerts`): a run killed between the two is finished by the next run.
"""

from dataclasses import dataclass
from datetime import datetime

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.build import KEYS, BuildConfig
from features.digest import difference, fingerprints
from pipeline.casework import Engine, RaisedAlerts, alerted_up_to
from pipeline.lake.compaction import looked_after
from pipeline.lake.currency import settled_digest
from pipeline.lake.snapshot import Snapshot, read_snapshot
from pipeline.lake.tables import Lake
from pipeline.policy.rules import rules_hit
from pipeline.portfolio import Portfolio
from pipeline.progress import SILENT, Progress
from pipeline.registry.bundle import BundleError
from pipeline.registry.champion import Champion
from pipeline.score.alerts import alert
from pipeline.score.state import features_since
from pipeline.score.unscored import MOMENT, find_unscored

WRITER = "score"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What a run did: transactions scored, and what became of the alerts."""

    scored: int
    alerts: RaisedAlerts


def score(
    portfolio: Portfolio,
    lake: Lake,
    casework: Engine,
    champion: Champion,
    *,
    build_config: BuildConfig,
    now: datetime,
    until: datetime | None = None,
    progress: Progress = SILENT,
) -> Scored:
    """Score the transactions with as_of before `until` that have no score yet, and raise alerts.

    Scoring starts at the moment the first champion was trained as of: what came before was decided
    without it. Raises BundleError when the champion was trained on other features than this code
    builds, LakeBusyError when another process scores at the same time, BrokenError when a table of
    the lake is broken.
    """
    with looked_after(lake):
        return _score(
            portfolio,
            lake,
            casework,
            champion,
            build_config=build_config,
            now=now,
            until=until,
            progress=progress,
        )


def _score(
    portfolio: Portfolio,
    lake: Lake,
    casework: Engine,
    champion: Champion,
    *,
    build_config: BuildConfig,
    now: datetime,
    until: datetime | None,
    progress: Progress,
) -> Scored:
    # taken before the scores are read: one appended since then makes our append fail
    batch = lake.next_number("scores", WRITER)
    snapshot = read_snapshot(portfolio, lake)
    check_features(champion, snapshot)
    found = find_unscored(
        lake,
        snapshot,
        until=until,
        trained_as_of=champion.bundle.trained_as_of,
        alerted=alerted_up_to(casework, portfolio.name),
    )
    unscored, waiting = found.rows, found.waiting
    moments = [*unscored["as_of"].to_pylist(), *waiting["as_of"].to_pylist()]
    if not moments:
        return Scored(scored=0, alerts=RaisedAlerts(new_alerts=0, added=0, already=0))
    with progress.step("features"):
        features = features_since(
            snapshot,
            min(moments),
            delay=portfolio.arrival_delay,
            build_config=build_config,
            progress=progress,
        )
    batches = sorted(waiting["batch"].unique().to_pylist())
    if unscored.num_rows:
        with progress.step(f"scoring {unscored.num_rows:,} transactions"):
            fresh = features.filter(
                pc.is_in(features["transaction_id"], unscored["transaction_id"].combine_chunks())
            )
            scores = score_rows(
                fresh, snapshot, champion, portfolio, batch=batch, scored_from=found.start, now=now
            )
        with progress.step("writing the scores"):
            lake.append("scores", scores, writer=WRITER, number=batch, marks=found.marks)
        batches.append(batch)
    alerts = alert(
        portfolio,
        lake,
        casework,
        champion.bundle,
        features,
        snapshot,
        batches=batches,
        build_config=build_config,
        now=now,
        progress=progress,
    )
    return Scored(scored=unscored.num_rows, alerts=alerts)


def check_features(champion: Champion, snapshot: Snapshot) -> None:
    """Refuse a champion whose features this code and portfolio no longer build."""
    if champion.bundle.feature_digest != snapshot.feature_digest:
        what = difference(fingerprints(snapshot.groups), champion.bundle.features)
        raise BundleError(
            f"version {champion.version} of {champion.bundle.portfolio} was trained on features "
            f"{champion.bundle.feature_digest}, "
            f"this code builds {snapshot.feature_digest} ({what}); "
            "run strata train and strata promote"
        )
    _check_currency(champion, snapshot)


def _check_currency(champion: Champion, snapshot: Snapshot) -> None:
    """Refuse a champion that learned from amounts in another currency, or by other rates."""
    bundle, ours = champion.bundle, snapshot.currency
    version = f"version {champion.version} of {bundle.portfolio}"
    if bundle.currency and ours and bundle.currency != ours:
        raise BundleError(
            f"{version} was trained on amounts in {bundle.currency}, and they are in {ours} now; "
            "put [currency] back, or run strata train and strata promote"
        )
    if not bundle.rates or snapshot.rates is None:
        return
    if settled_digest(snapshot.rates, by=bundle.trained_as_of) != bundle.rates:
        raise BundleError(
            f"rates in {snapshot.rates.file} from before {bundle.trained_as_of:%Y-%m-%d} have "
            f"changed since {version} was trained; put them back, or run strata train and strata "
            "promote"
        )


def score_rows(
    features: pa.Table,
    snapshot: Snapshot,
    champion: Champion,
    portfolio: Portfolio,
    *,
    batch: int,
    scored_from: datetime,
    now: datetime,
) -> pa.Table:
    """Return the rows' scores, with what they are made of and the rules that hit.

    They are made of the logit before calibration, which is the base and each stage's increment.
    """
    model, count = champion.bundle.model, features.num_rows
    logit, stages = model.score(features)
    columns = {
        **{name: features[name] for name in KEYS},
        "model_version": pa.repeat(champion.version, count),
        "score": pa.array(champion.bundle.probability(logit)),
        "logit": pa.array(logit),
        "base": pa.repeat(model.base_logit, count),
        **{name: pa.array(increments) for name, increments in stages.items()},
        "rules": pa.array(_rules(features, snapshot, portfolio), pa.string(), from_pandas=True),
        "batch": pa.repeat(batch, count),
        "scored_from": pa.repeat(pa.scalar(scored_from, MOMENT), count),
        "scored_at": pa.repeat(pa.scalar(now, MOMENT), count),
    }
    return pa.table(columns)


def _rules(features: pa.Table, snapshot: Snapshot, portfolio: Portfolio) -> pd.Series:
    """The rules that hit each row; conditions see the transaction's columns and its features."""
    if not portfolio.rules:
        return pd.Series(None, index=range(features.num_rows), dtype="string")
    further = [name for name in snapshot.columns if name not in features.column_names]
    facts = features.to_pandas().join(snapshot.columns_of(features, further).to_pandas())
    return rules_hit(portfolio.rules, facts)
