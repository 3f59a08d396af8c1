"""Status: what a portfolio has, which version decides, what is late and what to do next.

Everything is read from the tables alone: Delta's log, the casework database, the registry.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from pipeline.lake.checking import require_whole, tables_in
from pipeline.lake.statistics import (
    count_present,
    count_rows,
    count_since,
    count_states,
    earliest,
    latest,
    rows_of,
    size_of,
)
from pipeline.registry.model_version import Version, model_name
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from pipeline.casework import AlertCounts


UNMATCHED, UNREAD = ("no payment", "several payments"), ("unreadable", "torn")  # labels of files


class VersionStatus(TypedDict):
    """A version that an alias points to."""

    version: str
    model: str
    metrics: dict[str, float]


class LastScore(TypedDict):
    """When the last batch was scored, and up to which as_of."""

    at: str
    until: str


class TableStatus(TypedDict):
    """How large a table is, and when its small files were last put together."""

    files: int
    bytes: int
    last_compaction: str | None


class Status(TypedDict):
    """One portfolio at a glance."""

    transactions: int
    quarantined: int
    feed: list[str]  # files refused, and what changed with the last ones that were taken
    labels: int
    labels_waiting: int
    labels_quarantined: int
    scored: int
    alerts: "AlertCounts"
    holds: int
    champion: VersionStatus | None
    challenger: VersionStatus | None
    last_score: LastScore | None
    tables: dict[str, TableStatus]


@dataclass(frozen=True, kw_only=True)
class Overdue:
    """What waits for somebody: transactions without a score, and holds past their review."""

    unscored: int
    unscored_since: datetime | None
    holds: int


def status(portfolio: str, workspace: Workspace) -> Status:
    """Count what the portfolio has; what it has not is 0 or None.

    Raises BrokenError where a table is broken.
    """
    folder = _tables(portfolio, workspace)
    require_whole(folder)
    alerts, holds = _cases(portfolio, workspace)
    held = f"{folder}/quarantine"
    return Status(
        transactions=count_rows(f"{folder}/transactions"),
        quarantined=count_rows(held) - count_present(held, "dropped_at"),
        feed=_feed(folder),
        labels=count_rows(f"{folder}/labels"),
        labels_waiting=count_states(f"{folder}/waiting_labels", UNMATCHED),
        labels_quarantined=count_states(f"{folder}/waiting_labels", UNREAD),
        scored=count_rows(f"{folder}/scores"),
        alerts=alerts,
        holds=holds,
        champion=_version(portfolio, workspace.registry.version(portfolio, "champion")),
        challenger=_version(portfolio, workspace.registry.version(portfolio, "challenger")),
        last_score=_last_score(folder),
        tables={Path(uri).name: _size(uri) for uri in tables_in(folder)},
    )


def _size(uri: str) -> TableStatus:
    size = size_of(uri)
    last = size.compacted_at.isoformat() if size.compacted_at else None
    return TableStatus(files=size.files, bytes=size.bytes, last_compaction=last)


def _feed(folder: str) -> list[str]:
    """Why files were refused that were not taken since, and what changed with the last ones."""
    noted = rows_of(f"{folder}/deliveries", ("name", "taken_at", "changes", "refused"))
    latest_of = {one["name"]: one for one in sorted(noted, key=lambda one: one["taken_at"])}
    refused = [one["refused"] for one in latest_of.values() if one["refused"]]
    last = max((one["taken_at"] for one in noted), default=None)
    changed = [one["changes"] for one in noted if one["taken_at"] == last and one["changes"]]
    return [*refused, *(line for lines in changed for line in lines.splitlines())]


def overdue(portfolio: str, workspace: Workspace, *, now: datetime) -> Overdue:
    """Count what is late at a moment.

    Scoring starts at the moment the first champion was trained as of: what stands before it is
    decided without a score. A champion that has not scored yet leaves nothing to count from.
    """
    folder = _tables(portfolio, workspace)
    start = earliest(f"{folder}/scores", "scored_from")
    unscored = 0
    if start is not None:
        due = count_since(f"{folder}/transactions", "as_of", start)
        unscored = due - count_rows(f"{folder}/scores")
    return Overdue(
        unscored=unscored,
        unscored_since=latest(f"{folder}/scores", "as_of") if unscored else None,
        holds=_holds_overdue(portfolio, workspace, now),
    )


def _tables(portfolio: str, workspace: Workspace) -> str:
    return f"{workspace.settings.lake_url.rstrip('/')}/{portfolio}"


def _cases(portfolio: str, workspace: Workspace) -> tuple["AlertCounts", int]:
    """Alerts by state and active holds; looking makes no database."""
    if not workspace.has_casework:
        return {"open": 0, "in_review": 0, "decided": 0}, 0
    from pipeline.casework import counts

    found = counts(workspace.casework, portfolio)
    return found["alerts"], found["holds"]


def _holds_overdue(portfolio: str, workspace: Workspace, now: datetime) -> int:
    if not workspace.has_casework:
        return 0
    from pipeline.casework import active_holds

    holds = active_holds(workspace.casework)
    return sum(hold.portfolio == portfolio and hold.review_by < now for hold in holds)


def _version(portfolio: str, found: Version | None) -> VersionStatus | None:
    if found is None:
        return None
    model = model_name(portfolio)
    return VersionStatus(version=found.number, model=model, metrics=found.metrics)


def _last_score(folder: str) -> LastScore | None:
    at, until = (latest(f"{folder}/scores", name) for name in ("scored_at", "as_of"))
    if at is None or until is None:
        return None
    return LastScore(at=at.isoformat(), until=until.isoformat())


def format_status(portfolio: str, found: Status, late: Overdue, workspace: Workspace) -> str:
    """One screen that a person reads in seconds: what is there, what is late, what to do next."""
    named = str(workspace.file or "PORTFOLIO")
    waiting = f"{_tables(portfolio, workspace)}/waiting_labels"
    lines = [portfolio, *_there(found)]
    lines += [f"  late       {sentence}" for sentence in _late(found, late, named, waiting)]
    return "\n".join([*lines, f"  next       {_next(found, named)}"])


def _there(found: Status) -> list[str]:
    alerts, last = found["alerts"], found["last_score"]
    at = f", last at {datetime.fromisoformat(last['at']):%Y-%m-%d %H:%M} UTC" if last else ""
    states = f"{alerts['open']:,} open, {alerts['in_review']:,} in review"
    return [
        f"  data       {found['transactions']:,} transactions, {found['labels']:,} labels",
        f"  scored     {found['scored']:,}{at}",
        f"  alerts     {states}, {alerts['decided']:,} decided; active holds: {found['holds']:,}",
        f"  champion   {_named(found['champion'])}; challenger: {_named(found['challenger'])}",
        *(_lake_line(name, table) for name, table in found["tables"].items()),
    ]


def _lake_line(name: str, table: TableStatus) -> str:
    at = table["last_compaction"]
    last = f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M} UTC" if at else "never"
    size = f"{table['files']:,} files, {table['bytes'] / 1e6:,.1f} MB"
    return f"  lake       {name}: {size}; last compaction: {last}"


def _named(version: VersionStatus | None) -> str:
    return "none" if version is None else f"version {version['version']}"


def _late(found: Status, late: Overdue, named: str, waiting: str) -> Iterator[str]:
    """What waits for longer than it should, each with the way to see to it."""
    if late.unscored and late.unscored_since:
        since = f"{late.unscored_since:%Y-%m-%d %H:%M} UTC"
        yield f"transactions unscored since {since}: {late.unscored:,}; strata score {named}"
    if late.holds:
        yield f"holds past their review: {late.holds:,}; strata dashboard shows them"
    yield from (f"the feed: {sentence}" for sentence in found["feed"])
    if found["quarantined"]:
        rows = f"rows in quarantine: {found['quarantined']:,}"
        yield f"{rows}; strata quarantine list {named} says why, and what to do"
    yield from _late_labels(found, named, waiting)


def _late_labels(found: Status, named: str, waiting: str) -> Iterator[str]:
    """Labels of their own files that are not in the ledger yet."""
    if number := found["labels_waiting"]:
        yield f"labels that fit no payment, or several: {number:,}; the column state of {waiting}"
    if number := found["labels_quarantined"]:
        remedy = f"mend columns in [labels], then strata ingest {named} --again"
        yield f"labels that cannot be read: {number:,}; {remedy}"


def _next(found: Status, named: str) -> str:
    """The one command that leads on."""
    if not found["transactions"]:
        return f"no transactions yet: strata ingest {named}"
    if found["challenger"]:
        version = found["challenger"]["version"]
        return f"version {version} wants to decide: strata promote {named}"
    if not found["champion"]:
        return f"no champion yet: strata train {named}"
    if not found["scored"]:
        return f"nothing scored yet: strata score {named}"
    waiting = found["alerts"]["open"]
    return f"alerts to review: {waiting:,}; strata dashboard" if waiting else "nothing waits"
