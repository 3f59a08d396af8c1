"""Training of the layered network by Lightning: deep supervision, one cycle, early stopping.

Behind it comes a shorter cycle on all rows: what was held out is not lost to what scores.
"""

import hashlib
import logging
import math
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from features.encoder import Encoded, Encoder
from pipeline.child_process import side_by_side
from pipeline.evaluation.time_split import held_out_accounts
from pipeline.models.layered.ensemble import Members
from pipeline.models.layered.losses import stage_losses, stage_weights
from pipeline.models.layered.monotonicity import (
    ASKED,
    KnownFraud,
    known_frauds,
    monotonicity_penalty,
)
from pipeline.models.layered.network import LayeredNetwork, NetworkConfig
from pipeline.models.layered.tensors import Batches, Tensors, increments_of, seed_of
from pipeline.progress import SILENT, Progress

# epochs on all rows, as a share of those before, and their learning rate: what the held-out rows
# stopped in time is not undone
LAST_CYCLE, LAST_RATE = 1 / 8, 0.3
LINEAR_PROBE_WEIGHT = 0.1  # weight of the loss of what reads the last state
SMALL = 20_000  # rows up to which small batches are needed for enough steps


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train; batch size and learning rate follow from the number of rows.

    Seeds are averaged by logit.
    `epochs` are those in which the last days, or else accounts of a share `held_out`, stop the
    training; an eighth as many follow on all rows, at 0.3 of the rate. `learning_rate_factor`
    multiplies the learning rate, so that what is known already is changed with care; `warm_up` is
    the share of the steps, above 0, in which the rate rises. With `members` above 1 a seed gives
    that many networks, which learn together at as many times the cost. With `processes` above 1 a
    seed is trained by that many (DDP), on as many devices where there are GPUs; each takes its
    share of every batch, so the result is that of one.
    """

    seeds: tuple[int, ...] = (1, 2, 3)
    epochs: int = 16
    learning_rate_factor: float = 1.0
    weight_decay: float = 3e-4
    warm_up: float = 0.1
    held_out: float = 0.15
    members: int = 1
    processes: int = 1
    network: NetworkConfig = field(default_factory=NetworkConfig)

    def batch(self, rows: int) -> int:
        """Rows of a batch; a GPU takes 4,096 in the time of 1,024."""
        if rows <= SMALL:
            return 256
        return 4_096 if _is_on_gpu(self) else 1_024

    def learning_rate(self, rows: int) -> float:
        """Peak of the one-cycle schedule; it grows with the root of the batch."""
        return self.learning_rate_factor * 1e-3 * math.sqrt(self.batch(rows) / 256)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Learning curve of a seed's first cycle: training loss and held-out AP by epoch."""

    seed: int
    losses: list[float]
    precisions: list[float]


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What a seed gave: a network, or one for each member, and its learning curve.

    `rows`, [H], are those that were held out at first, and `base` and `increments`, [H, K], are
    what was known of them before they were learned from.
    """

    networks: list[LayeredNetwork]
    curve: Curve
    rows: npt.NDArray[np.int64]
    base: float
    increments: npt.NDArray[np.float64]

    @property
    def logit(self) -> npt.NDArray[np.float64]:
        """Log-odds of the rows that were held out, [H]."""
        return np.asarray(self.base + self.increments.sum(axis=1))


class LayeredModule(lightning.LightningModule):
    """The network with its loss, optimiser and schedule.

    A logistic regression on the layered network's last state learns along (`linear_probe`, after
    the linear probes of Alain and Bengio 2016), so that other models can read the state too; it is
    not kept. `best` has the weights that did best on the held-out rows so far, or the last ones
    where none are held out; these and the learning curve are part of its state, so a checkpoint
    holds all that a training was.
    """

    losses: Tensor
    precisions: Tensor

    def __init__(
        self,
        network: LayeredNetwork | Members,
        held_out: Tensors | None,
        config: TrainConfig,
        *,
        keys: Sequence[KnownFraud],
        seed: int,
        learning_rate: float,
        steps: int,
    ) -> None:
        super().__init__()
        self.keys = keys
        self.network, self.held_out, self.config = network, held_out, config
        self.learning_rate, self.steps = learning_rate, steps
        self.weights = stage_weights(len(network.heads))
        self.linear_probe = (
            nn.Linear(network.width, 1) if isinstance(network, LayeredNetwork | Members) else None
        )
        self.seed = seed
        self.epoch_losses: list[Tensor] = []
        self.best = deepcopy(network).requires_grad_(requires_grad=False)
        for name in ("losses", "precisions"):
            self.register_buffer(name, torch.full((config.epochs,), torch.nan, dtype=torch.float64))

    @property
    def curve(self) -> Curve:
        """The learning curve so far."""
        losses, precisions = (
            values[~values.isnan()].tolist() for values in (self.losses, self.precisions)
        )
        return Curve(seed=self.seed, losses=losses, precisions=precisions)

    def on_train_epoch_start(self) -> None:
        """Draw dropouts as this epoch does, wherever the training began."""
        torch.manual_seed(seed_of(self.seed, self.current_epoch) + self.global_rank)

    def training_step(self, batch: Tensors, number: int) -> Tensor:
        """The prefixes' and the linear probe's cross-entropies, and the monotonicity penalty."""
        base_logit = self.network.base_logit
        columns = (batch.numbers, batch.missing, batch.codes)
        if self.linear_probe is None:
            losses = stage_losses(self.network(*columns), base_logit, batch.y)
            self.epoch_losses.append(losses[-1].detach())
            return (losses * self.weights.to(losses.device)).sum()
        states = self.network.states(*columns)
        losses = stage_losses(self.network.increments(states), base_logit, batch.y)
        self.epoch_losses.append(losses[-1].detach())
        probed = stage_losses(self.linear_probe(states[-1]), base_logit, batch.y).sum()
        loss = (losses * self.weights.to(losses.device)).sum() + LINEAR_PROBE_WEIGHT * probed
        if self.keys and number % ASKED == 0:
            loss = loss + monotonicity_penalty(self.network, self.keys, batch, states)
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW under one cycle."""
        learning = [weights for weights in self.parameters() if weights.requires_grad]
        optimiser = torch.optim.AdamW(
            learning, lr=self.learning_rate, weight_decay=self.config.weight_decay, fused=True
        )
        # OneCycleLR fails where the warm-up is a single step
        steps = max(self.steps, math.ceil(2 / self.config.warm_up))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=self.learning_rate, total_steps=steps, pct_start=self.config.warm_up
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_end(self) -> None:
        """Score the held-out rows."""
        self.losses[self.current_epoch] = self.trainer.strategy.reduce(
            torch.stack(self.epoch_losses).mean(), reduce_op="mean"
        )
        self.epoch_losses.clear()
        if self.held_out is None:
            self.best.load_state_dict(self.network.state_dict())
            return
        logits = increments_of(self.network, self.held_out).sum(axis=1)
        precision = float(average_precision_score(self.held_out.y.numpy(), logits))
        if precision > max(self.curve.precisions, default=-1.0):
            self.best.load_state_dict(self.network.state_dict())
        self.precisions[self.current_epoch] = precision


def train_layered(
    encoder: Encoder,
    encoded: Encoded,
    y: npt.NDArray[np.bool_],
    accounts: npt.NDArray[np.str_],
    *,
    config: TrainConfig,
    late: npt.NDArray[np.bool_] | None = None,
    start: Sequence[LayeredNetwork] = (),
    resume: Path | None = None,
    progress: Progress = SILENT,
) -> list[Learned]:
    """Train a network for each seed and member.

    `y` and `accounts` are [R]. Each seed holds out the rows that are `late`, [R], or else accounts
    of its own, and learns from them last. Networks to start from, one a seed, learn further as far
    as their weights may. In the folder `resume`, which is for nothing else, lie checkpoints until
    all is done: killed and called again with the same rows, a training goes on behind its last
    whole epoch and ends as it would have. Raises ValueError where a part lacks a class, or networks
    and seeds differ in number.
    """
    if start and len(start) != len(config.seeds):
        raise ValueError(
            f"there are {len(start)} networks to start from, "
            f"and the seeds are {len(config.seeds)}; give a seed for each"
        )
    held_out = [
        held_out_accounts(accounts, share=config.held_out, seed=seed) if late is None else late
        for seed in config.seeds
    ]
    for apart in held_out:
        _check_classes(y, apart)
    seeds = [
        _Seed(encoder, encoded, y, apart, config, seed, first, resume)
        for seed, apart, first in zip_longest(config.seeds, held_out, start)
    ]
    if is_worth_processes(len(y), config):
        with progress.step(f"{len(seeds)} networks side by side", len(seeds)) as done:
            calls = [partial(one.learn, SILENT, "") for one in seeds]
            found = side_by_side(calls, on_done=done.advance)
    else:
        found = [
            one.learn(progress, f"network {place} of {len(seeds)}")
            for place, one in enumerate(seeds, start=1)
        ]
    if resume is not None:
        for checkpoint in resume.glob("*.ckpt"):
            checkpoint.unlink()
    return found


def _check_classes(y: npt.NDArray[np.bool_], held_out: npt.NDArray[np.bool_]) -> None:
    for name, part in (("train on", ~held_out), ("stop the training by", held_out)):
        if not 0 < y[part].sum() < part.sum():
            parts = f"the {part.sum()} rows to {name} have {y[part].sum()} frauds"
            raise ValueError(
                f"{parts}; both classes are needed: take a longer span or more accounts"
            )


def is_worth_processes(rows: int, config: TrainConfig) -> bool:
    """Whether seeds learn side by side, each in a process: they are many, and slow to train."""
    is_alone = config.processes == 1 and not torch.cuda.is_available()
    return is_alone and rows > SMALL and len(config.seeds) > 1 and (os.cpu_count() or 1) > 1


def _is_on_gpu(config: TrainConfig) -> bool:
    return config.processes == 1 and torch.cuda.is_available()


@dataclass(frozen=True)
class _Seed:
    """All that the training of a seed needs; `held_out` are the rows that stop it, [R]."""

    encoder: Encoder
    encoded: Encoded
    y: npt.NDArray[np.bool_]
    held_out: npt.NDArray[np.bool_]
    config: TrainConfig
    seed: int
    first: LayeredNetwork | None
    resume: Path | None

    def learn(self, progress: Progress, name: str) -> Learned:
        """Learn from all rows but those held out, and then from these, too."""
        config, seed, resume = self.config, self.seed, self.resume
        rows = Tensors.of(self.encoded, torch.from_numpy(self.y.astype(np.float32)))
        training, judging = (
            rows.rows(torch.from_numpy(np.flatnonzero(part)))
            for part in (~self.held_out, self.held_out)
        )
        with progress.step(name, config.epochs) as step:
            stopped, curve = _train_seed(
                self.encoder, training, judging, config, seed, self.first, resume, step.advance
            )
        increments = increments_of(stopped, judging)
        last = replace(
            config,
            epochs=math.ceil(config.epochs * LAST_CYCLE),
            learning_rate_factor=config.learning_rate_factor * LAST_RATE,
        )
        with progress.step(f"{name}, on all rows", last.epochs) as step:
            network, _ = _train_seed(
                self.encoder, rows, None, last, seed, stopped, resume, step.advance
            )
        return Learned(
            networks=network.apart() if isinstance(network, Members) else [network],
            curve=curve,
            rows=np.flatnonzero(self.held_out),
            base=float(stopped.base_logit),
            increments=increments,
        )


def _train_seed(
    encoder: Encoder,
    training: Tensors,
    judging: Tensors | None,
    config: TrainConfig,
    seed: int,
    start: LayeredNetwork | Members | None,
    resume: Path | None,
    on_epoch: Callable[[], None],
) -> tuple[LayeredNetwork | Members, Curve]:
    rate = float(training.y.mean())
    size = min(config.batch(training.row_count), training.row_count)
    with torch.random.fork_rng(), _one_thread(), warnings.catch_warnings():
        # weights and dropouts draw from torch's one generator, which the caller gets back as it was
        torch.manual_seed(seed)
        # Lightning 2.6 calls what torch 2.13 has renamed
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        # the checkpoints of other seeds lie there too
        warnings.filterwarnings("ignore", message=".*exists and is not empty")
        network: LayeredNetwork | Members
        if start is None:
            network = LayeredNetwork(
                encoder, base_logit=float(np.log(rate / (1 - rate))), config=config.network
            )
            network = Members(network, count=config.members) if config.members > 1 else network
        else:
            network = deepcopy(start).train()
        module = LayeredModule(
            network,
            judging,
            config,
            keys=known_frauds(encoder) if isinstance(network, LayeredNetwork | Members) else (),
            seed=seed,
            learning_rate=config.learning_rate(training.row_count),
            steps=config.epochs * max(1, training.row_count // size),
        )
        batches = Batches(
            training.to("cuda") if _is_on_gpu(config) else training,
            size=size,
            seed=seed,
            epoch=partial(getattr, module, "current_epoch"),
        )
        kept = (
            None
            if resume is None
            else resume / f"{_fingerprint(training, judging, network, config, seed)}.ckpt"
        )
        begun = str(kept) if kept is not None and _is_whole(kept) else None
        _trainer(config, kept, on_epoch).fit(module, batches, ckpt_path=begun, weights_only=True)
    network.load_state_dict(module.best.state_dict())
    return network.eval(), module.curve


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one core: a step is too small for two, which would wait for one another.

    Beside another busy process two threads take six times as long as one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _fingerprint(
    training: Tensors, judging: Tensors | None, network: nn.Module, config: TrainConfig, seed: int
) -> str:
    """Of all that decides how a seed's training goes.

    Another one never goes on from its checkpoint.
    """
    found = hashlib.sha256(repr((config, seed)).encode())
    for tensor in (*training, *(judging or ()), *network.state_dict().values()):
        found.update(repr(tensor.shape).encode() + np.ascontiguousarray(tensor.numpy()).data)
    return found.hexdigest()


def _is_whole(checkpoint: Path) -> bool:
    """Whether there is a checkpoint, an archive with nothing cut off or altered."""
    return zipfile.is_zipfile(checkpoint) and zipfile.ZipFile(checkpoint).testzip() is None


class EachEpoch(lightning.Callback):
    """Calls back when an epoch is done."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def on_train_epoch_end(self, *_: Any) -> None:
        """Call back."""
        self.call()


def _trainer(
    config: TrainConfig, kept: Path | None, on_epoch: Callable[[], None]
) -> lightning.Trainer:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    each_epoch = (
        [ModelCheckpoint(dirpath=kept.parent, filename=kept.stem, enable_version_counter=False)]
        if kept
        else []
    )
    return lightning.Trainer(
        max_epochs=config.epochs,
        accelerator="auto",
        devices=config.processes,
        strategy="ddp_spawn" if config.processes > 1 else "auto",
        # what spawned processes run cannot call back
        callbacks=[*each_epoch, *([EachEpoch(on_epoch)] if config.processes == 1 else [])],
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=bool(each_epoch),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
