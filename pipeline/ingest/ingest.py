"""Rows in: each record of a source is taken, known, left out, quarantined or torn, once.

A row is known by its transaction_id and the digest of what it says. Said again, it changes nothing;
saying something else under a known id, it is a correction. A file is read whole and checked before
any of it is taken; then its rows are appended in commits, and at last the file is remembered, so
that a killed run is simply run again.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa

from features.schema import SchemaError, transactions_schema
from pipeline.ingest.corrections import corrected_rows, find_outcomes, keep_versions
from pipeline.ingest.labels import keep_labels
from pipeline.ingest.quarantine import (
    due_rows,
    failed_rows,
    hold_back,
    keep_failed,
    release,
    release_due,
)
from pipeline.ingest.staging import Checked, check
from pipeline.ingest.validation import Reason, counted, stopping
from pipeline.lake.tables import Lake
from pipeline.portfolio import Portfolio, PortfolioError
from pipeline.progress import SILENT, Progress
from pipeline.sources.files import (
    SourceFile,
    Taken,
    delivery_number,
    find_taken,
    read_deliveries,
    remember,
    source_files,
)
from pipeline.sources.readers import (
    Delivery,
    count_of,
    literal,
    quoted,
    read_file,
    read_query,
    read_tables,
    shut,
    unreadable,
    workbench,
)
from pipeline.sources.text_files import TornFileError

WRITER = "ingest"
BATCH_ROWS = 500_000


class StoppedError(PortfolioError):
    """A delivery waits whole: too many of its rows fail, or it may have swallowed some."""


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """What became of the records: read = taken + known + left_out + quarantined + torn.

    `corrected` of those taken are new versions of a row, `waiting` of those quarantined come in by
    themselves. `examples` are reasons, `missing` optional values by column and rule, `doubts` and
    `waiting_files` sentences.
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
    examples: tuple[str, ...] = ()
    missing: tuple[Reason, ...] = ()
    doubts: tuple[str, ...] = ()
    waiting_files: tuple[str, ...] = ()

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
            examples=(*self.examples, *other.examples)[:3],
            missing=_summed((*self.missing, *other.missing)),
            doubts=tuple(dict.fromkeys((*self.doubts, *other.doubts))),
            waiting_files=(*self.waiting_files, *other.waiting_files),
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


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run of ingest works with; `deliveries` are the files taken before it."""

    portfolio: Portfolio
    lake: Lake
    now: datetime
    spill: Path
    batch_rows: int
    deliveries: list[Taken] = field(default_factory=list)
    is_accepted: bool = False
    is_dry: bool = False


def ingest(
    portfolio: Portfolio,
    lake: Lake,
    *,
    now: datetime,
    progress: Progress = SILENT,
    batch_rows: int = BATCH_ROWS,
    again: bool = False,
    accept: bool = False,
    dry_run: bool = False,
    spill: Path | None = None,
) -> Ingested:
    """Take in what the portfolio's source has and the lake has not.

    `now` is the moment of ingestion (UTC): nothing may have happened after it. With `again` files
    that were taken are read again, as corrections; with `accept` a file that would be stopped is
    taken as it is; a `dry_run` only says what would come of it. Raises PortfolioError when the
    source cannot be read or a file is stopped, SchemaError when it lacks a column, LakeBusyError
    when another process is writing; the other files of a folder are taken all the same.
    """
    total, refused = Ingested(), list[Exception]()
    with TemporaryDirectory(dir=spill) as folder:
        run = Run(
            portfolio=portfolio,
            lake=lake,
            now=now,
            spill=Path(folder),
            batch_rows=batch_rows,
            deliveries=read_deliveries(lake),
            is_accepted=accept,
            is_dry=dry_run,
        )
        with progress.step(f"reading {portfolio.name}") as step:
            for part in _parts(run, again=again):
                try:
                    done = part()
                except (PortfolioError, SchemaError) as error:
                    refused.append(error)
                    continue
                step.advance(done.read)
                total += done
    if refused:
        raise _first_of(refused, total)
    return total


def _first_of(refused: list[Exception], total: Ingested) -> Exception:
    """The first of the refusals; what became of the other files is said behind it."""
    first = refused[0]
    others = f"; {len(refused) - 1} more files are refused" if len(refused) > 1 else ""
    if total.read:
        others += f"; of the other files {total.taken:,} of {total.read:,} records were taken"
    return type(first)(f"{first}{others}") if others else first


def _parts(run: Run, *, again: bool) -> Iterator[Callable[[], Ingested]]:
    """What is to be taken in, each by itself: rows whose time has come, then file by file."""
    due = due_rows(run.lake, now=run.now)
    if due is not None:
        yield lambda: _take_due(due, run)
    if run.portfolio.source.url:
        yield lambda: _take_query(run)
        return
    for file in source_files(run.portfolio):
        yield lambda file=file: _take_file(file, run, again=again)  # type: ignore[misc]


def _take_due(due: pa.Table, run: Run) -> Ingested:
    """Take in what was quarantined because its time had not come; no source says it again."""
    number = delivery_number(sha256(run.now.isoformat().encode()).hexdigest())
    with _opened(run) as connection:
        delivery = read_tables(iter([due]), "what waited for its time", connection)
        shut(connection, None)
        done, _ = _take(delivery, number, run, is_due=True)
        if not run.is_dry:
            release_due(delivery, run.lake)
    return done


def _take_query(run: Run) -> Ingested:
    number = delivery_number(sha256(run.now.isoformat().encode()).hexdigest())
    with _opened(run) as connection:
        delivery = read_query(run.portfolio, connection)
        shut(connection, None)
        return _take(delivery, number, run)[0]


def _take_file(file: SourceFile, run: Run, *, again: bool) -> Ingested:
    """Take in one file, unless it was taken before."""
    if not again and (taken := find_taken(file, run.deliveries)):
        known = taken.records - taken.left_out
        return Ingested(read=taken.records, known=known, left_out=taken.left_out)
    size, changed, digest = file.size, file.changed_ns, file.digest()
    with _opened(run) as connection:
        try:
            delivery = read_file(file, run.portfolio, connection, run.spill)
        except TornFileError as error:
            if _is_settled(file, run):
                raise
            return Ingested(waiting_files=(_waits(file, run, "its end is missing", error),))
        shut(connection, file.path if file.form == "parquet" else None)
        if waits := _unsettled(file, delivery, run):
            return Ingested(waiting_files=(waits,))
        if delivery.stray_quote and not run.is_accepted:
            raise StoppedError(
                f"{file.name} is stopped: {delivery.stray_quote}, as behind a stray quote; "
                'mend the quote, or say quote = "" in [source] csv; --accept takes it as it is'
            )
        try:
            done, checked = _take(delivery, delivery_number(digest), run)
        except duckdb.Error as error:
            if file.form != "parquet":  # all else was read before
                raise
            raise unreadable(file, error) from error
    if (size, changed) != (file.size, file.changed_ns):
        return replace(done, doubts=(*done.doubts, f"{file.name} changed while it was read"))
    if not run.is_dry:
        _remember(file, digest, done, checked, run)
    return done


def _remember(file: SourceFile, digest: str, done: Ingested, checked: Checked, run: Run) -> None:
    taken = Taken(
        delivery=delivery_number(digest),
        name=file.name,
        digest=digest,
        size=file.size,
        changed_ns=file.changed_ns,
        columns=tuple(checked.facts),
        records=done.read,
        left_out=done.left_out,
        taken_at=run.now,
    )
    remember(run.lake, taken, writer=WRITER)
    run.deliveries.append(taken)


def _unsettled(file: SourceFile, delivery: Delivery, run: Run) -> str:
    """A sentence on a file whose last line may still be written; none where it is whole."""
    if delivery.is_ended or run.is_accepted or _is_settled(file, run):
        return ""
    return _waits(file, run, "its last line is not ended")


def _is_settled(file: SourceFile, run: Run) -> bool:
    unchanged = run.now - datetime.fromtimestamp(file.path.stat().st_mtime, UTC)
    return unchanged >= run.portfolio.settle


def _waits(file: SourceFile, run: Run, why: str, error: TornFileError | None = None) -> str:
    seconds = int(run.portfolio.settle.total_seconds())
    then = "refused" if error else "taken"
    return f"{file.name} waits: {why}; it is {then} once it has been unchanged for {seconds} s" + (
        f" ({error})" if error else ""
    )


@contextmanager
def _opened(run: Run) -> Iterator[duckdb.DuckDBPyConnection]:
    with workbench(run.spill) as connection:
        connection.execute(f"SET TimeZone = {literal(run.portfolio.source.time_zone)}")
        yield connection


def _take(
    delivery: Delivery, number: int, run: Run, *, is_due: bool = False
) -> tuple[Ingested, Checked]:
    """Take in one delivery that was read.

    A run killed between two of the appends is completed by the next: each looks at its own table.
    """
    connection, lake, portfolio = delivery.connection, run.lake, run.portfolio
    checked = check(delivery, portfolio, now=run.now)
    if not (run.is_accepted or is_due):
        _check_share(delivery, checked, portfolio)
    transactions = lake.next_number("transactions", WRITER)
    facts = checked.facts
    find_outcomes(connection, lake, portfolio, columns=facts, deliveries=run.deliveries)
    failed_rows(delivery, number=number, now=run.now)
    finished = [one.delivery for one in run.deliveries]
    held = hold_back(connection, lake, writer=WRITER, finished=finished)
    labels = 0
    if not run.is_dry:
        if not is_due:
            keep_failed(connection, lake, writer=WRITER, number=held.number)
        release(delivery, lake)
        appended = _append_new(delivery, checked, number, transactions, run)
        _append_corrections(delivery, checked, number, transactions + appended, run)
        labels = (
            keep_labels(
                connection,
                lake,
                has_times="label_known_at" in checked.kinds,
                delay=None if portfolio.source.feed else portfolio.label_delay,
                now=run.now,
                delivery=number,
                writer=WRITER,
            )
            if "is_fraud" in checked.kinds
            else 0
        )
    counts = Counter(dict(connection.execute(OUTCOMES).fetchall()))
    taken = counts["new"] + counts["corrected"]
    return Ingested(
        read=delivery.records,
        taken=taken,
        known=delivery.records - taken - checked.left_out - held.quarantined - held.torn,
        left_out=checked.left_out,
        quarantined=held.quarantined,
        torn=held.torn,
        labels=labels,
        corrected=counts["corrected"],
        waiting=held.waiting,
        examples=held.examples,
        missing=tuple(counted(connection, "losses")),
        doubts=tuple(f"{delivery.name}: {one}" for one in (*delivery.doubts, *checked.doubts)),
    ), checked


OUTCOMES = "SELECT outcome, count(*) FROM outcome GROUP BY outcome"


def _check_share(delivery: Delivery, checked: Checked, portfolio: Portfolio) -> None:
    """Stop a delivery of which one reason hits too many rows, or frauds unlike the rest."""
    has_labels = "is_fraud" in checked.kinds
    fraud = "coalesce(is_fraud, false)" if has_labels else "false"
    frauds_of = f"SELECT count(*) FILTER ({fraud}) FROM checked"
    frauds = count_of(delivery.connection, frauds_of)
    reasons = counted(delivery.connection, "faults", fraud=fraud)
    found = stopping(
        reasons, rows=checked.rows, frauds=frauds, max_share=portfolio.source.max_bad_share
    )
    if found is not None:
        raise StoppedError(
            f"{delivery.name} is stopped: {found.sentence}, in {found.count:,} of "
            f"{checked.rows:,} rows; {found.remedy}; --accept takes the other rows as they are"
        )


def _append_new(delivery: Delivery, checked: Checked, number: int, first: int, run: Run) -> int:
    """Append the new rows, a commit for each batch; returns how many commits."""
    known_at = _known_at(checked, run)
    late = f"known_at > event_time + to_microseconds({run.portfolio.arrival_delay // MICROSECOND})"
    names = [name for name in checked.facts if name != "known_at"]
    columns = ", ".join(quoted(name) for name in names)
    query = (
        f"SELECT *, CASE WHEN {late} THEN known_at ELSE event_time END AS as_of FROM ("
        f"SELECT {columns}, {known_at} AS known_at, row_digest, {number}::BIGINT AS delivery "
        f"FROM checked g {_new_rows(delivery, checked)})"
    )
    kinds = {name: kind for name, kind in run.portfolio.extra_kinds.items() if name in names}
    fields = [one for one in transactions_schema(kinds) if one.name in {*names, *ADDED}]
    schema = pa.schema([*fields, ("delivery", pa.int64())])
    commits = 0
    for part in _in_parts(delivery.connection.sql(query), run.batch_rows):
        rows = part.select(schema.names).cast(schema)
        run.lake.append("transactions", rows, writer=WRITER, number=first + commits)
        commits += 1
    return commits


def _new_rows(delivery: Delivery, checked: Checked) -> str:
    """SQL that leaves the new rows, in their order: most often all are."""
    new = count_of(delivery.connection, "SELECT count(*) FROM outcome WHERE outcome = 'new'")
    if new == checked.rows:
        return ""
    return "JOIN outcome o USING (place) WHERE o.outcome = 'new' ORDER BY g.place"


def _in_parts(rows: duckdb.DuckDBPyRelation, size: int) -> Iterator[pa.Table]:
    """The rows in tables of so many; the last one has what is left."""
    batches, count = list[pa.RecordBatch](), 0
    for batch in rows.to_arrow_reader(size):
        batches.append(batch)
        count += batch.num_rows
        while count >= size:
            table = pa.Table.from_batches(batches)
            yield table.slice(0, size)
            batches, count = table.slice(size).to_batches(), count - size
    if count:
        yield pa.Table.from_batches(batches)


ADDED = ("known_at", "as_of", "row_digest")
MICROSECOND = timedelta(microseconds=1)


def _known_at(checked: Checked, run: Run) -> str:
    """SQL for when a row reached us: as it says, else now for a feed, else when it happened."""
    default = (
        f"{literal(run.now.isoformat())}::TIMESTAMPTZ"
        if run.portfolio.source.feed
        else "event_time"
    )
    return f"coalesce(g.known_at, {default})" if "known_at" in checked.kinds else default


def _append_corrections(
    delivery: Delivery, checked: Checked, number: int, first: int, run: Run
) -> None:
    """Put the new versions in the place of the old ones, which are kept in `versions`."""
    found = corrected_rows(
        delivery.connection,
        run.lake,
        run.portfolio,
        columns=checked.facts,
        now=run.now,
        delivery=number,
    )
    if found is not None:
        old, new = found
        keep_versions(run.lake, old, new["corrected_at"], writer=WRITER)
        run.lake.replace("transactions", new, key="transaction_id", writer=WRITER, number=first)
