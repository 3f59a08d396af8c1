"""What is said of a proposal: what each column is taken to be, what is doubted, a dry run."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from features.schema import SchemaError
from pipeline.ingest.ingest import StoppedError, ingest
from pipeline.ingest.ingested import Ingested
from pipeline.lake.tables import Lake
from pipeline.portfolio import Portfolio, PortfolioError, read_portfolio
from pipeline.proposal.proposal import Proposal, propose
from pipeline.proposal.sample import Sheet
from pipeline.sources.card_numbers import masked

PART = re.compile(r"[^\s]*sheet[0-9]+/([0-9]{3}-)?")  # where a part that was looked at lies


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What the dry run said: counts and reasons, or why it could not be made."""

    done: Ingested | None
    stopped: str = ""
    refused: str = ""
    is_whole: bool = True


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """The file's text, what to say of it, and a sentence on lines that a person has to write."""

    text: str
    report: str
    unanswered: str


def propose_and_try(paths: Sequence[Path], *, out: Path, now: datetime) -> Proposed:
    """Propose a portfolio.toml for files and try it on them; writes nothing.

    Raises PortfolioError where the files cannot be read.
    """
    with TemporaryDirectory() as folder:
        try:
            proposal = propose(paths, out=out, folder=Path(folder))
        except PortfolioError as error:
            raise PortfolioError(masked(PART.sub("", str(error)))) from error
        trial = None
        if not proposal.draft.missing:
            trial = try_out(proposal, now=now, folder=Path(folder))
    lines = [*_proposed(proposal, out), *(_tried(trial) if trial else ())]
    return Proposed(
        text=proposal.draft.text(),
        report=masked(PART.sub("", "\n".join(lines))),
        unanswered=masked(_unanswered(proposal, out)),
    )


def _proposed(proposal: Proposal, out: Path) -> Iterator[str]:
    draft = proposal.draft
    yield f"{out} is proposed from {proposal.columns} columns and {proposal.rows:,} rows"
    for table, lines in draft.tables.items():
        for line in lines:
            if line.value is not None and table in ("source", "columns"):
                yield f"  {line.key:<18} {_short(str(line.value))}"
    if draft.doubts:
        yield f"{len(draft.doubts)} doubts, each in the file with rows that show it:"
    for doubt in draft.doubts:
        yield f"  {doubt.about}: {_short(doubt.says, 200)}"


def _short(text: str, most: int = 90) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _tried(trial: Trial) -> Iterator[str]:
    what = "dry run" if trial.is_whole else "dry run on the parts that were looked at"
    if trial.stopped:
        yield f"{what}: {trial.stopped}"
    if trial.done is None:
        yield f"{what}: {trial.refused}"
        return
    yield f"{what}: {trial.done.counts}"
    for reason in trial.done.reasons:
        yield f"  would fail: {reason.sentence}, in {reason.count:,} rows"
    for lost in trial.done.missing:
        yield f"  would be missing: {lost.sentence}, in {lost.count:,} rows"
    for doubt in trial.done.doubts:
        yield f"  {doubt}"


def _unanswered(proposal: Proposal, out: Path) -> str:
    """A sentence on the lines that nobody but a person can write."""
    missing = proposal.draft.missing
    if not missing:
        return ""
    names = " and ".join(missing)
    return (
        f"{out} lacks {names} in [columns], which no column of the files says; write it where "
        f"{out} says TO WRITE, then strata ingest {out} --dry-run"
    )


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
    file.write_text(proposal.draft.text(), encoding="utf-8")
    portfolio = read_portfolio(file)
    changed: dict[str, Any] = {"path": _parts(proposal.sheets, portfolio.source.path)}
    tables = portfolio.source.tables
    changed["tables"] = {name: _parts(proposal.sheets, path) for name, path in tables.items()}
    labels = portfolio.labels
    if labels.path:
        labels = labels.model_copy(update={"path": _parts(proposal.sheets, labels.path)})
    source = portfolio.source.model_copy(update=changed)
    return replace(portfolio, source=source, labels=labels)


def _parts(sheets: Mapping[str, Sheet], path: str) -> str:
    """Where the parts of the files are that a path of the portfolio names."""
    parts = sheets[path].parts
    return str(parts[0] if len(parts) == 1 else parts[0].parent)
