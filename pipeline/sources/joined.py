"""The query of a portfolio over files: SQL over `source` and further tables, each by its name.

A row of the source gives one row of the result, or none. Where a query gives more, the file is
stopped; the rows it leaves out are counted. It reaches no file and no table but those it is given.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import duckdb

from pipeline.portfolio import Portfolio, PortfolioError
from pipeline.portfolio_tables import Csv
from pipeline.sources.delivery import (
    PLACE,
    Delivery,
    count_of,
    first_row,
    numbered,
    one_line,
    quoted,
)

SOURCE = "source"
GIVEN = "strata_query"  # the schema of what the query may see
ORIGIN = "strata:origin"
WHOLE_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
NUMBERS = (*WHOLE_NUMBERS, *(f"U{kind}" for kind in WHOLE_NUMBERS), "FLOAT", "DOUBLE", "DECIMAL")
WHOLE = "^[+-]?[0-9]+[.]0+$"


def of_table(portfolio: Portfolio) -> Portfolio:
    """The portfolio as a further table is read: how its csv is written is found out from it."""
    written = Csv(nulls=portfolio.source.csv.nulls)
    return replace(
        portfolio, columns={}, source=portfolio.source.model_copy(update={"csv": written})
    )


def in_schema(connection: duckdb.DuckDBPyConnection, schema: str) -> None:
    """Let what is read next lie apart from what was read before."""
    connection.execute("DROP TABLE IF EXISTS reject_errors; DROP TABLE IF EXISTS reject_scans")
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}; SET schema = '{schema}'")


def keep_table(name: str, parts: Mapping[str, Delivery]) -> None:
    """Make a table of the files of one table, each read in a schema of its own, by their names."""
    connection = next(iter(parts.values())).connection
    texts = []
    for schema, part in parts.items():
        kept = f"{schema}.kept"
        columns = ", ".join(_named(part))
        connection.execute(f"CREATE TABLE {kept} AS SELECT {columns} FROM {schema}.raw")
        texts.append(f"SELECT * FROM {kept}")
    in_schema(connection, GIVEN)
    union = " UNION ALL BY NAME ".join(texts)
    connection.execute(f"CREATE VIEW {GIVEN}.{quoted(name)} AS {union}")
    connection.execute("SET schema = 'main'")


def _named(delivery: Delivery) -> Iterator[str]:
    for at, name in enumerate(delivery.names):
        yield f"{quoted(numbered(at))} AS {quoted(name)}"


def query_rows(delivery: Delivery, portfolio: Portfolio, *, accept: bool) -> Delivery:
    """The delivery with the rows of the query in `raw`.

    Raises PortfolioError where the query is no single SELECT over the tables, cannot be computed,
    or gives a row of the source more than once, unless that is accepted.
    """
    connection, query = delivery.connection, portfolio.source.query
    tree = _parsed(connection, portfolio)
    place = f"{quoted(PLACE)} AS {quoted(PLACE)}"
    in_schema(connection, GIVEN)
    names = ", ".join([place, *_named(delivery)])
    connection.execute(f"CREATE VIEW {GIVEN}.{SOURCE} AS SELECT {names} FROM main.raw")
    try:
        _as_compared(connection, tree, [SOURCE, *portfolio.source.tables])
        is_traced = _compute(connection, query, tree)
    except duckdb.Error as error:
        raise _refused(portfolio, f"cannot be computed ({_reason(error)})") from error
    finally:
        connection.execute("SET schema = 'main'")
    return _counted(delivery, portfolio, is_traced=is_traced, accept=accept)


def _reason(error: duckdb.Error) -> str:
    return one_line(error).split(" LINE ")[0]


def _refused(portfolio: Portfolio, why: str) -> PortfolioError:
    given = " and ".join([SOURCE, *portfolio.source.tables])
    return PortfolioError(
        f"query = {portfolio.source.query!r} in [source] of {portfolio.file} {why}; "
        f"write one SELECT over {given}"
    )


def _parsed(connection: duckdb.DuckDBPyConnection, portfolio: Portfolio) -> dict[str, Any]:
    """The query as a tree; refuse what is no single SELECT over the tables that it is given."""
    (found,) = first_row(connection, "SELECT json_serialize_sql(?)", [portfolio.source.query])
    tree: dict[str, Any] = json.loads(found)
    if tree.get("error"):
        raise _refused(portfolio, f"cannot be understood ({tree.get('error_message')})")
    if len(tree["statements"]) != 1:
        raise _refused(portfolio, f"has {len(tree['statements'])} statements")
    nodes = list(_nodes(tree))
    own = {one["key"].lower() for node in nodes for one in _map_of(node)}
    own |= {SOURCE, *(name.lower() for name in portfolio.source.tables)}
    for node in nodes:
        kind = node.get("type")
        if kind == "TABLE_FUNCTION":
            raise _refused(portfolio, f"reads by {node['function']['function_name']}()")
        if kind == "BASE_TABLE":
            name = ".".join(node["qualified_name"]["path"])
            if name.lower() not in own:
                raise _refused(portfolio, f"reads {name!r}, which is no table of it")
    return tree


def _map_of(node: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (node.get("cte_map") or {}).get("map", [])
    return found


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for part in parts:
        yield from _nodes(part)


def _compared(tree: dict[str, Any]) -> tuple[set[str], bool]:
    """Columns that are set equal to others, in lower case, and whether all shared ones are."""
    found, is_natural = set[str](), False
    for node in _nodes(tree):
        found |= {name.lower() for name in node.get("using_columns") or ()}
        is_natural |= node.get("ref_type") == "NATURAL"
        sides = [node.get("left"), node.get("right")]
        are_columns = all(isinstance(one, dict) and "column_names" in one for one in sides)
        if node.get("type") == "COMPARE_EQUAL" and are_columns:
            found |= {str(one["column_names"][-1]).lower() for one in sides if one}
    return found, is_natural


def _as_compared(
    connection: duckdb.DuckDBPyConnection, tree: dict[str, Any], tables: list[str]
) -> None:
    """Let ids that are compared read alike: whole numbers as text, without the `.0` of floats."""
    compared, is_natural = _compared(tree)
    shown = {name: connection.sql(f"SELECT * FROM {GIVEN}.{quoted(name)}") for name in tables}
    if is_natural:
        per_table = [set(map(str.lower, one.columns)) for one in shown.values()]
        compared |= set.intersection(*per_table)
    for table, one in shown.items():
        kinds = dict(zip(one.columns, map(str, one.types), strict=True))
        wanted = [name for name in kinds if name.lower() in compared]
        told = [
            f"{sql} AS {quoted(name)}"
            for name in wanted
            if (sql := _id_sql(connection, table, name, kinds[name]))
        ]
        if told:
            whole = f"strata:whole {table}"
            definition = f"ALTER VIEW {GIVEN}.{quoted(table)} RENAME TO {quoted(whole)}"
            connection.execute(definition)
            connection.execute(
                f"CREATE VIEW {GIVEN}.{quoted(table)} AS SELECT * REPLACE ({', '.join(told)}) "
                f"FROM {GIVEN}.{quoted(whole)}"
            )


def _id_sql(connection: duckdb.DuckDBPyConnection, table: str, name: str, kind: str) -> str:
    """SQL for an id as text; none where it stands as it should."""
    column = quoted(name)
    if kind.startswith(NUMBERS):
        text = f"CAST({column} AS VARCHAR)"
        if kind in ("FLOAT", "DOUBLE"):
            whole = f"TRY_CAST({column} AS HUGEINT)"
            return f"CASE WHEN {column} = {whole} THEN CAST({whole} AS VARCHAR) ELSE {text} END"
        return f"regexp_replace({text}, '[.]0+$', '')"
    if kind != "VARCHAR":
        return ""
    text = f"trim({column})"
    is_float = (
        f"SELECT count({column}) > 0 AND bool_and(regexp_matches({text}, '{WHOLE}')) "
        f"FROM {GIVEN}.{quoted(table)} WHERE {text} <> ''"
    )
    (all_whole,) = first_row(connection, is_float)
    return f"regexp_replace({text}, '[.]0+$', '')" if all_whole else text


def _compute(connection: duckdb.DuckDBPyConnection, query: str, tree: dict[str, Any]) -> bool:
    """Make `main.queried`; whether each of its rows says of which row of the source it is."""
    node = tree["statements"][0]["node"]
    if node["type"] == "SELECT_NODE":
        reference = {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": ORIGIN}
        node["select_list"].append({**reference, "column_names": [PLACE]})
        with suppress(duckdb.Error):  # grouped, or of the source twice: its rows are counted alone
            (traced,) = first_row(connection, "SELECT json_deserialize_sql(?)", [json.dumps(tree)])
            connection.execute(f"CREATE TABLE main.queried AS {traced}")
            return True
    connection.execute(f"CREATE TABLE main.queried AS SELECT * FROM (\n{query}\n)")
    return False


def _counted(
    delivery: Delivery, portfolio: Portfolio, *, is_traced: bool, accept: bool
) -> Delivery:
    """Put the rows in the place of the source's, and tell how many of these they are."""
    connection = delivery.connection
    found = connection.sql("SELECT * FROM main.queried LIMIT 0")
    described = list(zip(found.columns, map(str, found.types), strict=True))
    kept = [(name, kind) for name, kind in described if not name.startswith("strata:")]
    rows = count_of(connection, "SELECT count(*) FROM main.queried")
    there = delivery.records - delivery.torn
    distinct = min(rows, there)
    if is_traced:
        distinct = count_of(connection, f"SELECT count(DISTINCT {quoted(ORIGIN)}) FROM queried")
    more = rows - distinct
    if more and not accept:
        raise PortfolioError(
            f"{delivery.name} is stopped: its query gives {rows:,} rows, {more:,} more than the "
            f"{distinct:,} rows of the source that they are of, as where an id stands twice in a "
            "table; take one row an id in the query; --accept takes all of them"
        )
    columns = [f"{quoted(name)} AS {quoted(numbered(at))}" for at, (name, _) in enumerate(kept)]
    connection.execute("ALTER VIEW main.raw RENAME TO unqueried")
    connection.execute(
        f"CREATE VIEW main.raw AS SELECT rowid AS {quoted(PLACE)}, {', '.join(columns)} "
        "FROM main.queried"
    )
    left_out = there - distinct
    doubt = f"its query leaves out {left_out:,} of {there:,} rows"
    return replace(
        delivery,
        names=tuple(name for name, _ in kept),
        types=tuple(kind for _, kind in kept),
        records=delivery.records + more,
        left_out=left_out,
        doubts=(*delivery.doubts, *([doubt] if left_out else [])),
    )
