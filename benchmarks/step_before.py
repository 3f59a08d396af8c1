"""Release 0.1's training step as it was, so that today's is measured beside it.

Network, losses, penalty and optimiser are frozen copies. What a fact is and where known frauds
stand is read from today's encoder: it is not timed.
"""

from collections.abc import Sequence

import torch
from rtdl_num_embeddings import PiecewiseLinearEncoding
from torch import Tensor, nn
from torch.nn import functional

from features.encoder import Encoder, GroupCode
from features.known_fraud import PRIOR_FRAUDS
from pipeline.models.layered.monotonicity import KnownFraud, known_frauds
from pipeline.models.layered.tensors import Tensors

WIDTH, HEAD_WIDTH, CATEGORY_WIDTH = 64, 32, 8
DROPOUT, GROUP_DROPOUT = 0.1, 0.1
READER_WEIGHT, ASKED_SHARE, MOST_FURTHER, PENALTY_WEIGHT = 0.1, 4, 4, 20.0


class StepBefore:
    """One training step of release 0.1: forward, losses, penalty, backward, clipping, AdamW."""

    def __init__(
        self, encoder: Encoder, *, base_logit: float, learning_rate: float, weight_decay: float
    ) -> None:
        self.network = Network(encoder, base_logit=base_logit).train()
        self.reader = nn.Linear(WIDTH, 1)
        self.keys = known_frauds(encoder)
        self.learning = [*self.network.parameters(), *self.reader.parameters()]
        self.optimiser = torch.optim.AdamW(
            self.learning, lr=learning_rate, weight_decay=weight_decay, fused=True
        )
        stages = len(self.network.heads)
        self.weights = torch.tensor([0.15] * (stages - 2) + [0.3, 1.0][-stages:])

    def __call__(self, batch: Tensors, *, penalised: bool) -> None:
        """Learn from a batch; every second one was penalised."""
        self.optimiser.zero_grad()
        states = self.network.states(batch.numbers, batch.missing, batch.codes)
        losses = _stage_losses(self.network.increments(states), self.network.base_logit, batch.y)
        read = _stage_losses(self.reader(states[-1]), self.network.base_logit, batch.y)
        loss = (losses * self.weights).sum() + READER_WEIGHT * read.sum()
        if penalised and self.keys:
            loss = loss + _penalty(self.network, self.keys, batch)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.learning, 1.0)
        self.optimiser.step()


class Network(nn.Module):
    """The layered network of release 0.1.

    Shape: numbers [B, N], missing [B, N], codes [B, C] -> increments [B, K].
    """

    base_logit: Tensor

    def __init__(self, encoder: Encoder, *, base_logit: float) -> None:
        super().__init__()
        self.register_buffer("base_logit", torch.tensor(base_logit))
        self.numbers = _slices([len(group.numbers) for group in encoder.groups])
        self.codes = _slices([len(group.categories) for group in encoder.groups])
        self.facts = nn.ModuleList(Facts(group) for group in encoder.groups)
        self.injections = nn.ModuleList(Injection() for _ in encoder.groups[1:])
        self.heads = nn.ModuleList(Head() for _ in encoder.groups)

    def forward(self, numbers: Tensor, missing: Tensor, codes: Tensor) -> Tensor:
        """Return what each stage adds to the log-odds of each row."""
        return self.increments(self.states(numbers, missing, codes))

    def states(self, numbers: Tensor, missing: Tensor, codes: Tensor) -> list[Tensor]:
        """What is known of each row after each stage, each [B, D]."""
        states: list[Tensor] = []
        for stage, facts in enumerate(self.facts):
            own, texts = self.numbers[stage], self.codes[stage]
            vector = facts(numbers[:, own], missing[:, own], codes[:, texts])
            states.append(self.injections[stage - 1](states[-1], vector) if stage else vector)
        return states

    def increments(self, states: Sequence[Tensor]) -> Tensor:
        """What each stage adds to the log-odds, [B, K]."""
        return torch.stack(
            [head(state) for head, state in zip(self.heads, states, strict=True)], dim=1
        )


class Facts(nn.Module):
    """One group's facts as a vector: numbers [B, n], missing [B, n], codes [B, c] -> [B, D]."""

    middle: Tensor
    spread: Tensor

    def __init__(self, code: GroupCode) -> None:
        super().__init__()
        knots = [torch.tensor(number.knots) for number in code.numbers]
        self.pieces = PiecewiseLinearEncoding(knots) if knots else None
        self.embeddings = nn.ModuleList(
            nn.Embedding(len(category.vocabulary) + 2, CATEGORY_WIDTH)
            for category in code.categories
        )
        self.register_buffer("middle", torch.tensor([number.middle for number in code.numbers]))
        self.register_buffer("spread", torch.tensor([number.spread for number in code.numbers]))
        pieces = sum(len(number.knots) - 1 for number in code.numbers)
        self.linear = nn.Linear(
            pieces + CATEGORY_WIDTH * len(code.categories) + 2 * len(code.numbers), WIDTH
        )
        self.absent = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, numbers: Tensor, missing: Tensor, codes: Tensor) -> Tensor:
        """Return the group's vector for each row."""
        vector = self.linear(self._coded(numbers, missing, codes))
        present = (missing < 1).any(dim=1, keepdim=True) | (codes > 0).any(dim=1, keepdim=True)
        if self.training:
            present = present & (torch.rand_like(vector[:, :1]) >= GROUP_DROPOUT)
        return torch.where(present, vector, self.absent)

    def _coded(self, numbers: Tensor, missing: Tensor, codes: Tensor) -> Tensor:
        parts = [embedding(codes[:, place]) for place, embedding in enumerate(self.embeddings)]
        if self.pieces is not None:
            filled = torch.where(missing > 0, self.middle, numbers)
            parts += [self.pieces(filled), (filled - self.middle) / self.spread, missing]
        return torch.cat(parts, dim=1)


class Injection(nn.Module):
    """Takes a group's vector into the state: [B, D], [B, D] -> [B, D]."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.mix = nn.Sequential(
            nn.Linear(2 * WIDTH, WIDTH), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(WIDTH, WIDTH)
        )
        self.strength = nn.Parameter(torch.tensor(0.1))

    def forward(self, state: Tensor, vector: Tensor) -> Tensor:
        """Return the state that knows the group."""
        return (
            state + vector + self.strength * self.mix(torch.cat([self.norm(state), vector], dim=-1))
        )


class Head(nn.Module):
    """What a stage adds to the log-odds: [B, D] -> [B]."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.hidden = nn.Linear(WIDTH, HEAD_WIDTH)
        self.last = nn.Linear(HEAD_WIDTH, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, state: Tensor) -> Tensor:
        """Return the increment of each row."""
        increment: Tensor = self.last(functional.relu(self.hidden(self.norm(state))))
        return increment.squeeze(1)


def _slices(counts: Sequence[int]) -> list[slice]:
    ends = [sum(counts[: place + 1]) for place in range(len(counts))]
    return [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]


def _stage_losses(increments: Tensor, base_logit: Tensor, y: Tensor) -> Tensor:
    logits = base_logit + increments.cumsum(dim=-1)
    truth = y.reshape(-1, *[1] * (logits.dim() - 1)).expand_as(logits)
    losses = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return losses.flatten(end_dim=-2).mean(dim=0)


def _penalty(network: Network, keys: Sequence[KnownFraud], batch: Tensors) -> Tensor:
    rows = Tensors(*(part[::ASKED_SHARE] for part in batch))
    count, device = rows.row_count, batch.y.device
    key = torch.randint(len(keys), (count,)).to(device)
    already, days = torch.randint(MOST_FURTHER, (count,)).to(device), torch.rand(count).to(device)
    before, after, stages = [], [], []
    for number, known in enumerate(keys):
        own = torch.nonzero((key == number) & (rows.missing[:, known.run] < 1)).squeeze(1)
        some = rows.rows(own)
        before.append(_with_more(known, some, already[own], days[own]))
        after.append(_with_more(known, some, already[own] + 1, days[own]))
        stages += [known.stage] * len(own)
    if not stages:
        return torch.zeros((), device=device)
    both = Tensors(*(torch.cat(columns) for columns in zip(*before, *after, strict=True)))
    network.eval()
    increments = network(both.numbers, both.missing, both.codes)
    network.train()
    own_stage = increments.gather(1, torch.tensor(stages * 2, device=device).unsqueeze(1)).squeeze(
        1
    )
    return PENALTY_WEIGHT * functional.relu(torch.sub(*own_stage.chunk(2))).mean()


def _with_more(known: KnownFraud, rows: Tensors, further: Tensor, days: Tensor) -> Tensors:
    numbers, missing, some = rows.numbers.clone(), rows.missing.clone(), further > 0
    each = further.unsqueeze(1)
    counts = torch.expm1(numbers[:, known.frauds])
    labels = (counts + PRIOR_FRAUDS) / torch.expm1(numbers[:, known.rates])
    more = counts + each
    numbers[:, known.frauds] = torch.log1p(more)
    numbers[:, known.rates] = torch.log1p((more + PRIOR_FRAUDS) / (labels + each))
    numbers[:, known.run] = torch.log1p(torch.expm1(numbers[:, known.run]) + further)
    before = torch.where(missing[:, known.days] > 0, torch.inf, numbers[:, known.days])
    numbers[:, known.days] = torch.where(
        some, torch.minimum(before, torch.log1p(days)), numbers[:, known.days]
    )
    missing[:, known.days] = missing[:, known.days].masked_fill(some, 0)
    return rows._replace(numbers=numbers, missing=missing)
