"""What a proposed portfolio would take in: a dry run on the files, or on the parts looked at."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from features.schema import SchemaError
from pipeline.ingest.ingest import Ingested, StoppedError, ingest
from pipeline.lake.tables import Lake
from pipeline.portfolio import Portfolio, PortfolioError, read_portfolio
from pipeline.portfolio_tables import ExtraColumn, Labels, PortfolioTables, Source
from pipeline.proposal.draft import Draft
from pipeline.proposal.proposal import Proposal
from pipeline.proposal.sample import Sheet


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What the dry run said: counts and reasons, or why it could not be made."""

    done: Ingested | None
    stopped: str = ""
    refused: str = ""
    is_whole: bool = True


def try_out(proposal: Proposal, *, now: datetime, folder: Path) -> Trial:
    """Ingest what was looked at into a lake of its own in `folder`, without writing anything."""
    is_whole = all(sheet.is_whole for sheet in proposal.sheets.values())
    try:
        portfolio = _on_parts(proposal, folder)
    except PortfolioError as error:
        return Trial(done=None, refused=str(error), is_whole=is_whole)
    lake, stopped = Lake(str(folder / "lake"), portfolio.name), ""
    try:
        try:
            done = ingest(portfolio, lake, now=now, dry_run=True, spill=folder)
        except StoppedError as error:
            stopped = str(error)
            done = ingest(portfolio, lake, now=now, dry_run=True, accept=True, spill=folder)
    except (PortfolioError, SchemaError) as error:
        return Trial(done=None, stopped=stopped, refused=str(error), is_whole=is_whole)
    return Trial(done=done, stopped=stopped, is_whole=is_whole)


def _on_parts(proposal: Proposal, folder: Path) -> Portfolio:
    """The proposed portfolio, reading the parts that were looked at in the files' place."""
    file = folder / "portfolio.toml"
    text = proposal.draft.text(without=_unknown(proposal.draft))
    file.write_text(text, encoding="utf-8")
    portfolio = read_portfolio(file)
    changed: dict[str, Any] = {"path": _parts(proposal.sheets, portfolio.source.path)}
    tables: Mapping[str, str] = getattr(portfolio.source, "tables", {})
    if tables:
        changed["tables"] = {name: _parts(proposal.sheets, path) for name, path in tables.items()}
    labels = portfolio.labels
    if path := getattr(labels, "path", ""):
        labels = labels.model_copy(update={"path": _parts(proposal.sheets, path)})
    source = portfolio.source.model_copy(update=changed)
    return replace(portfolio, source=source, labels=labels)


def _parts(sheets: Mapping[str, Sheet], path: str) -> str:
    """Where the parts of the files are that a path of the portfolio names."""
    parts = sheets[path].parts
    return str(parts[0] if len(parts) == 1 else parts[0].parent)


def _unknown(draft: Draft) -> set[tuple[str, str]]:
    """Lines of the draft that no portfolio knows yet, by table and key."""
    source, labels = {*Source.model_fields}, {*Labels.model_fields}
    found = {("source", key) for key in ("tables", "query") if "tables" not in source}
    found |= {("labels", key) for key in ("path", "columns") if "path" not in labels}
    absent = [
        *(["keys."] if "keys" not in PortfolioTables.model_fields else []),
        *(["groups.extra."] if "columns" not in ExtraColumn.model_fields else []),
    ]
    tables = [name for name in draft.tables if name.startswith((*absent, "-"))]
    return found | {(name, line.key) for name in tables for line in draft.tables[name]}
