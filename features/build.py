"""The one function that training, backtest and scoring call: transactions and labels in, features out.

Each key's windows are one query; every query joins back on `row_id`, the place of a transaction in the order of as_of.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from features.groups import DERIVED
from features.ip import FACT_NAMES, FACTS, address_facts
from features.plan import Step, plan, reach
from features.risk import label_query, verdict_query
from features.schema import BY_NAME, LABELS, SchemaError
from features.windows import Feature, Group, lookup_query, select, window_query

KEYS = ("transaction_id", "account_id", "event_time", "as_of", "amount")  # stand before the features in every table built
BASE = ("row_id", *KEYS, "as_of_us")  # what every depth needs


def build(
    transactions: pa.Table,
    labels: pa.Table,
    groups: Sequence[Group],
    *,
    ip_database: Path | None = None,
    since: datetime | None = None,
    memory_limit: str = "4GB",
    spill_folder: Path | None = None,
) -> pa.Table:
    """Return one row per transaction, in order of as_of: its KEYS, then the groups' shown features.

    `transactions` has the columns of `features.schema.transactions_schema`, `labels` those of `features.schema.LABELS`; with
    `since` only rows from that as_of on come back, the earlier ones being their history. Numbers and flags are float64,
    categories text; null is as each feature declares. Raises SchemaError on a missing column or a doubled transaction_id.
    """
    _check(transactions, labels)
    shown = shown_features(groups)
    spilling = {} if spill_folder is None else {"temp_directory": str(spill_folder)}
    with duckdb.connect(config={"memory_limit": memory_limit, **spilling}) as engine:
        engine.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        engine.register("transactions", transactions)
        engine.register("labels", labels)
        _register_addresses(engine, transactions, ip_database)
        for statement in statements(_all_features(groups), columns=transactions.column_names):
            engine.execute(statement)
        query = select(
            [*KEYS, *map(_typed, shown)], f"built {'' if since is None else 'WHERE as_of >= $since'} ORDER BY row_id"
        )
        return engine.sql(query, params={} if since is None else {"since": since}).to_arrow_table()


def lookback(groups: Sequence[Group]) -> timedelta:
    """How far the history of a batch must go back before its first row, for `since` to equal the full build.

    >>> from features.groups import portfolio_groups
    >>> lookback(portfolio_groups([], order=("amount",))).days  # payments of 14 days, each against the 90 days before it
    104
    """
    return timedelta(microseconds=reach(_all_features(groups)))


def shown_features(groups: Iterable[Group]) -> tuple[Feature, ...]:
    """The features a model sees, in the groups' order."""
    return tuple(feature for group in groups for feature in group.features if feature.shown)


def digest(groups: Sequence[Group]) -> str:
    """Fingerprint of what the features mean: of their names, kinds, groups and the whole SQL."""
    text = [f"{group.name}: {', '.join(f'{f.name} {f.kind}' for f in group.features if f.shown)}" for group in groups]
    features = _all_features(groups)
    used = {*BY_NAME, *(name for feature in features for name in feature.needs())}
    return hashlib.sha256("\n".join([*text, *statements(features, columns=used)]).encode()).hexdigest()[:16]


def statements(features: Sequence[Feature], *, columns: Iterable[str]) -> list[str]:
    """Return the SQL that turns the tables `transactions`, `labels` and `addresses` into a table `built`.

    It has the features that are shown. A depth's table carries only the columns that are shown or that a later depth needs.
    """
    steps = plan(features)
    words = [{name for feature in step.features() for name in feature.needs()} for step in steps]
    present, first = _first_rows(set(columns), set().union(*words))
    texts: list[str] = []
    for depth, step in enumerate(steps):
        parts = _parts(f"rows_{depth - 1}", step, depth)
        joined = f"rows_{depth - 1} {' '.join(f'LEFT JOIN {part} USING (row_id)' for part in parts)}"
        query = _with_facts(select(["*"], joined) if depth else first, step.facts)
        present += [feature.name for feature in step.features()]
        wanted = {*BASE, *(feature.name for feature in features if feature.shown)}.union(*words[depth + 1 :])
        carried = [name for name in present if name in wanted]
        texts += [f"CREATE TABLE {part} AS {part_query}" for part, part_query in parts.items()]
        texts.append(f"CREATE TABLE rows_{depth} AS {select(carried, f'({query})')}")
        texts += [f"DROP TABLE {table}" for table in parts] + ([f"DROP TABLE rows_{depth - 1}"] if depth else [])
        if depth == 0 and any(feature.stream == "labels" for later in steps for feature in later.features()):
            texts.append(f"CREATE TABLE verdicts AS {verdict_query('rows_0')}")
    return [*texts, f"ALTER TABLE rows_{len(steps) - 1} RENAME TO built"]


def _first_rows(columns: set[str], words: set[str]) -> tuple[list[str], str]:
    """The columns that are needed of the source, and the query that reads them and numbers the rows in order of as_of."""
    own = [*KEYS, *sorted(columns & words - {*KEYS})]
    moments = [name for name, column in DERIVED.items() if name in {*words, *BASE} and column in {*columns, *KEYS}]
    addresses = sorted(FACT_NAMES & words) if "ip_address" in columns else []
    row_id = "row_number() OVER (ORDER BY as_of, transaction_id) AS row_id"
    microseconds = [f"epoch_us({DERIVED[name]}) AS {name}" for name in moments]
    source = "transactions LEFT JOIN addresses USING (ip_address)" if addresses else "transactions"
    return ["row_id", *own, *moments, *addresses], select([row_id, *own, *microseconds, *addresses], source)


def _parts(rows: str, step: Step, depth: int) -> dict[str, str]:
    """The queries of a depth by the names of their tables; each has a row_id and is joined to the rows."""
    parts = {
        f"past_{depth}_{number}": window_query(rows, shared) if shared[0].stream == "rows" else label_query(rows, shared)
        for number, shared in enumerate(step.windows)
    }
    return parts | ({f"earlier_{depth}": lookup_query(rows, step.lookups)} if step.lookups else {})


def _with_facts(query: str, facts: Sequence[Feature]) -> str:
    """Wrap a query in one SELECT for each layer of facts that build on one another."""
    left = list(facts)
    while left:
        names = {feature.name for feature in left}
        ready = [feature for feature in left if not feature.needs() & names]
        query = select(["*", *(f"{feature.sql} AS {feature.name}" for feature in ready)], f"({query})")
        left = [feature for feature in left if feature not in ready]
    return query


def _all_features(groups: Iterable[Group]) -> list[Feature]:
    return [feature for group in groups for feature in group.features]


def _check(transactions: pa.Table, labels: pa.Table) -> None:
    for name, table, needed in (("transactions", transactions, KEYS), ("labels", labels, LABELS.names)):
        if missing := [column for column in needed if column not in table.column_names]:
            found = ", ".join(table.column_names)
            raise SchemaError(f"{name} lack {', '.join(missing)}; found {found}; read them from the lake")
    ids = transactions["transaction_id"]
    if len(ids.unique()) < len(ids):
        doubled = next(entry["values"] for entry in ids.value_counts().to_pylist() if entry["counts"] > 1)
        raise SchemaError(f"the transaction_id {doubled!r} stands twice among the transactions; ingest keeps each once")


def _register_addresses(engine: duckdb.DuckDBPyConnection, transactions: pa.Table, database: Path | None) -> None:
    if "ip_address" not in transactions.column_names:
        return
    addresses = transactions["ip_address"].drop_null().unique()
    if len(addresses) and database is None:
        raise SchemaError(f"{len(addresses)} IP addresses are to be looked up, and no ip_database is given; name an .mmdb file")
    engine.register("addresses", address_facts(addresses, database) if database else FACTS.empty_table())


def _typed(feature: Feature) -> str:
    return f"CAST({feature.name} AS {'VARCHAR' if feature.kind == 'category' else 'DOUBLE'}) AS {feature.name}"
