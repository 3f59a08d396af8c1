"""The layered network as one model: features in, each stage's increment out.

It is kept in files without pickle.

Seeds are averaged by logit: the mean of the increments, so the mean still adds up.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from pydantic import BaseModel, ConfigDict, PositiveInt
from safetensors.torch import load_file, save_file

from features.declarations import Group
from features.encoder import Encoder
from features.stored_json import read_json
from pipeline.arrays import BoolArray, FloatArray, IntArray
from pipeline.evaluation.time_split import last_days
from pipeline.models.baselines.columns import as_frame
from pipeline.models.baselines.registry import BASELINES
from pipeline.models.layered.network import LayeredNetwork, NetworkConfig
from pipeline.models.layered.stacking import (
    CLASSICAL,
    Stacking,
    StageWeights,
    StoredStacking,
    fit_stage_weights,
)
from pipeline.models.layered.tensors import Tensors, increments_of
from pipeline.models.layered.training import Curve, Learned, TrainConfig, train_layered
from pipeline.models.layered.transfer import transfer_encoder, transfer_weights
from pipeline.models.risk_encoding import NO_RISK, RiskEncoding
from pipeline.progress import SILENT, Progress

STAGE = "stage_"  # before a stage's name: the column of its increments
FINE_TUNING = 0.1  # of the pace of a training from nothing


class StoredLayered(BaseModel):
    """What network.json holds: the networks' shape and number, their weights, the stacking."""

    model_config = ConfigDict(frozen=True)

    shape: NetworkConfig
    networks: PositiveInt
    stage_weights: list[float] = []
    opinion: StoredStacking | None


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Rows held out at first, [H], and what was told of them before they were learned from.

    They are the last days, told of by the mean of the seeds (`are_late`), or accounts of each seed.
    `base` is [H], `increments` are [H, K].
    """

    rows: IntArray
    base: FloatArray
    increments: FloatArray
    are_late: bool

    @property
    def logit(self) -> FloatArray:
        """Their log-odds, [H]."""
        return np.asarray(self.base + self.increments.sum(axis=1))

    def weighted(self, by: StageWeights) -> "HeldOut":
        """The same rows, told of by weighted stages."""
        return replace(self, base=self.base + by.shift, increments=self.increments * by.weights)


@dataclass(frozen=True, kw_only=True)
class Layered:
    """A trained layered network: its encoder, one network for each seed, the stacking if any.

    `risk` adds to rows what was learned of the values of their categories.
    `stage_weights`, [K], are what each stage was found to be worth on later days; the networks'
    heads have them worked in. None are known where there were no such days. The learning curves and
    what was told of held-out rows are there where it has just been trained.
    """

    encoder: Encoder
    networks: tuple[LayeredNetwork, ...]
    shape: NetworkConfig
    risk: RiskEncoding = NO_RISK
    stage_weights: tuple[float, ...] = field(default=())
    curves: tuple[Curve, ...] = field(default=())
    held_out: HeldOut | None = None
    stacking: Stacking | None = None

    @classmethod
    def fit(
        cls,
        features: pa.Table,
        y: BoolArray,
        accounts: npt.NDArray[np.str_],
        groups: Sequence[Group],
        *,
        config: TrainConfig,
        resume: Path | None = None,
        progress: Progress = SILENT,
    ) -> "Layered":
        """Learn from these rows; `y` and `accounts` are [R], `resume` a folder for checkpoints.

        What is the same in all of them is left out. Raises ValueError where the rows do not allow
        it.
        """
        fitted = Encoder.fit(features, groups)
        encoder = fitted.varying(fitted.encode(features))
        encoded = encoder.encode(features)
        late = _last_days(features, y)
        found = train_layered(
            encoder,
            encoded,
            y,
            accounts,
            config=config,
            late=late,
            resume=resume,
            progress=progress,
        )
        return cls(encoder=encoder, networks=(), shape=config.network)._with(found, y, late)

    def grafted(
        self, features: pa.Table, groups: Sequence[Group], *, freeze: bool = True
    ) -> "Layered":
        """This model with untrained stages for groups behind its own; no score changes yet.

        What is to be known of the new facts is learned from `features`. With `freeze` the stages it
        has learn no more. Raises ValueError where `groups` do not begin with its own.
        """
        own, names = [group.name for group in self.encoder.groups], [group.name for group in groups]
        if names[: len(own)] != own or len(names) == len(own):
            raise ValueError(
                f"the groups {', '.join(names)} are not the network's own "
                "and new ones behind them; "
                f"name {', '.join(own)} in this order, then what is new"
            )
        encoder = Encoder(
            groups=(*self.encoder.groups, *Encoder.fit(features, groups[len(own) :]).groups)
        )
        grown = self._transferred_to(encoder)
        for network, known in zip(grown, self.networks, strict=True):
            learned = known.state_dict()
            for name, weights in network.named_parameters():
                weights.requires_grad = not freeze or name not in learned
        return replace(
            self, encoder=encoder, networks=grown, stage_weights=(), curves=(), held_out=None
        )

    def transferred(
        self,
        features: pa.Table,
        y: BoolArray,
        accounts: npt.NDArray[np.str_],
        groups: Sequence[Group],
        *,
        config: TrainConfig,
        progress: Progress = SILENT,
    ) -> "Layered":
        """This model's networks, one a seed of `config`, fine-tuned on another portfolio's rows.

        The classical model's stage is left out.
        Groups that both have come first, in this model's order, then those that only the other
        portfolio has. Raises ValueError where they have none in common.
        """
        encoder = transfer_encoder(self.encoder, Encoder.fit(features, groups))
        base = float(np.log(y.mean() / (1 - y.mean())))
        known = self._transferred_to(encoder)
        for network in known:
            network.base_logit.fill_(base)
        start = tuple(known[place % len(known)] for place in range(len(config.seeds)))
        fresh = Layered(encoder=encoder, networks=start, shape=self.shape)
        gently = replace(config, learning_rate_factor=config.learning_rate_factor * FINE_TUNING)
        return fresh.trained_further(features, y, accounts, config=gently, progress=progress)

    def _transferred_to(self, encoder: Encoder) -> tuple[LayeredNetwork, ...]:
        return tuple(
            transfer_weights(network, self.encoder, encoder, shape=self.shape, seed=seed)
            for seed, network in enumerate(self.networks)
        )

    def trained_further(
        self,
        features: pa.Table,
        y: BoolArray,
        accounts: npt.NDArray[np.str_],
        *,
        config: TrainConfig,
        progress: Progress = SILENT,
    ) -> "Layered":
        """Let the networks learn further from these rows, as far as their weights may.

        One seed of `config` for each.
        """
        encoded = self.encoder.encode(self.risk.added_to(features))
        late = _last_days(features, y)
        found = train_layered(
            self.encoder,
            encoded,
            y,
            accounts,
            config=config,
            late=late,
            start=self.networks,
            progress=progress,
        )
        return self._with(found, y, late)

    def _with(self, found: Sequence[Learned], y: BoolArray, late: BoolArray | None) -> "Layered":
        networks = tuple(network for seed in found for network in seed.networks)
        learned = replace(
            self, networks=networks, curves=tuple(seed.curve for seed in found), stage_weights=()
        )
        if late is None:
            bases = [np.full(len(seed.rows), seed.base) for seed in found]
            apart = HeldOut(
                rows=np.concatenate([seed.rows for seed in found]),
                base=np.concatenate(bases),
                increments=np.concatenate([seed.increments for seed in found]),
                are_late=False,
            )
            return replace(learned, held_out=apart)
        apart = HeldOut(
            rows=found[0].rows,
            base=np.full(len(found[0].rows), np.mean([seed.base for seed in found])),
            increments=np.asarray(np.mean([seed.increments for seed in found], axis=0)),
            are_late=True,
        )
        weights = fit_stage_weights(apart.base, apart.increments, y[apart.rows])
        for network in networks:
            network.weigh(weights.weights.tolist(), weights.shift)
        return replace(
            learned,
            held_out=apart.weighted(weights),
            stage_weights=tuple(weights.weights.tolist()),
        )

    @property
    def stages(self) -> tuple[str, ...]:
        """The groups in their order, and the classical opinion behind them."""
        return (
            *(group.name for group in self.encoder.groups),
            *([CLASSICAL] if self.stacking else []),
        )

    @property
    def base_logit(self) -> float:
        """Log-odds of the base rate: the logit before any fact."""
        return float(np.mean([float(network.base_logit) for network in self.networks]))

    def tensors(self, features: pa.Table) -> Tensors:
        """The rows as the networks take them, without labels.

        Raises EncodeError where a feature is absent or infinite.
        """
        encoded = self.encoder.encode(self.risk.added_to(features))
        return Tensors.of(encoded, torch.zeros(features.num_rows))

    def increments(self, features: pa.Table) -> FloatArray:
        """What each stage adds to the log-odds, [R, K]."""
        rows = self.tensors(features)
        increments = np.asarray(
            np.mean([increments_of(network, rows) for network in self.networks], axis=0)
        )
        if self.stacking is None:
            return increments
        so_far = self.base_logit + increments.sum(axis=1)
        classical = self.stacking.model.logit(as_frame(self.risk.added_to(features)))
        return np.column_stack([increments, self.stacking.increment(so_far, classical)])

    def logit(self, features: pa.Table) -> FloatArray:
        """Log-odds before calibration, [R]."""
        return self.score(features)[0]

    def score(self, features: pa.Table) -> tuple[FloatArray, dict[str, FloatArray]]:
        """Log-odds before calibration, [R], and each stage's increments, [R] by its column."""
        increments = self.increments(features)
        columns = {f"{STAGE}{name}": increments[:, place] for place, name in enumerate(self.stages)}
        return np.asarray(self.base_logit + increments.sum(axis=1)), columns

    def to_files(self, folder: Path) -> None:
        """Write the model into a folder.

        The files are encoder.json, network.json, a network-<number>.safetensors for each seed,
        those of the classical model, and risk.json where categories have one.
        """
        self.risk.to_files(folder)
        (folder / "encoder.json").write_text(self.encoder.to_json() + "\n", encoding="utf-8")
        stacking = None if self.stacking is None else self.stacking.to_json()
        shape = {
            "shape": asdict(self.shape),
            "networks": len(self.networks),
            "stage_weights": self.stage_weights,
            "opinion": stacking,
        }
        if self.stacking is not None:
            self.stacking.model.to_files(folder)
        (folder / "network.json").write_text(json.dumps(shape, indent=1) + "\n", encoding="utf-8")
        for number, network in enumerate(self.networks):
            save_file(
                {name: value.contiguous() for name, value in network.state_dict().items()},
                folder / _weights(number),
            )

    @classmethod
    def from_files(cls, folder: Path) -> "Layered":
        """Read what `to_files` wrote. Raises ValueError for anything else."""
        encoder = Encoder.from_json((folder / "encoder.json").read_text(encoding="utf-8"))
        stored = read_json(StoredLayered, folder / "network.json")
        networks = []
        for number in range(stored.networks):
            network = LayeredNetwork(encoder, base_logit=0.0, config=stored.shape)
            network.load_weights(load_file(folder / _weights(number)))
            networks.append(network.eval())
        stacking = None
        if stored.opinion is not None:
            classical = BASELINES[stored.opinion.model].from_files(folder)
            stacking = Stacking.from_stored(classical, stored.opinion)
        return cls(
            encoder=encoder,
            networks=tuple(networks),
            shape=stored.shape,
            risk=RiskEncoding.from_files(folder),
            stage_weights=tuple(stored.stage_weights),
            stacking=stacking,
        )


def _last_days(features: pa.Table, y: BoolArray) -> BoolArray | None:
    """The rows of the last days; None where they have no moments or too few frauds."""
    if "as_of" not in features.column_names:
        return None
    return last_days(features["as_of"].to_numpy(), y)


def _weights(number: int) -> str:
    return f"network-{number}.safetensors"


def settings_of(model: Layered) -> dict[str, str | int | float]:
    """The settings and learning results worth recording."""
    counted = {
        "parameters": sum(p.numel() for p in model.networks[0].parameters()),
        "networks": len(model.networks),
    }
    best = {f"held_out_ap_seed_{curve.seed}": max(curve.precisions) for curve in model.curves}
    weight = {} if model.stacking is None else {"trust_in_classical": model.stacking.weight}
    names = [f"weight_of_{name}" for name in model.stages]  # of a classical stage: its trust
    worth = dict(zip(names, model.stage_weights, strict=False))
    return {
        "stages": ", ".join(model.stages),
        **asdict(model.shape),
        **counted,
        **worth,
        **weight,
        **best,
    }
