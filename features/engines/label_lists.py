"""Label lists: the verdicts on each key's rows in order of the moment they are seen.

Verdicts that last are counted by running sums. Those that the ledger replaces later are few, and
are looked at one by one. What a verdict is, and how it counts, says `features.sql.labels`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from features.declarations import LOOKBACK, Aggregate, Function, microseconds
from features.engines import kernels
from features.engines.arrays import Codes, Flags, Moments, Positions, column, known_of, values_of
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

    lasting: tuple[Positions, Moments, Positions, Positions, Positions]
    replaced: tuple[Positions, Moments, Moments, Flags]


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
        ),
        replaced=(few_offsets, replaced.seen[few], of.replaced_at[few], replaced.is_fraud[few]),
    )


def answers(
    own: LabelList, codes: Codes, moments: Moments, aggregates: Mapping[str, Aggregate]
) -> dict[str, pa.Array]:
    """Compute aggregates of what was known of keys' fraud at these moments."""
    spans = _spans(aggregates.values())
    lengths = np.array([microseconds(span) for span in spans], np.int64)
    frauds, labels, last, run = kernels.known_fraud(
        codes, moments, lengths, REACH, own.lasting, own.replaced
    )
    known = codes >= 0

    def answer(aggregate: Aggregate) -> pa.Array:
        place = spans.index(aggregate.span)
        match aggregate.function:
            case "fraud_count":
                return column(frauds[place], known)
            case "label_count":
                return column(labels[place], known)
            case "fraud_rate":
                rate = (frauds[place] + PRIOR_FRAUDS) / (labels[place] + PRIOR_LABELS)
                return column(rate, known)
            case "fraud_run":
                return column(run, known)
        moment = last[LAST[aggregate.function]]
        found = known & (moment != kernels.NEVER)
        if aggregate.function.startswith("seconds_since"):
            return column((moments - moment) / 1_000_000.0, found)
        return column(moment, found)

    return {name: answer(aggregate) for name, aggregate in aggregates.items()}


def _spans(aggregates: Iterable[Aggregate]) -> list[str]:
    return sorted({aggregate.span for aggregate in aggregates}, key=microseconds)
