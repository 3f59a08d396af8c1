"""Members: many networks trained as one, that share nearly all weights and score together.

The method is TabM's (Gorishniy et al. 2025).

Each member scales every group's vector its own way and has last layers of its own. What is learned
is told apart again into plain networks, so that nothing behind the training knows of members.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.layered.network import GroupEncoder, Head, LayeredNetwork, without_dropout


class Members(nn.Module):
    """M members around one layered network of K stages and width D; the mean of them scores.

    Shape: numbers [B, N], missing [B, N], codes [B, C] -> increments [B, M, K] in training, [B, K]
    else.

    >>> import numpy as np, pyarrow as pa
    >>> from features.encoder import Encoder
    >>> from features.declarations import Group, fact
    >>> table = pa.table({"paid": [1.0, 20.0, 300.0]})
    >>> features = (fact("paid", "amount", ""),)
    >>> groups = [Group(name="amount", meaning="", needs=(), features=features)]
    >>> encoder = Encoder.fit(table, groups)
    >>> arrays = encoder.encode(table)
    >>> members = Members(LayeredNetwork(encoder, base_logit=-5.0), count=4)
    >>> members(*map(torch.from_numpy, (arrays.numbers, arrays.missing, arrays.codes))).shape
    torch.Size([3, 4, 1])
    """

    def __init__(self, network: LayeredNetwork, *, count: int) -> None:
        super().__init__()
        self.network = network
        facts, head = _stages(network)[0]
        stages = len(network.heads)
        self.scales = nn.Parameter(torch.randn(stages, count, facts.linear.out_features))
        self.weights = nn.Parameter(torch.zeros(stages, count, head.last.in_features))
        self.biases = nn.Parameter(torch.zeros(stages, count))

    @property
    def base_logit(self) -> Tensor:
        """Log-odds of the base rate."""
        return self.network.base_logit

    @property
    def width(self) -> int:
        """The width D of a state."""
        return self.network.width

    @property
    def heads(self) -> nn.ModuleList:
        """The heads that the members share but for the last layer."""
        return self.network.heads

    def forward(self, numbers: Tensor, missing: Tensor, codes: Tensor) -> Tensor:
        """Return what each stage adds to the log-odds."""
        return self.increments(self.states(numbers, missing, codes))

    def states(self, numbers: Tensor, missing: Tensor, codes: Tensor) -> list[Tensor]:
        """What each member knows of each row after each stage, each [B, M, D]."""
        return self.network.states(numbers, missing, codes, self.scales)

    def increments(self, states: Sequence[Tensor]) -> Tensor:
        """What each stage adds to the log-odds, by its state."""
        found = [self._increment(stage, state) for stage, state in enumerate(states)]
        increments = torch.stack(found, dim=2)
        return increments if self.training else increments.mean(dim=1)

    def increment(
        self, stage: int, before: Tensor, numbers: Tensor, missing: Tensor, codes: Tensor
    ) -> Tensor:
        """What a stage would add without dropout, [B], by the members' states before it."""
        network = self.network
        with without_dropout(network.facts[stage], *network.injections[stage - 1 : stage]):
            vector = network.vector(stage, numbers, missing, codes).unsqueeze(1)
            state = network.inject(stage, before, vector * self.scales[stage])
        return self._increment(stage, state).mean(dim=1)

    def _increment(self, stage: int, state: Tensor) -> Tensor:
        """What each member adds at a stage, [B, M]."""
        _, head = _stages(self.network)[stage]
        hidden = functional.relu(head.hidden(head.norm(state)))
        return (hidden * self.weights[stage]).sum(dim=2) + self.biases[stage]

    def apart(self) -> list[LayeredNetwork]:
        """Return the members as plain networks, the mean of whose increments is the score's."""
        return [self._alone(member) for member in range(self.scales.shape[1])]

    @torch.no_grad()
    def _alone(self, member: int) -> LayeredNetwork:
        network = deepcopy(self.network)
        for stage, (facts, head) in enumerate(_stages(network)):
            scale = self.scales[stage, member]
            facts.linear.weight.mul_(scale.unsqueeze(1))
            facts.linear.bias.mul_(scale)
            facts.absent.mul_(scale)
            head.last.weight.copy_(self.weights[stage, member].unsqueeze(0))
            head.last.bias.copy_(self.biases[stage, member].unsqueeze(0))
        return network.eval()


def _stages(network: LayeredNetwork) -> list[tuple[GroupEncoder, Head]]:
    return cast(
        list[tuple[GroupEncoder, Head]], list(zip(network.facts, network.heads, strict=True))
    )
