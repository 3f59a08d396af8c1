"""Carrying what a network knows to other inputs: a group grafted on, or another portfolio.

What both know keeps its weights. What is new says nothing before it has learned: of a fact the
weights are zero, of a stage the head. What is gone counts as missing, as it would have in a row
that lacks it; a stage that is gone is left out.
"""

from collections.abc import Mapping
from typing import cast

import torch

from features.encoder import CategoryCode, Encoder, GroupCode, NumberCode
from pipeline.models.layered.network import GroupEncoder, LayeredNetwork, NetworkConfig


def transfer_weights(
    network: LayeredNetwork, known: Encoder, wanted: Encoder, *, shape: NetworkConfig, seed: int
) -> LayeredNetwork:
    """A network for the groups of `wanted` that knows of them what `network` learned by `known`.

    Both are of one shape. Raises ValueError where the two have no group in common, or the groups
    they have in another order.
    """
    old = {group.name: place for place, group in enumerate(known.groups)}
    shared = [old[group.name] for group in wanted.groups if group.name in old]
    if not shared or shared != sorted(shared):
        names = ", ".join(group.name for group in wanted.groups)
        raise ValueError(
            f"the groups {names} share none with the network's {', '.join(old)}, "
            "or in another order; keep its order"
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        grown = LayeredNetwork(wanted, base_logit=float(network.base_logit), config=shape)
    for place, group in enumerate(wanted.groups):
        if group.name in old:
            before = old[group.name]
            _transfer_group(network, grown, before, place, known.groups[before], group)
            grown.heads[place].load_state_dict(network.heads[before].state_dict())
            if place and before:
                grown.injections[place - 1].load_state_dict(
                    network.injections[before - 1].state_dict()
                )
    return grown.eval()


def transfer_encoder(known: Encoder, fitted: Encoder) -> Encoder:
    """The groups of `fitted`, those that `known` has first and in its order.

    What `known` learned of a fact stays as it is.
    """
    here = {group.name: group for group in fitted.groups}
    order = [group.name for group in known.groups if group.name in here]
    order += [group.name for group in fitted.groups if group.name not in order]
    before = {group.name: group for group in known.groups}
    return Encoder(groups=tuple(_codes(before.get(name), here[name]) for name in order))


def _codes(known: GroupCode | None, fitted: GroupCode) -> GroupCode:
    if known is None:
        return fitted
    numbers = {code.name: code for code in known.numbers}
    categories = {code.name: code for code in known.categories}
    return GroupCode(
        name=fitted.name,
        numbers=tuple(numbers.get(code.name, code) for code in fitted.numbers),
        categories=tuple(categories.get(code.name, code) for code in fitted.categories),
    )


@torch.no_grad()
def _transfer_group(
    network: LayeredNetwork,
    grown: LayeredNetwork,
    before: int,
    place: int,
    known: GroupCode,
    wanted: GroupCode,
) -> None:
    """Copy what the linear layer has of the facts both know.

    A row that lacks those that are gone gives the same vector.
    """
    old, new = cast(GroupEncoder, network.facts[before]), cast(GroupEncoder, grown.facts[place])
    own, theirs = _places(new, wanted), _places(old, known)
    new.linear.weight.zero_()
    for code, columns in own.items():
        if code in theirs:
            new.linear.weight[:, columns] = old.linear.weight[:, theirs[code]]
    tables = dict(zip(known.categories, old.embeddings, strict=True))
    for code, table in zip(wanted.categories, new.embeddings, strict=True):
        if code in tables:
            table.load_state_dict(tables[code].state_dict())
    lacking = old.coded(*_nothing(known))[0]
    gone = [
        column for code, columns in theirs.items() if code not in own for column in columns.tolist()
    ]
    new.linear.bias.copy_(old.linear.bias + old.linear.weight[:, gone] @ lacking[gone])
    new.absent.copy_(old.absent)


def _places(
    facts: GroupEncoder, group: GroupCode
) -> Mapping[NumberCode | CategoryCode, torch.Tensor]:
    return dict(zip((*group.numbers, *group.categories), facts.places(), strict=True))


def _nothing(group: GroupCode) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A row without any fact of a group."""
    numbers = torch.zeros(1, len(group.numbers))
    return (
        numbers,
        torch.ones_like(numbers),
        torch.zeros(1, len(group.categories), dtype=torch.int64),
    )
