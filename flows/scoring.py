"""The scheduled way of a portfolio: take rows in, collect the analysts' verdicts, score what is new, raise alerts.

`strata flows PORTFOLIO...` serves it. Settings come from the environment of the process that runs the flow.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import prefect
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.states import Completed, State

from pipeline.casework import open_casework
from pipeline.ingest import ingest
from pipeline.labels import collect_labels
from pipeline.lake import Lake
from pipeline.portfolio import read_portfolio
from pipeline.score import score
from pipeline.settings import Settings
from pipeline.tracking import Tracking

AT_ONCE = 1  # runs of a portfolio at the same time: a second one would wait for the first's lake commits anyway

ingest_rows = prefect.task(
    ingest, name="ingest", retries=2, retry_delay_seconds=30, timeout_seconds=3600, cache_policy=NO_CACHE
)
collect_verdicts = prefect.task(collect_labels, name="collect labels", retries=2, retry_delay_seconds=30, cache_policy=NO_CACHE)
score_rows = prefect.task(score, name="score", retries=2, retry_delay_seconds=30, timeout_seconds=3600, cache_policy=NO_CACHE)


@prefect.flow(name="score", log_prints=False)
def scoring(portfolio_file: str, stale_after_seconds: float) -> State:  # type: ignore[type-arg]
    """Ingest, collect verdicts, score and alert, unless the slot has long passed: the next one does its work."""
    now = datetime.now(UTC)
    due = flow_run.scheduled_start_time or now
    if now - due > timedelta(seconds=stale_after_seconds):
        return Completed(message=f"skipped: due at {due:%Y-%m-%d %H:%M:%S} UTC, {(now - due).total_seconds():.0f} s ago")
    settings = Settings.read(os.environ)
    portfolio = read_portfolio(Path(portfolio_file))
    lake, casework = Lake(settings.lake_url, portfolio.name), open_casework(settings.database_url)
    champion = Tracking(settings.mlflow_tracking_uri, settings.home / "mlflow-artifacts").champion(portfolio.name)
    taken = ingest_rows(portfolio, lake, now=now)
    verdicts = collect_verdicts(lake, casework)
    done = score_rows(portfolio, lake, casework, champion, ip_database=settings.ip_database, now=now)
    rows = f"taken {taken.taken}, quarantined {taken.quarantined}, verdicts {verdicts}"
    return Completed(message=f"{rows}, scored {done.scored}, new alerts {done.alerts.new_alerts}")


def serve(portfolio_files: Sequence[Path], *, every: timedelta) -> None:
    """Serve one deployment a portfolio on its schedule, until interrupted."""
    deployments = [
        scoring.to_deployment(
            name=read_portfolio(file).name,
            interval=every,
            parameters={"portfolio_file": str(file.absolute()), "stale_after_seconds": every.total_seconds()},
            concurrency_limit=AT_ONCE,
        )
        for file in portfolio_files
    ]
    prefect.serve(*deployments, limit=max(AT_ONCE, len(deployments)))
