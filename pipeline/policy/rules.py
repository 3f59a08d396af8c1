"""Hand-written rules: SQL conditions over one transaction, checked before they run."""

import json
from collections.abc import Mapping

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from pipeline.portfolio_tables import Rule

# SQL reads the clock by these words too, which parse as columns.
CLOCK_WORDS = {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}


def rules_hit(rules: Mapping[str, Rule], facts: pd.DataFrame) -> pd.Series:
    """For each row of `facts` the rules that hold, joined by ", "; null where none does.

    A condition that is null for a row does not hold. It may only look at its own row, so that a
    batch's size changes nothing: no subquery, aggregate, window, clock or chance. No file or
    network is reachable from it. Called with no rows, it still refuses a wrong rule.

    >>> facts = pd.DataFrame({"amount": [10.0, 9000.0]})
    >>> rules_hit({"huge": Rule(when="amount > 5000")}, facts).tolist()
    [<NA>, 'huge']
    """
    names = np.full(len(facts), "", dtype=object)
    with _sealed(facts) as database:
        for name, rule in rules.items():
            hits = _rows_hit(database, name, rule.when, columns=[str(column) for column in facts])
            names[hits] = np.where(names[hits] == "", name, names[hits] + f", {name}")
    return pd.Series(names, index=facts.index, dtype="string", name="rules").mask(names == "")


def _sealed(facts: pd.DataFrame) -> duckdb.DuckDBPyConnection:
    """An in-memory database that holds `facts` alone and can be opened to nothing else."""
    sealed: dict[str, str | bool | int | float | list[str]] = {
        "enable_external_access": "false",
        "python_enable_replacements": "false",
    }
    database = duckdb.connect(":memory:", config=sealed)
    numbered = facts.reset_index(drop=True).assign(row_of_facts=np.arange(len(facts)))
    database.register("facts", pa.Table.from_pandas(numbered, preserve_index=False))
    database.execute("SET lock_configuration = true")
    return database


def _rows_hit(
    database: duckdb.DuckDBPyConnection, name: str, when: str, *, columns: list[str]
) -> npt.NDArray[np.int64]:
    _refuse_more_than_a_condition(database, name, when, columns=columns)
    # the user's own condition, parsed above
    hits_of = f"SELECT row_of_facts FROM facts WHERE (\n{when}\n)"  # noqa: S608
    kind_of = f"DESCRIBE SELECT (\n{when}\n) FROM facts"  # noqa: S608 - as above
    try:
        hits = database.execute(hits_of).fetchnumpy()["row_of_facts"]
        kind = database.execute(kind_of).fetchall()[0][1]
    except duckdb.Error as error:
        raise _refused(
            name, when, _first_sentence(error), remedy=f"the columns are {', '.join(columns)}"
        ) from error
    if kind != "BOOLEAN":
        raise _refused(
            name, when, f"it gives a {kind}, not true or false", remedy="compare it with something"
        )
    return np.asarray(hits, dtype=np.int64)


def _refuse_more_than_a_condition(
    database: duckdb.DuckDBPyConnection, name: str, when: str, *, columns: list[str]
) -> None:
    one = "write one condition over the columns of one transaction, such as amount > 5000"
    if not when.strip() or ";" in when:
        raise _refused(
            name, when, "it is not one condition" if when.strip() else "it is empty", remedy=one
        )
    text = database.execute("SELECT json_serialize_sql(?)", [f"SELECT {when}"]).fetchall()[0][0]
    tree = json.loads(text)
    if tree["error"]:
        raise _refused(name, when, str(tree["error_message"]), remedy=one)
    volatile = database.execute(
        "SELECT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
    ).fetchall()
    found = _nodes(tree["statements"])
    parts = [str(node.get("class", "")) for node in found]
    if (
        "SUBQUERY" in parts
        or "WINDOW" in parts
        or "STAR" in parts
        or _is_a_query(tree["statements"])
    ):
        raise _refused(name, when, "it looks beyond its own row", remedy=one)
    called = {str(node.get("function_name")) for node in found}
    named = {str(name).lower() for node in found for name in _list(node.get("column_names"))} - {
        str(c).lower() for c in columns
    }
    changing = sorted(called & {function for (function,) in volatile} | named & CLOCK_WORDS)
    if changing:
        raise _refused(
            name, when, f"{', '.join(changing)} gives another answer each time", remedy=one
        )


def _is_a_query(statements: list[dict[str, dict[str, object]]]) -> bool:
    """Whether `SELECT <condition>` parsed into more than one bare expression."""
    node = statements[0]["node"]
    bare = node["type"] == "SELECT_NODE" and node["from_table"]["type"] == "EMPTY"  # type: ignore[index]
    more = [
        node.get(part)
        for part in (
            "modifiers",
            "where_clause",
            "group_expressions",
            "having",
            "qualify",
            "sample",
        )
    ]
    return len(statements) != 1 or not bare or any(more) or len(node["select_list"]) != 1  # type: ignore[arg-type]


def _nodes(tree: object) -> list[dict[str, object]]:
    """Every object of a JSON tree."""
    if isinstance(tree, list):
        return [node for part in tree for node in _nodes(part)]
    if isinstance(tree, dict):
        return [tree, *(node for part in tree.values() for node in _nodes(part))]
    return []


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _first_sentence(error: duckdb.Error) -> str:
    return " ".join(str(error).split("\n\n")[0].split("\n")[0].split())


def _refused(name: str, when: str, why: str, *, remedy: str) -> ValueError:
    return ValueError(
        f"[rules.{name}] when = {when!r} cannot be used: {why.rstrip('.!')}; {remedy}"
    )
