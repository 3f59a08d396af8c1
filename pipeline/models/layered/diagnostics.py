"""What goes on inside a layered network: partial dependence of its stages, their activations."""

from collections.abc import Mapping
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from pipeline.models.layered.model import Layered
from pipeline.models.layered.network import GroupEncoder, Head, LayeredNetwork
from pipeline.models.layered.tensors import Tensors

ROWS = 4096  # rows that activations are looked at on, at most


def partial_dependence(model: Layered) -> pd.DataFrame:
    """What a stage would add if one number went along its knots while all else stayed typical.

    One row a knot: stage, feature, value, increment (log-odds, the mean of the networks, above that
    of usual facts). TypicalRange are the middle of each number and the most frequent category.
    """
    found = []
    for stage, group in enumerate(model.encoder.groups):
        for place, number in enumerate(group.numbers):
            knots = torch.tensor(number.knots)
            curves = [_response(network, stage, place, knots) for network in model.networks]
            value = np.sign(number.knots) * np.expm1(np.abs(number.knots))
            curve = np.mean(curves, axis=0)
            found.append(
                pd.DataFrame(
                    {
                        "stage": group.name,
                        "feature": number.name,
                        "value": value,
                        "increment": curve,
                    }
                )
            )
    columns = ["stage", "feature", "value", "increment"]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)


@torch.no_grad()
def _response(
    network: LayeredNetwork, stage: int, place: int, knots: Tensor
) -> npt.NDArray[np.float32]:
    """The increments with a number at each of its knots, less that in its middle, [knots]."""
    rows = len(knots) + 1
    middles = torch.cat([cast(GroupEncoder, facts).middle for facts in network.facts]).repeat(
        rows, 1
    )
    middles[1:, network.numbers[stage].start + place] = knots
    usual = torch.tensor(
        [code for facts in network.facts for code in cast(GroupEncoder, facts).typical_codes],
        dtype=torch.int64,
    )
    increments = network(middles, torch.zeros_like(middles), usual.repeat(rows, 1))[:, stage]
    return np.asarray((increments[1:] - increments[0]).numpy())


@torch.no_grad()
def activations(models: Mapping[str, Layered], rows: Tensors) -> pd.DataFrame:
    """How active each stage of some models is on the same rows, so that settings can be compared.

    One row a model, network and stage: the mean size of what the state gains (|h_g - h_(g-1)|), the
    share of the head's units that are above zero in the mean, and the share that never are.
    """
    at = slice(0, ROWS)
    found = []
    for name, model in models.items():
        for number, network in enumerate(model.networks):
            states = network.states(rows.numbers[at], rows.missing[at], rows.codes[at])
            before = torch.zeros_like(states[0])
            for stage, (state, head) in enumerate(zip(states, network.heads, strict=True)):
                own = cast(Head, head)
                units = own.hidden(own.norm(state)) > 0
                found.append(
                    {
                        "model": name,
                        "network": number,
                        "stage": model.encoder.groups[stage].name,
                        "gain": float((state - before).abs().mean()),
                        "active": float(units.float().mean()),
                        "dead": float((~units).all(dim=0).float().mean()),
                    }
                )
                before = state
    return pd.DataFrame(found)
