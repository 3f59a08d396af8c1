"""The networks that the layered one is measured against.

They have the same facts, coded the same way, and the same training.

A flat network takes in all facts at once; TabM (Gorishniy et al. 2025, the authors' package) does
so with many members.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import tabm
import torch
from torch import Tensor, nn

from benchmarks.tasks import Fold, Task
from features.encoder import Encoder, GroupCode
from pipeline.arrays import FloatArray
from pipeline.models.layered.network import GroupEncoder, NetworkConfig
from pipeline.models.layered.tensors import Tensors, increments_of
from pipeline.models.layered.training import TrainConfig, train_layered


class Flat(nn.Module):
    """A multilayer perceptron on all facts: [B, N], [B, N], [B, C] -> [B, 1]."""

    base_logit: Tensor

    def __init__(
        self, encoder: Encoder, *, base_logit: float, widths: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        self.register_buffer("base_logit", torch.tensor(base_logit))
        self.facts = GroupEncoder(
            _one_group(encoder), NetworkConfig(width=widths[0], group_dropout=0.0)
        )
        layers: list[nn.Module] = [nn.ReLU(), nn.Dropout(dropout)]
        for before, width in pairwise(widths):
            layers += [nn.Linear(before, width), nn.ReLU(), nn.Dropout(dropout)]
        self.heads = nn.ModuleList([nn.Sequential(*layers, nn.Linear(widths[-1], 1))])

    def forward(self, numbers: Tensor, missing: Tensor, codes: Tensor) -> Tensor:
        """Return what all facts add to the log-odds of the base rate."""
        added: Tensor = self.heads[0](self.facts(numbers, missing, codes))
        return added


class ManyFlat(nn.Module):
    """TabM on all facts.

    Shape: [B, N], [B, N], [B, C] -> [B, M, 1] in training, else the log-odds of the mean
    probability, [B, 1].
    """

    base_logit: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        base_logit: float,
        width: int,
        blocks: int,
        dropout: float,
        members: int,
    ) -> None:
        super().__init__()
        self.register_buffer("base_logit", torch.tensor(base_logit))
        self.facts = GroupEncoder(
            _one_group(encoder), NetworkConfig(group_dropout=0.0)
        ).requires_grad_(requires_grad=False)
        self.facts.embeddings.requires_grad_(requires_grad=True)  # its linear layer is TabM's own
        inputs = self.facts.linear.in_features
        self.heads = nn.ModuleList(
            [
                tabm.TabM.make(
                    n_num_features=inputs,
                    d_out=1,
                    k=members,
                    n_blocks=blocks,
                    d_block=width,
                    dropout=dropout,
                )
            ]
        )

    def forward(self, numbers: Tensor, missing: Tensor, codes: Tensor) -> Tensor:
        """Return what all facts add to the log-odds of the base rate."""
        members: Tensor = self.heads[0](self.facts.coded(numbers, missing, codes))
        if self.training:
            return members
        return (
            torch.logit(torch.sigmoid(members + self.base_logit).mean(dim=1), eps=1e-7)
            - self.base_logit
        )


def flat(encoder: Encoder, base_logit: float) -> nn.Module:
    """The flat network that did best on the Handbook's earlier weeks."""
    return Flat(encoder, base_logit=base_logit, widths=(256, 128), dropout=0.2)


def many(encoder: Encoder, base_logit: float) -> nn.Module:
    """TabM as its authors advise, with the 16 members of the figure to beat."""
    return ManyFlat(encoder, base_logit=base_logit, width=256, blocks=2, dropout=0.1, members=16)


def logits(
    make: Callable[[Encoder, float], nn.Module], task: Task, fold: Fold, *, seed: int
) -> FloatArray:
    """What a network of one seed says of a fold's test rows, [R].

    It learns as the layered one does.
    """
    encoder, rate = Encoder.fit(fold.train, task.groups), float(fold.y.mean())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        start = make(encoder, float(np.log(rate / (1 - rate))))
    config = TrainConfig(seeds=(seed,))
    (learned,) = train_layered(
        encoder, encoder.encode(fold.train), fold.y, fold.accounts, config=config, start=[start]
    )
    return increments_of(
        learned.networks[0], Tensors.of(encoder.encode(fold.test), torch.zeros(len(fold.truth)))
    ).sum(axis=1)


def _one_group(encoder: Encoder) -> GroupCode:
    numbers = tuple(number for group in encoder.groups for number in group.numbers)
    return GroupCode(
        name="all",
        numbers=numbers,
        categories=tuple(code for group in encoder.groups for code in group.categories),
    )
