"""What the accounts of some rows did before, as features of their own transactions alone."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from features.build import KEYS, BuildConfig, all_features, build, lookback
from features.declarations import Feature, Group, hidden
from features.sql.plan import ordered
from pipeline.explanation.typical_ranges import APART, SPAN, _numbers
from pipeline.lake.snapshot import MOMENT, Snapshot


def own_rows(snapshot: Snapshot, features: pa.Table, *, build_config: BuildConfig) -> pa.Table:
    """Build what the accounts of these rows did before: their own facts alone.

    It begins a look-back before the first of the rows.
    """
    group = own_facts(snapshot.groups)
    if not features.num_rows or not group.features:
        return pa.table({name: features[name].slice(0, 0) for name in KEYS})
    first, last = pc.min_max(features["as_of"]).as_py().values()
    since = first - SPAN
    where = pc.field("account_id").isin(pc.unique(features["account_id"]).to_pylist())
    where = where & (pc.field("as_of") >= pa.scalar(since - lookback([group]), MOMENT))
    where = where & (pc.field("as_of") <= pa.scalar(last - APART, MOMENT))
    rows = snapshot.lake.read("transactions", where=where, version=snapshot.version)
    return build(
        rows, snapshot.labels, [group], config=build_config, since=since, rates=snapshot.rates
    )


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
