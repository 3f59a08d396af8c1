"""The layered network as one model: features in, each stage's increment out; kept in files without pickle.

Seeds are averaged by logit: the mean of the increments, so the mean still adds up.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from safetensors.torch import load_file, save_file

from features.encode import Encoder
from features.windows import Group
from pipeline.evaluate import BoolArray, FloatArray
from pipeline.model.data import Tensors
from pipeline.model.network import LayeredNetwork, NetworkConfig
from pipeline.model.train import Curve, TrainConfig, held_out_accounts, increments_of, train_layered


@dataclass(frozen=True, kw_only=True)
class Layered:
    """A trained layered network: what it learned of its inputs, and one network for each seed."""

    encoder: Encoder
    networks: tuple[LayeredNetwork, ...]
    shape: NetworkConfig
    curves: tuple[Curve, ...] = field(default=())

    @classmethod
    def fit(
        cls,
        features: pa.Table,
        y: BoolArray,
        accounts: npt.NDArray[np.str_],
        groups: Sequence[Group],
        *,
        config: TrainConfig,
        progress: bool = False,
    ) -> "Layered":
        """Learn from these rows; `y` and `accounts` are [R]. Raises ValueError where they do not allow it."""
        encoder = Encoder.fit(features, groups)
        networks, curves = train_layered(encoder, encoder.encode(features), y, accounts, config=config, progress=progress)
        return cls(encoder=encoder, networks=tuple(networks), shape=config.network, curves=tuple(curves))

    def held_out_logits(
        self, features: pa.Table, y: BoolArray, accounts: npt.NDArray[np.str_], *, config: TrainConfig
    ) -> tuple[FloatArray, BoolArray]:
        """Logits that each network of a fit gives the accounts it did not learn from, and their labels, network by network."""
        rows = Tensors.of(self.encoder.encode(features), torch.zeros(features.num_rows))
        logits, labels = [], []
        for network, seed in zip(self.networks, config.seeds, strict=True):
            apart = held_out_accounts(accounts, share=config.held_out, seed=seed)
            held_out = rows.rows(torch.from_numpy(np.flatnonzero(apart)))
            logits.append(float(network.base_logit) + increments_of(network, held_out).sum(axis=1))
            labels.append(y[apart])
        return np.concatenate(logits), np.concatenate(labels)

    @property
    def stages(self) -> tuple[str, ...]:
        """The groups in their order."""
        return tuple(group.name for group in self.encoder.groups)

    @property
    def base_logit(self) -> float:
        """Log-odds of the base rate: the logit before any fact."""
        return float(np.mean([float(network.base_logit) for network in self.networks]))

    def increments(self, features: pa.Table) -> FloatArray:
        """What each stage adds to the log-odds, [R, K]."""
        encoded = self.encoder.encode(features)
        rows = Tensors.of(encoded, torch.zeros(features.num_rows))
        return np.asarray(np.mean([increments_of(network, rows) for network in self.networks], axis=0))

    def logit(self, features: pa.Table) -> FloatArray:
        """Log-odds before calibration, [R]."""
        return np.asarray(self.base_logit + self.increments(features).sum(axis=1))

    def to_files(self, folder: Path) -> None:
        """Write encoder.json, network.json and one network-<number>.safetensors a seed into an existing folder."""
        (folder / "encoder.json").write_text(self.encoder.to_json() + "\n", encoding="utf-8")
        shape = {"shape": asdict(self.shape), "networks": len(self.networks)}
        (folder / "network.json").write_text(json.dumps(shape, indent=1) + "\n", encoding="utf-8")
        for number, network in enumerate(self.networks):
            save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / _weights(number))

    @classmethod
    def from_files(cls, folder: Path) -> "Layered":
        """Read what `to_files` wrote."""
        encoder = Encoder.from_json((folder / "encoder.json").read_text(encoding="utf-8"))
        kept = json.loads((folder / "network.json").read_text(encoding="utf-8"))
        shape = NetworkConfig(**kept["shape"])
        networks = []
        for number in range(kept["networks"]):
            network = LayeredNetwork(encoder, base_logit=0.0, config=shape)
            network.load_state_dict(load_file(folder / _weights(number)))
            networks.append(network.eval())
        return cls(encoder=encoder, networks=tuple(networks), shape=shape)


def _weights(number: int) -> str:
    return f"network-{number}.safetensors"


def settings_of(model: Layered) -> dict[str, str | int | float]:
    """The settings and learning results worth recording."""
    counted = {"parameters": sum(p.numel() for p in model.networks[0].parameters()), "networks": len(model.networks)}
    best = {f"held_out_ap_seed_{curve.seed}": max(curve.precisions) for curve in model.curves}
    return {"stages": ", ".join(model.stages), **asdict(model.shape), **counted, **best}
