"""Label lists: the verdicts on each key's rows in order of the moment they are seen.

Verdicts that last are counted by running sums. Those that the ledger replaces later are few, and
are looked at one by one. What a verdict is, and how it counts, says `features.sql.labels`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from features.declarations import LOOKBACK, Aggregate, Function, microseconds
from features.engines import kernels
from features.engines.arrays import Answer, Codes, Flags, Moments, Positions, known_of, values_of
from features.engines.keys import Tuples
from features.known_fraud import PRIOR_FRAUDS, PRIOR_LABELS

REACH = microseconds(LOOKBACK)
FRAUD, LEGITIMATE = 0, 1
LAST: dict[Function, int] = {
    "last_fraud": FRAUD,
    "seconds_since_fraud": FRAUD,
    "last_legitimate": LEGITIMATE,
    "seconds_since_legitimate": LEGITIMATE,
}


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """Verdicts on rows, by number from 0 on, in order of the moment they are seen."""

    rows: Positions
    seen: Moments
    is_fraud: Flags


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The verdicts on all rows: those that last, and those replaced, with the moments of that."""

    lasting: Verdicts
    replaced: Verdicts
    replaced_at: Moments


@dataclass(frozen=True, kw_only=True)
class LabelList:
    """The verdicts on each key's rows, as `kernels.known_fraud` takes them."""

    lasting: tuple[Positions, Moments, Positions, Positions, Positions, Positions]
    replaced: tuple[Positions, Moments, Moments, Flags, Positions]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A list of labels that rows ask, with the numbers of their keys in it.

    Verdicts on the `cancelled` rows, in order, hold no more: they are no last ones, and a list of
    them alone, with a `sign` of -1, takes them off the counts.
    """

    own: LabelList
    codes: Codes
    cancelled: Positions = field(default_factory=lambda: np.empty(0, np.int32))
    sign: int = 1


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Lines of the label ledger on rows, by number from 0 on, in order of the rows."""

    rows: Positions
    known: Moments
    is_fraud: Flags

    def of(self, rows: Positions) -> "Lines":
        """The lines of some rows, in order, by their places among these."""
        begins = np.searchsorted(self.rows, rows)
        counts = np.searchsorted(self.rows, rows, side="right") - begins
        behind = np.repeat(begins - (np.cumsum(counts) - counts), counts)
        places = behind + np.arange(counts.sum())
        return Lines(
            rows=np.repeat(np.arange(rows.size, dtype=np.int32), counts),
            known=self.known[places],
            is_fraud=self.is_fraud[places],
        )

    def and_of(self, other: "Lines") -> "Lines":
        """These lines and others."""
        rows = np.concatenate([self.rows, other.rows])
        order = np.argsort(rows, kind="stable")
        return Lines(
            rows=rows[order],
            known=np.concatenate([self.known, other.known])[order],
            is_fraud=np.concatenate([self.is_fraud, other.is_fraud])[order],
        )


NO_LINES = Lines(
    rows=np.empty(0, np.int32), known=np.empty(0, np.int64), is_fraud=np.empty(0, np.bool_)
)


class LateLabels:
    """New lines on rows that are kept already, whose verdicts are made again of all their lines.

    `read` makes the verdicts of lines on rows of some moments; `moments` and `judged`, the numbers
    of keys in the kept lists, are those of all rows.
    """

    def __init__(
        self,
        new: Lines,
        kept: Lines,
        *,
        moments: Moments,
        judged: Mapping[tuple[str, ...], Codes],
        read: Callable[[Lines, Moments], "Ledger"],
    ) -> None:
        self.rows = np.unique(new.rows)
        self._codes = {key: codes[self.rows] for key, codes in judged.items()}
        self._made: dict[tuple[str, ...], tuple[Tuples, LabelList, LabelList]] = {}
        before, own = kept.of(self.rows), new.of(self.rows)
        asked = moments[self.rows]
        self._before, self._now = read(before, asked), read(before.and_of(own), asked)

    def asked(self, kept: LabelList, key: tuple[str, ...], codes: Codes) -> list["Judged"]:
        """What rows with these keys are to ask: what was kept, and what has changed since."""
        if not self.rows.size:
            return [Judged(own=kept, codes=codes)]
        if key not in self._made:
            self._made[key] = self._make(self._codes[key])
        tuples, before, now = self._made[key]
        changed = tuples.find([np.zeros_like(codes), codes])
        return [
            Judged(own=kept, codes=codes, cancelled=self.rows),
            Judged(own=now, codes=changed),
            Judged(own=before, codes=changed, sign=-1),
        ]

    def _make(self, codes: Codes) -> tuple[Tuples, LabelList, LabelList]:
        """Few keys, so with numbers of their own."""
        tuples = Tuples()
        own = tuples.number([np.zeros_like(codes), codes])
        lists = [label_list(one, own, tuples.count) for one in (self._before, self._now)]
        return tuples, lists[0], lists[1]


def ledger(verdicts: pa.Table) -> Ledger:
    """Read what `features.sql.labels.verdict_query` found, with its `row_id` from 1 on."""
    order = np.argsort(values_of(verdicts["seen_us"]), kind="stable")
    seen = values_of(verdicts["seen_us"])[order]
    rows = (values_of(verdicts["row_id"])[order] - 1).astype(np.int32)
    is_fraud = values_of(verdicts["is_fraud"])[order] == 1
    replaced = known_of(verdicts["replaced_us"])[order]

    def where(chosen: Flags) -> Verdicts:
        return Verdicts(rows=rows[chosen], seen=seen[chosen], is_fraud=is_fraud[chosen])

    return Ledger(
        lasting=where(~replaced),
        replaced=where(replaced),
        replaced_at=values_of(verdicts["replaced_us"])[order][replaced],
    )


def label_list(of: Ledger, codes: Codes, keys: int) -> LabelList:
    """Make the list of the verdicts on rows whose keys are `codes`, below `keys`; -1 is unknown."""
    lasting, replaced = of.lasting, of.replaced
    offsets, order = kernels.group(codes[lasting.rows], keys)
    few_offsets, few = kernels.group(codes[replaced.rows], keys)
    return LabelList(
        lasting=(
            offsets,
            kernels.take(lasting.seen, order),
            kernels.run_counts(lasting.is_fraud, order),
            kernels.run_last(lasting.is_fraud, order, offsets),
            kernels.run_last(~lasting.is_fraud, order, offsets),
            lasting.rows[order],
        ),
        replaced=(
            few_offsets,
            replaced.seen[few],
            of.replaced_at[few],
            replaced.is_fraud[few],
            replaced.rows[few],
        ),
    )


def answers(
    asked: Sequence[Judged], known: Flags, moments: Moments, aggregates: Mapping[str, Aggregate]
) -> dict[str, Answer]:
    """Compute aggregates of what was known of keys' fraud at these moments, of all lists together.

    They are null where a key is not known.
    """
    spans = _spans(aggregates.values())
    lengths = np.array([microseconds(span) for span in spans], np.int64)
    counts = np.zeros((2, len(spans), moments.size), np.int64)
    frauds, labels = counts
    last = np.full((2, moments.size), kernels.NEVER)
    run = np.zeros(moments.size, np.int64)
    found = (frauds, labels, last, run)
    for one in asked:
        lists = one.own.lasting, one.own.replaced
        kernels.known_fraud(
            one.codes, moments, lengths, REACH, *lists, one.cancelled, one.sign, found
        )
    if any(aggregate.function == "fraud_run" for aggregate in aggregates.values()):
        for one in asked:
            lists = one.own.lasting, one.own.replaced
            kernels.fraud_run(one.codes, moments, REACH, *lists, one.sign, found)

    def answer(aggregate: Aggregate) -> Answer:
        place = spans.index(aggregate.span)
        match aggregate.function:
            case "fraud_count":
                return frauds[place], known
            case "label_count":
                return labels[place], known
            case "fraud_rate":
                rate = (frauds[place] + PRIOR_FRAUDS) / (labels[place] + PRIOR_LABELS)
                return rate, known
            case "fraud_run":
                return run, known
        moment = last[LAST[aggregate.function]]
        found = known & (moment != kernels.NEVER)
        if aggregate.function.startswith("seconds_since"):
            return (moments - moment) / 1_000_000.0, found
        return moment, found

    return {name: answer(aggregate) for name, aggregate in aggregates.items()}


def _spans(aggregates: Iterable[Aggregate]) -> list[str]:
    return sorted({aggregate.span for aggregate in aggregates}, key=microseconds)
