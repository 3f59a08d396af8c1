"""The layered network: each depth stage takes in one more group of facts and adds what it learned to the score.

Tensors only. B is the batch, N all numbers, C all categories, K the groups, D the width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rtdl_num_embeddings import PiecewiseLinearEncoding
from torch import Tensor, nn
from torch.nn import functional

from features.encoder import FIRST_KNOWN, MISSING, Encoder, GroupCode

CATEGORY_WIDTH = 8


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Shape of the network: width D, residual blocks after each injection, hidden width of a head, dropouts."""

    width: int = 64
    head_width: int = 32
    blocks: int = 0
    dropout: float = 0.1
    group_dropout: float = 0.1


class GroupEncoder(nn.Module):
    """One group's facts as a vector: piecewise-linear numbers (Gorishniy et al. 2022), categories, scaled numbers, masks.

    A row without any fact of the group gets the learned absent vector, as do some rows in training
    (group dropout).

    Shape: numbers [B, n], missing [B, n], codes [B, c] -> [B, D].

    >>> from features.encoder import NumberCode
    >>> paid = NumberCode(name="paid", knots=(0.0, 2.0, 5.0), middle=2.0, spread=1.0)
    >>> facts = GroupEncoder(GroupCode(name="amount", numbers=(paid,), categories=()), NetworkConfig())
    >>> facts(torch.tensor([[1.5], [9.0]]), torch.zeros(2, 1), torch.zeros(2, 0, dtype=torch.int64)).shape
    torch.Size([2, 64])
    """

    middle: Tensor
    spread: Tensor

    def __init__(self, code: GroupCode, config: NetworkConfig) -> None:
        super().__init__()
        self.group_dropout = config.group_dropout
        self.pieces = (
            PiecewiseLinearEncoding([torch.tensor(number.knots) for number in code.numbers])
            if code.numbers
            else None
        )
        self.embeddings = nn.ModuleList(
            nn.Embedding(len(category.vocabulary) + 2, CATEGORY_WIDTH)
            for category in code.categories
        )
        self.usual_codes = [
            FIRST_KNOWN if category.vocabulary else MISSING for category in code.categories
        ]
        self.register_buffer("middle", torch.tensor([number.middle for number in code.numbers]))
        self.register_buffer("spread", torch.tensor([number.spread for number in code.numbers]))
        self.piece_counts = [len(number.knots) - 1 for number in code.numbers]
        self.linear = nn.Linear(
            sum(self.piece_counts) + CATEGORY_WIDTH * len(code.categories) + 2 * len(code.numbers),
            config.width,
        )
        self.absent = nn.Parameter(torch.zeros(config.width))

    def forward(self, numbers: Tensor, missing: Tensor, codes: Tensor) -> Tensor:
        """Return the group's vector for each row."""
        vector = self.linear(self.coded(numbers, missing, codes))
        present = _is_present(missing, codes)
        if self.training and self.group_dropout > 0:
            present = present & (torch.rand_like(vector[:, :1]) >= self.group_dropout)
        return torch.where(present, vector, self.absent)

    def from_usual(self, numbers: Tensor, missing: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """The vector of usual facts, [B, D], and what each fact adds on the way to the row's own vector, [B, n + c, D].

        TypicalRange are the middle of each number and the most frequent category; a row without any
        fact stays where it is.
        """
        middle, none = self.middle.expand_as(numbers), torch.zeros_like(missing)
        usual = self.coded(middle, none, torch.tensor(self.usual_codes).expand_as(codes))
        step = self.coded(numbers, missing, codes) - usual
        places = self.places()
        moves = torch.stack(
            [step[:, place] @ self.linear.weight[:, place].T for place in places], dim=1
        )
        present = _is_present(missing, codes)
        return torch.where(present, self.linear(usual), self.absent), moves * present.unsqueeze(2)

    def coded(self, numbers: Tensor, missing: Tensor, codes: Tensor) -> Tensor:
        """What the linear layer is given, [B, inputs]: categories, pieces, scaled numbers, masks."""
        parts = [embedding(codes[:, place]) for place, embedding in enumerate(self.embeddings)]
        if self.pieces is not None:
            filled = torch.where(missing > 0, self.middle, numbers)
            parts += [self.pieces(filled), (filled - self.middle) / self.spread, missing]
        return torch.cat(parts, dim=1)

    def places(self) -> list[Tensor]:
        """Where each number, and then each category, stands among the inputs of the linear layer."""
        texts = CATEGORY_WIDTH * len(self.embeddings)
        ends = texts + torch.tensor([0, *self.piece_counts]).cumsum(0)
        scaled, count = int(ends[-1]), len(self.piece_counts)
        numbers = [
            torch.tensor(
                [
                    *range(int(ends[place]), int(ends[place + 1])),
                    scaled + place,
                    scaled + count + place,
                ]
            )
            for place in range(count)
        ]
        return numbers + [
            torch.arange(CATEGORY_WIDTH) + CATEGORY_WIDTH * place
            for place in range(len(self.embeddings))
        ]


def _is_present(missing: Tensor, codes: Tensor) -> Tensor:
    """Whether the rows have any fact of the group, [B, 1]."""
    return (missing < 1).any(dim=1, keepdim=True) | (codes > 0).any(dim=1, keepdim=True)


class FusionBlock(nn.Module):
    """Takes a group's vector into the state: h + e + a * W2 relu(W1 [LN(h); e]), then residual blocks.

    Shape: h [B, D], e [B, D] -> [B, D].

    >>> FusionBlock(NetworkConfig(width=16, blocks=2))(torch.zeros(3, 16), torch.ones(3, 16)).shape
    torch.Size([3, 16])
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Sequential(
            nn.Linear(2 * width, width),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(width, width),
        )
        self.strength = nn.Parameter(torch.tensor(0.1))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 2 * width),
                nn.ReLU(),
                nn.Dropout(config.dropout),
                nn.Linear(2 * width, width),
            )
            for _ in range(config.blocks)
        )

    def forward(self, state: Tensor, vector: Tensor) -> Tensor:
        """Return the state that knows the group."""
        state = (
            state + vector + self.strength * self.mix(torch.cat([self.norm(state), vector], dim=-1))
        )
        for block in self.blocks:
            state = state + block(state)
        return state


class Head(nn.Module):
    """What a stage adds to the log-odds; starts at zero, so an untrained stage says nothing.

    Shape: [B, D] -> [B].

    >>> Head(NetworkConfig(width=16))(torch.randn(3, 16)).tolist()
    [0.0, 0.0, 0.0]
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.hidden = nn.Linear(config.width, config.head_width)
        self.last = nn.Linear(config.head_width, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, state: Tensor) -> Tensor:
        """Return the increment of each row."""
        increment: Tensor = self.last(functional.relu(self.hidden(self.norm(state))))
        return increment.squeeze(1)


class LayeredNetwork(nn.Module):
    """Stages in the groups' order; base log-odds plus the increments of stages 1..g is the logit of prefix g.

    Shape: numbers [B, N], missing [B, N], codes [B, C] -> increments [B, K].

    >>> import numpy as np, pyarrow as pa
    >>> from features.declarations import Group, fact
    >>> table = pa.table({"paid": [1.0, 20.0, 300.0]})
    >>> encoder = Encoder.fit(table, [Group(name="amount", meaning="", needs=(), features=(fact("paid", "amount", ""),))])
    >>> arrays = encoder.encode(table)
    >>> network = LayeredNetwork(encoder, base_logit=-5.0)
    >>> network(*map(torch.from_numpy, (arrays.numbers, arrays.missing, arrays.codes))).shape
    torch.Size([3, 1])
    """

    base_logit: Tensor

    def __init__(
        self, encoder: Encoder, *, base_logit: float, config: NetworkConfig | None = None
    ) -> None:
        super().__init__()
        config = config or NetworkConfig()
        self.width = config.width
        self.register_buffer("base_logit", torch.tensor(base_logit))
        self.numbers = _slices([len(group.numbers) for group in encoder.groups])
        self.codes = _slices([len(group.categories) for group in encoder.groups])
        self.facts = nn.ModuleList(GroupEncoder(group, config) for group in encoder.groups)
        self.injections = nn.ModuleList(FusionBlock(config) for _ in encoder.groups[1:])
        self.heads = nn.ModuleList(Head(config) for _ in encoder.groups)

    def forward(self, numbers: Tensor, missing: Tensor, codes: Tensor) -> Tensor:
        """Return what each stage adds to the log-odds of each row."""
        return self.increments(self.states(numbers, missing, codes))

    def states(
        self, numbers: Tensor, missing: Tensor, codes: Tensor, scales: Tensor | None = None
    ) -> list[Tensor]:
        """What is known of each row after each stage, h_1 to h_K, each [B, D].

        With `scales` [K, M, D] every group's vector goes on as M vectors, scaled by them; each
        state is [B, M, D] then.
        """
        states: list[Tensor] = []
        for stage, facts in enumerate(self.facts):
            own, texts = self.numbers[stage], self.codes[stage]
            vector = facts(numbers[:, own], missing[:, own], codes[:, texts])
            vector = vector if scales is None else vector.unsqueeze(1) * scales[stage]
            states.append(self.inject(stage, states[-1] if states else vector, vector))
        return states

    def increments(self, states: Sequence[Tensor]) -> Tensor:
        """What each stage adds to the log-odds, [B, K], by its state."""
        return torch.stack(
            [head(state) for head, state in zip(self.heads, states, strict=True)], dim=1
        )

    def inject(self, stage: int, state: Tensor, vector: Tensor) -> Tensor:
        """The state after a stage, [B, D], from the state before it (the first stage has none) and its group's vector."""
        known: Tensor = self.injections[stage - 1](state, vector) if stage else vector
        return known


def _slices(counts: Sequence[int]) -> list[slice]:
    ends = [sum(counts[: place + 1]) for place in range(len(counts))]
    return [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
