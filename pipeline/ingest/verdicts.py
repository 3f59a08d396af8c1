"""The analysts' verdicts, copied from casework to the label ledger, each once.

How far they were copied belongs to a casework database, not to a number alone: those of a new or
restored one begin at its first, and what the ledger has already is left out.
"""

import pyarrow as pa
import pyarrow.compute as pc

from features.schema import LABELS
from pipeline.casework import Engine, identity_of, labels_after
from pipeline.lake.identity import review_writer
from pipeline.lake.tables import Lake

SOURCE = "review"
SAME = ["transaction_id", "is_fraud", "known_at"]


def collect_labels(lake: Lake, casework: Engine) -> int:
    """Copy the analysts' verdicts that the lake has not yet.

    The append carries the last one's number. Returns how many.
    """
    with lake.turn():
        writer = review_writer(identity_of(casework).database)
        done = lake.written("labels", writer)
        fresh = labels_after(casework, lake.portfolio, max(0, done))
        if not fresh:
            return 0
        rows = [
            {
                "transaction_id": f.transaction_id,
                "is_fraud": f.is_fraud,
                "known_at": f.known_at,
                "source": f.source,
            }
            for f in fresh
        ]
        labels = pa.Table.from_pylist(rows, schema=LABELS)
        if done < 0:
            labels = _unknown(labels, lake)
        lake.append("labels", labels, writer=writer, number=fresh[-1].id)
    return int(labels.num_rows)


def _unknown(labels: pa.Table, lake: Lake) -> pa.Table:
    """Those that the ledger has not from an earlier database, or an earlier copy of this one."""
    known = lake.read("labels", columns=SAME, where=pc.field("source") == SOURCE)
    if known is None or not known.num_rows:
        return labels
    return labels.join(known, SAME, join_type="left anti").select(LABELS.names).cast(LABELS)
