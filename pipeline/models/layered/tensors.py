"""Features as tensors in memory: batches to learn from, and blocks to be scored."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed

from features.encoder import Encoded
from pipeline.models.layered.ensemble import Members
from pipeline.models.layered.network import LayeredNetwork

SCORE_ROWS = 4_096  # what is between the layers stays in the processor's cache
GPU_ROWS, GPU_THREADS = 65_536, 2  # a GPU waits for each block; one is on the way meanwhile


class Tensors(NamedTuple):
    """Rows as tensors: numbers [R, N], missing [R, N], codes [R, C], y [R] (0 or 1)."""

    numbers: Tensor
    missing: Tensor
    codes: Tensor
    y: Tensor

    @classmethod
    def of(cls, encoded: Encoded, y: "Tensor") -> "Tensors":
        """Share the arrays' memory."""
        arrays = (encoded.numbers, encoded.missing, encoded.codes)
        numbers, missing, codes = map(torch.from_numpy, arrays)
        return cls(numbers=numbers, missing=missing, codes=codes, y=y)

    def rows(self, index: Tensor) -> "Tensors":
        """Return some of the rows."""
        return Tensors(
            numbers=self.numbers[index],
            missing=self.missing[index],
            codes=self.codes[index],
            y=self.y[index],
        )

    def to(self, device: str) -> "Tensors":
        """The rows in the memory of a device."""
        return Tensors(*(part.to(device) for part in self))

    def blocks(self, size: int = SCORE_ROWS) -> Iterator["Tensors"]:
        """All rows in their order, so many at a time as are scored at once."""
        for start in range(0, self.row_count, size):
            yield Tensors(*(part[start : start + size] for part in self))

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return len(self.y)


def increments_of(network: LayeredNetwork | Members, rows: Tensors) -> npt.NDArray[np.float64]:
    """Return the increments [R, K] of all rows, computed in blocks and without dropout.

    Each core computes blocks of its own: threads that share one wait for each other.
    """
    was_training, device = network.training, network.base_logit.device
    network.eval()

    def score(block: Tensors) -> Tensor:
        with torch.inference_mode():
            increments: Tensor = network(*_columns(block, device))
            return increments.double().cpu()

    on_gpu = device.type == "cuda"
    size, workers = (GPU_ROWS, GPU_THREADS) if on_gpu else (SCORE_ROWS, os.cpu_count())
    with ThreadPoolExecutor(workers, initializer=_take_one_core) as threads:
        blocks = list(threads.map(score, rows.blocks(size)))
    network.train(was_training)
    return torch.cat(blocks).numpy() if blocks else np.empty((0, len(network.heads)))


def _take_one_core() -> None:
    torch.set_num_threads(1)  # of this thread alone


def _columns(rows: Tensors, device: torch.device) -> list[Tensor]:
    """What a network takes of the rows, where it computes."""
    return [part.to(device) for part in (rows.numbers, rows.missing, rows.codes)]


class Batches:
    """All rows once an epoch, in an order drawn by seed and epoch.

    The last, smaller batch is dropped.
    Of several processes that train together each takes its share of every batch.
    """

    def __init__(self, tensors: Tensors, *, size: int, seed: int, epoch: Callable[[], int]) -> None:
        self.tensors, self.size, self.seed, self.epoch = tensors, size, seed, epoch

    def __len__(self) -> int:
        return max(1, self.tensors.row_count // self.size)

    def __iter__(self) -> Iterator[Tensors]:
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.epoch()))
        order = torch.randperm(self.tensors.row_count, generator=generator).to(
            self.tensors.y.device
        )
        rank, processes = (
            (distributed.get_rank(), distributed.get_world_size())
            if distributed.is_initialized()
            else (0, 1)
        )
        for batch in range(len(self)):
            yield self.tensors.rows(
                order[batch * self.size : (batch + 1) * self.size][rank::processes]
            )


def seed_of(seed: int, epoch: int) -> int:
    """The seed of an epoch: a training that goes on there draws what it would have drawn.

    >>> seed_of(3, 0), seed_of(3, 1) == seed_of(4, 0)
    (3, False)
    """
    return seed + 1_000_003 * epoch
