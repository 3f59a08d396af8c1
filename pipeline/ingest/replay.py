"""Held rows, offered once more: as they came, in the types they had, through the same checks.

No source says them again, so a row leaves quarantine only after all that it tells is in the lake: a
run that is killed between the two is run again and finds the row known.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from features.schema import ARROW_TYPES
from pipeline.checks.validation import TORN, counted
from pipeline.ingest.held_rows import choose_rows, open_held
from pipeline.ingest.quarantine import HeldBack
from pipeline.lake.tables import Lake
from pipeline.sources.delivery import PLACE, Delivery, first_row, literal, numbered, quoted
from pipeline.sources.json_files import json_path
from pipeline.sources.readers import read_tables

HELD, CAME_WITH = "strata:held", "strata:came with"
WRITER = "ingest"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Rows of the same columns, by deliveries they came with; a column without a type is text.

    `number_forms` say how their numbers are written, as JSON; none where that is not known.
    """

    names: tuple[str, ...]
    number_forms: str | None
    types: dict[str, str] = field(default_factory=dict)
    deliveries: list[int | None] = field(default_factory=list)

    def fits(self, other: "Shape") -> bool:
        """Whether the rows of another one are of this shape."""
        agree = [self.types.get(name, kind) == kind for name, kind in other.types.items()]
        ours, theirs = (self.names, self.number_forms), (other.names, other.number_forms)
        return ours == theirs and all(agree)


@dataclass(frozen=True, kw_only=True)
class HeldTable:
    """Held rows of one shape, with what they are held by, and how their numbers are written."""

    rows: pa.Table
    number_forms: dict[str, tuple[str, str]]

    @property
    def digest(self) -> str:
        """A digest of which rows are offered, the same when a killed run is run again."""
        return sha256(str(sorted(self.rows[HELD].to_pylist())).encode()).hexdigest()


def held_tables(
    lake: Lake, *, due: datetime | None = None, reasons: Sequence[str] = ()
) -> list[HeldTable]:
    """The held rows as they came, a table a shape: those that are due, or those of the reasons.

    Torn lines and what was dropped stay. Raises PortfolioError where a reason means nothing.
    """
    if not lake.count("quarantine") or (due is not None and not _is_any_due(lake, due)):
        return []
    with open_held(lake) as connection:
        choose_rows(connection, reasons=reasons)
        connection.execute(f"DELETE FROM chosen WHERE row_digest IN ({NOT_TO_BE_READ})")
        if due is not None:
            late = f"wait_until <= {literal(due.isoformat())}::TIMESTAMPTZ"
            connection.execute(
                "DELETE FROM chosen WHERE row_digest NOT IN "
                f"(SELECT row_digest FROM held WHERE coalesce({late}, false))"
            )
        return [_rows_of(shape, connection) for shape in _shapes(connection)]


def _is_any_due(lake: Lake, due: datetime) -> bool:
    held = lake.dataset("quarantine")
    if held is None or "wait_until" not in held.schema.names:
        return False
    by_then = pc.field("wait_until") <= pa.scalar(due, ARROW_TYPES["time"])
    return bool(held.count_rows(filter=by_then))


NOT_TO_BE_READ = f"SELECT row_digest FROM held WHERE reason = '{TORN}' OR dropped_at IS NOT NULL"


def _shapes(connection: duckdb.DuckDBPyConnection) -> list[Shape]:
    found: list[Shape] = []
    rows = connection.execute(
        'SELECT delivery, list_sort(json_keys("row")) AS names, number_forms, list(DISTINCT types) '
        "FROM held JOIN chosen USING (row_digest) GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    for delivery, names, forms, told in rows:
        one = Shape(names=tuple(names), number_forms=forms)
        for types in filter(None, told):
            one.types.update(json.loads(types))
        shape = next((known for known in found if known.fits(one)), one)
        if shape is one:
            found.append(shape)
        shape.types.update(one.types)
        shape.deliveries.append(delivery)
    return found


def _rows_of(shape: Shape, connection: duckdb.DuckDBPyConnection) -> HeldTable:
    """The rows, those held last first: of two versions of a row the later one comes in."""
    values = []
    for name in shape.names:
        kind = shape.types.get(name, "VARCHAR")
        kind = "VARCHAR" if kind.startswith("ENUM") else kind
        text = f'json_extract_string("row", {literal(json_path(name))})'
        values.append(f"TRY_CAST({text} AS {kind}) AS {quoted(name)}")
    values += [f"row_digest AS {quoted(HELD)}", f"delivery AS {quoted(CAME_WITH)}"]
    rows = connection.sql(
        f"SELECT {', '.join(values)} FROM held JOIN chosen USING (row_digest) "
        'WHERE list_sort(json_keys("row")) = $names AND number_forms IS NOT DISTINCT FROM $forms '
        "AND list_contains($deliveries, coalesce(delivery, -1)) "
        "ORDER BY quarantined_at DESC",
        params={
            "names": list(shape.names),
            "forms": shape.number_forms,
            "deliveries": [-1 if one is None else one for one in shape.deliveries],
        },
    ).to_arrow_table()
    forms = json.loads(shape.number_forms or "{}")
    return HeldTable(rows=rows, number_forms=forms)


def read_held(held: HeldTable, connection: duckdb.DuckDBPyConnection) -> Delivery:
    """The held rows as a delivery; what they are held by is in `raw` behind its own columns."""
    read = read_tables(iter([held.rows]), "what was held", connection)
    names, types = read.names[:-2], read.types[:-2]
    return replace(read, names=names, types=types, number_forms=held.number_forms)


def _held(delivery: Delivery) -> tuple[str, str]:
    """SQL for a row's digest in quarantine, and for the delivery it came with."""
    width = len(delivery.names)
    return f"raw.{quoted(numbered(width))}", f"raw.{quoted(numbered(width + 1))}"


def refuse_rivals(delivery: Delivery) -> None:
    """Leave where it is a row that came beside another version of itself, which was taken."""
    connection = delivery.connection
    names = [name for name, *_ in connection.execute("DESCRIBE stored").fetchall()]
    _, came_with = _held(delivery)
    is_later = f"s.delivery <> {came_with}" if "delivery" in names else "false"
    connection.execute(
        "UPDATE outcome SET outcome = 'contradicts' WHERE outcome = 'corrected' AND place NOT IN ("
        f"SELECT g.place FROM checked g JOIN raw ON raw.{quoted(PLACE)} = g.place "
        f"JOIN stored s USING (transaction_id) WHERE coalesce({is_later}, false))"
    )


def still_failing(connection: duckdb.DuckDBPyConnection) -> HeldBack:
    """What of the rows offered once more fails again."""
    counts = "SELECT count(*), count(wait_until) FROM failed"
    quarantined, waiting = first_row(connection, counts)
    reasons = counted(connection, "faults", table="failed", where="wait_until IS NULL")
    return HeldBack(
        number=-1, quarantined=quarantined, torn=0, waiting=waiting, reasons=tuple(reasons)
    )


def settle(delivery: Delivery, lake: Lake) -> None:
    """Let go the rows that do not fail any more; the others have their new reason."""
    connection = delivery.connection
    held, _ = _held(delivery)
    gone = connection.sql(
        f"SELECT DISTINCT {held} AS row_digest FROM raw "
        f"WHERE raw.{quoted(PLACE)} NOT IN (SELECT place FROM failed)"
    ).to_arrow_table()["row_digest"]
    if len(gone):
        lake.remove("quarantine", "row_digest", gone.combine_chunks())
    number = lake.next_number("quarantine", WRITER)
    renewed = _renewed(delivery, lake)
    if renewed.num_rows:
        lake.replace("quarantine", renewed, key="row_digest", writer=WRITER, number=number)


def _renewed(delivery: Delivery, lake: Lake) -> pa.Table:
    """The rows that fail for another reason than before, as they are to be kept."""
    held, _ = _held(delivery)
    said = ("transaction_id", "reason", "faults", "wait_until")
    with open_held(lake) as connection:
        again = delivery.connection.sql(
            f"SELECT DISTINCT ON (held_digest) {held} AS held_digest, f.transaction_id, f.reason, "
            f"f.faults, f.wait_until FROM failed f JOIN raw ON raw.{quoted(PLACE)} = f.place"
        ).to_arrow_table()
        connection.register("again", again)
        names = [*dict.fromkeys([*lake.columns("quarantine"), "wait_until", "faults"])]
        picked = [f"{'again' if name in said else 'held'}.{quoted(name)}" for name in names]
        differs = [f"again.{name} IS DISTINCT FROM held.{name}" for name in said]
        return connection.sql(
            f"SELECT {', '.join(picked)} FROM held JOIN again ON again.held_digest = "
            f"held.row_digest WHERE {' OR '.join(differs)}"
        ).to_arrow_table()
