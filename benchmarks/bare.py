"""Our training beside a bare PyTorch loop over the same network, tensors, batches, loss, optimiser and schedule."""

import math
from collections.abc import Sequence
from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.tasks import Fold
from features.encode import Encoded, Encoder
from features.windows import Group
from pipeline.model.data import Batches, Tensors
from pipeline.model.network import LayeredNetwork, stage_losses, stage_weights
from pipeline.model.rising import ASKED, KnownFraud, falls, known_frauds
from pipeline.model.train import ALL_ACCOUNTS, READER, TrainConfig, held_out_accounts, train_layered

ROUNDS = 3
CONFIG = TrainConfig(seeds=(1,))


def ratio(fold: Fold, groups: Sequence[Group]) -> float:
    """Rows a second of ours over those of the bare loop, which judges no held-out accounts; in turns, the median of each."""
    encoder = Encoder.fit(fold.train, groups)
    encoded = encoder.encode(fold.train)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        started = perf_counter()
        train_layered(encoder, encoded, fold.y, fold.accounts, config=CONFIG)
        ours.append(perf_counter() - started)
        theirs.append(_bare(encoder, encoded, fold))
    return median(theirs) / median(ours)


def _bare(encoder: Encoder, encoded: Encoded, fold: Fold) -> float:
    apart = held_out_accounts(fold.accounts, share=CONFIG.held_out, seed=1)
    started = perf_counter()
    rows = Tensors.of(encoded, torch.from_numpy(fold.y.astype(np.float32)))
    network = LayeredNetwork(encoder, base_logit=-5.0, config=CONFIG.network).train()
    keys = known_frauds(encoder)
    _cycle(network, keys, rows.rows(torch.from_numpy(np.flatnonzero(~apart))), epochs=CONFIG.epochs)
    _cycle(network, keys, rows, epochs=math.ceil(CONFIG.epochs * ALL_ACCOUNTS))
    return perf_counter() - started


def _cycle(network: LayeredNetwork, keys: Sequence[KnownFraud], rows: Tensors, *, epochs: int) -> None:
    size, rate = CONFIG.batch(rows.row_count), CONFIG.learning_rate(rows.row_count)
    step = Step(network, keys, learning_rate=rate)
    steps = epochs * (rows.row_count // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        step.optimiser, max_lr=rate, total_steps=steps, pct_start=CONFIG.warm_up
    )
    for epoch in range(epochs):
        for number, batch in enumerate(Batches(rows, size=size, seed=1, epoch=lambda epoch=epoch: epoch)):
            step(batch, penalised=number % ASKED == 0)
            schedule.step()


class Step:
    """One training step of ours without Lightning: forward, losses, penalty, backward, clipping, AdamW."""

    def __init__(self, network: LayeredNetwork, keys: Sequence[KnownFraud], *, learning_rate: float) -> None:
        self.network, self.keys = network.train(), keys
        self.reader = nn.Linear(CONFIG.network.width, 1)
        self.learning = [*network.parameters(), *self.reader.parameters()]
        self.optimiser = torch.optim.AdamW(
            self.learning, lr=learning_rate, weight_decay=CONFIG.weight_decay, fused=True
        )
        self.weights: Tensor = stage_weights(len(network.heads))

    def __call__(self, batch: Tensors, *, penalised: bool) -> None:
        """Learn from a batch."""
        self.optimiser.zero_grad()
        states = self.network.states(batch.numbers, batch.missing, batch.codes)
        loss = (stage_losses(self.network.told(states), self.network.base_logit, batch.y) * self.weights).sum()
        loss = loss + READER * stage_losses(self.reader(states[-1]), self.network.base_logit, batch.y).sum()
        if penalised and self.keys:
            loss = loss + falls(self.network, self.keys, batch, states)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.learning, 1.0)
        self.optimiser.step()
