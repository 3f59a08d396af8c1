"""Learning without labels: the network learns to tell masked facts from the other ones.

Masked modelling (Devlin et al. 2019) on tables: a number is told by the interval of knots it lies
in, a category by its code.
"""

import math
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from features.encoder import MISSING, Encoded, Encoder
from pipeline.models.layered.network import LayeredNetwork
from pipeline.models.layered.tensors import Batches, Tensors
from pipeline.models.layered.training import TrainConfig

MASKED_SHARE = 0.3  # of the facts of a row
# share of the rows that also lose a whole group: it is told from the other groups alone
MASKED_GROUPS = 0.5


class Decoders(nn.Module):
    """What the facts of a row may be, and how likely each is, by the state behind the last stage.

    A number's classes are the intervals that begin at its knots, the last being "as much as ever
    seen, or more", and behind them missing; a category's are its codes. They serve learning and the
    anomaly score, and are no part of a bundle.

    Shape: states [B, D] -> log-probabilities of the numbers' classes [B, N, most], and of each
    category's codes [B, its codes].
    """

    begins: Tensor
    has_class: Tensor
    group_of: Tensor

    def __init__(self, encoder: Encoder, *, width: int) -> None:
        super().__init__()
        numbers = [number for group in encoder.groups for number in group.numbers]
        categories = [category for group in encoder.groups for category in group.categories]
        most = max((len(number.knots) for number in numbers), default=1)
        begins = torch.full((len(numbers), most - 1), torch.inf)
        for place, number in enumerate(numbers):
            begins[place, : len(number.knots) - 1] = torch.tensor(number.knots[1:])
        self.register_buffer("begins", begins)
        missing = torch.ones(len(numbers), 1, dtype=torch.bool)
        self.register_buffer("has_class", torch.cat([missing, begins.isfinite(), missing], dim=1))
        owners = [place for place, group in enumerate(encoder.groups) for _ in group.numbers]
        owners += [place for place, group in enumerate(encoder.groups) for _ in group.categories]
        self.register_buffer("group_of", torch.tensor(owners))
        self.read = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU())
        self.numbers = nn.Linear(2 * width, self.has_class.numel())
        self.categories = nn.ModuleList(
            nn.Linear(2 * width, len(category.vocabulary) + 2) for category in categories
        )

    def forward(self, state: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the log-probabilities."""
        read = self.read(state)
        numbers = (
            self.numbers(read)
            .unflatten(1, self.has_class.shape)
            .masked_fill(~self.has_class, -torch.inf)
        )
        return numbers.log_softmax(dim=2), [
            category(read).log_softmax(dim=1) for category in self.categories
        ]

    def classes(self, numbers: Tensor, missing: Tensor) -> Tensor:
        """The class of each number, [B, N]: its interval, or the last where it is missing."""
        interval = (numbers.unsqueeze(2) >= self.begins).sum(dim=2)
        return torch.where(missing > 0, self.has_class.shape[1] - 1, interval)

    def surprise(self, state: Tensor, rows: Tensors) -> Tensor:
        """-log p of each fact being what it is, numbers before categories, [B, N + C]."""
        numbers, categories = self(state)
        classes = self.classes(rows.numbers, rows.missing).unsqueeze(2)
        told = [
            codes.gather(1, rows.codes[:, place : place + 1])
            for place, codes in enumerate(categories)
        ]
        return -torch.cat([numbers.gather(2, classes).squeeze(2), *told], dim=1)


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A network that knows how facts go together, its heads at zero, its decoders, its losses."""

    network: LayeredNetwork
    decoders: Decoders
    losses: tuple[float, ...]

    def at_rate(self, rate: float) -> LayeredNetwork:
        """The network to start `train_layered` from once labels tell the rate of frauds.

        Every score begins at the rate's log-odds.
        Raises ValueError where the rate is not between 0 and 1.
        """
        if not 0 < rate < 1:
            raise ValueError(
                f"the rate of frauds must lie between 0 and 1, not be {rate}; "
                "take it from the labels there are"
            )
        network = deepcopy(self.network)
        network.base_logit.fill_(math.log(rate / (1 - rate)))
        return network


def pretrain(encoder: Encoder, encoded: Encoded, *, config: TrainConfig, seed: int) -> Pretrained:
    """Learn from rows without labels how their facts go together.

    `at_rate` makes of it a network to start `train_layered` from.
    Optimiser and schedule are those of `train_layered`; nothing is held out, and the last weights
    are kept. The network's heads are at zero, and so are its base log-odds, as no rate of frauds is
    known yet. Raises ValueError where there is no row.
    """
    rows = Tensors.of(encoded, torch.zeros(len(encoded.numbers)))
    if not rows.row_count:
        raise ValueError("there are 0 rows to learn from without labels; take a longer span")
    with torch.random.fork_rng():
        # weights, masks and dropouts draw from torch's one generator; the caller gets it back
        torch.manual_seed(seed)
        network = LayeredNetwork(encoder, base_logit=0.0, config=config.network)
        decoders = Decoders(encoder, width=config.network.width)
        losses = _learn(network, decoders, rows, config, seed)
    return Pretrained(network=network.eval(), decoders=decoders.eval(), losses=losses)


def _learn(
    network: LayeredNetwork, decoders: Decoders, rows: Tensors, config: TrainConfig, seed: int
) -> tuple[float, ...]:
    """Lower the mean surprise at the masked facts; returns it by epoch."""
    weights = [*network.parameters(), *decoders.parameters()]
    rate = config.learning_rate(rows.row_count)
    optimiser = torch.optim.AdamW(weights, lr=rate, weight_decay=config.weight_decay)
    epoch, size = 0, min(config.batch(rows.row_count), rows.row_count)
    batches = Batches(tensors=rows, size=size, seed=seed, epoch=lambda: epoch)
    # OneCycleLR needs two steps of warm-up
    steps = max(config.epochs * len(batches), math.ceil(2 / config.warm_up))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=steps, pct_start=config.warm_up
    )
    losses = []
    for epoch in range(config.epochs):  # noqa: B007 - the batches read it
        total = 0.0
        for batch in batches:
            hidden = draw_hidden(batch.row_count, decoders.group_of)
            surprise = decoders.surprise(network.states(*masked(batch, hidden)[:3])[-1], batch)
            loss = (surprise * hidden).sum() / hidden.sum().clamp(min=1)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        losses.append(total / len(batches))
    return tuple(losses)


def draw_hidden(rows: int, group_of: Tensor) -> Tensor:
    """Draw which facts are masked, [B, F]: a share of all, in some rows all of one group.

    `group_of`, [F], is each fact's group.
    """
    groups = int(group_of.max()) + 1
    group = torch.where(
        torch.rand(rows, 1) < MASKED_GROUPS, torch.randint(groups, (rows, 1)), groups
    ).to(group_of.device)
    return (torch.rand(rows, len(group_of), device=group_of.device) < MASKED_SHARE) | (
        group_of == group
    )


def masked(rows: Tensors, hidden: Tensor) -> Tensors:
    """The rows with facts hidden, [B, N + C]: they look as if they were missing."""
    numbers, codes = hidden[:, : rows.numbers.shape[1]], hidden[:, rows.numbers.shape[1] :]
    return rows._replace(
        numbers=rows.numbers.masked_fill(numbers, 0),
        missing=rows.missing.masked_fill(numbers, 1),
        codes=rows.codes.masked_fill(codes, MISSING),
    )
