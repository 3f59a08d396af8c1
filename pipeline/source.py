"""Rows as their source has them: a csv or parquet file or a database query, in batches, nothing interpreted yet."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pipeline.portfolio import Portfolio, PortfolioError

BATCH_ROWS = 500_000
TORN = "__torn_row__"  # a csv line that has too few or too many fields, as it was read


def source_columns(portfolio: Portfolio) -> list[str]:
    """Return the names of the source's columns. Raises PortfolioError when it cannot be read."""
    return [name for name in next(iter(source_batches(portfolio)), pd.DataFrame()).columns if name != TORN]


def source_batches(portfolio: Portfolio, *, rows: int = BATCH_ROWS) -> Iterator[pd.DataFrame]:
    """Yield the source's rows in its own names; csv values as text, a torn csv line alone in the column TORN.

    At least one (possibly empty) batch comes. Raises PortfolioError when the source is missing or cannot be read.
    """
    source = portfolio.source
    if source.url:
        yield from _query(source.url, source.query, portfolio, rows)
        return
    file = portfolio.file.parent / source.path
    if not file.is_file():
        raise PortfolioError(f"the source {file} of portfolio {portfolio.name} is no file; put it there or mend [source] path")
    try:
        if file.suffix == ".csv":
            yield from _csv(file)
        elif file.suffix == ".parquet":
            yield from _parquet(file, rows)
        else:
            raise PortfolioError(f"the source {file} is neither .csv nor .parquet; convert it, or name a database url and query")
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise PortfolioError(f"the source {file} cannot be read ({reason}); check that it is a whole {file.suffix} file") from error


def _parquet(file: Path, rows: int) -> Iterator[pd.DataFrame]:
    with pq.ParquetFile(file) as parquet:
        if parquet.metadata.num_rows == 0:
            yield parquet.schema_arrow.empty_table().to_pandas()
        for batch in parquet.iter_batches(batch_size=rows):
            yield pa.Table.from_batches([batch]).to_pandas()


def _csv(file: Path) -> Iterator[pd.DataFrame]:
    torn: list[str] = []

    def keep(row: "pyarrow.csv.InvalidRow") -> str:
        torn.append(row.text)
        return "skip"

    with pyarrow.csv.open_csv(file, convert_options=_as_text(file), parse_options=pyarrow.csv.ParseOptions(invalid_row_handler=keep)) as reader:
        yielded = False
        for batch in reader:
            yield pa.Table.from_batches([batch]).to_pandas()
            yielded = True
        if torn or not yielded:
            yield reader.schema.empty_table().to_pandas().assign(**{TORN: pd.Series(dtype=str)}) if not torn else pd.DataFrame({TORN: torn})


def _as_text(file: Path) -> "pyarrow.csv.ConvertOptions":
    with pyarrow.csv.open_csv(file) as reader:
        names = reader.schema.names
    return pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True)


def _query(url: str, query: str, portfolio: Portfolio, rows: int) -> Iterator[pd.DataFrame]:
    """Pandas brings its own database layer; the URL may carry a password, so no error repeats it."""
    try:
        yield from pd.read_sql_query(query, url, chunksize=rows)
    except Exception as error:
        kind = type(error).__name__
        raise PortfolioError(f"the query of portfolio {portfolio.name} failed ({kind}); try its url and query in a database client") from error
