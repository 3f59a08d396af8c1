"""Labels of their own source: files of chargebacks, each found its payment, late or reversed later.

A label names its payment by the transaction_id, or by columns that tell payments apart. One that
fits none, or several, is kept in lake/waiting_labels and tried again at each ingest, as is one that
cannot be read, until its file says it better.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from features.schema import ARROW_TYPES, LABELS, SchemaError
from pipeline.checks.validation import EARLY, Reason, counted, sentence_sql, stopping
from pipeline.checks.validation import TORN as TORN_REASON
from pipeline.ingest.label_rows import (
    FAILED,
    SEVERAL,
    TORN,
    WAITING,
    match_payments,
    read_labels,
    tell_words,
)
from pipeline.lake.tables import Lake, TableName
from pipeline.portfolio import Portfolio, PortfolioError
from pipeline.portfolio_tables import Csv, Source
from pipeline.sources.delivery import (
    Delivery,
    count_of,
    digest_sql,
    first_row,
    literal,
    quoted,
    unreadable,
    workbench,
)
from pipeline.sources.files import (
    SourceFile,
    Taken,
    delivery_number,
    find_taken,
    read_deliveries,
    remember,
    source_files,
)
from pipeline.sources.readers import read_settled

WRITER = "ingest"
REMEMBERED: TableName = "label_deliveries"


@dataclass(frozen=True, kw_only=True)
class LabelsTaken:
    """What became of the records of label files.

    read = taken + known + left_out + waiting + quarantined + torn: `left_out` say no label,
    `waiting` fit no payment, or `several`, yet; `found` are those that had waited and came in now.
    """

    read: int = 0
    taken: int = 0
    known: int = 0
    left_out: int = 0
    waiting: int = 0
    several: int = 0
    quarantined: int = 0
    torn: int = 0
    found: int = 0
    examples: tuple[str, ...] = ()
    missing: tuple[Reason, ...] = ()
    doubts: tuple[str, ...] = ()
    waiting_files: tuple[str, ...] = ()

    @property
    def counts(self) -> str:
        """What became of the records read, in a line."""
        return (
            f"read {self.read:,} = taken {self.taken:,} + known {self.known:,} + left out "
            f"{self.left_out:,} + waiting {self.waiting:,} + quarantined {self.quarantined:,} + "
            f"torn {self.torn:,}"
        )

    def __add__(self, other: "LabelsTaken") -> "LabelsTaken":
        numbers = {
            name: getattr(self, name) + getattr(other, name)
            for name, value in vars(self).items()
            if isinstance(value, int)
        }
        return LabelsTaken(
            **numbers,
            examples=(*self.examples, *other.examples)[:3],
            missing=(*self.missing, *other.missing),
            doubts=tuple(dict.fromkeys((*self.doubts, *other.doubts))),
            waiting_files=(*self.waiting_files, *other.waiting_files),
        )


@dataclass(frozen=True, kw_only=True)
class LabelRun:
    """What one run takes labels in with; `payments` are the deliveries of payments of this run."""

    portfolio: Portfolio
    lake: Lake
    now: datetime
    spill: Path
    payments: frozenset[int]
    is_accepted: bool = False
    is_dry: bool = False
    deliveries: list[Taken] = field(default_factory=list)


def take_labels(run: LabelRun, *, again: bool = False) -> tuple[LabelsTaken, list[Exception]]:
    """Take in the labels of the portfolio's label files, and those that waited for their payment.

    Returns what became of them, and the refusals: a file that is refused leaves the others alone.
    """
    total, refused = _try_again(run), list[Exception]()
    if not run.portfolio.labels.path:
        return total, refused
    labels = _of_labels(run.portfolio)
    run = replace(run, portfolio=labels, deliveries=read_deliveries(run.lake, REMEMBERED))
    for file in _label_files(labels):
        try:
            total += _take_file(file, run, again=again)
        except (PortfolioError, SchemaError) as error:
            said = str(error).replace("[columns]", "columns of [labels]")
            refused.append(type(error)(said))
    return total, refused


def _of_labels(portfolio: Portfolio) -> Portfolio:
    """The portfolio as it reads files of labels: what it has of its own stands in its payments."""
    return replace(
        portfolio,
        source=_source(portfolio),
        columns=dict(portfolio.labels.columns),
        extra={},
        sets={},
        keys={},
        features={},
    )


def _source(portfolio: Portfolio) -> Source:
    """Where the labels are, and what of the source's way to write holds for them, too."""
    source = portfolio.source
    return Source(
        path=portfolio.labels.path,
        csv=Csv(nulls=source.csv.nulls),
        time_format=source.time_format,
        time_zone=source.time_zone,
        amount_unit=source.amount_unit,
        settle=source.settle,
        feed=source.feed,
        feed_since=source.feed_since,
        max_bad_share=source.max_bad_share,
    )


def _label_files(portfolio: Portfolio) -> list[SourceFile]:
    """The files of labels; none yet where a folder or a pattern has none.

    Raises PortfolioError where a file that is named is not there.
    """
    folder, path = portfolio.file.parent, portfolio.source.path
    is_pattern = any(sign in path for sign in "*?[") and not (folder / path).exists()
    if is_pattern and not any(folder.glob(path)):
        return []
    if not is_pattern and not (folder / path).exists():
        raise PortfolioError(
            f"the labels {folder / path} of portfolio {portfolio.name} are not there; "
            "put the file there or mend path in [labels]"
        )
    has_files = not (folder / path).is_dir() or any((folder / path).iterdir())
    return source_files(portfolio) if has_files else []


def _take_file(file: SourceFile, run: LabelRun, *, again: bool) -> LabelsTaken:
    """Take in one file of labels, unless it was taken before."""
    if not again and (taken := find_taken(file, run.deliveries)):
        known = taken.records - taken.left_out
        return LabelsTaken(read=taken.records, known=known, left_out=taken.left_out)
    size, changed, digest = file.size, file.changed_ns, file.digest()
    with _opened(run) as connection:
        delivery = read_settled(
            file,
            run.portfolio,
            connection,
            run.spill,
            now=run.now,
            accept=run.is_accepted,
        )
        if isinstance(delivery, str):
            return LabelsTaken(waiting_files=(delivery,))
        if delivery.stray_quote and not run.is_accepted:
            raise PortfolioError(
                f"{file.name} is stopped: {delivery.stray_quote}, as behind a stray quote; "
                "mend the quote in the file; --accept takes it as it is"
            )
        try:
            done = _take(delivery, delivery_number(digest), run)
        except duckdb.Error as error:
            if file.form != "parquet":  # all else was read before
                raise
            raise unreadable(file, error) from error
    if (size, changed) != (file.size, file.changed_ns):
        return replace(done, doubts=(*done.doubts, f"{file.name} changed while it was read"))
    if not run.is_dry:
        taken = Taken(
            delivery=delivery_number(digest),
            name=file.name,
            digest=digest,
            size=size,
            changed_ns=changed,
            columns=tuple(run.portfolio.columns),
            records=done.read,
            left_out=done.left_out,
            taken_at=run.now,
        )
        remember(run.lake, taken, writer=WRITER, table=REMEMBERED)
        run.deliveries.append(taken)
    return done


@contextmanager
def _opened(run: LabelRun) -> Iterator[duckdb.DuckDBPyConnection]:
    with workbench(run.spill) as connection:
        connection.execute(f"SET TimeZone = {literal(run.portfolio.source.time_zone)}")
        yield connection


def _take(delivery: Delivery, number: int, run: LabelRun) -> LabelsTaken:
    """Take in the labels of one file that was read."""
    connection = delivery.connection
    rows = read_labels(delivery, run.portfolio, now=run.now)
    _check_share(delivery, rows, run)
    _match(connection, run)
    taken = _append_words(connection, run)
    held = _hold(delivery, number, run)
    counts = dict(connection.execute(HELD_COUNTS).fetchall())
    waiting = counts.get(WAITING, 0) + counts.get(SEVERAL, 0)
    quarantined, torn = counts.get(FAILED, 0), counts.get(TORN, 0)
    left_out = count_of(
        connection, "SELECT count(*) FROM checked WHERE is_fraud IS NULL AND faults IS NULL"
    )
    return LabelsTaken(
        read=delivery.records,
        taken=taken,
        known=delivery.records - taken - left_out - waiting - quarantined - torn,
        left_out=left_out,
        waiting=waiting,
        several=counts.get(SEVERAL, 0),
        quarantined=quarantined,
        torn=torn,
        examples=held,
        missing=(*counted(connection, "losses"), *_early(connection)),
        doubts=tuple(f"{delivery.name}: {one}" for one in (*delivery.doubts, *_doubts(connection))),
    )


HELD_COUNTS = "SELECT state, count(*) FROM fresh GROUP BY state"


def _check_share(delivery: Delivery, rows: int, run: LabelRun) -> None:
    """Stop a file of which one reason hits too many rows."""
    reasons = counted(delivery.connection, "faults")
    share = run.portfolio.source.max_bad_share
    found = stopping(reasons, rows=rows, frauds=0, max_share=share)
    if found is not None and not run.is_accepted:
        raise PortfolioError(
            f"{delivery.name} is stopped: {found.sentence}, in {found.count:,} of {rows:,} labels; "
            f"mend {found.column} in columns of [labels]; --accept takes the others as they are"
        )


def _match(connection: duckdb.DuckDBPyConnection, run: LabelRun) -> None:
    match_payments(
        connection,
        run.lake.dataset("transactions"),
        run.portfolio,
        payments=run.payments,
        now=run.now,
    )


def _append_words(connection: duckdb.DuckDBPyConnection, run: LabelRun) -> int:
    """Append what the ledger has not; returns how many labels that are."""
    number, ledger = run.lake.next_number("labels", WRITER), run.lake.dataset("labels")
    connection.register("ledger", LABELS.empty_table() if ledger is None else ledger)
    words = tell_words(connection).cast(LABELS)
    if words.num_rows and not run.is_dry:
        run.lake.append("labels", words, writer=WRITER, number=number)
    return int(words.num_rows)


def _hold(delivery: Delivery, number: int, run: LabelRun) -> tuple[str, ...]:
    """Keep the labels that came not in, each row once; let go those that came in now.

    Makes the table `fresh` of what is new among them; returns reasons of those that cannot be read.
    """
    connection, lake = delivery.connection, run.lake
    commit = lake.next_number("waiting_labels", WRITER)
    held = lake.dataset("waiting_labels")
    connection.execute("CREATE TABLE held (row_digest BIGINT, state VARCHAR, delivery BIGINT)")
    if held is not None:
        connection.register("stored_labels", held)
        connection.execute("INSERT INTO held SELECT row_digest, state, delivery FROM stored_labels")
    _make_kept(delivery, number, run)
    # what a killed run held of this very file is new to the one that finishes it
    done = ", ".join(str(one.delivery) for one in run.deliveries)
    told = f"h.row_digest IS NOT NULL AND list_contains([{done}]::BIGINT[], h.delivery)"
    connection.execute(
        "CREATE TABLE fresh AS SELECT k.*, h.row_digest IS NOT NULL AS is_held FROM kept k "
        "LEFT JOIN (SELECT DISTINCT row_digest, state, delivery FROM held) h "
        f"ON h.row_digest = k.row_digest AND h.state = k.state WHERE NOT coalesce({told}, false) "
        "QUALIFY row_number() OVER (PARTITION BY k.row_digest ORDER BY k.place) = 1"
    )
    if not run.is_dry:
        _store(connection, lake, commit, held is not None)
    said = connection.execute(
        f"SELECT reason FROM fresh WHERE state IN ({literal(FAILED)}, {literal(TORN)}) "
        "ORDER BY place LIMIT 3"
    ).fetchall()
    return tuple(reason for (reason,) in said)


def _make_kept(delivery: Delivery, number: int, run: LabelRun) -> None:
    """Make the table `kept`: the labels that came not in, with what keeps them out."""
    columns = ", ".join(f"c.{quoted(name)}" for name in run.portfolio.columns)
    at = f"{literal(run.now.isoformat())}::TIMESTAMPTZ AS held_at, {number}::BIGINT AS delivery"
    delivery.connection.execute(
        f"CREATE TABLE kept AS SELECT {columns}, c.is_now, m.state, "
        f'{sentence_sql("c.faults")} AS reason, c."row", c.row_digest, {at}, c.place '
        "FROM checked c JOIN states m USING (place) WHERE m.state IS NOT NULL"
    )
    if delivery.torn:
        delivery.connection.execute(
            f"INSERT INTO kept BY NAME SELECT {literal(TORN)} AS state, "
            f'{literal(TORN_REASON)} AS reason, line AS "row", '
            f"{digest_sql({'line': 'line'})} AS row_digest, {at}, "
            "1000000000000000 + rowid AS place FROM torn"
        )


def _store(connection: duckdb.DuckDBPyConnection, lake: Lake, commit: int, was_there: bool) -> None:
    """Append what is new, and remove what its file says better now."""
    rows = connection.sql(
        "SELECT * EXCLUDE (place, is_held) FROM fresh WHERE NOT is_held ORDER BY place"
    ).to_arrow_table()
    if was_there:
        gone = connection.sql(
            "SELECT DISTINCT h.row_digest FROM held h JOIN checked c USING (row_digest) "
            "LEFT JOIN kept k ON k.row_digest = h.row_digest AND k.state = h.state "
            "WHERE k.row_digest IS NULL"
        ).to_arrow_table()["row_digest"]
        if len(gone):
            lake.remove("waiting_labels", "row_digest", gone.combine_chunks())
    if rows.num_rows:
        lake.append("waiting_labels", rows, writer=WRITER, number=commit)


def _try_again(run: LabelRun) -> LabelsTaken:
    """Find the payments of labels that waited; what still fits none, or several, waits on."""
    waiting = pc.field("state").isin([WAITING, SEVERAL])
    held = run.lake.read("waiting_labels", where=waiting)
    if held is None or not held.num_rows:
        return LabelsTaken()
    with _opened(run) as connection:
        needed = {"transaction_id", "label_known_at", *run.portfolio.labels.match}
        for name in sorted(needed - {*held.column_names}):
            kind = ARROW_TYPES[run.portfolio.kind(name)]
            held = held.append_column(name, pa.nulls(held.num_rows, kind))
        connection.register("held_labels", held)
        connection.execute(
            "CREATE TABLE checked AS SELECT row_number() OVER () AS place, *, "
            "NULL::VARCHAR AS faults, NULL::VARCHAR AS losses FROM held_labels"
        )
        _match(connection, run)
        taken = _append_words(connection, run)
        found = connection.sql(
            "SELECT DISTINCT row_digest FROM checked JOIN states USING (place) "
            "WHERE states.state IS NULL"
        ).to_arrow_table()["row_digest"]
        if len(found) and not run.is_dry:
            run.lake.remove("waiting_labels", "row_digest", found.combine_chunks())
        return LabelsTaken(found=taken, missing=_early(connection))


def _early(connection: duckdb.DuckDBPyConnection) -> tuple[Reason, ...]:
    """Labels that say to be known before their payment happened: they are known when they came."""
    count, example = first_row(connection, "SELECT count(*), min(told) FROM matched WHERE is_early")
    if not count:
        return ()
    return (Reason(column="label_known_at", rule=EARLY, count=count, example=example),)


def _doubts(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """What a person should know of labels that found no payment, with one that shows it."""
    unmatched = {WAITING: "fit no payment in the lake", SEVERAL: "fit several payments"}
    for state, said in unmatched.items():
        count, example = first_row(
            connection,
            f'SELECT count(*), min("row") FROM fresh WHERE state = {literal(state)}',
        )
        if count:
            shown = example if len(example) <= 160 else f"{example[:157]}..."
            yield f"{count:,} labels {said} yet, such as {shown}; they wait, and are tried again"
