"""What each fact adds to its stage's increment: integrated gradients inside the stage.

A group's vector is linear in the codes of its facts: the way from a typical vector to the row's own
is a sum of one step a fact. The gradient of the stage's increment, averaged along that straight
way, weighs each step (Sundararajan, Taly and Yan 2017); the stages before stay as they are. With
the increment of the typical vector, the attributions add up to the row's increment.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.models.layered.network import GroupEncoder, LayeredNetwork
from pipeline.models.layered.tensors import Tensors

STEPS = 64  # points on the way


@dataclass(frozen=True, kw_only=True)
class StageAttributions:
    """What each fact of one stage adds to the log-odds, and the rest of its increment.

    Shape: facts [R, n + c] for the group's n numbers and c categories, rest [R]. The rest is what
    the stage would say of these rows if all the group's facts were typical, or absent where they
    are absent.
    """

    facts: Tensor
    rest: Tensor


def stage_attributions(
    network: LayeredNetwork, rows: Tensors, *, steps: int = STEPS
) -> list[StageAttributions]:
    """Attribute the increments of all stages to their facts.

    The typical fact is the middle of a number and the most frequent category.
    """
    network.eval()
    found, state = [], torch.empty(0)
    for stage, facts in enumerate(network.facts):
        assert isinstance(facts, GroupEncoder)  # noqa: S101 - a ModuleList forgets what it holds
        own, texts = network.numbers[stage], network.codes[stage]
        with torch.no_grad():
            numbers, missing, codes = (
                rows.numbers[:, own],
                rows.missing[:, own],
                rows.codes[:, texts],
            )
            vector = facts(numbers, missing, codes)
            typical, moves = facts.from_typical(numbers, missing, codes)
            before = state
            state = network.inject(stage, before, vector)
        found.append(_attributions_of(network, stage, before, typical, moves, steps))
    return found


def _attributions_of(
    network: LayeredNetwork, stage: int, before: Tensor, typical: Tensor, moves: Tensor, steps: int
) -> StageAttributions:
    """Attributions of one stage: the way begins at `typical` [R, D].

    Shape: `moves` [R, n + c, D], which add up to the way.
    """
    way = moves.sum(dim=1)
    gradient = torch.zeros_like(typical)
    for step in range(steps):
        point = (typical + (step + 0.5) / steps * way).requires_grad_()
        increment = network.heads[stage](network.inject(stage, before, point))
        (slope,) = torch.autograd.grad(increment.sum(), point)
        gradient += slope / steps
    with torch.no_grad():
        rest = network.heads[stage](network.inject(stage, before, typical))
        attributions = (moves * gradient.unsqueeze(1)).sum(dim=2)
        whole = network.heads[stage](network.inject(stage, before, typical + way)) - rest
        return StageAttributions(facts=attributions + _missed(attributions, whole), rest=rest)


def _missed(attributions: Tensor, whole: Tensor) -> Tensor:
    """What the points miss of the whole, in proportion to the attributions.

    Where the way has a kink they miss some hundredths at most.
    """
    size = attributions.abs()
    return (
        (whole - attributions.sum(dim=1)).unsqueeze(1)
        * size
        / size.sum(dim=1, keepdim=True).clamp_min(1e-12)
    )
