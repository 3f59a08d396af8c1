"""Rows in: each record of a source is taken, known, left out, quarantined or torn, once.

A row is known by its transaction_id and the digest of what it says. Said again, it changes nothing;
saying something else under a known id, it is a correction. A file is read whole and checked before
any of it is taken; then its rows are appended in commits, and at last the file is remembered, so
that a killed run is simply run again.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

import duckdb

from features.schema import SchemaError
from features.spill import spill_folder
from pipeline.checks.expressions import mapped_columns
from pipeline.checks.staging import Checked, check
from pipeline.checks.validation import counted, stopping
from pipeline.ingest.appending import append_corrections, append_new
from pipeline.ingest.corrections import find_outcomes
from pipeline.ingest.ingested import Ingested
from pipeline.ingest.label_files import LabelRun, LabelsTaken, take_labels
from pipeline.ingest.labels import keep_labels, matured
from pipeline.ingest.quarantine import failed_rows, hold_back, keep_failed, release
from pipeline.ingest.replay import (
    HeldTable,
    held_tables,
    read_held,
    refuse_rivals,
    settle,
    still_failing,
)
from pipeline.ingest.run import WRITER, Run
from pipeline.lake.compaction import looked_after
from pipeline.lake.tables import Lake
from pipeline.portfolio import Portfolio, PortfolioError
from pipeline.progress import SILENT, Progress
from pipeline.sources.delivery import (
    Delivery,
    count_of,
    literal,
    shut,
    unreadable,
    workbench,
)
from pipeline.sources.feed_changes import changes, shape_of, short_days
from pipeline.sources.files import (
    SourceFile,
    Taken,
    delivery_number,
    find_taken,
    read_deliveries,
    remember,
    remember_refusal,
    source_files,
)
from pipeline.sources.identities import check_card_numbers, zeros_across
from pipeline.sources.readers import read_query, read_settled
from pipeline.sources.watermark import greatest

BATCH_ROWS = 500_000


class StoppedError(PortfolioError):
    """A delivery waits whole: too many of its rows fail, or it may have swallowed some."""


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
    when another process is writing, BrokenError when a table is; the other files are taken all the
    same.
    """
    with looked_after(lake, is_dry=dry_run), spill_folder(spill) as folder:
        run = Run(
            portfolio=portfolio,
            lake=lake,
            now=now,
            spill=folder,
            batch_rows=batch_rows,
            deliveries=read_deliveries(lake),
            is_accepted=accept,
            is_dry=dry_run,
        )
        total, refused = _take_all(_parts(run, again=again), portfolio, progress)
        labels, not_taken = _take_labels(run, again=again)
    return _told(total + Ingested(label_files=labels), [*refused, *not_taken])


def replay(
    portfolio: Portfolio,
    lake: Lake,
    *,
    now: datetime,
    reasons: Sequence[str] = (),
    progress: Progress = SILENT,
    spill: Path | None = None,
) -> Ingested:
    """Offer the held rows (of these reasons) once more, as the portfolio reads them now.

    What is taken leaves quarantine; what fails again stays, with its new reason. Raises as `ingest`
    does, and PortfolioError where a reason means nothing.
    """
    with looked_after(lake), spill_folder(spill) as folder:
        run = Run(
            portfolio=portfolio,
            lake=lake,
            now=now,
            spill=folder,
            batch_rows=BATCH_ROWS,
            deliveries=read_deliveries(lake),
        )
        tables = held_tables(lake, reasons=reasons)
        parts = (partial(_take_held, held, run) for held in tables)
        return _told(*_take_all(parts, portfolio, progress))


def _take_all(
    parts: Iterable[Callable[[], Ingested]], portfolio: Portfolio, progress: Progress
) -> tuple[Ingested, list[Exception]]:
    total, refused = Ingested(), list[Exception]()
    with progress.step(f"reading {portfolio.name}") as step:
        for part in parts:
            try:
                done = part()
            except (PortfolioError, SchemaError) as error:
                refused.append(error)
                continue
            step.advance(done.read)
            total += done
    return total, refused


def _told(total: Ingested, refused: list[Exception]) -> Ingested:
    if refused:
        raise _first_of(refused, total)
    return total


def _take_labels(run: Run, *, again: bool) -> tuple[LabelsTaken, list[Exception]]:
    """Take in labels of their own source; those of payments that came just now came with them."""
    came_now = [one.delivery for one in run.deliveries if one.taken_at == run.now]
    labels = LabelRun(
        portfolio=run.portfolio,
        lake=run.lake,
        now=run.now,
        spill=run.spill,
        payments=frozenset([*came_now, _number_of(run.now)]),
        is_accepted=run.is_accepted,
        is_dry=run.is_dry,
    )
    try:
        return take_labels(labels, again=again)
    except (PortfolioError, SchemaError) as error:
        return LabelsTaken(), [error]


def _number_of(moment: datetime) -> int:
    """The number of a delivery that is no file."""
    return delivery_number(sha256(moment.isoformat().encode()).hexdigest())


def _first_of(refused: list[Exception], total: Ingested) -> Exception:
    """The first of the refusals; what became of the other files is said behind it."""
    first = refused[0]
    others = f"; {len(refused) - 1} more files are refused" if len(refused) > 1 else ""
    if total.read:
        others += f"; of the other files {total.taken:,} of {total.read:,} records were taken"
    return type(first)(f"{first}{others}") if others else first


def _parts(run: Run, *, again: bool) -> Iterator[Callable[[], Ingested]]:
    """What is to be taken in, each by itself: rows whose time has come, then file by file."""
    for due in held_tables(run.lake, due=run.now):
        yield partial(_take_held, due, run)
    if run.portfolio.source.url:
        yield partial(_take_query, run, again=again)
        return
    for file in source_files(run.portfolio):
        yield partial(_take_file, file, run, again=again)


def _take_held(held: HeldTable, run: Run) -> Ingested:
    """Take in what was quarantined before; no source says it again."""
    with _opened(run) as connection:
        delivery = read_held(held, connection)
        shut(connection, None)
        return _take(delivery, delivery_number(held.digest), run, is_held=True)[0]


def _take_query(run: Run, *, again: bool) -> Ingested:
    """Take in what the query selects; with a watermark what may be new, unless all is asked for."""
    number, before = _number_of(run.now), [] if again else run.deliveries
    with _opened(run) as connection:
        delivery = read_query(run.portfolio, connection, deliveries=before)
        shut(connection, None)
        if not run.portfolio.source.watermark:
            return _take(delivery, number, run)[0]
        mark, doubt = greatest(delivery, run.portfolio)
        delivery = replace(delivery, doubts=(*delivery.doubts, *([doubt] if doubt else [])))
        done, checked = _take(delivery, number, run)
    if mark and not run.is_dry:
        _remember_query(delivery.name, mark, number, done, checked, run)
    return done


def _remember_query(
    name: str, mark: str, number: int, done: Ingested, checked: Checked, run: Run
) -> None:
    taken = Taken(
        delivery=number,
        name=name,
        digest="",
        size=0,
        changed_ns=0,
        columns=tuple(checked.facts),
        records=done.read,
        left_out=done.left_out,
        taken_at=run.now,
        mapping=run.mapping,
        watermark=mark,
    )
    remember(run.lake, taken, writer=WRITER)
    run.deliveries.append(taken)


def _take_file(file: SourceFile, run: Run, *, again: bool) -> Ingested:
    """Take in one file, unless it was taken before."""
    taken = find_taken(file, run.deliveries)
    if taken and not again:
        known = taken.records - taken.left_out
        return Ingested(
            read=taken.records, known=known, left_out=taken.left_out, doubts=_mended(taken, run)
        )
    try:
        return _read_and_take(file, run, is_read_again=taken is not None)
    except (PortfolioError, SchemaError) as error:
        if run.deliveries and not run.is_dry:
            remember_refusal(run.lake, file, str(error), now=run.now, writer=WRITER)
        raise


def _mended(taken: Taken, run: Run) -> tuple[str, ...]:
    """A sentence where the portfolio would read a known file otherwise now."""
    if taken.mapping in ("", run.mapping):
        return ()
    file = run.portfolio.file
    return (
        f"{file} has changed in how it reads files since some were taken, which stand as they "
        f"were read then; strata ingest {file} --again takes them as corrections",
    )


def _read_and_take(file: SourceFile, run: Run, *, is_read_again: bool) -> Ingested:
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
            return Ingested(waiting_files=(delivery,))
        if delivery.stray_quote and not run.is_accepted:
            raise StoppedError(
                f"{file.name} is stopped: {delivery.stray_quote}, as behind a stray quote; "
                'mend the quote, or say quote = "" in [source] csv; --accept takes it as it is'
            )
        try:
            done, checked = _take(
                delivery, delivery_number(digest), run, is_read_again=is_read_again
            )
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
        mapping=run.mapping,
        shape=checked.shape,
        changes="\n".join(done.changes),
    )
    remember(run.lake, taken, writer=WRITER)
    run.deliveries.append(taken)


@contextmanager
def _opened(run: Run) -> Iterator[duckdb.DuckDBPyConnection]:
    with workbench(run.spill) as connection:
        connection.execute(f"SET TimeZone = {literal(run.portfolio.source.time_zone)}")
        yield connection


def _take(
    delivery: Delivery,
    number: int,
    run: Run,
    *,
    is_held: bool = False,
    is_read_again: bool = False,
) -> tuple[Ingested, Checked]:
    """Take in one delivery that was read.

    A run killed between two of the appends is completed by the next: each looks at its own table.
    """
    connection, lake, portfolio = delivery.connection, run.lake, run.portfolio
    checked = check(delivery, portfolio, now=run.now)
    if not (run.is_accepted or is_held):
        _check_share(delivery, checked, portfolio)
    if not is_held:
        check_card_numbers(delivery, portfolio, checked.kinds)
    zeros = zeros_across(connection, lake, checked.facts, is_dry=run.is_dry)
    doubts = (*delivery.doubts, *checked.doubts, *zeros)
    transactions = lake.next_number("transactions", WRITER)
    facts = checked.facts
    find_outcomes(
        connection,
        lake,
        portfolio,
        columns=facts,
        deliveries=run.deliveries,
        is_read_again=is_read_again,
        is_dry=run.is_dry,
    )
    if is_held:
        refuse_rivals(delivery)
    checked, changed = (checked, ()) if is_held else _compared(delivery, checked, run)
    had_others = any(not one.refused for one in run.deliveries)
    failed_rows(delivery, checked.forms, number=number, now=run.now)
    finished = [one.delivery for one in run.deliveries if not one.refused]
    held = (
        still_failing(connection)
        if is_held
        else hold_back(connection, lake, writer=WRITER, finished=finished)
    )
    labels = 0
    if not run.is_dry:
        if not is_held:
            keep_failed(connection, lake, writer=WRITER, number=held.number)
            release(delivery, lake)
        appended = append_new(delivery, checked, number, transactions, run)
        append_corrections(delivery, checked, number, transactions + appended, run)
        labels = (
            keep_labels(
                connection,
                lake,
                has_times="label_known_at" in checked.kinds,
                matured=matured(portfolio, "g.event_time", now=run.now),
                now=run.now,
                delivery=number,
                writer=WRITER,
            )
            if "is_fraud" in checked.kinds
            else 0
        )
        if is_held:
            release(delivery, lake)
            settle(delivery, lake)
    left_out = checked.left_out + delivery.left_out
    counts = Counter(dict(connection.execute(OUTCOMES).fetchall()))
    corrected = counts["corrected"] + counts["completed"]
    taken = counts["new"] + corrected
    return Ingested(
        read=delivery.records,
        taken=taken,
        known=delivery.records - taken - left_out - held.quarantined - held.torn,
        left_out=left_out,
        quarantined=held.quarantined,
        torn=held.torn,
        labels=labels,
        corrected=corrected,
        waiting=held.waiting,
        reasons=held.reasons,
        missing=tuple(counted(connection, "losses")),
        doubts=tuple(f"{delivery.name}: {one}" for one in doubts),
        changes=tuple(f"{delivery.name}: {one}" for one in changed),
        alarms=len(changed) if had_others or not delivery.records else 0,
    ), checked


def _compared(delivery: Delivery, checked: Checked, run: Run) -> tuple[Checked, tuple[str, ...]]:
    """What is checked with its shape, and what is other than in the deliveries before it."""
    checked = replace(checked, shape=shape_of(delivery, checked.facts))
    mapped = mapped_columns(run.portfolio, delivery.names)
    found = [*short_days(delivery.connection, run.lake.dataset("transactions"), now=run.now)]
    if run.portfolio.source.path:  # what a query gave before is not known, and none may be new
        found += changes(
            delivery, checked.shape, mapped, before=run.deliveries, mapping=run.mapping
        )
    return checked, tuple(found)


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
