"""Status: what a portfolio has, which version decides, and when it last scored."""

from datetime import datetime
from typing import TypedDict

import pyarrow.compute as pc

from pipeline.casework import AlertCounts, Engine, counts
from pipeline.lake.tables import Lake
from pipeline.registry.versions import Alias, Registry


class VersionStatus(TypedDict):
    """A version that an alias points to."""

    version: str
    model: str
    metrics: dict[str, float]


class LastScore(TypedDict):
    """When the last batch was scored, and up to which as_of."""

    at: str
    until: str


class Status(TypedDict):
    """One portfolio at a glance."""

    transactions: int
    quarantined: int
    labels: int
    scored: int
    alerts: AlertCounts
    holds: int
    champion: VersionStatus | None
    challenger: VersionStatus | None
    last_score: LastScore | None


def status(portfolio: str, lake: Lake, casework: Engine, registry: Registry) -> Status:
    """Count what the portfolio has; what it has not is 0 or None."""
    cases = counts(casework, portfolio)
    return Status(
        transactions=lake.count("transactions"),
        quarantined=lake.count("quarantine"),
        labels=lake.count("labels"),
        scored=lake.count("scores"),
        alerts=cases["alerts"],
        holds=cases["holds"],
        champion=_version(registry, portfolio, "champion"),
        challenger=_version(registry, portfolio, "challenger"),
        last_score=_last_score(lake),
    )


def _version(registry: Registry, portfolio: str, alias: Alias) -> VersionStatus | None:
    found = registry.version(portfolio, alias)
    return (
        None
        if found is None
        else VersionStatus(version=found.number, model=f"strata-{portfolio}", metrics=found.metrics)
    )


def _last_score(lake: Lake) -> LastScore | None:
    stored = lake.read("scores", columns=["scored_at", "as_of"])
    if stored is None or not stored.num_rows:
        return None
    latest: dict[str, datetime] = {
        name: pc.max(stored[name]).as_py() for name in ("scored_at", "as_of")
    }
    return LastScore(at=latest["scored_at"].isoformat(), until=latest["as_of"].isoformat())
