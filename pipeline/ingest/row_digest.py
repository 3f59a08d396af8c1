"""Digests of rows: equal rows have equal ones, in every process and order of their columns."""

import duckdb
import pyarrow as pa


def row_digests(rows: pa.Table) -> pa.Array:
    """Return an md5 of each row's names and values as int64; a null is a column that is absent.

    >>> one = pa.table({"a": ["x"], "b": [1]})
    >>> other = pa.table({"b": [1], "c": pa.nulls(1), "a": ["x"]})
    >>> row_digests(one).equals(row_digests(other))
    True
    """
    # The length before each value keeps apart what would read alike when put in one row of text.
    parts = [
        f"'{_quoted(name)}:' || length({value}) || ':' || {value}"
        for name, value in sorted(_texts(rows.schema).items())
    ]
    md5 = f"md5_number_lower(concat_ws(' ', '', {', '.join(parts)}))"
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        found = connection.sql(
            f"SELECT ({md5} - 9223372036854775808::HUGEINT)::BIGINT AS row_digest FROM rows"  # noqa: S608
        )
        return found.to_arrow_table()["row_digest"].combine_chunks()


def _texts(schema: pa.Schema) -> dict[str, str]:
    """SQL that writes each column as text.

    A time as microseconds, which no session's time zone changes.
    """
    return {
        field.name: f"CAST({_moment(field)} AS VARCHAR)"
        for field in schema
        if not pa.types.is_null(field.type)
    }


def _moment(field: pa.Field) -> str:
    column = '"' + field.name.replace('"', '""') + '"'
    return f"epoch_us({column})" if pa.types.is_timestamp(field.type) else column


def _quoted(name: str) -> str:
    return name.replace("'", "''")
