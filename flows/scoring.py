"""The scheduled way of a portfolio: take rows in, collect the analysts' verdicts, score what is new, raise alerts.

Run by `strata flows PORTFOLIO...`; settings come from the environment of the process that runs the flow.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect import serve as serve_deployments

import pipeline.ingest
import pipeline.labels
import pipeline.score
from pipeline.casework.database import Engine, open_casework
from pipeline.lake import Lake
from pipeline.portfolio import Portfolio, read_portfolio
from pipeline.settings import Settings
from pipeline.tracking import Tracking


@task(retries=2, retry_delay_seconds=30, timeout_seconds=3600, cache_policy=None)
def ingest(portfolio: Portfolio, lake: Lake) -> pipeline.ingest.Ingested:
    """Take in the source's new rows."""
    return pipeline.ingest.ingest(portfolio, lake, now=datetime.now(UTC))
