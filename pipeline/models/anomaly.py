"""How unusual a transaction is where there are no labels yet: three scores that never see one.

    surprise          how badly its facts are predicted from the other groups' (a pretrained
                      network), and how far out they lie
    isolation_forest  how few random cuts part it from the others (Liu et al. 2008)
    ecod              how far its facts lie in the tails, each on its own (Li et al. 2022)

All take numbers on the signed-log scale of `features.encoder` and raise EncodeError where one is
infinite.
"""

from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
import pyarrow as pa
import torch
from scipy.stats import skew
from sklearn.ensemble import IsolationForest
from torch import Tensor

from features.declarations import Group
from features.encoder import Encoder
from pipeline.arrays import FloatArray
from pipeline.models.layered.network import LayeredNetwork
from pipeline.models.layered.pretraining import Decoders, Pretrained, masked, pretrain
from pipeline.models.layered.tensors import Tensors
from pipeline.models.layered.training import TrainConfig

REFERENCE_ROWS = 20_000  # enough to know mean and spread of a score by
BLOCK = 4096


class AnomalyModel(Protocol):
    """Learns from features without labels what is typical, and scores how far others are off."""

    def fit(self, features: pa.Table) -> Self:
        """Learn from these rows. Raises ValueError where there is none."""
        ...

    def score(self, features: pa.Table) -> FloatArray:
        """How unusual each row is, [R]; higher is more unusual, the scale is the model's own."""
        ...


class AnomalyScore:
    """The surprise at a row's facts plus their distance from the middle, each standardised.

    Surprise is the sum of -log p of all facts, each group's predicted from the other groups (a
    pseudo-likelihood, Besag 1975): it finds what does not go together. All that lies beyond the
    last knots surprises alike, so the distance, the sum of |x - middle| / spread, says how far
    beyond. A missing fact is a class that can surprise, and lies in the middle.
    """

    def __init__(
        self, groups: Sequence[Group], *, config: TrainConfig | None = None, seed: int = 1
    ) -> None:
        self.groups, self.config, self.seed = groups, config or TrainConfig(), seed

    def fit(self, features: pa.Table) -> Self:
        """Pretrain a network on these rows.

        `pretrained` and `encoder` are what a training with labels may start from.
        """
        self.encoder = _learn_encoder(features, self.groups)
        encoded = self.encoder.encode(features)
        self.pretrained: Pretrained = pretrain(
            self.encoder, encoded, config=self.config, seed=self.seed
        )
        some = np.random.default_rng(self.seed).permutation(features.num_rows)[:REFERENCE_ROWS]
        parts = self._parts(features.take(np.sort(some)))
        self._mean, self._spread = parts.mean(axis=0), np.maximum(parts.std(axis=0), 1e-6)
        return self

    def score(self, features: pa.Table) -> FloatArray:
        """How unusual each row is, [R]."""
        return np.asarray(((self._parts(features) - self._mean) / self._spread).sum(axis=1))

    def _parts(self, features: pa.Table) -> FloatArray:
        """Surprise and distance of each row, [R, 2]."""
        distance = np.abs(_filled(self.encoder, features)).sum(axis=1)
        rows = Tensors.of(self.encoder.encode(features), torch.zeros(features.num_rows))
        return np.column_stack([surprise_of_facts(self.pretrained, rows).sum(axis=1), distance])


def surprise_of_facts(pretrained: Pretrained, rows: Tensors) -> FloatArray:
    """-log p of each fact given those of the other groups, [R, N + C]: numbers, then categories."""
    blocks = torch.split(torch.arange(rows.row_count), BLOCK)
    found = [
        _surprise_of_block(pretrained.network, pretrained.decoders, rows.rows(index))
        for index in blocks
    ]
    return torch.cat(found).double().numpy()


class Forest:
    """Isolation forest on the numbers, a missing one lying in the middle.

    It does not take bits for what is missing: with them AP falls from .41 to .04 on a simulated
    world, as they part rows by the kind of payment.
    """

    def __init__(self, groups: Sequence[Group], *, trees: int = 300, seed: int = 1) -> None:
        self.groups = groups
        self._forest = IsolationForest(n_estimators=trees, random_state=seed)

    def fit(self, features: pa.Table) -> Self:
        """Grow the trees."""
        self.encoder = _learn_encoder(features, self.groups)
        self._forest.fit(_filled(self.encoder, features))
        return self

    def score(self, features: pa.Table) -> FloatArray:
        """Minus the forest's normality, [R]: between 0 and 1."""
        return np.asarray(-self._forest.score_samples(_filled(self.encoder, features)))


class ECOD:
    """Empirical cumulative distributions: the largest of three sums of -log tail probabilities.

    The sums over the numbers take all left tails, all right tails, and of each number the tail that
    its skewness points to. A missing number lies in the middle. A value beyond all learned from has
    the tail 1 / (rows + 1).
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = groups

    def fit(self, features: pa.Table) -> Self:
        """Sort each number."""
        self.encoder = _learn_encoder(features, self.groups)
        values = _filled(self.encoder, features)
        varies = np.ptp(values, axis=0) > 0
        self._left_skewed = np.zeros(len(varies), dtype=bool)
        self._left_skewed[varies] = skew(values[:, varies], axis=0) < 0
        self._sorted = np.sort(values, axis=0)
        return self

    def score(self, features: pa.Table) -> FloatArray:
        """The largest of the three sums, [R]."""
        left, right = self.tails(_filled(self.encoder, features))
        skewed = np.where(self._left_skewed, left, right)
        return np.asarray(np.max([part.sum(axis=1) for part in (left, right, skewed)], axis=0))

    def tails(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """-log of the share of the rows learned from that are as low, and as high, each [R, N]."""
        count = len(self._sorted)
        columns = list(zip(self._sorted.T, values.T, strict=True))
        low = np.column_stack(
            [np.searchsorted(known, value, side="right") for known, value in columns]
        )
        high = np.column_stack(
            [count - np.searchsorted(known, value, side="left") for known, value in columns]
        )
        least = count / (count + 1)
        return -np.log(np.maximum(low, least) / count), -np.log(np.maximum(high, least) / count)


def anomaly_models(
    groups: Sequence[Group], *, config: TrainConfig | None = None, seed: int = 1
) -> dict[str, AnomalyModel]:
    """The three models by their names, none of which has learned yet."""
    return {
        "surprise": AnomalyScore(groups, config=config, seed=seed),
        "isolation_forest": Forest(groups, seed=seed),
        "ecod": ECOD(groups),
    }


@torch.inference_mode()
def _surprise_of_block(network: LayeredNetwork, decoders: Decoders, rows: Tensors) -> Tensor:
    found = torch.zeros(rows.row_count, len(decoders.group_of))
    for group in range(len(network.heads)):
        own = decoders.group_of == group
        state = network.states(*masked(rows, own.expand_as(found))[:3])[-1]
        found[:, own] = decoders.surprise(state, rows)[:, own]
    return found


def _learn_encoder(features: pa.Table, groups: Sequence[Group]) -> Encoder:
    if not features.num_rows:
        raise ValueError("there are 0 rows to learn from without labels; take a longer span")
    encoder = Encoder.fit(features, groups)
    if not any(group.numbers for group in encoder.groups):
        raise ValueError(
            "the groups have no numbers to learn from without labels; take groups that have some"
        )
    return encoder


def _filled(encoder: Encoder, features: pa.Table) -> FloatArray:
    """The numbers in spreads from their middles, [R, N], and 0 where missing."""
    codes = [number for group in encoder.groups for number in group.numbers]
    middle = np.array([code.middle for code in codes])
    spread = np.array([code.spread for code in codes])
    if not features.num_rows:
        raise ValueError("there are 0 rows to score; give at least one")
    encoded = encoder.encode(features)
    return np.where(encoded.missing > 0, 0.0, (encoded.numbers - middle) / spread)
