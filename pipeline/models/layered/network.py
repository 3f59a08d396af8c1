"""The layered network: each stage takes in one more group of facts and adds to the score.

Tensors only. B is the batch, N all numbers, C all categories, K the groups, D the width.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from rtdl_num_embeddings import PiecewiseLinearEncoding
from torch import Tensor, nn
from torch.nn import functional

from features.encoder import FIRST_KNOWN, MISSING, Encoder, GroupCode

CATEGORY_WIDTH = 8


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Shape: width D, residual blocks behind each fusion, hidden width of a head, dropouts."""

    width: int = 64
    head_width: int = 32
    blocks: int = 0
    dropout: float = 0.1
    group_dropout: float = 0.1


class Columns(nn.Module):
    """What a linear layer is given of a group's numbers: pieces, scaled numbers, masks.

    Each column is a line kept within bounds, min(max(x * slope + start, low), high), so that all
    are made at once, and no gradient comes back. The pieces are those of rtdl_num_embeddings'
    PiecewiseLinearEncoding (Gorishniy et al. 2022), but for numbers beyond the outermost knots:
    these count as the knot. Nothing was learned of what lies beyond.

    Shape: numbers [B, n], missing [B, n] -> [B, pieces + 2 n].
    """

    middle: Tensor
    place: Tensor
    slope: Tensor
    start: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, code: GroupCode) -> None:
        super().__init__()
        middle = torch.tensor([number.middle for number in code.numbers])
        spread = torch.tensor([number.spread for number in code.numbers])
        knots = [torch.tensor(number.knots) for number in code.numbers]
        pieces = torch.tensor([len(own) - 1 for own in knots])
        every, count = torch.arange(len(knots)), int(pieces.sum())
        low, high = torch.zeros(count), torch.ones(count)
        first, last = (torch.stack(ends) - middle for ends in zip(*map(_ends, knots), strict=True))
        ones = torch.ones_like(spread)
        columns = {
            "middle": middle,
            "place": torch.cat(
                [every.repeat_interleave(pieces), torch.arange(len(knots), 3 * len(knots))]
            ),
            "slope": torch.cat([*(1 / own.diff() for own in knots), 1 / spread, ones]),
            "start": torch.cat([*map(_starts, knots), torch.zeros(2 * len(knots))]),
            "low": torch.cat([low, first / spread, 0 * ones]),
            "high": torch.cat([high, last / spread, ones]),
        }
        for name, values in columns.items():
            # the export reads the bounds; of the others files have what they are made of
            self.register_buffer(name, values, persistent=name in {"low", "high"})

    def beyond(self) -> tuple[Tensor, Tensor]:
        """The bounds with which numbers beyond the outermost knots count as what they are."""
        low, high = self.low.clone(), self.high.clone()
        pieces = len(self.place) - 2 * len(self.middle)
        first = self.place[:pieces].diff(prepend=torch.tensor([-1])) > 0
        last = self.place[:pieces].diff(append=torch.tensor([len(self.middle)])) > 0
        low[:pieces][first], high[:pieces][last] = -torch.inf, torch.inf
        low[pieces:], high[pieces:] = -torch.inf, torch.inf
        return low, high

    @torch.no_grad()
    def forward(self, numbers: Tensor, missing: Tensor) -> Tensor:
        """Return the columns."""
        filled = torch.addcmul(numbers, missing, self.middle)  # a missing number is given as 0
        inputs = torch.cat([filled, filled - self.middle, missing], dim=1)
        chosen = inputs.index_select(1, self.place)
        torch.addcmul(self.start, self.slope, chosen, out=chosen)
        return chosen.clamp_(self.low, self.high)


def _ends(knots: Tensor) -> tuple[Tensor, Tensor]:
    return knots[0], knots[-1]


def _starts(knots: Tensor) -> Tensor:
    """Where the line of each piece begins: it is 0 at its left knot."""
    return -knots[:-1] / knots.diff()


class GroupEncoder(nn.Module):
    """One group's facts as a vector: piecewise-linear and scaled numbers, categories, masks.

    A row without any fact of the group gets the learned absent vector, as do some rows in training
    (group dropout).

    Shape: numbers [B, n], missing [B, n], codes [B, c] -> [B, D].

    >>> from features.encoder import NumberCode
    >>> paid = NumberCode(name="paid", knots=(0.0, 2.0, 5.0), middle=2.0, spread=1.0)
    >>> code = GroupCode(name="amount", numbers=(paid,), categories=())
    >>> no_texts = torch.zeros(2, 0, dtype=torch.int64)
    >>> encode = GroupEncoder(code, NetworkConfig())
    >>> encode(torch.tensor([[1.5], [9.0]]), torch.zeros(2, 1), no_texts).shape
    torch.Size([2, 64])
    """

    middle: Tensor
    spread: Tensor

    def __init__(self, code: GroupCode, config: NetworkConfig) -> None:
        super().__init__()
        self.group_dropout = config.group_dropout
        self.columns = Columns(code) if code.numbers else None
        # what bundles hold of the pieces, and the export reads; within the knots the columns are
        # equal to it
        self.pieces = (
            PiecewiseLinearEncoding([torch.tensor(number.knots) for number in code.numbers])
            if code.numbers
            else None
        )
        self.embeddings = nn.ModuleList(
            nn.Embedding(len(category.vocabulary) + 2, CATEGORY_WIDTH)
            for category in code.categories
        )
        self.typical_codes = [
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
        with torch.no_grad():  # what no training row has, adds nothing
            for embedding in self.embeddings:
                cast(nn.Embedding, embedding).weight[:FIRST_KNOWN] = 0
            self.linear.weight[:, self.linear.in_features - len(code.numbers) :] = 0

    def forward(self, numbers: Tensor, missing: Tensor, codes: Tensor) -> Tensor:
        """Return the group's vector for each row."""
        vector = self._linear(numbers, missing, codes)
        present = _is_present(missing, codes)
        if self.training and self.group_dropout > 0:
            present = present & (torch.rand_like(vector[:, :1]) >= self.group_dropout)
        known = present.to(vector.dtype)
        return torch.addmm(vector * known, 1 - known, self.absent.unsqueeze(0))

    def from_typical(
        self, numbers: Tensor, missing: Tensor, codes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The vector of typical facts, [B, D], and each fact's step to the row's, [B, n + c, D].

        Typical are the middle of each number and the most frequent category; a row without any fact
        stays where it is.
        """
        middle, none = self.middle.expand_as(numbers), torch.zeros_like(missing)
        typical = self.coded(middle, none, torch.tensor(self.typical_codes).expand_as(codes))
        step = self.coded(numbers, missing, codes) - typical
        places = self.places()
        moves = torch.stack(
            [step[:, place] @ self.linear.weight[:, place].T for place in places], dim=1
        )
        present = _is_present(missing, codes)
        return torch.where(present, self.linear(typical), self.absent), moves * present.unsqueeze(2)

    def _linear(self, numbers: Tensor, missing: Tensor, codes: Tensor) -> Tensor:
        """The linear layer on what is coded: only embeddings have a gradient, so they go apart."""
        weight, texts = self.linear.weight, CATEGORY_WIDTH * len(self.embeddings)
        if self.columns is None:
            return functional.linear(self._embedded(codes), weight, self.linear.bias)
        columns = self.columns(numbers, missing)
        if not texts:
            return functional.linear(columns, weight, self.linear.bias)
        vector = functional.linear(self._embedded(codes), weight[:, :texts], self.linear.bias)
        return vector + functional.linear(columns, weight[:, texts:])

    def coded(self, numbers: Tensor, missing: Tensor, codes: Tensor) -> Tensor:
        """The linear layer's inputs, [B, inputs]: categories, pieces, scaled numbers, masks."""
        columns = [] if self.columns is None else [self.columns(numbers, missing)]
        return torch.cat([self._embedded(codes), *columns], dim=1)

    def _embedded(self, codes: Tensor) -> Tensor:
        parts = [embedding(codes[:, place]) for place, embedding in enumerate(self.embeddings)]
        return torch.cat(parts, dim=1) if parts else self.absent.new_empty(codes.shape)

    def places(self) -> list[Tensor]:
        """Where each number, then each category, stands among the linear layer's inputs."""
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
    found = [part for part in (1 - missing, codes) if part.shape[1]]
    known = [part.amax(dim=1, keepdim=True) > 0 for part in found]
    return known[0] if len(known) == 1 else known[0] | known[1]


class Dropout(nn.Dropout):
    """Dropout whose share is rounded to a 256th, so that a draw is a byte: faster on a CPU.

    Shape: any -> the same.

    >>> Dropout(0.5).eval()(torch.ones(3))
    tensor([1., 1., 1.])
    """

    def forward(self, value: Tensor) -> Tensor:
        """Return the values, some of them zero and the others larger where this is a training."""
        dropped = round(256 * self.p)
        if not self.training or not 0 < dropped < 256:
            return value
        eighth = (value.numel() + 7) // 8
        words = torch.empty(eighth, dtype=torch.int64, device=value.device)
        byte = words.random_(-(2**63), None).view(torch.uint8)[: value.numel()].view(value.shape)
        return value * (byte >= dropped).to(value.dtype).mul_(256 / (256 - dropped))


class FusionBlock(nn.Module):
    """Takes a group's vector into the state: h + e + a * W2 relu(W1 [LN(h); e]), then blocks.

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
            Dropout(config.dropout),
            nn.Linear(width, width),
        )
        self.strength = nn.Parameter(torch.tensor(0.1))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 2 * width),
                nn.ReLU(),
                Dropout(config.dropout),
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
    """Stages in the groups' order: base log-odds plus increments 1..g are the logit of prefix g.

    Shape: numbers [B, N], missing [B, N], codes [B, C] -> increments [B, K].

    >>> import numpy as np, pyarrow as pa
    >>> from features.declarations import Group, fact
    >>> table = pa.table({"paid": [1.0, 20.0, 300.0]})
    >>> features = (fact("paid", "amount", ""),)
    >>> groups = [Group(name="amount", meaning="", needs=(), features=features)]
    >>> encoder = Encoder.fit(table, groups)
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
        for stage in range(len(self.facts)):
            vector = self.vector(stage, numbers, missing, codes)
            vector = vector if scales is None else vector.unsqueeze(1) * scales[stage]
            states.append(self.inject(stage, states[-1] if states else vector, vector))
        return states

    def increments(self, states: Sequence[Tensor]) -> Tensor:
        """What each stage adds to the log-odds, [B, K], by its state."""
        return torch.stack(
            [head(state) for head, state in zip(self.heads, states, strict=True)], dim=1
        )

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take in the weights of a file: one of format 4 knows no bounds of numbers.

        Raises RuntimeError where they are of another network.
        """
        known = dict(weights)
        for name, module in self.named_modules():
            if isinstance(module, Columns) and f"{name}.low" not in known:
                known[f"{name}.low"], known[f"{name}.high"] = module.beyond()
        self.load_state_dict(known)

    @torch.no_grad()
    def weigh(self, weights: Sequence[float], shift: float) -> None:
        """Take each stage's increment so many times, and move the base by so many log-odds."""
        for head, weight in zip(self.heads, weights, strict=True):
            last = cast(Head, head).last
            last.weight.mul_(weight)
            last.bias.mul_(weight)
        self.base_logit.add_(shift)

    def increment(
        self, stage: int, before: Tensor, numbers: Tensor, missing: Tensor, codes: Tensor
    ) -> Tensor:
        """What a stage would add without dropout, [B], by the state before it."""
        with without_dropout(self.facts[stage], *self.injections[stage - 1 : stage]):
            state = self.inject(stage, before, self.vector(stage, numbers, missing, codes))
        increment: Tensor = self.heads[stage](state)
        return increment

    def vector(self, stage: int, numbers: Tensor, missing: Tensor, codes: Tensor) -> Tensor:
        """A stage's group as a vector, [B, D]."""
        own, texts = self.numbers[stage], self.codes[stage]
        vector: Tensor = self.facts[stage](numbers[:, own], missing[:, own], codes[:, texts])
        return vector

    def inject(self, stage: int, state: Tensor, vector: Tensor) -> Tensor:
        """The state after a stage, [B, D], by the state before it and its group's vector.

        The first stage has no state before it, and takes whatever it is given for none.
        """
        known: Tensor = self.injections[stage - 1](state, vector) if stage else vector
        return known


@contextmanager
def without_dropout(*modules: nn.Module) -> Iterator[None]:
    """Compute as in scoring, and learn on afterwards where that was being done."""
    learning = [module for module in modules if module.training]
    for module in learning:
        module.eval()
    yield
    for module in learning:
        module.train()


def _slices(counts: Sequence[int]) -> list[slice]:
    ends = [sum(counts[: place + 1]) for place in range(len(counts))]
    return [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
