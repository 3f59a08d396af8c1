"""The one function that training, backtest and scoring call: from transactions to features."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import pyarrow as pa

from features.declarations import Feature, FeatureKind, Group
from features.engines.duckdb import DuckDB
from features.engines.protocol import Engine, EngineName, Shards, Source, WindowEngine
from features.engines.spark import Spark
from features.groups.catalogue import DERIVED
from features.ip.addresses import open_databases
from features.schema import LABELS, SchemaError
from features.sql.currency import (
    PAID,
    RATES,
    Rates,
    converting_view,
    missing_rate_query,
    missing_sentence,
)
from features.sql.labels import label_query, verdict_query
from features.sql.micro_batch import batch_tables
from features.sql.plan import Part, Plan, only, reach
from features.sql.rows import TRANSACTIONS, Step, Table, all_rows, moment, some_rows
from features.sql.windows import lookup_query, select
from features.state.files import Arrays

# stand before the features in every table built
KEYS = ("transaction_id", "account_id", "event_time", "as_of", "amount")
TYPES: dict[FeatureKind, pa.DataType] = {
    "number": pa.float64(),
    "flag": pa.float64(),
    "category": pa.string(),
}


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """Where the facts of IP addresses come from, and what computes windows, within which memory.

    The kernel is for what one machine holds, Spark for more; "duckdb", all of it as SQL in this
    process, is what the others are held to in tests.
    In the `state_folder` lies what is kept of earlier rows; without one nothing is kept.
    """

    ip_databases: tuple[Path, ...] = ()
    engine: EngineName = "kernel"
    memory_limit: str = "6GB"
    spill_folder: Path | None = None
    state_folder: Path | None = None

    def start(self) -> Engine:
        """Start the engine.

        It is a context manager. Raises ValueError where Spark is asked for and not there.
        """
        kinds = {"duckdb": DuckDB, "kernel": _kernel, "spark": Spark}
        return kinds[self.engine](memory_limit=self.memory_limit, spill_folder=self.spill_folder)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What later rows need of those before a moment: segments that a `WindowEngine` has kept."""

    until: datetime
    segments: Sequence[Arrays]


def build(
    transactions: Source,
    labels: Source,
    groups: Sequence[Group],
    *,
    config: BuildConfig | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    rates: Rates | None = None,
    kept: Kept | None = None,
) -> pa.Table:
    """Return one row per transaction, in order of as_of: its KEYS, then the groups' shown features.

    `transactions` has the columns of `features.schema.transactions_schema`, `labels` those of
    `features.schema.LABELS`; with `since` only rows from that as_of on come back, the earlier ones
    being their history. Numbers and flags are float64, categories text; null is as each feature
    declares. With `rates` amounts are in the currency that they report in. With `kept` the rows
    before its moment are not read, and `labels` are those that came since, or are on later rows.
    Raises SchemaError on a missing column, a doubled transaction_id or a payment without a rate,
    StateError where what was kept is of other features.
    """
    return pa.concat_tables(
        pieces(
            transactions,
            labels,
            groups,
            config=config,
            since=since,
            until=until,
            rates=rates,
            kept=kept,
        )
    )


def keep(
    transactions: Source,
    labels: Source,
    groups: Sequence[Group],
    *,
    config: BuildConfig,
    until: datetime,
    rates: Rates | None = None,
    kept: Kept | None = None,
) -> Kept:
    """Pass over the rows before `until` that later ones can see, and keep what these need.

    With `kept` only the rows from its moment on are passed over. The engine is the kernel. Raises
    what `build` raises.
    """
    with config.start() as engine:
        if not isinstance(engine, WindowEngine):
            raise TypeError(f"the engine {config.engine} keeps nothing")
        compute(
            engine,
            transactions,
            labels,
            groups,
            config=config,
            since=until,
            until=until,
            rates=rates,
            kept=kept,
            keeps=True,
        )
        earlier = kept.segments if kept else ()
        return Kept(until=until, segments=[*earlier, engine.kept()])


def pieces(
    transactions: Source,
    labels: Source,
    groups: Sequence[Group],
    *,
    config: BuildConfig | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    rates: Rates | None = None,
    kept: Kept | None = None,
) -> Iterator[pa.Table]:
    """Yield what `build` returns in pieces, one at least: for more rows than memory holds."""
    config = config or BuildConfig()
    with config.start() as engine:
        built = compute(
            engine,
            transactions,
            labels,
            groups,
            config=config,
            since=since,
            until=until,
            rates=rates,
            kept=kept,
        )
        starts = range(built.first, max(built.last, built.first) + 1, engine.piece)
        with ThreadPoolExecutor(1) as beside:  # the next piece is made while this one is used
            coming = beside.submit(built.read, engine, starts[0])
            for start in starts[1:]:
                ready, coming = coming, beside.submit(built.read, engine, start)
                yield ready.result()
                del ready
            yield coming.result()


@dataclass(frozen=True, kw_only=True)
class Built:
    """Features in the tables of an engine, of the rows `first` to `last` in order of as_of."""

    plan: Plan
    shown: tuple[Feature, ...]
    first: int
    last: int

    def read(self, engine: Engine, first: int) -> pa.Table:
        """Return the KEYS and the shown features of a piece of rows, from the first on."""
        last = min(first + engine.piece - 1, self.last)
        if isinstance(engine, WindowEngine):
            columns = dict.fromkeys(KEYS) | {one.name: TYPES[one.kind] for one in self.shown}
            return engine.read(columns, first=first, last=last)
        return engine.fetch(f"{self.query(first, last)} ORDER BY row_id")

    def query(self, first: int, last: int) -> str:
        """Write the query that puts together the KEYS and the shown features of these rows."""
        read = self.plan.read(_names(self.shown), first=first, last=last)
        return select([*KEYS, *map(_typed, self.shown)], f"({read}) AS built")


def compute(
    engine: Engine,
    transactions: Source,
    labels: Source,
    groups: Sequence[Group],
    *,
    config: BuildConfig,
    since: datetime | None = None,
    until: datetime | None = None,
    rates: Rates | None = None,
    kept: Kept | None = None,
    keeps: bool = False,
) -> Built:
    """Compute what `build` returns and leave it in the engine's tables.

    With `keeps` a WindowEngine has then what later rows need.
    """
    plan, shown = Plan(all_features(groups)), shown_features(groups)
    begin = kept.until if kept else None
    if since is not None and not kept:
        begin = since - lookback(groups)
    where = _bounds(begin, until)
    columns = _given(engine, transactions, labels, where, rates)
    if isinstance(engine, WindowEngine):
        words = {*plan.words, *_names(shown)}
        _run(
            engine,
            all_rows(plan.rows, words, columns, slices=_slices(engine), streamed=True),
            config,
        )
        _check_once(engine)
        engine.learn(plan, earlier=kept.segments if kept else (), keep=keeps)
        earlier = 0 if since is None else _count(engine, f"rows WHERE as_of < {moment(since)}")
        last = _count(engine, "rows")
        return Built(plan=plan, shown=shown, first=1 + earlier, last=last)
    few = (
        since is not None
        and _count(engine, f"{TRANSACTIONS} WHERE as_of >= {moment(since)}") <= engine.few
    )
    if few and since is not None:
        steps = few_rows(plan, since, columns, _names(shown))
    else:
        steps = whole_history(
            plan, columns, _names(shown), slices=_slices(engine), shards=engine.shards
        )
    _run(engine, steps, config)
    _check_once(engine)
    first = 1 if since is None or few else 1 + _count(engine, f"rows WHERE as_of < {moment(since)}")
    return Built(plan=plan, shown=shown, first=first, last=_count(engine, "rows"))


def lookback(groups: Sequence[Group]) -> timedelta:
    """How far the history of a batch must go back before its first row, to equal the full build.

    The group amount looks at payments of 14 days, each against the 90 days before it:

    >>> from features.groups.catalogue import portfolio_groups
    >>> lookback(portfolio_groups([], order=("amount",))).days
    104
    """
    return timedelta(microseconds=_reach(tuple(groups)))


@lru_cache(maxsize=32)
def _reach(groups: tuple[Group, ...]) -> int:
    return reach(all_features(groups))


def shown_features(groups: Iterable[Group]) -> tuple[Feature, ...]:
    """The features a model sees, in the groups' order."""
    return tuple(feature for group in groups for feature in group.features if feature.shown)


def all_features(groups: Iterable[Group]) -> list[Feature]:
    """All features of the groups, also those that only serve others."""
    return [feature for group in groups for feature in group.features]


def whole_history(
    plan: Plan,
    columns: Sequence[str],
    names: Iterable[str],
    *,
    slices: Sequence[str] = ("TRUE",),
    shards: Shards | None = None,
) -> Iterator[Step]:
    """The tables of a plan for all transactions: windows over everything.

    More rows than are sorted at a time come slice by slice of time, and windows over them shard by
    shard of their keys.
    """
    yield from all_rows(plan.rows, {*plan.words, *names}, columns, slices=slices)
    if any(part.is_of_labels for part in plan.parts):
        yield Table(name="verdicts", query=verdict_query(plan.rows))
    for part in plan.parts:
        own_past = bool(part.key) and part.key == part.as_key
        sharded = shards(part.key[0], len(slices)) if shards and own_past else ["TRUE"]
        for place, shard in enumerate(sharded):
            query = _part_query(plan, part, shard)
            yield Table(name=part.table, query=query, in_order=True, more=bool(place))


def few_rows(
    plan: Plan, since: datetime, columns: Sequence[str], names: Iterable[str]
) -> Iterator[Step]:
    """The tables of a plan for the few transactions from a moment on, each joined with its past."""
    yield from some_rows(
        plan.rows, {*plan.words, *names}, columns, where=[f"as_of >= {moment(since)}"]
    )
    yield from batch_tables(plan, since, columns)


def _part_query(plan: Plan, part: Part, shard: str) -> str:
    if part.is_lookup:
        rows = sorted({feature.lookup for feature in part.features})
        words = {word for feature in part.features for word in feature.needs() - {feature.lookup}}
        earlier = f"({plan.read(sorted(words))})"
        return lookup_query(f"({plan.read(rows)})", dict.fromkeys(rows, earlier), part.features)
    if part.is_of_labels:
        asking = only(plan.read([*part.key, "as_of_us"]), shard)
        return label_query(f"({asking})", part.aggregates)
    return plan.windows(part, shard=shard)


def _run(engine: Engine, steps: Iterable[Step], config: BuildConfig) -> None:
    """Make the tables; IP addresses are looked up outside the engine."""
    with open_databases(config.ip_databases) as facts_of:
        for step in steps:
            if isinstance(step, Table):
                engine.table(step.name, step.query, in_order=step.in_order, more=step.more)
                continue
            addresses = engine.fetch(
                f"SELECT DISTINCT ip_address FROM {step.table} WHERE ip_address IS NOT NULL"  # noqa: S608
            )["ip_address"]
            if len(addresses) and not config.ip_databases:
                raise SchemaError(
                    f"{len(addresses)} IP addresses are to be looked up, and there is no database; "
                    "name an .mmdb file"
                )
            engine.give(f"{step.table}_addresses", facts_of(addresses, step.facts), {})


def _given(
    engine: Engine, transactions: Source, labels: Source, where: str, rates: Rates | None
) -> list[str]:
    """Give the engine its sources; return the names that queries may use of the transactions."""
    paid = PAID if rates else TRANSACTIONS
    columns = engine.give(paid, transactions, DERIVED, where=where)
    for name, found, needed in (
        (TRANSACTIONS, columns, KEYS),
        ("labels", engine.give("labels", labels, {"known_us": "known_at"}), LABELS.names),
    ):
        if missing := [column for column in needed if column not in found]:
            raise SchemaError(
                f"{name} lack {', '.join(missing)}; found {', '.join(found)}; "
                "read them from the lake"
            )
    names = [*columns, *(own for own, column in DERIVED.items() if column in columns)]
    if rates:
        _convert(engine, names, rates)
    return names


def _convert(engine: Engine, columns: Sequence[str], rates: Rates) -> None:
    """Make the transactions seen with their amounts in one currency.

    Raises SchemaError where a payment has no rate.
    """
    engine.give(RATES, rates.daily, {})
    missing = engine.fetch(missing_rate_query(rates))
    if missing.num_rows:
        raise SchemaError(missing_sentence(missing, rates))
    engine.view(TRANSACTIONS, converting_view(columns, rates))


def _bounds(begin: datetime | None, until: datetime | None) -> str:
    """The condition on transactions to be read: none that comes too late, or is too old."""
    bounds = [f"as_of < {moment(until)}"] if until is not None else []
    bounds += [f"as_of >= {moment(begin)}"] if begin is not None else []
    return " AND ".join(bounds)


def _check_once(engine: Engine) -> None:
    doubled = engine.fetch(
        "SELECT transaction_id FROM rows GROUP BY transaction_id HAVING count(*) > 1 LIMIT 1"
    )
    if doubled.num_rows:
        name = doubled["transaction_id"][0].as_py()
        raise SchemaError(
            f"the transaction_id {name!r} stands twice among the transactions; "
            "ingest keeps each once"
        )


def _slices(engine: Engine) -> list[str]:
    """Conditions that part the transactions by time, each of what the engine sorts at once."""
    counted = ["count(*) AS rows", "min(as_of_us) AS first", "max(as_of_us) AS last"]
    found = engine.fetch(select(counted, TRANSACTIONS))
    rows, first, last = (found[name][0].as_py() for name in ("rows", "first", "last"))
    number = -(-rows // engine.slice)
    if number <= 1:
        return ["TRUE"]
    bounds = [first + (last - first) * place // number for place in range(number)] + [last + 1]
    return [f"as_of_us >= {begin} AND as_of_us < {end}" for begin, end in pairwise(bounds)]


def _count(engine: Engine, source: str) -> int:
    return int(engine.fetch(select(["count(*) AS counted"], source))["counted"][0].as_py())


def _kernel(*, memory_limit: str, spill_folder: Path | None) -> Engine:
    from features.engines.kernel import Kernel  # noqa: PLC0415 - numba takes long to import

    return Kernel(memory_limit=memory_limit, spill_folder=spill_folder)


def _names(shown: Iterable[Feature]) -> list[str]:
    return [*KEYS, *(feature.name for feature in shown)]


def _typed(feature: Feature) -> str:
    kind = "STRING" if feature.kind == "category" else "DOUBLE"
    return f"CAST({feature.name} AS {kind}) AS {feature.name}"
