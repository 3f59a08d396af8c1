"""Features as tensors in memory, and batches of them: one indexing operation a batch, no row-by-row data set."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from features.encode import Encoded


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
        return Tensors(numbers=self.numbers[index], missing=self.missing[index], codes=self.codes[index], y=self.y[index])

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return len(self.y)


@dataclass(frozen=True)
class Batches:
    """All rows once an epoch in a seeded random order; the last, smaller batch is dropped."""

    tensors: Tensors
    size: int
    generator: torch.Generator

    def __len__(self) -> int:
        return max(1, self.tensors.row_count // self.size)

    def __iter__(self) -> Iterator[Tensors]:
        order = torch.randperm(self.tensors.row_count, generator=self.generator)
        for batch in range(len(self)):
            yield self.tensors.rows(order[batch * self.size : (batch + 1) * self.size])
