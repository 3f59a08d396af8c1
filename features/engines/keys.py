"""Keys as whole numbers from 0 on, the same for the same values: told apart by the values.

A missing value makes a key unknown, -1.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.engines import kernels
from features.engines.arrays import Codes


class Values:
    """The values of columns that are compared with one another, numbered as they are met."""

    def __init__(self) -> None:
        self._known: pa.Array | None = None

    def number(self, encoded: Sequence[pa.DictionaryArray]) -> Codes:
        """Return the numbers of a column's `encoded` values, -1 for null: int32, [rows]."""
        met = [_wide(one.dictionary) for one in encoded]
        if self._known is not None:
            met = [self._known, *met]
        together = pa.concat_arrays(met).dictionary_encode()
        self._known = together.dictionary
        places = together.indices.to_numpy()
        begins = np.cumsum([0, *map(len, met)])[-len(encoded) - 1 :]
        return np.concatenate(
            [
                _placed(one, places[begin:end])
                for one, (begin, end) in zip(encoded, pairwise(begins), strict=True)
            ]
        )


class Tuples:
    """The keys of one column or several, numbered by the numbers of their columns' values."""

    def __init__(self) -> None:
        self._met: list[tuple[np.ndarray, np.ndarray, int]] = []
        self.count = 0

    def number(self, columns: Sequence[Codes]) -> Codes:
        """Number the keys of a list's own rows: int32, [rows]; `count` says how many there are."""
        codes, *others = columns
        self.count = int(codes.max(initial=-1)) + 1
        for other in others:
            packed = kernels.pack(codes, other)
            slots = np.zeros(_slots(packed.size), np.int32)
            known = np.empty(packed.size, np.int64)
            codes, self.count = kernels.tell_apart(packed, slots, known)
            self._met.append((slots, known[: self.count].copy(), self.count))
        return codes

    def find(self, columns: Sequence[Codes]) -> Codes:
        """The numbers of other columns' keys among them; one above all where there is none such."""
        codes, *others = columns
        for other, (slots, known, count) in zip(others, self._met, strict=True):
            codes = kernels.find_among(kernels.pack(codes, other), slots, known, count)
        return codes


def joined(pairs: Sequence[Sequence[str]]) -> dict[str, frozenset[str]]:
    """The names that are compared with one another, directly or by others, for each name.

    >>> sorted(joined([("account_id", "counterparty_id"), ("device_id",)])["counterparty_id"])
    ['account_id', 'counterparty_id']
    """
    found: dict[str, frozenset[str]] = {}
    for names in pairs:
        for name in names:
            found.setdefault(name, frozenset({name}))
        for one, other in pairwise(names):
            both = found[one] | found[other]
            found |= dict.fromkeys(both, both)
    return found


def encoded(column: pa.ChunkedArray) -> list[pa.DictionaryArray]:
    """Keep each value of a piece of a column once."""
    if pa.types.is_floating(column.type):
        one_nan = pa.scalar(np.nan, column.type)  # there are many, alike to SQL
        column = pc.if_else(pc.is_nan(column), one_nan, pc.add(column, 0.0))  # and -0 is 0
    chunks: list[pa.DictionaryArray] = column.dictionary_encode().chunks
    return chunks or [pa.array([], column.type).dictionary_encode()]


def _wide(values: pa.Array) -> pa.Array:
    """Texts with offsets of 64 bits: all of a history may be more than 2 GB."""
    return values.cast(pa.large_string()) if pa.types.is_string(values.type) else values


def _placed(encoded: pa.DictionaryArray, places: np.ndarray) -> Codes:
    """The numbers of values from their places in a dictionary, whose values have numbers."""
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    numbers: Codes = np.append(places, -1).astype(np.int32)[indices]
    return numbers


def _slots(values: int) -> int:
    """A power of two, so that at most half of the slots are taken."""
    return 1 << (2 * max(values, 1) - 1).bit_length()
