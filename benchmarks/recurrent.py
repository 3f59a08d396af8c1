"""Ablations: a recurrent stage over recent payments, and frauds among the nearest recent states.

    python -m benchmarks.recurrent --shared ../shared [--home DIR] [--seeds 1 2]

The stage is a GRU over the account's and one over the retailer's last 16 payments: their numbers as
the encoder has them, and how long ago they were. It learns along with the stages before it, and
comes last. The share of frauds is that among the 32 nearest labelled rows of the past by the last
state of the first seed; a logistic regression weighs it beside the log-odds on days that this
network has not seen. S-FFSD inside its training part and a simulated world, neither judged anywhere
else. The last line is one JSON object of AP.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from benchmarks import tasks
from benchmarks.tasks import Fold, Task
from features.encoder import Encoder, GroupCode, NumberCode
from pipeline.arrays import FloatArray, IntArray
from pipeline.evaluation.metrics import average_precision
from pipeline.evaluation.time_split import last_days
from pipeline.models.layered.model import Layered
from pipeline.models.layered.network import LayeredNetwork
from pipeline.models.layered.tensors import Tensors
from pipeline.models.layered.training import TrainConfig

LAST, HIDDEN, DROPPED = 16, 32, 0.1  # payments, width of a GRU, share of rows without them
NEAREST = 32
PLACE = NumberCode(name="place", knots=(0.0, 1.0), middle=0.0, spread=1.0)


@dataclass(frozen=True)
class Recent:
    """All rows' numbers [R, N], their hours [R], and the places of those before each, [R, LAST].

    `before` has one table an entity; -1 where there are none.
    """

    numbers: Tensor
    hours: Tensor
    before: tuple[Tensor, ...]

    def __deepcopy__(self, _: dict[int, Any]) -> "Recent":
        return self


class RecurrentFacts(nn.Module):
    """What the GRUs make of the payments before a row, [B, D]; the row is named by its place."""

    def __init__(self, recent: Recent, width: int) -> None:
        super().__init__()
        self.recent = recent
        inputs = recent.numbers.shape[1] + 1
        self.readers = nn.ModuleList(
            nn.GRU(inputs, HIDDEN, batch_first=True) for _ in recent.before
        )
        self.linear = nn.Linear(HIDDEN * len(recent.before), width)

    def forward(self, numbers: Tensor, missing: Tensor, codes: Tensor) -> Tensor:
        """Read the payments, the oldest first; there is nothing in those that are not there."""
        del missing, codes
        place = torch.expm1(numbers[:, 0]).round().long()
        states = []
        for reader, before in zip(self.readers, self.recent.before, strict=True):
            rows = before[place]
            there = (rows >= 0).float().unsqueeze(2)
            rows = rows.clamp(min=0)
            ago = self.recent.hours[place].unsqueeze(1) - self.recent.hours[rows]
            known = torch.cat([self.recent.numbers[rows], torch.log1p(ago).unsqueeze(2)], dim=2)
            states.append(reader(known * there)[0][:, -1] * there[:, -1])
        vector: Tensor = self.linear(torch.cat(states, dim=1))
        if self.training:
            vector = vector * (torch.rand_like(vector[:, :1]) >= DROPPED)
        return vector


def recent_of(encoder: Encoder, rows: pa.Table, keys: Sequence[npt.NDArray[Any]]) -> Recent:
    """Tell of each row the last ones before it that share a key with it."""
    encoded = encoder.encode(rows)
    every = [number for group in encoder.groups for number in group.numbers]
    middle, spread = (
        np.array([getattr(n, what) for n in every], dtype=np.float32)
        for what in ("middle", "spread")
    )
    numbers = np.where(encoded.missing > 0, 0, (encoded.numbers - middle) / spread).clip(-5, 5)
    hours = (rows["as_of"].to_numpy() - rows["as_of"].to_numpy().min()) / np.timedelta64(1, "h")
    return Recent(
        numbers=torch.from_numpy(numbers.astype(np.float32)),
        hours=torch.from_numpy(hours.astype(np.float32)),
        before=tuple(torch.from_numpy(_before(key, hours)) for key in keys),
    )


def _before(key: npt.NDArray[Any], hours: FloatArray) -> IntArray:
    """Places of the LAST rows of the same key and of an earlier moment, the oldest first."""
    codes, _ = pd.factorize(key)
    order = np.lexsort((hours, codes))
    found = np.full((len(key), LAST), -1)
    for back in range(1, LAST + 1):
        now, then = order[back:], order[:-back]
        same = (codes[now] == codes[then]) & (hours[then] < hours[now])
        found[now[same], LAST - back] = then[same]
    return found


def with_recurrent_stage(
    plain: Layered, fold: Fold, recent: Recent, config: TrainConfig
) -> Layered:
    """The network with the stage behind its own, learned from nothing."""
    group = GroupCode(name="recent", numbers=(PLACE,), categories=())
    encoder, networks = Encoder(groups=(*plain.encoder.groups, group)), []
    for seed in config.seeds:
        torch.manual_seed(seed)
        base = float(np.log(fold.y.mean() / (1 - fold.y.mean())))
        network = LayeredNetwork(encoder, base_logit=base, config=config.network)
        network.facts[-1] = RecurrentFacts(recent, config.network.width)
        networks.append(network)
    fresh = Layered(encoder=encoder, networks=tuple(networks), shape=plain.shape)
    return fresh.trained_further(fold.train, fold.y, fold.accounts, config=config)


def with_near_frauds(task: Task, fold: Fold, config: TrainConfig) -> tuple[float, float]:
    """AP without and with the share of frauds among the nearest states; the last days weigh it."""
    late = last_days(fold.train["as_of"].to_numpy(), fold.y)
    if late is None:
        raise ValueError("the fold has too few frauds in its last days")
    before, after = np.flatnonzero(~late), np.flatnonzero(late)
    rows, judged = fold.train.take(before), fold.train.take(after)
    network = Layered.fit(rows, fold.y[before], fold.accounts[before], task.groups, config=config)

    def told(some: pa.Table, past: pa.Table, fraud: npt.NDArray[np.bool_]) -> FloatArray:
        near = NearestNeighbors(n_neighbors=NEAREST).fit(states(network, past))
        places = near.kneighbors(states(network, some), return_distance=False)
        share = (fraud[places].sum(axis=1) + 1.0) / (NEAREST + 1.0 / fraud.mean())
        return np.column_stack([network.logit(some), np.log(share)])

    weights = LogisticRegression().fit(told(judged, rows, fold.y[before]), fold.y[after])
    behind = told(fold.test, fold.train, fold.y)
    return (
        average_precision(fold.truth, behind[:, 0]),
        average_precision(fold.truth, weights.decision_function(behind)),
    )


def states(network: Layered, rows: pa.Table) -> npt.NDArray[np.float32]:
    """The last state of the first seed, [R, D]."""
    tensors: Tensors = network.tensors(rows)
    with torch.inference_mode():
        blocks = [network.networks[0].states(*block[:3])[-1] for block in tensors.blocks()]
    return torch.cat(blocks).numpy()


def ablated(task: Task, folder: Path, other: str, seeds: Sequence[int]) -> dict[str, float]:
    """AP of the network alone, by the recurrent stage, of the mean of both, and by near frauds.

    `other` is the column that says whom the account paid.
    """
    fold, config = task.folds[0], TrainConfig(seeds=tuple(seeds))
    plain = Layered.fit(fold.train, fold.y, fold.accounts, task.groups, config=config)
    rows = pq.read_table(folder / "features.parquet")
    ids = rows["transaction_id"].to_pandas().astype(str)
    columns = ["transaction_id", other]
    paid = pd.read_parquet(folder / "transactions.parquet", columns=columns).astype(str)
    whom = paid.set_index("transaction_id")[other].reindex(ids).to_numpy()
    recent = recent_of(plain.encoder, rows, [tasks.accounts(rows), whom])
    place = pd.Series(np.arange(len(ids), dtype=np.float64), index=ids)

    def placed(some: pa.Table) -> pa.Table:
        own = place[some["transaction_id"].to_pandas().astype(str)].to_numpy()
        return some.append_column(PLACE.name, pa.array(own))

    known = replace(fold, train=placed(fold.train), test=placed(fold.test))
    recurrent = with_recurrent_stage(plain, known, recent, config)
    without, beside = plain.logit(fold.test), recurrent.logit(known.test)
    before_near, near = with_near_frauds(task, fold, config)
    return {
        "without": average_precision(fold.truth, without),
        "recurrent": average_precision(fold.truth, beside),
        "mean_of_both": average_precision(fold.truth, without + beside),
        "earlier_without": before_near,
        "earlier_near_frauds": near,
    }


def main() -> None:
    """Print the ablations."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--home", type=Path, help="Keeps what was ingested and built.")
    parser.add_argument("--seeds", type=int, nargs="+", default=(1, 2))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = (arguments.home or Path(temporary)).absolute()
        every = {
            "s_ffsd": (
                tasks.s_ffsd(arguments.shared.absolute(), home, within_training=True),
                home / "s-ffsd-within",
                "Target",
            ),
            "world": (
                tasks.world(home, seed=41, rows=100_000),
                home / "world-41-100000-0.005",
                "merchant_id",
            ),
        }
        figures: dict[str, float] = {}
        for name, (task, folder, other) in every.items():
            for figure, value in ablated(task, folder, other, arguments.seeds).items():
                figures[f"{name}_{figure}"] = round(value, 4)
                print(f"{name:<10}{figure:<24}{value:.4f}", flush=True)
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
