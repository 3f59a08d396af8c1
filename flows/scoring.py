"""A portfolio's scheduled way: ingest, collect the analysts' verdicts, score, raise alerts.

`strata flows PORTFOLIO...` serves it. Settings come from the environment of the process that runs
the flow.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import prefect
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.deployments.runner import RunnerDeployment
from prefect.runtime import flow_run
from prefect.states import Completed

from pipeline.ingest.ingest import ingest
from pipeline.ingest.verdicts import collect_labels
from pipeline.portfolio import read_portfolio
from pipeline.score.score import score
from pipeline.settings import Settings
from pipeline.workspace import Workspace

POLICY: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": 30,
    "timeout_seconds": 3600,
    "cache_policy": NO_CACHE,
}

ingest_rows = prefect.task(**POLICY, name="ingest")(ingest)
collect_verdicts = prefect.task(**POLICY, name="collect labels")(collect_labels)
score_rows = prefect.task(**POLICY, name="score")(score)


@prefect.flow(name="score")
def scoring(portfolio_file: str, every_seconds: float) -> State[None]:
    """Ingest, collect verdicts, score and alert, unless the next slot has come to do that."""
    now = datetime.now(UTC)
    if stale := staleness(flow_run.scheduled_start_time or now, now, every_seconds=every_seconds):
        return Completed(message=stale)
    workspace = Workspace(settings=Settings.read(os.environ), file=Path(portfolio_file))
    champion = workspace.champion
    ingested = ingest_rows(
        workspace.portfolio, workspace.lake, now=now, spill=workspace.settings.spill
    )
    verdicts = collect_verdicts(workspace.lake, workspace.casework)
    scored = score_rows(
        workspace.portfolio,
        workspace.lake,
        workspace.casework,
        champion,
        build_config=workspace.settings.build_config,
        now=now,
    )
    return Completed(
        message=f"taken {ingested.taken}, quarantined {ingested.quarantined}, "
        f"verdicts {verdicts}, scored {scored.scored}, new alerts {scored.alerts.new_alerts}"
    )


def staleness(due: datetime, now: datetime, *, every_seconds: float) -> str:
    """Why a run is too late: the next slot has come, and does its work. Empty when it is not.

    >>> due = datetime(2025, 1, 1, 6, tzinfo=UTC)
    >>> staleness(due, due + timedelta(hours=3), every_seconds=3600)
    'skipped: due at 2025-01-01 06:00:00 UTC, 10800 s ago'
    """
    late_seconds = (now - due).total_seconds()
    if late_seconds <= every_seconds:
        return ""
    return f"skipped: due at {due:%Y-%m-%d %H:%M:%S} UTC, {late_seconds:.0f} s ago"


def serve(portfolio_files: Sequence[Path], *, every: timedelta) -> None:
    """Serve one deployment a portfolio on its schedule, until interrupted."""
    deployments = [_deployment(file, every) for file in portfolio_files]
    prefect.serve(*deployments, limit=len(deployments))


def _deployment(file: Path, every: timedelta) -> RunnerDeployment:
    """One run of a portfolio at a time: a second would only wait for the first's commits."""
    deployment = scoring.to_deployment(
        name=read_portfolio(file).name,
        interval=every,
        parameters={"portfolio_file": str(file.absolute()), "every_seconds": every.total_seconds()},
        concurrency_limit=1,
    )
    return cast(RunnerDeployment, deployment)  # a coroutine only where an event loop runs already
