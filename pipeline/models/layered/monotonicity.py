"""One more known fraud shall not speak for a payment: a penalty on what would fall by it.

What each row would look like if a further fraud of its retailer, receiver, address, device or
account became known is worked out, and the fall of that stage's increment is added to the loss
(counterfactual monotonicity; point-wise penalty of Gupta et al. 2019, "How to incorporate
monotonicity in deep networks while preserving flexibility"). Each number by itself stays free:
frauds long known may say that a spree is over.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from features.encoder import Encoder
from features.known_fraud import PRIOR_FRAUDS
from pipeline.models.layered.ensemble import Members
from pipeline.models.layered.network import LayeredNetwork
from pipeline.models.layered.tensors import Tensors

ASKED, SHARE = 2, 4  # every second batch is asked, of it every fourth row
FURTHER = 4  # so many further frauds, one after the other
WEIGHT = 20.0


@dataclass(frozen=True, kw_only=True)
class KnownFraud:
    """Where a key's numbers of `features.known_fraud` stand, and at which stage."""

    stage: int
    frauds: list[int]
    rates: list[int]
    run: int
    days: int

    def with_more(self, rows: Tensors, further: Tensor, *, days: Tensor) -> Tensors:
        """The rows as if so many `further` frauds of the key had become known `days` before.

        Shape: further [B], days [B], one day at most.
        """
        numbers, missing, some = rows.numbers.clone(), rows.missing.clone(), further > 0
        each = further.unsqueeze(1)
        counts = torch.expm1(numbers[:, self.frauds])
        labels = (counts + PRIOR_FRAUDS) / torch.expm1(numbers[:, self.rates])
        more = counts + each
        numbers[:, self.frauds] = torch.log1p(more)
        numbers[:, self.rates] = torch.log1p((more + PRIOR_FRAUDS) / (labels + each))
        numbers[:, self.run] = torch.log1p(torch.expm1(numbers[:, self.run]) + further)
        before = torch.where(missing[:, self.days] > 0, torch.inf, numbers[:, self.days])
        numbers[:, self.days] = torch.where(
            some, torch.minimum(before, torch.log1p(days)), numbers[:, self.days]
        )
        missing[:, self.days] = missing[:, self.days].masked_fill(some, 0)
        return rows._replace(numbers=numbers, missing=missing)

    def is_asked(self, rows: Tensors) -> Tensor:
        """Whether a row's key is known, [B]."""
        return rows.missing[:, self.run] < 1


def known_frauds(encoder: Encoder) -> list[KnownFraud]:
    """The keys whose known frauds the groups tell of."""
    names = [number.name for group in encoder.groups for number in group.numbers]
    place = {name: at for at, name in enumerate(names)}
    found = []
    for stage, group in enumerate(encoder.groups):
        own = [number.name for number in group.numbers]
        keys = [name.removesuffix("_fraud_run") for name in own if name.endswith("_fraud_run")]
        found += [known for key in keys if (known := _known_fraud(key, stage, own, place))]
    return found


def _known_fraud(
    key: str, stage: int, own: Sequence[str], place: Mapping[str, int]
) -> KnownFraud | None:
    """Where a key's numbers stand, if its group has them all."""
    counts = [name for name in own if re.fullmatch(rf"{key}_known_frauds_\w+", name)]
    rates = [name.replace("_known_frauds_", "_fraud_rate_") for name in counts]
    days = f"{key}_days_since_fraud"
    if not counts or not {*rates, days} <= set(own):
        return None
    return KnownFraud(
        stage=stage,
        frauds=[place[name] for name in counts],
        rates=[place[name] for name in rates],
        run=place[f"{key}_fraud_run"],
        days=place[days],
    )


def monotonicity_penalty(
    network: LayeredNetwork | Members,
    keys: Sequence[KnownFraud],
    batch: Tensors,
    states: Sequence[Tensor],
) -> Tensor:
    """How far an increment falls by one further fraud of a key that is drawn, in the rows' mean.

    Some of the rows have already got up to three further frauds, so that it holds for more than
    were ever seen. What is known before the key's stage, `states`, is the same with and without the
    further fraud, and learns nothing from it.
    """
    rows, device = Tensors(*(part[::SHARE] for part in batch)), batch.y.device
    known = keys[int(torch.randint(len(keys), ()))]
    already = torch.randint(FURTHER, (rows.row_count,)).to(device)
    days = torch.rand(rows.row_count).to(device)
    own = torch.nonzero(known.is_asked(rows)).squeeze(1)
    if not len(own):
        return torch.zeros((), device=device)
    twice, further = own.repeat(2), torch.cat([already[own], already[own] + 1])
    both = known.with_more(rows.rows(twice), further, days=days[twice])
    before = states[max(known.stage - 1, 0)].detach()[::SHARE][twice]
    increments = network.increment(known.stage, before, both.numbers, both.missing, both.codes)
    without, with_one_more = increments.chunk(2)
    return WEIGHT * functional.relu(without - with_one_more).mean()
