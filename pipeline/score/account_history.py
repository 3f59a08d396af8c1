"""What the accounts of some rows did before, as features of their own transactions alone."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from features.build import KEYS, BuildConfig, all_features, build, lookback
from features.declarations import Feature, Group, hidden
from features.engines.duckdb import DuckDB
from features.groups.catalogue import DERIVED
from features.ip.addresses import FACT_NAMES
from features.schema import LABELS
from features.sql.plan import Plan, ordered
from features.sql.rows import moment
from features.sql.windows import select
from pipeline.explanation.typical_ranges import APART, SPAN, _numbers
from pipeline.lake.changes import in_utc
from pipeline.lake.snapshot import Snapshot


def own_rows(snapshot: Snapshot, features: pa.Table, *, build_config: BuildConfig) -> pa.Table:
    """Build what the accounts of these rows did before: their own facts alone.

    It begins a look-back before the first of the rows.
    """
    group = own_facts(snapshot.groups)
    if not features.num_rows or not group.features:
        return pa.table({name: features[name].slice(0, 0) for name in KEYS})
    first, last = pc.min_max(features["as_of"]).as_py().values()
    since = first - SPAN
    bounds = f"as_of >= {moment(since - lookback([group]))} AND as_of <= {moment(last - APART)}"
    with DuckDB(spill_folder=build_config.spill_folder) as engine:
        source = snapshot.lake.source("transactions", version=snapshot.version)
        engine.give("transactions", source, {}, where=bounds)
        engine.give("asked", features.select(["account_id"]), {})
        # pyarrow would decode all rows of these columns, of which few are asked
        columns = _needed(snapshot, group)
        rows = in_utc(
            engine.fetch(select(columns, "transactions SEMI JOIN asked USING (account_id)"))
        )
    return build(
        rows, LABELS.empty_table(), [group], config=build_config, since=since, rates=snapshot.rates
    )


def _needed(snapshot: Snapshot, group: Group) -> list[str]:
    """The columns that the facts of a group are made of: a lake has many more."""
    words = Plan(list(group.features)).words
    given = {column for own, column in DERIVED.items() if own in words}
    needed = {*KEYS, *words, *given}
    needed |= {"currency"} if snapshot.rates else set()
    needed |= {"ip_address"} if words & FACT_NAMES else set()
    return [column for column in snapshot.columns if column in needed]


def own_facts(groups: Sequence[Group]) -> Group:
    """Return the numbers that rest on the account's own transactions alone, with what they need.

    >>> from features.groups.catalogue import portfolio_groups
    >>> own = own_facts(portfolio_groups(["merchant_id"]))
    >>> names = {feature.name for feature in own.features}
    >>> [name in names for name in ("amount_paid", "account_count_1h", "merchant_count_1d")]
    [True, True, False]
    """
    declared = all_features(groups)
    own = [name for name in _numbers(groups) if all(map(_is_own, ordered(declared, [name])))]
    needed = ordered(declared, own) if own else []
    features = tuple(one if one.name in own else hidden(one) for one in needed)
    return Group(
        name="own",
        meaning="what rests on the account's own transactions",
        needs=(),
        features=features,
    )


def _is_own(feature: Feature) -> bool:
    over = feature.aggregate
    return over is None or ("account_id" in over.key and over.as_key == over.key)
