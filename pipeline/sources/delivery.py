"""What came at once, open in a connection of its own, and what its readers share.

`raw` has a record's place and its values by number, so that no name of theirs meets one of ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import Any

import duckdb

from pipeline.portfolio import PortfolioError
from pipeline.sources.files import SourceFile
from pipeline.sources.text_files import TextFile, TornFileError

PLACE = "strata:place"
MAX_LINE_BYTES = 1 << 24
MEMORY = "2500MB"


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What came at once, a file or the rows of a query, open in a connection.

    `names` are theirs, in their order; `types` are DuckDB's. `doubts` are sentences on what was
    found out, `stray_quote` one on fields that may have swallowed lines; `is_ended` is false where
    the last line may still be written. `number_forms` are known beforehand of rows that were held,
    by what is mapped: the signs of decimals and of thousands.
    """

    connection: duckdb.DuckDBPyConnection
    name: str
    names: tuple[str, ...]
    types: tuple[str, ...]
    records: int  # torn ones among them
    torn: int = 0
    left_out: int = 0  # by the query over files
    is_ended: bool = True
    doubts: tuple[str, ...] = ()
    stray_quote: str = ""
    number_forms: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the values in `raw`."""
        return tuple(numbered(place) for place in range(len(self.names)))


def numbered(place: int) -> str:
    """How a column of theirs is called in `raw`."""
    return f"strata:{place}"


def quoted(name: str) -> str:
    """A name as SQL writes it.

    >>> quoted('a "b"')
    '"a ""b\"""'
    """
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL writes it.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def file_literal(file: Path) -> str:
    """One file as SQL reads it: what its name has of patterns is taken as it stands.

    >>> file_literal(Path("may [2].csv"))
    "'may [[]2].csv'"
    """
    return literal(escape(str(file)))


def digest_sql(texts: Mapping[str, str], *, half: str = "lower") -> str:
    """SQL for an md5 of names and values as int64; a null is a column that is absent.

    The length before each value keeps apart what would read alike when put in one row of text.
    """
    parts = []
    for name, text in sorted(texts.items()):
        head = "'" + name.replace("'", "''") + ":'"
        parts.append(f"{head} || length({text}) || ':' || {text}")
    md5 = f"md5_number_{half}(concat_ws(' ', '', {', '.join(parts)}))"
    return f"({md5} - 9223372036854775808::HUGEINT)::BIGINT"


@contextmanager
def workbench(spill: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database of its own for one delivery; what its memory cannot hold lies in the folder."""
    with duckdb.connect() as connection:
        connection.execute("SET python_enable_replacements = false")
        connection.execute(f"SET memory_limit = '{MEMORY}'")
        connection.execute(f"SET temp_directory = {literal(str(spill / 'temp'))}")
        connection.execute("SET enable_progress_bar = false")
        # it would join each list of words with all values, also of what is never looked at
        connection.execute("SET disabled_optimizers = 'in_clause'")
        yield connection


def shut(connection: duckdb.DuckDBPyConnection, file: Path | None) -> None:
    """Let the connection reach no file any more but this one, for good."""
    allowed = f"{literal(str(file))}, {file_literal(file)}" if file else ""
    connection.execute(f"SET allowed_paths = [{allowed}]")
    connection.execute("SET enable_external_access = false")


def unreadable(file: SourceFile, error: Exception) -> TornFileError:
    """What to say of a file whose bytes are not what they should be."""
    return TornFileError(
        f"the source {file.path} cannot be read ({one_line(error)}); "
        f"check that it is a whole {file.path.suffix} file"
    )


def load_lines(
    connection: duckdb.DuckDBPyConnection,
    text: TextFile,
    columns: dict[str, str],
    delimiter: str,
    quote: str,
    skip: int,
) -> None:
    """Read the lines into `loaded`, each value as it stands, and those of another width: `torn`."""
    named = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in columns)
    connection.execute(
        f"CREATE TABLE loaded AS SELECT * FROM read_csv({file_literal(text.path)}, "
        f"auto_detect = false, delim = {literal(delimiter)}, quote = {literal(quote)}, "
        f"escape = {literal(quote)}, header = false, skip = {skip}, columns = {{{named}}}, "
        f"compression = '{text.packing}', ignore_errors = true, store_rejects = true, "
        f"rejects_limit = 0, strict_mode = true, "
        f"hive_partitioning = false, max_line_size = {MAX_LINE_BYTES})"
    )
    connection.execute(
        "CREATE TABLE torn AS SELECT trim(any_value(csv_line), chr(10) || chr(13)) AS line "
        "FROM reject_errors GROUP BY line_byte_position, line ORDER BY line_byte_position"
    )
    connection.execute(f"CREATE VIEW raw AS SELECT rowid AS {quoted(PLACE)}, * FROM loaded")


def check_count(name: str, records: int, taken: int, torn: int) -> None:
    """Refuse a source of which not as many records were read as it has, counted a second way."""
    if records != taken + torn:
        read = f"{taken:,} records and {torn:,} torn lines were read of the source {name}"
        raise PortfolioError(
            f"{read}, which has {records:,} when it is counted; mend its quotes, or say quote in "
            "[source] csv as it is written"
        )


def first_row(
    connection: duckdb.DuckDBPyConnection, query: str, given: Sequence[object] = ()
) -> tuple[Any, ...]:
    """The one row of a query that has one."""
    found: list[tuple[Any, ...]] = connection.execute(query, [*given]).fetchall()
    return found[0]


def count_of(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    """The number that a query answers."""
    return int(first_row(connection, query)[0])


def one_line(error: Exception) -> str:
    """An error's text on one line, not too long."""
    return " ".join(str(error).split())[:300]
