"""The one function that training, backtest and scoring call: transactions and labels in, features out.

Declarations are ordered by what they need: facts of a transaction first, then windows over them, then facts over those
windows, and so on. Each key's windows are one query; every query joins back on `row_id`.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from features.groups import DERIVED, GROUPS
from features.ip import FACTS, address_facts
from features.schema import BY_NAME, LABELS, SchemaError
from features.windows import PAST, Feature, Group, microseconds

KEYS = ("transaction_id", "account_id", "event_time", "as_of", "amount")  # stand before the features in every table built


@dataclass(frozen=True, kw_only=True)
class Step:
    """One depth of the plan: windows (one query for each stream and key), look-ups in earlier rows, then facts."""

    windows: tuple[tuple[Feature, ...], ...]
    lookups: tuple[Feature, ...]
    facts: tuple[Feature, ...]


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
    with duckdb.connect(config={"memory_limit": memory_limit, **({"temp_directory": str(spill_folder)} if spill_folder else {})}) as engine:
        engine.register("transactions", transactions)
        engine.register("labels", labels)
        _register_addresses(engine, transactions, ip_database)
        for statement in statements(shown, columns=transactions.column_names):
            engine.execute(statement)
        columns = ", ".join([*KEYS, *(f"{_typed(feature)} AS {feature.name}" for feature in shown)])
        window = "" if since is None else "WHERE as_of >= $since"
        query = f"SELECT {columns} FROM built {window} ORDER BY row_id"  # noqa: S608 - names come from declarations
        return engine.sql(query, params={} if since is None else {"since": since}).to_arrow_table()


def shown_features(groups: Iterable[Group]) -> tuple[Feature, ...]:
    """The features a model sees, in the groups' order."""
    return tuple(feature for group in groups for feature in group.features if feature.shown)


def digest(groups: Sequence[Group]) -> str:
    """Fingerprint of what the features mean: of their names, kinds, groups and the whole SQL."""
    text = [f"{group.name}: {', '.join(f'{f.name} {f.kind}' for f in group.features if f.shown)}" for group in groups]
    return hashlib.sha256("\n".join([*text, *statements(shown_features(groups), columns=BY_NAME)]).encode()).hexdigest()[:16]


def statements(shown: Sequence[Feature], *, columns: Iterable[str]) -> list[str]:
    """Return the SQL that turns the tables `transactions`, `labels` and `addresses` into a table `built`."""
    steps = plan(shown)
    present = {*columns, "as_of"}
    derived = [f"epoch_us({column}) AS {name}" for name, column in DERIVED.items() if column in present]
    joined = "LEFT JOIN addresses USING (ip_address)" if "ip_address" in present else ""
    first = f"""SELECT row_number() OVER (ORDER BY as_of, transaction_id) AS row_id, *, {", ".join(derived)} FROM transactions {joined}"""
    texts = [f"CREATE TABLE rows_0 AS {_with_facts(first, steps[0].facts)}"]
    for depth, step in enumerate(steps[1:], start=1):
        rows = f"rows_{depth - 1}"
        parts = []
        for number, windows in enumerate(step.windows):
            parts.append(f"past_{depth}_{number}")
            query = _row_windows(rows, windows) if windows[0].stream == "rows" else _label_windows(rows, windows)
            texts.append(f"CREATE TABLE {parts[-1]} AS {query}")
        if step.lookups:
            parts.append(f"earlier_{depth}")
            texts.append(f"CREATE TABLE {parts[-1]} AS {_lookups(rows, step.lookups)}")
        joins = " ".join(f"LEFT JOIN {part} USING (row_id)" for part in parts)
        texts.append(f"CREATE TABLE rows_{depth} AS {_with_facts(f'SELECT * FROM {rows} {joins}', step.facts)}")
        texts += [f"DROP TABLE {name}" for name in [rows, *parts]]
    return [*texts, f"ALTER TABLE rows_{len(steps) - 1} RENAME TO built"]


def plan(shown: Iterable[Feature]) -> list[Step]:
    """Order the shown features, and the hidden ones they need, by depth."""
    declared = {feature.name: feature for group in GROUPS.values() for feature in group.features}
    declared |= {feature.name: feature for feature in shown}
    depths: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in depths:
            feature = declared[name]
            below = [(depth(other), declared[other]) for other in sorted(feature.needs() & declared.keys())]
            deepest = max((level for level, _ in below), default=0)
            if feature.stream == "labels":  # a key's label windows, also those over one another, are one query
                depths[name] = max((level + (other.stream != "labels") for level, other in below), default=1)
                depths[name] = max(depths[name], 1)
            else:
                depths[name] = deepest + bool(feature.key or feature.lookup)
        return depths[name]

    for feature in list(shown):
        depth(feature.name)
    steps = []
    for level in range(max(depths.values(), default=0) + 1):
        here = [declared[name] for name in depths if depths[name] == level]
        windows: dict[tuple[str, ...], list[Feature]] = {}
        for feature in here:
            if feature.key:
                windows.setdefault((feature.stream, *_own_key(feature)), []).append(feature)
        steps.append(
            Step(
                windows=tuple(tuple(found) for found in windows.values()),
                lookups=tuple(feature for feature in here if feature.lookup),
                facts=tuple(feature for feature in here if not feature.key and not feature.lookup),
            )
        )
    return steps


def _own_key(feature: Feature) -> tuple[str, ...]:
    return feature.key if feature.stream == "rows" else feature.key[:1]


def _check(transactions: pa.Table, labels: pa.Table) -> None:
    for name, table, needed in (("transactions", transactions, KEYS), ("labels", labels, LABELS.names)):
        if missing := [column for column in needed if column not in table.column_names]:
            raise SchemaError(f"{name} lack {', '.join(missing)}; found {', '.join(table.column_names)}; read them from the lake")
    ids = transactions["transaction_id"]
    if len(ids.unique()) < len(ids):
        doubled = next(e["values"] for e in ids.value_counts().to_pylist() if e["counts"] > 1)
        raise SchemaError(f"the transaction_id {doubled!r} stands twice among the transactions; ingest keeps each once")


def _register_addresses(engine: duckdb.DuckDBPyConnection, transactions: pa.Table, database: Path | None) -> None:
    if "ip_address" not in transactions.column_names:
        return
    addresses = transactions["ip_address"].drop_null().unique()
    if len(addresses) and database is None:
        raise SchemaError(f"{len(addresses)} IP addresses are to be looked up, and no ip_database is given; name an .mmdb file")
    engine.register("addresses", address_facts(addresses, database) if database else FACTS.empty_table())


def _typed(feature: Feature) -> str:
    return f"CAST({feature.name} AS {'VARCHAR' if feature.kind == 'category' else 'DOUBLE'})"


def _with_facts(query: str, facts: Sequence[Feature]) -> str:
    """Wrap a query in one SELECT for each layer of facts that build on one another."""
    left = list(facts)
    while left:
        names = {feature.name for feature in left}
        ready = [feature for feature in left if not feature.needs() & names]
        if not ready:
            raise SchemaError(f"the features {', '.join(sorted(names))} need one another; break the circle")
        query = f"SELECT *, {', '.join(f'{f.sql} AS {f.name}' for f in ready)} FROM ({query})"  # noqa: S608
        left = [feature for feature in left if feature not in ready]
    return query


def _windowed(feature: Feature) -> str:
    return f"{re.sub(PAST, f'OVER past_{feature.span}', feature.sql)} AS {feature.name}"


def _frames(features: Sequence[Feature], key: Sequence[str]) -> str:
    frames = {
        f"past_{f.span} AS (PARTITION BY {', '.join(key)} ORDER BY as_of_us RANGE BETWEEN {microseconds(f.span)} PRECEDING AND 1 PRECEDING)": 0
        for f in features
    }
    return "WINDOW " + ", ".join(frames)


def _known(key: Sequence[str]) -> str:
    return " AND ".join(f"{column} IS NOT NULL" for column in key)


def _row_windows(rows: str, features: Sequence[Feature]) -> str:
    key = features[0].key
    return (
        f"SELECT row_id, {', '.join(map(_windowed, features))} FROM {rows} WHERE {_known(key)} {_frames(features, key)}"  # noqa: S608
    )


def _label_windows(rows: str, features: Sequence[Feature]) -> str:
    """The key's transactions and labels as one stream, windows over it, windows over those; the transactions come back."""
    key = features[0].key[0]
    query = f"""
        SELECT row_id, {key}, as_of_us, CAST(NULL AS DOUBLE) AS is_fraud FROM {rows} WHERE {key} IS NOT NULL
        UNION ALL
        SELECT NULL, {key}, greatest(epoch_us(labels.known_at), as_of_us) - 1, CAST(labels.is_fraud AS DOUBLE)
        FROM labels JOIN {rows} USING (transaction_id) WHERE {key} IS NOT NULL"""  # noqa: S608
    left = list(features)
    while left:
        names = {feature.name for feature in left}
        ready = [feature for feature in left if not feature.needs() & names]
        for partition in dict.fromkeys(feature.key for feature in ready):
            here = [feature for feature in ready if feature.key == partition]
            query = f"SELECT *, {', '.join(map(_windowed, here))} FROM ({query}) {_frames(here, partition)}"  # noqa: S608
        left = [feature for feature in left if feature not in ready]
    return f"SELECT row_id, {', '.join(f.name for f in features)} FROM ({query}) WHERE row_id IS NOT NULL"  # noqa: S608


def _lookups(rows: str, features: Sequence[Feature]) -> str:
    numbers = sorted({feature.lookup for feature in features})
    joins = " ".join(f"LEFT JOIN {rows} AS of_{name} ON of_{name}.row_id = now.{name}" for name in numbers)
    columns = ", ".join(f"of_{feature.lookup}.{feature.sql} AS {feature.name}" for feature in features)
    return f"SELECT now.row_id, {columns} FROM {rows} AS now {joins}"  # noqa: S608
