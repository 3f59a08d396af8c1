"""What a portfolio without labels gets: three anomaly scores, and a pretrained network.

    python -m benchmarks.unlabelled [--home DIR] [--worlds 1 2 3] [--transactions 100000] [--epochs
    4]

Simulates worlds and ingests them without their labels (a home keeps them for the next time). The
scores learn from the first two thirds of each and are judged on the last third. The networks then
learn from the last rows of the first part, as many as hold 50 or 100 frauds, from scratch and from
the pretrained network, with the same seed, which is the world's. Choices were made on other worlds
(101, 102). Figures are means over the worlds; the last line is one JSON object with them.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from features.build import BuildConfig
from features.declarations import Group
from features.ip.addresses import packaged_database
from pipeline.ingest.ingest import ingest
from pipeline.lake.snapshot import read_snapshot
from pipeline.lake.tables import Lake
from pipeline.models.anomaly import AnomalyScore, anomaly_models
from pipeline.models.layered.tensors import Tensors, increments_of
from pipeline.models.layered.training import TrainConfig, train_layered
from pipeline.portfolio import read_portfolio
from pipeline.simulate.simulate import SimulateConfig, simulate, write

LABELS = ["is_fraud", "label_known_at"]
LEARNED_SHARE = 2 / 3
FRAUDS = (50, 100)
STARTS = ("scratch", "pretrained")


@dataclass(frozen=True, kw_only=True)
class World:
    """The features of a portfolio without labels, by as_of, and the truth for the judge alone."""

    features: pa.Table
    groups: tuple[Group, ...]
    fraud: npt.NDArray[np.bool_]

    @property
    def cut(self) -> int:
        """Where the rows to learn from end."""
        return int(len(self.fraud) * LEARNED_SHARE)


def make_world(seed: int, transactions: int, home: Path) -> World:
    """Simulate a world, ingest it without labels, build its features; done once for each seed."""
    folder, done = home / f"{seed}-{transactions}", home / f"{seed}-{transactions}" / "ingested"
    source = folder / "world" / "transactions.parquet"
    if not done.exists():
        write(simulate(SimulateConfig(seed=seed, transactions=transactions)), source.parent)
        pq.write_table(pq.read_table(source).drop_columns(LABELS), source)
    portfolio = read_portfolio(source.with_name("portfolio.toml"))
    lake = Lake(str(folder / "lake"), portfolio.name)
    if not done.exists():
        ingest(portfolio, lake, now=datetime(2026, 1, 1, tzinfo=UTC))
        done.touch()
    snapshot = read_snapshot(portfolio, lake)
    if snapshot.labels.num_rows:
        raise SystemExit(
            f"{lake.url} has {snapshot.labels.num_rows} labels, and should have none; "
            "name another --home"
        )
    features = snapshot.features(build_config=BuildConfig(ip_databases=(packaged_database(),)))
    truth = (
        pq.read_table(source.with_name("truth.parquet"))
        .to_pandas()
        .set_index("transaction_id")["is_fraud"]
    )
    return World(
        features=features,
        groups=snapshot.groups,
        fraud=truth.loc[features["transaction_id"].to_pylist()].to_numpy(),
    )


def judged(score: npt.NDArray[np.float64], fraud: npt.NDArray[np.bool_]) -> dict[str, float]:
    """AP and AUC."""
    return {
        "ap": float(average_precision_score(fraud, score)),
        "auc": float(roc_auc_score(fraud, score)),
    }


def measure(world: World, *, seed: int, config: TrainConfig) -> dict[str, float]:
    """The figures of one world."""
    learned, later, truth = (
        world.features.slice(0, world.cut),
        world.features.slice(world.cut),
        world.fraud[world.cut :],
    )
    models = anomaly_models(world.groups, config=config, seed=seed)
    figures = {"base_rate": float(truth.mean())}
    for name, model in models.items():
        found = judged(model.fit(learned).score(later), truth)
        figures |= {f"{name}_{figure}": value for figure, value in found.items()}
    surprise = models["surprise"]
    assert isinstance(surprise, AnomalyScore)  # noqa: S101 - for the reader of types
    return figures | few_labels(world, surprise, seed=seed)


def few_labels(world: World, known: AnomalyScore, *, seed: int) -> dict[str, float]:
    """AP and AUC of networks that learn from the last rows before the cut with so few frauds."""
    frauds = np.flatnonzero(world.fraud[: world.cut])
    later = Tensors.of(
        known.encoder.encode(world.features.slice(world.cut)),
        torch.zeros(len(world.fraud) - world.cut),
    )
    config = TrainConfig(seeds=(seed,))
    figures: dict[str, float] = {}
    for count in FRAUDS:
        since = int(frauds[-count])
        rows, fraud = world.features.slice(since, world.cut - since), world.fraud[since : world.cut]
        accounts = rows["account_id"].to_numpy(zero_copy_only=False).astype(str)
        encoded = known.encoder.encode(rows)
        for start in STARTS:
            given = [known.pretrained.at_rate(float(fraud.mean()))] if start == "pretrained" else []
            (learned,) = train_layered(
                known.encoder, encoded, fraud, accounts, config=config, start=given
            )
            found = judged(
                increments_of(learned.networks[0], later).sum(axis=1), world.fraud[world.cut :]
            )
            figures |= {f"{start}_{count}_{figure}": value for figure, value in found.items()}
    return figures


def mean_of(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over the worlds, and what pretraining gained."""
    means: dict[str, float] = pd.DataFrame(found).mean().to_dict()
    gains = {
        f"pretrain_gain_{count}": means[f"pretrained_{count}_ap"] - means[f"scratch_{count}_ap"]
        for count in FRAUDS
    }
    gain = {
        "anomaly_ap": means["surprise_ap"],
        "pretrain_gain": float(np.mean(list(gains.values()))),
    }
    return {name: round(value, 4) for name, value in (means | gains | gain).items()}


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path)
    parser.add_argument("--worlds", type=int, nargs="+", default=(1, 2, 3))
    parser.add_argument("--transactions", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=4, help="of the pretraining")
    arguments = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.worlds:
            world = make_world(
                seed, arguments.transactions, (arguments.home or Path(folder)).absolute()
            )
            found.append(measure(world, seed=seed, config=TrainConfig(epochs=arguments.epochs)))
            rounded = {name: round(value, 3) for name, value in found[-1].items()}
            print(f"world {seed}: {json.dumps(rounded)}", flush=True)
    figures = mean_of(found)
    names = [
        "surprise",
        "isolation_forest",
        "ecod",
        *(f"{start}_{count}" for count in FRAUDS for start in STARTS),
    ]
    print(f"\n{'':<20}{'AP':>8}{'AUC':>8}   (chance: AP {figures['base_rate']:.4f})")
    for name in names:
        print(f"{name:<20}{figures[f'{name}_ap']:>8.3f}{figures[f'{name}_auc']:>8.3f}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
