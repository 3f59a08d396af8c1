"""What is said of a proposal: what each column is taken to be, what is doubted, a dry run."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.ingest.ingest import Ingested
from pipeline.portfolio import PortfolioError
from pipeline.proposal.profile import masked
from pipeline.proposal.proposal import Proposal, propose
from pipeline.proposal.trial import Trial, try_out

PART = re.compile(r"[^\s]*sheet[0-9]+/([0-9]{3}-)?")  # where a part that was looked at lies


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
    yield f"{what}: {_counts(trial.done)}"
    for reason in trial.done.examples:
        yield f"  would fail: {reason}"
    for lost in trial.done.missing:
        yield f"  would be missing: {lost.sentence}, in {lost.count:,} rows"
    for doubt in trial.done.doubts:
        yield f"  {doubt}"


def _counts(done: Ingested) -> str:
    failed = f"quarantined {done.quarantined:,} + torn {done.torn:,}"
    return (
        f"read {done.read:,} = taken {done.taken:,} + known {done.known:,} "
        f"+ left out {done.left_out:,} + {failed}"
    )


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
