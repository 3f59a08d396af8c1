"""Rows as their source has them, file or database query, in batches, not interpreted yet."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pipeline.portfolio import Portfolio, PortfolioError

BATCH_ROWS = 500_000
BATCH_BYTES = 1 << 25  # of a csv file


@dataclass(frozen=True, kw_only=True)
class SourceBatch:
    """Some of a source's rows in its own names.

    Csv values are text, and a csv line with too few or too many fields is malformed.
    """

    rows: pa.Table
    malformed: tuple[str, ...] = ()


def source_batches(
    portfolio: Portfolio, *, rows: int = BATCH_ROWS, csv_bytes: int = BATCH_BYTES
) -> Iterator[SourceBatch]:
    """Yield the source's rows; at least one (possibly empty) batch comes.

    Raises PortfolioError when the source is missing or cannot be read, or when two of its columns
    have one name.
    """
    for batch in _batches(portfolio, rows, csv_bytes):
        names = batch.rows.column_names
        if doubled := [name for name in names if names.count(name) > 1]:
            found = f"the source of portfolio {portfolio.name} has two columns named {doubled[0]!r}"
            raise PortfolioError(f"{found}; rename one of them")
        yield batch


def _batches(portfolio: Portfolio, rows: int, csv_bytes: int) -> Iterator[SourceBatch]:
    source = portfolio.source
    if source.url:
        yield from _query(source.url, source.query, portfolio, rows)
        return
    file = portfolio.file.parent / source.path
    if not file.is_file():
        raise PortfolioError(
            f"the source {file} of portfolio {portfolio.name} is no file; "
            "put it there or mend [source] path"
        )
    try:
        if file.suffix == ".csv":
            yield from _csv(file, csv_bytes)
        elif file.suffix == ".parquet":
            yield from _parquet(file, rows)
        else:
            raise PortfolioError(
                f"the source {file} is neither .csv nor .parquet; "
                "convert it, or name a database url and query"
            )
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise PortfolioError(
            f"the source {file} cannot be read ({reason}); "
            f"check that it is a whole {file.suffix} file"
        ) from error


def _parquet(file: Path, rows: int) -> Iterator[SourceBatch]:
    with pq.ParquetFile(file) as parquet:
        if parquet.metadata.num_rows == 0:
            yield SourceBatch(rows=parquet.schema_arrow.empty_table())
        for batch in parquet.iter_batches(batch_size=rows):
            yield SourceBatch(rows=pa.Table.from_batches([batch]))


def _csv(file: Path, bytes_at_once: int) -> Iterator[SourceBatch]:
    malformed: list[str] = []

    def keep(row: "pyarrow.csv.InvalidRow") -> str:
        malformed.append(row.text)
        return "skip"

    options = {
        "read_options": pyarrow.csv.ReadOptions(block_size=bytes_at_once),
        "parse_options": pyarrow.csv.ParseOptions(invalid_row_handler=keep),
    }
    with pyarrow.csv.open_csv(file, **options) as reader:
        names = reader.schema.names
    malformed.clear()
    # Only an empty field is null: "NA" is a country, and "nan" is no number but a mistake.
    as_text = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    with pyarrow.csv.open_csv(file, **options, convert_options=as_text) as reader:
        for batch in reader:
            lines = tuple(malformed)
            del malformed[: len(lines)]
            yield SourceBatch(rows=pa.Table.from_batches([batch]), malformed=lines)
        yield SourceBatch(rows=reader.schema.empty_table(), malformed=tuple(malformed))


def _query(url: str, query: str, portfolio: Portfolio, rows: int) -> Iterator[SourceBatch]:
    """Pandas brings its own database layer.

    The URL may carry a password, so no error repeats it, nor is one its cause.
    """
    try:
        for frame in pd.read_sql_query(query, url, chunksize=rows, dtype_backend="pyarrow"):
            yield SourceBatch(rows=pa.Table.from_pandas(frame, preserve_index=False))
    except Exception as error:  # every driver has its own
        reason = _without_password(
            " ".join(str(getattr(error, "orig", None) or type(error).__name__).split()), url
        )
        failed = f"the query of portfolio {portfolio.name} failed ({reason})"
        raise PortfolioError(f"{failed}; try its url and query in a database client") from None


def _without_password(text: str, url: str) -> str:
    password = urlsplit(url).password or ""
    for secret in (url, password, unquote(password)):
        text = text.replace(secret, "***") if secret else text
    return text
