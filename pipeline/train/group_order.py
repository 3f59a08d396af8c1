"""The order of the groups, chosen: first the most informative for its price, given those before.

At each place comes the group that lowers the held-out log loss of a small gradient boosting most,
among the free groups; behind them, of those whose look-up costs money, the one that lowers it most
for its price (forward selection).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xgboost
from sklearn.metrics import log_loss

from features.declarations import Group
from pipeline.arrays import BoolArray
from pipeline.models.baselines.columns import Columns, as_frame
from pipeline.models.baselines.folds import Sample, tuning_sample

TREES = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 3,
    "eta": 0.1,
    "nthread": 2,
}
ROUNDS = 60


def by_information(
    features: pa.Table,
    y: BoolArray,
    accounts: npt.NDArray[np.str_],
    groups: Sequence[Group],
    *,
    prices: Mapping[str, float],
    seed: int,
) -> tuple[Group, ...]:
    """Return the groups in the order of what they tell about `y` [R] for their price.

    Without a price a group is free. The rows are those a training learns from. Where no account can
    be held out the order stays as it is.
    """
    sample = tuning_sample(y, accounts, seed=seed)
    left, chosen = list(groups), list[Group]()
    if not sample.usable:
        return tuple(groups)
    inputs = {group.name: _inputs(features, group, sample) for group in groups}
    base = y[sample.rows].mean()
    loss = log_loss(y[sample.rows], np.full(len(sample.rows), base))
    while left:
        free = [group for group in left if not prices.get(group.name)] or left
        known = [inputs[group.name] for group in chosen]
        losses = {
            group.name: _held_out_loss(
                np.column_stack([*known, inputs[group.name]]), y[sample.rows], sample, seed
            )
            for group in free
        }
        best = max(
            free, key=lambda group: (loss - losses[group.name]) / (prices.get(group.name) or 1.0)
        )
        chosen.append(best)
        left.remove(best)
        loss = losses[best.name]
    return tuple(chosen)


def _inputs(features: pa.Table, group: Group, sample: Sample) -> npt.NDArray[np.float32]:
    frame = as_frame(
        features.select([one.name for one in group.features if one.shown]).take(sample.rows)
    )
    columns = Columns.learn(frame, most=100, least_rows=5)
    return np.column_stack([columns.numbers_of(frame), columns.codes_of(frame)]).astype(np.float32)


def _held_out_loss(
    matrix: npt.NDArray[np.float32], fraud: BoolArray, sample: Sample, seed: int
) -> float:
    """Mean over the first of the folds; one is enough to rank groups by."""
    out = sample.fold == sample.usable[0]
    rate = float(fraud[~out].mean())
    settings = TREES | {"seed": seed, "base_score": rate}
    booster = xgboost.train(settings, xgboost.DMatrix(matrix[~out], label=fraud[~out]), ROUNDS)
    probability = booster.predict(xgboost.DMatrix(matrix[out])).astype(np.float64)
    return float(log_loss(fraud[out], probability))
