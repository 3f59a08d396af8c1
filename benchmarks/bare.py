"""Our training beside a bare PyTorch loop, and our step beside release 0.1's.

The bare loop has the same network, tensors, batches, loss, optimiser and schedule.
"""

import math
from collections.abc import Sequence
from itertools import islice
from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.step_before import StepBefore
from benchmarks.tasks import Fold
from features.declarations import Group
from features.encoder import Encoded, Encoder
from pipeline.evaluation.time_split import held_out_accounts
from pipeline.models.layered.losses import stage_losses, stage_weights
from pipeline.models.layered.monotonicity import (
    ASKED,
    KnownFraud,
    known_frauds,
    monotonicity_penalty,
)
from pipeline.models.layered.network import LayeredNetwork
from pipeline.models.layered.tensors import Batches, Tensors
from pipeline.models.layered.training import (
    LAST_CYCLE,
    LINEAR_PROBE_WEIGHT,
    TrainConfig,
    train_layered,
)

ROUNDS, BATCHES = 3, 16
CONFIG = TrainConfig(seeds=(1,))


def ratio(fold: Fold, groups: Sequence[Group]) -> float:
    """Rows a second of ours over those of the bare loop, which judges no held-out accounts.

    A seed on one thread, as ours learns; in turns, the median of each.
    """
    encoder = Encoder.fit(fold.train, groups)
    encoded = encoder.encode(fold.train)
    ours, theirs, threads = [], [], torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(ROUNDS):
        started = perf_counter()
        train_layered(encoder, encoded, fold.y, fold.accounts, config=CONFIG)
        ours.append(perf_counter() - started)
        theirs.append(_bare(encoder, encoded, fold))
    torch.set_num_threads(threads)
    return median(theirs) / median(ours)


def seeds_ratio(fold: Fold, groups: Sequence[Group]) -> float:
    """The same of three seeds: ours side by side, the bare loop's in turn on all threads."""
    encoder = Encoder.fit(fold.train, groups)
    encoded = encoder.encode(fold.train)
    started = perf_counter()
    train_layered(encoder, encoded, fold.y, fold.accounts, config=TrainConfig())
    ours = perf_counter() - started
    return len(TrainConfig().seeds) * _bare(encoder, encoded, fold) / ours


def step_speedup(fold: Fold, groups: Sequence[Group]) -> float:
    """Seconds of release 0.1's step over those of ours, a penalty on every second batch.

    The two go through the same batches in turns; the median of each.
    """
    encoder = Encoder.fit(fold.train, groups)
    rows = Tensors.of(encoder.encode(fold.train), torch.from_numpy(fold.y.astype(np.float32)))
    size, rate = CONFIG.batch(rows.row_count), CONFIG.learning_rate(rows.row_count)
    before = StepBefore(
        encoder, base_logit=-5.0, learning_rate=rate, weight_decay=CONFIG.weight_decay
    )
    network = LayeredNetwork(encoder, base_logit=-5.0, config=CONFIG.network)
    ours = Step(network, known_frauds(encoder), learning_rate=rate)
    batches = [*islice(Batches(rows, size=size, seed=1, epoch=lambda: 0), BATCHES)]
    seconds: dict[str, list[float]] = {"before": [], "ours": []}
    for _ in range(ROUNDS):
        for number, batch in enumerate(batches):
            for name, step in (("before", before), ("ours", ours)):
                started = perf_counter()
                step(batch, penalised=number % ASKED == 0)
                seconds[name].append(perf_counter() - started)
    plain, penalised = (
        {name: median(values[place::ASKED]) for name, values in seconds.items()} for place in (1, 0)
    )
    return (plain["before"] + penalised["before"]) / (plain["ours"] + penalised["ours"])


def _bare(encoder: Encoder, encoded: Encoded, fold: Fold) -> float:
    apart = held_out_accounts(fold.accounts, share=CONFIG.held_out, seed=1)
    started = perf_counter()
    rows = Tensors.of(encoded, torch.from_numpy(fold.y.astype(np.float32)))
    network = LayeredNetwork(encoder, base_logit=-5.0, config=CONFIG.network).train()
    keys = known_frauds(encoder)
    _cycle(network, keys, rows.rows(torch.from_numpy(np.flatnonzero(~apart))), epochs=CONFIG.epochs)
    _cycle(network, keys, rows, epochs=math.ceil(CONFIG.epochs * LAST_CYCLE))
    return perf_counter() - started


def _cycle(
    network: LayeredNetwork, keys: Sequence[KnownFraud], rows: Tensors, *, epochs: int
) -> None:
    size, rate = CONFIG.batch(rows.row_count), CONFIG.learning_rate(rows.row_count)
    step = Step(network, keys, learning_rate=rate)
    steps = epochs * (rows.row_count // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        step.optimiser, max_lr=rate, total_steps=steps, pct_start=CONFIG.warm_up
    )
    for epoch in range(epochs):
        batches = Batches(rows, size=size, seed=1, epoch=lambda epoch=epoch: epoch)
        for number, batch in enumerate(batches):
            step(batch, penalised=number % ASKED == 0)
            schedule.step()


class Step:
    """One training step of ours without Lightning."""

    def __init__(
        self, network: LayeredNetwork, keys: Sequence[KnownFraud], *, learning_rate: float
    ) -> None:
        self.network, self.keys = network.train(), keys
        self.linear_probe = nn.Linear(CONFIG.network.width, 1)
        self.learning = [*network.parameters(), *self.linear_probe.parameters()]
        self.optimiser = torch.optim.AdamW(
            self.learning, lr=learning_rate, weight_decay=CONFIG.weight_decay, fused=True
        )
        self.weights: Tensor = stage_weights(len(network.heads))

    def __call__(self, batch: Tensors, *, penalised: bool) -> None:
        """Learn from a batch: forward, losses, penalty, backward, clipping, AdamW."""
        network, base_logit = self.network, self.network.base_logit
        self.optimiser.zero_grad()
        states = network.states(batch.numbers, batch.missing, batch.codes)
        losses = stage_losses(network.increments(states), base_logit, batch.y)
        probed = stage_losses(self.linear_probe(states[-1]), base_logit, batch.y).sum()
        loss = (losses * self.weights).sum() + LINEAR_PROBE_WEIGHT * probed
        if penalised and self.keys:
            loss = loss + monotonicity_penalty(network, self.keys, batch, states)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.learning, 1.0)
        self.optimiser.step()
