"""A delivery, read by DuckDB: its records as they stand, in the view `raw`, and its torn lines.

`raw` has a record's place and its values by number, so that no name of theirs meets one of ours.
Once it is read the connection reaches no file any more but this one.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import duckdb
import pandas as pd
import pyarrow as pa

from features.schema import BY_NAME
from pipeline.portfolio import Portfolio, PortfolioError
from pipeline.portfolio_tables import AUTO, Csv
from pipeline.sources.delivery import (
    PLACE,
    Delivery,
    check_count,
    count_of,
    file_literal,
    first_row,
    literal,
    load_lines,
    numbered,
    quoted,
    shut,
    unreadable,
)
from pipeline.sources.files import PACKED, SourceFile, Taken, is_settled, waiting
from pipeline.sources.joined import in_schema, keep_table, of_table, query_rows
from pipeline.sources.json_files import read_json
from pipeline.sources.text_files import TextFile, TornFileError, count_records, csv_rows, open_text
from pipeline.sources.watermark import rows_since

DELIMITERS = (",", ";", "\t", "|")
SAMPLE_LINES = 200
MAX_FIELD_LINES, MAX_FIELD_BYTES = 20, 1 << 16  # of what is no doubt
ROWS_AT_ONCE = 100_000


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a csv file is written: its sign between fields, its names, the lines above the rows."""

    delimiter: str
    names: tuple[str, ...]
    lines_above: int
    records_above: int
    rows: tuple[tuple[str, ...], ...] = ()


def read_settled(
    file: SourceFile,
    portfolio: Portfolio,
    connection: duckdb.DuckDBPyConnection,
    spill: Path,
    *,
    now: datetime,
    accept: bool,
) -> Delivery | str:
    """Read a file and shut the connection; a sentence where its end may still be written.

    Raises PortfolioError as `read_file` does.
    """
    settle = portfolio.settle
    files = [file, *(one for _, one in file.beside)]
    settled = all(is_settled(one, settle=settle, now=now) for one in files)
    try:
        delivery = read_file(file, portfolio, connection, spill)
        if file.beside:
            delivery = _with_tables(delivery, file, portfolio, spill)
    except TornFileError as error:
        if settled:
            raise
        return f"{waiting(file, 'its end is missing; it is refused', settle)} ({error})"
    shut(connection, file.path if file.form == "parquet" else None)
    if delivery.is_ended or settled or accept:
        is_queried = portfolio.source.query
        return query_rows(delivery, portfolio, accept=accept) if is_queried else delivery
    return waiting(file, "its last line is not ended; it is taken", settle)


def read_file(
    file: SourceFile, portfolio: Portfolio, connection: duckdb.DuckDBPyConnection, spill: Path
) -> Delivery:
    """Read a file. Raises PortfolioError where it cannot be read, or its records do not add up."""
    try:
        if file.form == "parquet":
            delivery = _parquet(file, connection)
        else:
            written = portfolio.source.csv
            read, quote = (_csv, written.quote) if file.form == "csv" else (read_json, "")
            text = open_text(file, encoding=written.encoding, quote=quote, spill=spill)
            delivery = read(file, text, portfolio, connection)
    except duckdb.Error as error:
        raise unreadable(file, error) from error
    _check_names(delivery, portfolio)
    return _with_partitions(delivery, file)


def _with_tables(
    delivery: Delivery, file: SourceFile, portfolio: Portfolio, spill: Path
) -> Delivery:
    """The delivery with the tables of its query beside it, and what is doubted of them."""
    tables: dict[str, dict[str, Delivery]] = {}
    for at, (name, one) in enumerate(file.beside):
        in_schema(delivery.connection, f"strata_table{at}")
        read = read_file(one, of_table(portfolio), delivery.connection, spill)
        tables.setdefault(name, {})[f"strata_table{at}"] = read
    for name, parts in tables.items():
        keep_table(name, parts)
    read_ones = [part for parts in tables.values() for part in parts.values()]
    torn = [
        f"{one.torn:,} lines of {one.name} are torn, and join nothing"
        for one in read_ones
        if one.torn
    ]
    found = [f"{one.name}: {doubt}" for one in read_ones for doubt in one.doubts]
    long = [f"in {one.name} {one.stray_quote}" for one in read_ones if one.stray_quote]
    return replace(
        delivery,
        is_ended=delivery.is_ended and all(one.is_ended for one in read_ones),
        doubts=(*delivery.doubts, *found, *torn),
        stray_quote=delivery.stray_quote or " and ".join(long),
    )


def _with_partitions(delivery: Delivery, file: SourceFile) -> Delivery:
    """The delivery with the columns that its folders say; one that it has itself stays."""
    said = [(name, value) for name, value in file.partitions if name not in delivery.names]
    if not said:
        return delivery
    columns = [
        f"{'NULL' if value is None else literal(value)}::VARCHAR AS {quoted(numbered(at))}"
        for at, (_, value) in enumerate(said, start=len(delivery.names))
    ]
    delivery.connection.execute("ALTER VIEW raw RENAME TO unparted")
    delivery.connection.execute(f"CREATE VIEW raw AS SELECT *, {', '.join(columns)} FROM unparted")
    return replace(
        delivery,
        names=(*delivery.names, *(name for name, _ in said)),
        types=(*delivery.types, *("VARCHAR" for _ in said)),
    )


def _check_names(delivery: Delivery, portfolio: Portfolio) -> None:
    doubled = [name for name, count in Counter(delivery.names).items() if count > 1]
    if doubled:
        found = f"the source of portfolio {portfolio.name} has two columns named {doubled[0]!r}"
        raise PortfolioError(f"{found}; rename one of them")


def _parquet(file: SourceFile, connection: duckdb.DuckDBPyConnection) -> Delivery:
    path = file_literal(file.path)
    read = f"read_parquet({path}, file_row_number = true, hive_partitioning = false)"
    found = connection.sql(f"SELECT * FROM {read} LIMIT 0")
    names, types = found.columns[:-1], found.types[:-1]
    renamed = [f"{quoted(name)} AS {quoted(numbered(at))}" for at, name in enumerate(names)]
    connection.execute(
        f"CREATE VIEW raw AS SELECT file_row_number AS {quoted(PLACE)}, {', '.join(renamed)} "
        f"FROM {read}"
    )
    footer = (
        f"SELECT coalesce(sum(num_rows), 0) FROM parquet_file_metadata({file_literal(file.path)})"
    )
    return Delivery(
        connection=connection,
        name=file.name,
        names=tuple(names),
        types=tuple(str(kind) for kind in types),
        records=count_of(connection, footer),
    )


def _csv(
    file: SourceFile, text: TextFile, portfolio: Portfolio, connection: duckdb.DuckDBPyConnection
) -> Delivery:
    if not text.head.strip():
        said = f"the source {file.path} cannot be read (it is empty); put rows in it"
        is_packed = file.path.suffix.lower() in PACKED
        raise TornFileError(said) if is_packed else PortfolioError(said)
    written = portfolio.source.csv
    wanted = tuple(portfolio.columns.values()) or (*BY_NAME, *map(str.upper, BY_NAME))
    dialect = find_dialect(text.head, written, wanted=wanted)
    width = len(dialect.names)
    columns = {numbered(place): "VARCHAR" for place in range(width)}
    load_lines(connection, text, columns, dialect.delimiter, written.quote, dialect.lines_above)
    taken = count_of(connection, "SELECT count(*) FROM loaded")
    torn = count_of(connection, "SELECT count(*) FROM torn")
    records = text.lines - dialect.records_above
    if records != taken + torn:
        counted = count_records(text, delimiter=dialect.delimiter, quote=written.quote)
        records = counted - dialect.records_above
    check_count(str(file.path), records, taken, torn)
    return Delivery(
        connection=connection,
        name=file.name,
        names=dialect.names,
        types=("VARCHAR",) * width,
        records=records,
        torn=torn,
        is_ended=text.is_ended,
        doubts=tuple(_found_out(dialect, text, written)),
        stray_quote=_stray_quote(connection, columns),
    )


def find_dialect(head: str, written: Csv, *, wanted: tuple[str, ...] = ()) -> Dialect:
    r"""Find how a csv file is written from its beginning, where the portfolio does not say.

    >>> find_dialect("id;amount\n1;2,50\n", Csv()).delimiter
    ';'
    """
    signs = DELIMITERS if written.delimiter == AUTO else (written.delimiter,)
    found = [_read_head(head, sign, written, wanted) for sign in signs]
    return max(found, key=lambda one: (_known(one, wanted), _agreeing(one), len(one.names)))


def _known(dialect: Dialect, wanted: tuple[str, ...]) -> int:
    return len({*dialect.names} & {*wanted}) if len(dialect.names) > 1 else 0


def _agreeing(dialect: Dialect) -> int:
    """How many rows of the sample have as many fields as there are names."""
    width = len(dialect.names)
    return sum(len(row) == width for row in dialect.rows) if width > 1 else 0


def _read_head(head: str, sign: str, written: Csv, wanted: tuple[str, ...]) -> Dialect:
    lines = head.splitlines(keepends=True)[:SAMPLE_LINES]
    reader = csv_rows(lines, delimiter=sign, quote=written.quote)
    rows: list[tuple[int, tuple[str, ...]]] = []
    for row in reader:
        if row:
            rows.append((reader.line_num, tuple(row)))
    at = _header_at([row for _, row in rows], written, wanted)
    if at is None:
        width = Counter(len(row) for _, row in rows).most_common(1)[0][0]
        names = tuple(f"column{place}" for place in range(width))
        return Dialect(
            delimiter=sign,
            names=names,
            lines_above=0,
            records_above=0,
            rows=tuple(row for _, row in rows),
        )
    return Dialect(
        delimiter=sign,
        names=tuple(name.strip() or f"column{place}" for place, name in enumerate(rows[at][1])),
        lines_above=rows[at][0],
        records_above=at + 1,
        rows=tuple(row for _, row in rows[at + 1 :]),
    )


def _header_at(rows: list[tuple[str, ...]], written: Csv, wanted: tuple[str, ...]) -> int | None:
    """Which record has the names: the one with most of those wanted; None where there is none."""
    if written.header == "no" or not rows:
        return None
    known = [len({*wanted}.intersection(map(str.strip, row))) for row in rows[:20]]
    if max(known) > 0:
        return known.index(max(known))
    is_data = any(_is_value(field) for field in rows[0])
    return None if is_data and written.header == AUTO else 0


def _is_value(field: str) -> bool:
    """Whether a field can be no column's name: it is a number or a time."""
    digits = field.strip().lstrip("+-$").replace(".", "").replace(",", "").replace(":", "")
    return digits.replace("-", "").isdigit()


def _found_out(dialect: Dialect, text: TextFile, written: Csv) -> Iterator[str]:
    """What was found out of how the file is written and is not the usual."""
    if text.is_translated:
        yield "its lines end with carriage returns, all or some of them"
    if text.encoding != "utf-8":
        yield f"its encoding is taken to be {text.encoding}"
    if written.delimiter == AUTO and dialect.delimiter != ",":
        yield f"its fields are taken to be parted by {dialect.delimiter!r}"
    if dialect.lines_above == 0:
        yield "it is taken to have no names above its rows, so they are column0, column1, ..."
    elif dialect.records_above > 1:
        yield f"the first {dialect.records_above - 1} lines, above the names, are passed over"


def _stray_quote(connection: duckdb.DuckDBPyConnection, columns: dict[str, str]) -> str:
    """A sentence on fields so long that they may have swallowed lines; none where there is none."""
    longest = ", ".join(f"coalesce(strlen({quoted(name)}), 0)" for name in columns)
    lines = " + ".join(f"{_line_ends(quoted(name))}" for name in columns)
    count, first = first_row(
        connection,
        f"SELECT count(*), min({quoted(PLACE)}) FROM raw "
        f"WHERE greatest({longest}, 0) > {MAX_FIELD_LINES} "
        f"AND ({lines} > {MAX_FIELD_LINES} OR greatest({longest}, 0) > {MAX_FIELD_BYTES})",
    )
    is_long = f"{_line_ends('line')} > {MAX_FIELD_LINES}"
    torn = count_of(connection, f"SELECT count(*) FROM torn WHERE {is_long}")
    if not count + torn:
        return ""
    at = f", the first in record {first + 1:,}" if count else ""
    return f"{count + torn:,} fields are longer than {MAX_FIELD_LINES} lines or 64 KB{at}"


def _line_ends(column: str) -> str:
    return f"coalesce(strlen({column}) - strlen(replace({column}, chr(10), '')), 0)"


def read_query(
    portfolio: Portfolio,
    connection: duckdb.DuckDBPyConnection,
    *,
    deliveries: Sequence[Taken] = (),
) -> Delivery:
    """Read what a database's query selects, above the watermark of the deliveries before.

    The URL may carry a password, so no error repeats it, nor is one its cause.
    """
    url = portfolio.source.url
    try:
        query = rows_since(portfolio, deliveries)
        frames = pd.read_sql_query(query, url, chunksize=ROWS_AT_ONCE, dtype_backend="pyarrow")
        tables = (pa.Table.from_pandas(frame, preserve_index=False) for frame in frames)
        return read_tables(tables, f"the query of {portfolio.name}", connection)
    except Exception as error:  # every driver has its own
        reason = _without_password(
            " ".join(str(getattr(error, "orig", None) or type(error).__name__).split()), url
        )
        failed = f"the query of portfolio {portfolio.name} failed ({reason})"
        raise PortfolioError(f"{failed}; try its url and query in a database client") from None


def read_tables(
    tables: Iterator[pa.Table], name: str, connection: duckdb.DuckDBPyConnection
) -> Delivery:
    """Read rows that are in memory, a part at a time."""
    names: list[str] = []
    for place, table in enumerate(tables):
        names = table.column_names
        part = _typed(table).rename_columns([numbered(at) for at in range(len(names))])
        connection.register("part", part)
        start = "CREATE TABLE loaded AS" if place == 0 else "INSERT INTO loaded"
        connection.execute(f"{start} SELECT * FROM part")
        connection.unregister("part")
    connection.execute(f"CREATE VIEW raw AS SELECT rowid AS {quoted(PLACE)}, * FROM loaded")
    types = connection.sql("SELECT * FROM loaded LIMIT 0").types
    return Delivery(
        connection=connection,
        name=name,
        names=tuple(names),
        types=tuple(str(kind) for kind in types),
        records=count_of(connection, "SELECT count(*) FROM loaded"),
    )


def _typed(table: pa.Table) -> pa.Table:
    """The table with text where a column has no value, so no type."""
    fields = [
        field.with_type(pa.string()) if pa.types.is_null(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


def _without_password(text: str, url: str) -> str:
    password = urlsplit(url).password or ""
    for secret in (url, password, unquote(password)):
        text = text.replace(secret, "***") if secret else text
    return text
