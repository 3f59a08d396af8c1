"""One network as a program of torch.export (.pt2)."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from pipeline.models.layered.network import LayeredNetwork


def write_program(network: LayeredNetwork, file: Path) -> None:
    """Write a network as a torch.export program (.pt2) for batches of any size.

    It holds JSON and raw weights, no pickle.
    """
    numbers, codes = (
        torch.zeros(2, network.numbers[-1].stop),
        torch.zeros(2, network.codes[-1].stop, dtype=torch.int64),
    )
    rows = ({0: torch.export.Dim.DYNAMIC},) * 3
    program = torch.export.export(
        network.eval(), (numbers, numbers.clone(), codes), dynamic_shapes=rows
    )
    program.example_inputs = None  # they alone would be pickled
    torch.export.save(program, file)


def read_program(file: Path) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """What `write_program` wrote.

    Shape: numbers [B, N], missing [B, N], codes [B, C] -> increments [B, K].
    """
    return torch.export.load(file).module()
