"""Score: whatever is unscored up to a moment, once and for good; then alerts for what is worth an analyst's minutes.

Scores are appended with the number of their batch. Alerts are raised from the batches that were not alerted on yet, and the
batch's number is kept in the same database transaction: a run killed between the two is finished by the next run.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from features.build import KEYS

from pipeline.bundle import Bundle, BundleError
from pipeline.casework import Engine, FlaggedTransaction, RaisedAlerts, alerted_up_to, in_alerts, raise_alerts
from pipeline.explain import reasons
from pipeline.history import History, read_history
from pipeline.lake import Lake
from pipeline.policy import choose, rules_hit
from pipeline.portfolio import Portfolio

WRITER = "score"


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The model that decides: its version in the registry and its bundle."""

    version: str
    bundle: Bundle


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
    ip_database: Path,
    now: datetime,
    until: datetime | None = None,
) -> Scored:
    """Score the transactions with as_of before `until` that have no score yet, and raise alerts.

    Scoring starts at the moment the first champion was trained as of: what came before was decided without it. Raises
    BundleError when the champion was trained on other features than this code builds.
    """
    history = read_history(portfolio, lake, until=until)
    check_features(champion, history)
    before = _stored_scores(lake)
    start = champion.bundle.trained_as_of if before is None or before.empty else before["as_of"].min()
    unscored = _unscored(history.transactions, before, start)
    pending = [] if before is None else list(before.loc[before["batch"] > alerted_up_to(casework, portfolio.name), "as_of"])
    moments = [*unscored, *pending]
    if not moments:
        return Scored(scored=0, alerts=RaisedAlerts(new_alerts=0, added=0, already=0))
    features = history.features(ip_database=ip_database, since=min(moments))
    fresh = _without(features, before)
    if fresh.num_rows:
        batch = lake.version("scores") + 1
        lake.append("scores", score_rows(fresh, history, champion, portfolio, batch=batch, now=now), writer=WRITER, number=batch)
    alerts = _alert(portfolio, lake, casework, champion, features, history, now)
    return Scored(scored=fresh.num_rows, alerts=alerts)


def check_features(champion: Champion, history: History) -> None:
    """Refuse a champion whose features this code and portfolio no longer build."""
    if champion.bundle.feature_digest != history.feature_digest:
        ours, theirs = [group.name for group in history.groups], list(champion.bundle.model.stages)
        what = f"its groups are {', '.join(theirs)}, today's {', '.join(ours)}" if ours != theirs else "a feature's definition changed"
        raise BundleError(
            f"version {champion.version} of {champion.bundle.portfolio} was trained on features {champion.bundle.feature_digest}, "
            f"this code builds {history.feature_digest} ({what}); run strata train and strata promote"
        )


def score_rows(features: pa.Table, history: History, champion: Champion, portfolio: Portfolio, *, batch: int, now: datetime) -> pa.Table:
    """Return the rows' scores: calibrated score, logit before calibration, base and each stage's increment, rules that hit."""
    model = champion.bundle.model
    increments = model.increments(features)
    logit = model.base_logit + increments.sum(axis=1)
    table = features.select(list(KEYS))
    columns: dict[str, object] = {
        "model_version": [champion.version] * features.num_rows,
        "score": champion.bundle.probability(logit),
        "logit": logit,
        "base": [model.base_logit] * features.num_rows,
        **{f"stage_{name}": increments[:, place] for place, name in enumerate(model.stages)},
        "rules": pa.array(_rules(features, history, portfolio), pa.string(), from_pandas=True),
        "batch": [batch] * features.num_rows,
        "scored_at": pa.array([now] * features.num_rows, pa.timestamp("us", tz="UTC")),
    }
    for name, values in columns.items():
        table = table.append_column(name, values if isinstance(values, pa.Array) else pa.array(values))
    return table


def _rules(features: pa.Table, history: History, portfolio: Portfolio) -> pd.Series:
    """The rules that hit each row; conditions see the transaction's columns and its features."""
    if not portfolio.rules:
        return pd.Series(None, index=range(features.num_rows), dtype="string")
    columns = history.transactions.drop_columns([name for name in KEYS if name != "transaction_id"])
    facts = features.to_pandas().merge(columns.to_pandas(), on="transaction_id", how="left", validate="one_to_one")
    return rules_hit(portfolio.rules, facts)


def _stored_scores(lake: Lake) -> pd.DataFrame | None:
    stored = lake.read("scores", columns=["transaction_id", "as_of", "batch"])
    return None if stored is None else stored.to_pandas()


def _unscored(transactions: pa.Table, before: pd.DataFrame | None, start: datetime) -> list[pd.Timestamp]:
    rows = transactions.select(["transaction_id", "as_of"]).filter(pc.field("as_of") >= pa.scalar(start, pa.timestamp("us", tz="UTC")))
    return list(_without(rows, before)["as_of"].to_pandas())


def _without(rows: pa.Table, before: pd.DataFrame | None) -> pa.Table:
    if before is None or before.empty:
        return rows
    return rows.filter(pc.invert(pc.is_in(rows["transaction_id"], pa.array(before["transaction_id"], pa.string()))))


def _alert(
    portfolio: Portfolio, lake: Lake, casework: Engine, champion: Champion, features: pa.Table, history: History, now: datetime
) -> RaisedAlerts:
    """Raise alerts from the batches scored since the last time, within what their days' capacity still allows."""
    done = alerted_up_to(casework, portfolio.name)
    stored = lake.read("scores")
    assert stored is not None  # noqa: S101 - something was scored above
    batch = pc.max(stored["batch"]).as_py()
    rows = stored.filter(pc.field("batch") > done).to_pandas()
    if rows.empty:
        return RaisedAlerts(new_alerts=0, added=0, already=0)
    alerted = _already_alerted(stored, casework, portfolio, since=rows["as_of"].min().floor("D"), done=done)
    policy = champion.bundle.policy
    chosen = choose(rows.assign(probability=rows["score"]), policy=policy, already_alerted=alerted)
    flagged = _flagged(chosen, features, champion, history)
    return raise_alerts(casework, flagged, portfolio=portfolio.name, batch=batch, now=now)


def _already_alerted(stored: pa.Table, casework: Engine, portfolio: Portfolio, *, since: pd.Timestamp, done: int) -> pd.DataFrame:
    """The accounts alerted on each of these days by earlier batches."""
    earlier = stored.filter((pc.field("batch") <= done) & (pc.field("as_of") >= pa.scalar(since, pa.timestamp("us", tz="UTC"))))
    rows = earlier.select(["transaction_id", "account_id", "as_of"]).to_pandas()
    rows = rows[rows["transaction_id"].isin(in_alerts(casework, portfolio.name, list(rows["transaction_id"])))]
    return pd.DataFrame({"account_id": rows["account_id"], "day": rows["as_of"].dt.floor("D")}).drop_duplicates()


def _flagged(chosen: pd.DataFrame, features: pa.Table, champion: Champion, history: History) -> list[FlaggedTransaction]:
    model = champion.bundle.model
    facts = features.filter(pc.is_in(features["transaction_id"], pa.array(chosen["transaction_id"], pa.string())))
    chosen = chosen.set_index("transaction_id").loc[facts["transaction_id"].to_pandas()].reset_index()
    increments = chosen[[f"stage_{name}" for name in model.stages]].to_numpy()
    told = reasons(facts, increments, model.encoder, history.groups)
    currencies = _currencies(history.transactions, chosen["transaction_id"])
    return [
        FlaggedTransaction(
            transaction_id=row.transaction_id,
            account_id=row.account_id,
            event_time=row.event_time.to_pydatetime(),
            amount=row.amount,
            currency=currency,
            score=row.score,
            logit=row.logit,
            base=row.base,
            model_version=row.model_version,
            expected_loss=row.expected_loss,
            rules=() if pd.isna(row.rules) else tuple(row.rules.split(", ")),
            stages=stages,
        )
        for row, stages, currency in zip(chosen.itertuples(), told, currencies, strict=True)
    ]


def _currencies(transactions: pa.Table, wanted: pd.Series) -> list[str | None]:
    if "currency" not in transactions.column_names:
        return [None] * len(wanted)
    known = transactions.select(["transaction_id", "currency"]).to_pandas().set_index("transaction_id")["currency"]
    return [None if pd.isna(value) else str(value) for value in known.loc[wanted]]
