"""What became of the records of a run of ingest, in numbers and in reasons."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from pipeline.checks.validation import Reason
from pipeline.ingest.label_files import LabelsTaken
from pipeline.sources.card_numbers import masked


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """What became of the records: read = taken + known + left_out + quarantined + torn.

    `labels` are those of the rows, `label_files` what became of labels in files of their own;
    `corrected` of those taken are new versions of a row, `waiting` of those quarantined come in by
    themselves. `reasons` are those of the other ones, `missing` optional values, both by column and
    rule; `doubts`, `changes` of a feed and `waiting_files` are sentences. `alarms` are changes
    since an earlier delivery, or files without rows.
    """

    read: int = 0
    taken: int = 0
    known: int = 0
    left_out: int = 0
    quarantined: int = 0
    torn: int = 0
    labels: int = 0
    corrected: int = 0
    waiting: int = 0
    reasons: tuple[Reason, ...] = ()
    missing: tuple[Reason, ...] = ()
    doubts: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    alarms: int = 0
    waiting_files: tuple[str, ...] = ()
    label_files: LabelsTaken = field(default_factory=LabelsTaken)

    @property
    def counts(self) -> str:
        """What became of the records read, in a line."""
        return (
            f"read {self.read:,} = taken {self.taken:,} + known {self.known:,} + left out "
            f"{self.left_out:,} + quarantined {self.quarantined:,} + torn {self.torn:,}"
        )

    @property
    def failed(self) -> int:
        """Records that are held and do not come in by themselves."""
        return self.quarantined - self.waiting + self.torn

    @property
    def commonest(self) -> str:
        """The reason that holds most records, with how many, and how many reasons there are."""
        first, *others = self.reasons
        reasons = "1 other reason" if len(others) == 1 else f"{len(others):,} other reasons"
        also = f" (beside {reasons})" if others else ""
        return masked(f"{first.count:,} because {first.sentence}{also}")

    @property
    def remarks(self) -> Iterator[str]:
        """What was found out, is missing or waits, a line each."""
        yield from self.doubts
        yield from (f"changed: {change}" for change in self.changes)
        for lost in self.missing:
            yield f"missing: {lost.sentence}, in {lost.count:,} rows, which were taken without it"
        yield from self.waiting_files
        if self.waiting:
            ahead = f"{self.waiting:,} rows are ahead of the clock"
            yield f"{ahead}; they come in once their time has come"
        if self.corrected:
            yield f"{self.corrected:,} of the rows taken correct what an earlier delivery said"
        labels = self.label_files
        yield from labels.doubts
        for lost in labels.missing:
            yield f"{lost.sentence}, in {lost.count:,} labels, which are known from when they came"
        yield from labels.waiting_files
        if labels.found:
            yield f"{labels.found:,} labels that had waited found their payment"

    def __add__(self, other: "Ingested") -> "Ingested":
        return Ingested(
            read=self.read + other.read,
            taken=self.taken + other.taken,
            known=self.known + other.known,
            left_out=self.left_out + other.left_out,
            quarantined=self.quarantined + other.quarantined,
            torn=self.torn + other.torn,
            labels=self.labels + other.labels,
            corrected=self.corrected + other.corrected,
            waiting=self.waiting + other.waiting,
            reasons=_summed((*self.reasons, *other.reasons)),
            missing=_summed((*self.missing, *other.missing)),
            doubts=tuple(dict.fromkeys((*self.doubts, *other.doubts))),
            changes=tuple(dict.fromkeys((*self.changes, *other.changes))),
            alarms=self.alarms + other.alarms,
            waiting_files=(*self.waiting_files, *other.waiting_files),
            label_files=self.label_files + other.label_files,
        )


def _summed(reasons: tuple[Reason, ...]) -> tuple[Reason, ...]:
    """The reasons, one for each column and rule, those that hit most first."""
    counts: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], Reason] = {}
    for reason in reasons:
        key = (reason.column, reason.rule)
        counts[key] += reason.count
        first.setdefault(key, reason)
    return tuple(replace(first[key], count=count) for key, count in counts.most_common())
