"""A small layered network with two groups: an encoder of 400 rows, networks that say something."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from features.declarations import Group, fact
from features.encoder import Encoder
from pipeline.explanation.nearest_cases import CaseIndex
from pipeline.models.layered.model import Layered
from pipeline.models.layered.network import LayeredNetwork, NetworkConfig

GROUPS = (
    Group(
        name="amount",
        meaning="what is paid",
        needs=(),
        features=(
            fact("paid", "paid", "paid", unit="currency"),
            fact("channel", "channel", "channel", kind="category"),
        ),
    ),
    Group(
        name="place",
        meaning="where",
        needs=(),
        features=(
            fact("far", "far", "distance", unit="km"),
            fact("country", "country", "country", kind="category"),
        ),
    ),
)
SMALL = NetworkConfig(width=16, head_width=8, blocks=1)
COLUMNS = pa.schema(
    [
        ("paid", pa.float64()),
        ("channel", pa.string()),
        ("far", pa.float64()),
        ("country", pa.string()),
    ]
)


def table(rows: list[dict[str, object]]) -> pa.Table:
    """Rows as features; what a row does not have is null."""
    return pa.Table.from_pylist(rows, schema=COLUMNS)


def training_rows(rows: int = 400, *, seed: int = 0) -> pa.Table:
    """Random legitimate-looking features."""
    random = np.random.default_rng(seed)
    columns = {
        "paid": random.lognormal(3, 1, rows),
        "channel": random.choice(["online", "pos"], rows),
        "far": random.exponential(20, rows),
        "country": random.choice(["DE", "FR"], rows),
    }
    return pa.table(columns, schema=COLUMNS)


def encoder() -> Encoder:
    """What is learned of the training rows."""
    return Encoder.fit(training_rows(), GROUPS)


def network(*, seed: int = 1, config: NetworkConfig = SMALL) -> LayeredNetwork:
    """A network whose weights are random everywhere, so that every part of it has a say."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = LayeredNetwork(encoder(), base_logit=-4.0 - seed, config=config)
        for weights in made.parameters():
            nn.init.normal_(weights, std=0.3)
    return made.eval()


def layered(networks: int = 2) -> Layered:
    """A model of a few such networks."""
    made = tuple(network(seed=seed) for seed in range(1, networks + 1))
    return Layered(encoder=encoder(), networks=made, shape=SMALL)


def keyed_rows(rows: int = 400, *, seed: int = 0) -> pa.Table:
    """The training rows with their keys: t000 and on, one a minute, from an account each."""
    start = datetime(2025, 1, 1, tzinfo=UTC)
    moments = pa.array(
        [start + timedelta(minutes=row) for row in range(rows)], pa.timestamp("us", tz="UTC")
    )
    features = training_rows(rows, seed=seed)
    keys = {
        "transaction_id": [f"t{row:03}" for row in range(rows)],
        "account_id": [f"a{row}" for row in range(rows)],
    }
    return pa.table(
        {**keys, "event_time": moments, "as_of": moments, "amount": features["paid"]}
        | {name: features[name] for name in features.column_names}
    )


def confirmed_cases(model: Layered) -> CaseIndex:
    """Ten frauds, every second row at first, and ten legitimate rows, those paid most."""
    rows = keyed_rows()
    is_fraud = np.isin(np.arange(rows.num_rows), np.arange(0, 20, 2))
    return CaseIndex.of(
        model, rows, is_fraud, rows["paid"].to_numpy(), pa.nulls(rows.num_rows, pa.string())
    )
