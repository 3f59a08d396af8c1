"""Our training beside a bare PyTorch loop over the same network, tensors, batches, loss, optimiser and schedule."""

import math
from collections.abc import Sequence
from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.tasks import Fold
from features.declarations import Group
from features.encoder import Encoded, Encoder
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
    held_out_accounts,
    train_layered,
)

ROUNDS = 3
CONFIG = TrainConfig(seeds=(1,))


def ratio(fold: Fold, groups: Sequence[Group]) -> float:
    """Rows a second of ours over those of the bare loop, which judges no held-out accounts.

    In turns, the median of each.
    """
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
    _cycle(network, keys, rows, epochs=math.ceil(CONFIG.epochs * LAST_CYCLE))
    return perf_counter() - started


def _cycle(
    network: LayeredNetwork, keys: Sequence[KnownFraud], rows: Tensors, *, epochs: int
) -> None:
    size, rate = CONFIG.batch(rows.row_count), CONFIG.learning_rate(rows.row_count)
    steps = epochs * (rows.row_count // size)
    linear_probe = nn.Linear(CONFIG.network.width, 1)
    learning = [*network.parameters(), *linear_probe.parameters()]
    optimiser = torch.optim.AdamW(learning, lr=rate, weight_decay=CONFIG.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=rate, total_steps=steps, pct_start=CONFIG.warm_up
    )
    weights: Tensor = stage_weights(len(network.heads))
    for epoch in range(epochs):
        for number, batch in enumerate(
            Batches(rows, size=size, seed=1, epoch=lambda epoch=epoch: epoch)
        ):
            optimiser.zero_grad()
            states = network.states(batch.numbers, batch.missing, batch.codes)
            loss = (
                stage_losses(network.increments(states), network.base_logit, batch.y) * weights
            ).sum()
            loss = (
                loss
                + LINEAR_PROBE_WEIGHT
                * stage_losses(linear_probe(states[-1]), network.base_logit, batch.y).sum()
            )
            torch.autograd.backward(
                loss + monotonicity_penalty(network, keys, batch) if number % ASKED == 0 else loss
            )
            torch.nn.utils.clip_grad_norm_(learning, 1.0)
            optimiser.step()
            schedule.step()
