"""Which facts a training takes, and in which order.

A group earns its place on later days: it is left out where trees that learned before them tell them
better without it, beyond what chance does. In order comes first the most informative for its price:
at each place comes the group that lowers the held-out log loss of a small gradient boosting most,
among the free groups; behind them, of those whose look-up costs money, the one that lowers it most
for its price (forward selection). The risk of categories, too, is taken where later days are told
better by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xgboost
from sklearn.metrics import log_loss

from features.build import KEYS, shown_features
from features.declarations import Group
from pipeline.arrays import BoolArray, FloatArray
from pipeline.evaluation.time_split import last_days
from pipeline.models.baselines.columns import Columns, as_frame
from pipeline.models.baselines.folds import Sample, tuning_sample
from pipeline.models.risk_encoding import NO_RISK, RiskEncoding, fit_risk, out_of_fold

TREES = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 3,
    "eta": 0.1,
    "nthread": 2,
}
ROUNDS = 60
SEEDS, BEYOND_CHANCE = 3, 2.0  # trees differ by what they draw; so many spreads are beyond it
ROWS_SHARE = 0.8  # that a tree draws
SHRINKAGES = (10.0, 30.0, 100.0)  # rows to the base rate, of the risk of categories


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What a group is worth on later days: the log loss without it less that with it, in nats.

    Both are of all these days together, the mean over seeds; `spread` is how far seeds differ.
    """

    group: str
    nats: float
    spread: float

    @property
    def misleads(self) -> bool:
        """Whether later days are told better without the group, beyond chance."""
        return self.nats < -BEYOND_CHANCE * self.spread


def worth_on_later_days(
    features: pa.Table, y: BoolArray, groups: Sequence[Group], *, seed: int
) -> list[Worth]:
    """Tell what each of the groups is worth beside the others; nothing where no days are late.

    `y` is [R]; of legitimate rows no more are looked at than settings are chosen on.
    """
    late = last_days(features["as_of"].to_numpy(), y)
    if late is None or len(groups) < 2:
        return []
    accounts = features["account_id"].to_numpy(zero_copy_only=False)
    sample = tuning_sample(y, accounts, seed=seed)
    fraud, apart = y[sample.rows], late[sample.rows]
    inputs = {group.name: _inputs(features, group, sample) for group in groups}

    whole, found = _late_losses(list(inputs.values()), fraud, apart, seed), []
    for group in groups:
        others = [own for name, own in inputs.items() if name != group.name]
        more = _late_losses(others, fraud, apart, seed) - whole
        found.append(Worth(group=group.name, nats=float(more.mean()), spread=float(more.std())))
    return found


def chosen_risk(
    features: pa.Table,
    y: BoolArray,
    groups: Sequence[Group],
    *,
    label_delay: timedelta,
    seed: int,
) -> RiskEncoding:
    """The risk of categories, shrunk as later days are told best; none where it is no gain.

    `y` is [R]. A gain is one beyond what chance does.
    """
    has_time = "as_of" in features.column_names and len(y) > 0
    late = last_days(features["as_of"].to_numpy(), y) if has_time else None
    if late is None:
        return NO_RISK
    accounts = features["account_id"].to_numpy(zero_copy_only=False)
    sample = tuning_sample(y, accounts, seed=seed)
    fraud, apart = y[sample.rows], late[sample.rows]
    inputs = [_inputs(features, group, sample) for group in groups]
    without, best, gain = _late_losses(inputs, fraud, apart, seed), NO_RISK, 0.0
    for shrinkage in SHRINKAGES:
        risk = fit_risk(features, y, groups, shrinkage=shrinkage)
        if not risk.categories:
            return NO_RISK
        told = out_of_fold(features, y, risk, label_delay=label_delay)
        added = told.select([one.column for one in risk.categories]).take(sample.rows)
        more = np.asarray(as_frame(added).to_numpy(), dtype=np.float32)
        less = without - _late_losses([*inputs, more], fraud, apart, seed)
        if less.mean() > max(gain, BEYOND_CHANCE * less.std()):
            best, gain = risk, less.mean()
    return best


def _late_losses(
    inputs: Sequence[npt.NDArray[np.float32]], fraud: BoolArray, apart: BoolArray, seed: int
) -> FloatArray:
    """The log loss of the rows apart, all together in nats, by trees of each seed, [SEEDS]."""
    matrix = np.column_stack(list(inputs))
    losses = [_loss_on(apart, matrix, fraud, seed + more, drawn=True) for more in range(SEEDS)]
    return np.array(losses) * float(apart.sum())


def those_that_pay(
    features: pa.Table, y: BoolArray, groups: Sequence[Group], *, seed: int
) -> tuple[Group, ...]:
    """The groups without those that mislead on later days; they go one by one, the worst first."""
    left = tuple(groups)
    while True:
        found = worth_on_later_days(features, y, left, seed=seed)
        worst = min((one for one in found if one.misleads), key=lambda one: one.nats, default=None)
        if worst is None:
            return left
        left = tuple(group for group in left if group.name != worst.group)


def of_groups(features: pa.Table, groups: Sequence[Group]) -> pa.Table:
    """The rows with the KEYS and what the groups show alone: all that a model may learn from."""
    known = {*KEYS, *(one.name for one in shown_features(groups))}
    return features.select([name for name in features.column_names if name in known])


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
    return _loss_on(sample.fold == sample.usable[0], matrix, fraud, seed)


def _loss_on(
    out: BoolArray,
    matrix: npt.NDArray[np.float32],
    fraud: BoolArray,
    seed: int,
    *,
    drawn: bool = False,
) -> float:
    """The mean log loss on rows that trees did not learn from; they may draw theirs."""
    rate = float(fraud[~out].mean())
    settings = TREES | {"seed": seed, "base_score": rate}
    settings |= {"subsample": ROWS_SHARE} if drawn else {}
    booster = xgboost.train(settings, xgboost.DMatrix(matrix[~out], label=fraud[~out]), ROUNDS)
    probability = booster.predict(xgboost.DMatrix(matrix[out])).astype(np.float64)
    return float(log_loss(fraud[out], probability))
