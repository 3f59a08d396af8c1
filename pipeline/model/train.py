"""Training of the layered network by Lightning: deep supervision, one cycle, early stopping on held-out accounts."""

import logging
import math
import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as lightning
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from features.encode import Encoded, Encoder
from pipeline.model.data import Batches, Tensors
from pipeline.model.network import LayeredNetwork, NetworkConfig, stage_losses, stage_weights

SMALL = 20_000  # rows up to which small batches are needed for enough steps
SCORE_ROWS = 16_384


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train: seeds are averaged by logit; batch size and learning rate follow from the number of rows.

    `warm_up` is the share of the steps, above 0, in which the learning rate rises.
    """

    seeds: tuple[int, ...] = (1, 2, 3)
    epochs: int = 10
    weight_decay: float = 3e-4
    warm_up: float = 0.1
    held_out: float = 0.15
    network: NetworkConfig = field(default_factory=NetworkConfig)

    def batch(self, rows: int) -> int:
        """Rows of a batch."""
        return 256 if rows <= SMALL else 1024

    def learning_rate(self, rows: int) -> float:
        """Peak of the one-cycle schedule."""
        return 1e-3 if rows <= SMALL else 2e-3


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Learning curve of one seed: training loss and held-out average precision after each epoch."""

    seed: int
    losses: list[float] = field(default_factory=list)
    precisions: list[float] = field(default_factory=list)


class LayeredModule(lightning.LightningModule):
    """The network with its loss, optimiser and schedule; it keeps the weights that did best on the held-out accounts."""

    def __init__(
        self, network: LayeredNetwork, held_out: Tensors, config: TrainConfig, *, seed: int, learning_rate: float, steps: int
    ) -> None:
        super().__init__()
        self.network, self.held_out, self.config = network, held_out, config
        self.learning_rate, self.steps = learning_rate, steps
        self.weights = stage_weights(len(network.heads))
        self.epoch_losses: list[Tensor] = []
        self.curve = Curve(seed=seed)
        self.best: dict[str, Tensor] = {}

    def training_step(self, batch: Tensors, _: int) -> Tensor:
        """Weighted sum of the prefixes' cross-entropies."""
        increments = self.network(batch.numbers, batch.missing, batch.codes)
        losses = stage_losses(increments, self.network.base_logit, batch.y)
        self.epoch_losses.append(losses[-1].detach())
        return (losses * self.weights.to(losses.device)).sum()

    def configure_optimizers(self) -> Any:
        """AdamW under one cycle."""
        learning = [weights for weights in self.parameters() if weights.requires_grad]
        optimiser = torch.optim.AdamW(learning, lr=self.learning_rate, weight_decay=self.config.weight_decay, fused=True)
        steps = max(self.steps, math.ceil(2 / self.config.warm_up))  # OneCycleLR fails where the warm-up is a single step
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=self.learning_rate, total_steps=steps, pct_start=self.config.warm_up
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_end(self) -> None:
        """Score the held-out accounts."""
        self.curve.losses.append(float(torch.stack(self.epoch_losses).mean()))
        self.epoch_losses.clear()
        logits = increments_of(self.network, self.held_out).sum(axis=1)
        precision = float(average_precision_score(self.held_out.y.numpy(), logits))
        if not self.best or precision > max(self.curve.precisions):
            self.best = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}
        self.curve.precisions.append(precision)


def increments_of(network: LayeredNetwork, rows: Tensors) -> npt.NDArray[np.float64]:
    """Return the increments [R, K] of all rows, computed in blocks and without dropout."""
    was_training = network.training
    network.eval()
    with torch.inference_mode():
        blocks = [
            network(rows.numbers[at], rows.missing[at], rows.codes[at]).double().numpy()
            for at in (slice(start, start + SCORE_ROWS) for start in range(0, rows.row_count, SCORE_ROWS))
        ]
    network.train(was_training)
    return np.concatenate(blocks) if blocks else np.empty((0, len(network.heads)))


def held_out_accounts(accounts: npt.NDArray[np.str_], *, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Say which rows belong to a random share of the accounts: what stops the training is not trained on."""
    names, places = np.unique(accounts, return_inverse=True)
    chosen = np.random.default_rng(seed).random(len(names)) < share
    return np.asarray(chosen[places])


def train_layered(
    encoder: Encoder,
    encoded: Encoded,
    y: npt.NDArray[np.bool_],
    accounts: npt.NDArray[np.str_],
    *,
    config: TrainConfig,
    start: Sequence[LayeredNetwork] = (),
    progress: bool = False,
) -> tuple[list[LayeredNetwork], list[Curve]]:
    """Train one network for each seed and return them with their learning curves; `y` and `accounts` are [R].

    Networks to start from, one a seed, learn further as far as their weights may. Each seed holds out accounts of its own, so
    that together they learn from all. Raises ValueError where a part lacks a class, or networks and seeds differ in number.
    """
    if start and len(start) != len(config.seeds):
        raise ValueError(
            f"there are {len(start)} networks to start from, and the seeds are {len(config.seeds)}; give a seed for each"
        )
    rows = Tensors.of(encoded, torch.from_numpy(y.astype(np.float32)))
    networks, curves = [], []
    for place, seed in enumerate(config.seeds):
        held_out = held_out_accounts(accounts, share=config.held_out, seed=seed)
        for name, part in (("train on", ~held_out), ("stop the training by", held_out)):
            if not 0 < y[part].sum() < part.sum():
                found = f"the {part.sum()} rows to {name} have {y[part].sum()} frauds"
                raise ValueError(f"{found}; both classes are needed: take a longer span or more accounts")
        training, judging = (rows.rows(torch.from_numpy(np.flatnonzero(part))) for part in (~held_out, held_out))
        first = start[place] if start else None
        network, curve = _train_seed(encoder, training, judging, config, seed, first, progress)
        networks.append(network)
        curves.append(curve)
    return networks, curves


def _train_seed(
    encoder: Encoder,
    training: Tensors,
    judging: Tensors,
    config: TrainConfig,
    seed: int,
    start: LayeredNetwork | None,
    progress: bool,
) -> tuple[LayeredNetwork, Curve]:
    rate = float(training.y.mean())
    batches = Batches(training, min(config.batch(training.row_count), training.row_count), torch.Generator().manual_seed(seed))
    with torch.random.fork_rng(), warnings.catch_warnings():
        torch.manual_seed(seed)  # weights and dropouts draw from torch's one generator, which the caller gets back as it was
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning 2.6 calls what torch 2.13 has renamed
        network = (
            LayeredNetwork(encoder, base_logit=float(np.log(rate / (1 - rate))), config=config.network)
            if start is None
            else deepcopy(start).train()
        )
        module = LayeredModule(
            network,
            judging,
            config,
            seed=seed,
            learning_rate=config.learning_rate(training.row_count),
            steps=config.epochs * len(batches),
        )
        _trainer(config, progress=progress).fit(module, batches)
    network.load_state_dict(module.best)
    network.eval()
    return network, module.curve


def _trainer(config: TrainConfig, *, progress: bool) -> lightning.Trainer:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    return lightning.Trainer(
        max_epochs=config.epochs,
        accelerator="auto",
        devices=1,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=progress,
        enable_model_summary=False,
    )
