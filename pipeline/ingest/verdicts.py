"""The analysts' verdicts, copied from casework to the label ledger, each once."""

import pyarrow as pa

from features.schema import LABELS
from pipeline.casework import Engine, labels_after
from pipeline.lake.tables import Lake

WRITER = "review"


def collect_labels(lake: Lake, casework: Engine) -> int:
    """Copy the analysts' verdicts that the lake has not yet.

    The append carries the last one's number. Returns how many.
    """
    fresh = labels_after(casework, lake.portfolio, max(0, lake.written("labels", WRITER)))
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
    lake.append(
        "labels", pa.Table.from_pylist(rows, schema=LABELS), writer=WRITER, number=fresh[-1].id
    )
    return len(fresh)
