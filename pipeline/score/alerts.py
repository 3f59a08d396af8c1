"""Alert: from batches of scores to alerts, within what each day's capacity still allows.

Batches are gone through one by one in their order, and a batch's number is kept in the database
transaction that raises its alerts: whenever a run is killed, the next one goes on where it stopped
and raises what the first would have raised.
"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from features.build import BuildConfig
from pipeline.arrays import FloatArray
from pipeline.casework import Engine, RaisedAlerts, in_alerts, raise_alerts
from pipeline.explanation.nearest_cases import currencies
from pipeline.explanation.reasons import fact_attributions, reasons
from pipeline.explanation.typical_ranges import typical_ranges_of_accounts
from pipeline.flagged import FlaggedTransaction
from pipeline.lake.snapshot import NoDataError, Snapshot
from pipeline.lake.tables import Lake
from pipeline.models.layered.model import STAGE
from pipeline.policy.selection import choose
from pipeline.portfolio import Portfolio
from pipeline.progress import SILENT, Progress
from pipeline.registry.bundle import Bundle
from pipeline.score.account_history import own_rows


def alert(
    portfolio: Portfolio,
    lake: Lake,
    casework: Engine,
    bundle: Bundle,
    features: pa.Table,
    snapshot: Snapshot,
    *,
    batches: Sequence[int],
    build_config: BuildConfig,
    now: datetime,
    progress: Progress = SILENT,
) -> RaisedAlerts:
    """Raise the alerts of these batches, whose rows' `features` are there.

    The bundle's policy says what is worth a review.
    """
    raised = []
    for batch in batches:
        with progress.step("choosing what is worth a review"):
            rows = _scores(lake, pc.field("batch") == batch)
            alerted = _already_alerted(
                lake, casework, portfolio, since=rows["as_of"].min().floor("D"), before=batch
            )
            chosen = choose(
                rows.assign(probability=rows["score"]),
                policy=bundle.policy,
                already_alerted=alerted,
            )
        with progress.step(f"reasons of {len(chosen):,} transactions"):
            flagged = _flagged(chosen, features, bundle, snapshot, build_config)
        with progress.step("raising the alerts"):
            raised.append(
                raise_alerts(casework, flagged, portfolio=portfolio.name, batch=batch, now=now)
            )
    return RaisedAlerts(
        new_alerts=sum(one.new_alerts for one in raised),
        added=sum(one.added for one in raised),
        already=sum(one.already for one in raised),
    )


def _already_alerted(
    lake: Lake, casework: Engine, portfolio: Portfolio, *, since: pd.Timestamp, before: int
) -> pd.DataFrame:
    """The accounts alerted on each of these days by earlier batches."""
    earlier = (pc.field("batch") < before) & (
        pc.field("as_of") >= pa.scalar(since, pa.timestamp("us", tz="UTC"))
    )
    rows = _scores(lake, earlier, columns=["transaction_id", "account_id", "as_of"])
    rows = rows[
        rows["transaction_id"].isin(
            in_alerts(casework, portfolio.name, list(rows["transaction_id"]))
        )
    ]
    return pd.DataFrame(
        {"account_id": rows["account_id"], "day": rows["as_of"].dt.floor("D")}
    ).drop_duplicates()


def _scores(
    lake: Lake, where: pc.Expression, *, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    rows = lake.read("scores", columns=columns, where=where)
    if rows is None:
        raise NoDataError(f"portfolio {lake.portfolio} has no scores; run strata score first")
    return pd.DataFrame(rows.to_pandas())


def _flagged(
    chosen: pd.DataFrame,
    features: pa.Table,
    bundle: Bundle,
    snapshot: Snapshot,
    build_config: BuildConfig,
) -> list[FlaggedTransaction]:
    """The chosen rows with their reasons and the confirmed cases nearest to them."""
    ids = pa.array(chosen["transaction_id"], pa.string())
    facts = features.filter(pc.is_in(features["transaction_id"], ids))
    chosen = (
        chosen.set_index("transaction_id").loc[facts["transaction_id"].to_pandas()].reset_index()
    )
    increments = _increments(chosen, bundle.model.stages)
    attributions = fact_attributions(bundle.model, facts, increments)
    own = typical_ranges_of_accounts(facts, own_rows(snapshot, facts, build_config=build_config))
    ranges = [{**bundle.typical_ranges, **known} for known in own]
    stages_of_rows = reasons(
        facts,
        increments,
        bundle.model.encoder,
        snapshot.groups,
        ranges=ranges,
        attributions=attributions,
    )
    near = bundle.cases.nearest(bundle.model, facts)
    return [
        FlaggedTransaction(
            transaction_id=row["transaction_id"],
            account_id=row["account_id"],
            event_time=row["event_time"].to_pydatetime(),
            amount=amount,
            currency=currency,
            loss_currency=snapshot.currency or None,
            score=row["score"],
            logit=row["logit"],
            base=row["base"],
            model_version=row["model_version"],
            expected_loss=row["expected_loss"],
            rules=() if pd.isna(row["rules"]) else tuple(row["rules"].split(", ")),
            stages=stages,
            nearest=nearest,
        )
        for row, stages, amount, currency, nearest in zip(
            chosen.to_dict("records"),
            stages_of_rows,
            *_as_paid(snapshot, facts),
            near,
            strict=True,
        )
    ]


def _as_paid(snapshot: Snapshot, facts: pa.Table) -> tuple[list[float], list[str | None]]:
    """What was paid, and in which currency: not what it is worth in the one of the features."""
    if snapshot.rates is None:
        return facts["amount"].to_pylist(), currencies(snapshot, facts).to_pylist()
    paid = snapshot.columns_of(facts, ["amount", "currency"])
    return paid["amount"].to_pylist(), paid["currency"].to_pylist()


def _increments(chosen: pd.DataFrame, stages: Sequence[str]) -> dict[str, FloatArray]:
    """What each stage added, the bundle's stages first.

    A row that an earlier champion scored keeps that one's stages.
    """
    stored = [name.removeprefix(STAGE) for name in chosen.columns if name.startswith(STAGE)]
    names = dict.fromkeys([name for name in (*stages, *stored) if name in stored])
    return {name: chosen[f"{STAGE}{name}"].to_numpy(dtype=np.float64) for name in names}
