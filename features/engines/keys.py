"""Keys as whole numbers from 0 on, the same for the same values: told apart by the values.

A missing value makes a key unknown, -1. The loops are compiled like those of
`features.engines.kernels`.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.engines.arrays import Bytes, Codes, Moments, Positions
from features.engines.kernels import compiled
from features.state.files import StateError

Kind = TypeVar("Kind", bound=np.generic)
Slots: TypeAlias = Positions  # a table that finds values by their hashes

BITS = 11  # of a number that are sorted at a time
DIGITS = 1 << BITS


class Values:
    """The values of columns that are compared with one another, numbered as they are met."""

    def __init__(self, known: pa.Array | None = None, slots: Slots | None = None) -> None:
        self._known, self._slots = known, slots

    def number(self, encoded: Sequence[pa.DictionaryArray]) -> Codes:
        """Return the numbers of a column's `encoded` values, -1 for null: int32, [rows]."""
        met = [wide(one.dictionary) for one in encoded]
        if self._known is not None:
            met = [self._known, *met]
        together = pa.concat_arrays(met).dictionary_encode()
        self._known, self._slots = together.dictionary, None
        places = together.indices.to_numpy()
        begins = np.cumsum([0, *map(len, met)])[-len(encoded) - 1 :]
        return np.concatenate(
            [
                _placed(one, places[begin:end])
                for one, (begin, end) in zip(encoded, pairwise(begins), strict=True)
            ]
        )

    def find(self, encoded: Sequence[pa.DictionaryArray]) -> Codes:
        """The numbers of a column's values among those that were met; one above all for another.

        Raises StateError where they are of another type.
        """
        known, slots = self.indexed()
        kinds = {wide(one.dictionary).type for one in encoded} - {known.type}
        if kinds:
            raise StateError(f"values of a key are {kinds.pop()}, and were {known.type}")
        begins, data = bytes_of(known)
        return np.concatenate(
            [
                _placed(one, find_texts(*bytes_of(wide(one.dictionary)), begins, data, slots))
                for one in encoded
            ]
        )

    def indexed(self) -> tuple[pa.Array, Slots]:
        """The values by their numbers, and the table that finds them."""
        known = pa.array([], pa.null()) if self._known is None else self._known
        if self._slots is None:
            self._slots = np.zeros(_size(len(known)), np.int32)
            index_texts(*bytes_of(known), self._slots)
        return known, self._slots


class Tuples:
    """The keys of one column or several, numbered by the numbers of their columns' values."""

    def __init__(self, met: Sequence[tuple[Slots, Moments]] = (), count: int = 0) -> None:
        self.met, self.count = list(met), count

    def number(self, columns: Sequence[Codes]) -> Codes:
        """Number the keys of a list's own rows: int32, [rows]; `count` says how many there are."""
        codes, *others = columns
        self.count = int(codes.max(initial=-1)) + 1
        for other in others:
            packed = pack(codes, other)
            slots = np.zeros(_size(packed.size), np.int32)
            known = np.empty(packed.size, np.int64)
            codes, self.count = tell_apart(packed, slots, known)
            self.met.append((slots, known[: self.count].copy()))
        return codes

    def find(self, columns: Sequence[Codes]) -> Codes:
        """The numbers of other columns' keys among them; one above all where there is none such."""
        codes, *others = columns
        for other, (slots, known) in zip(others, self.met, strict=True):
            codes = find_among(pack(codes, other), slots, known, known.size)
        return codes


def encoded(column: pa.ChunkedArray) -> list[pa.DictionaryArray]:
    """Keep each value of a piece of a column once."""
    if pa.types.is_floating(column.type):
        one_nan = pa.scalar(np.nan, column.type)  # there are many, alike to SQL
        column = pc.if_else(pc.is_nan(column), one_nan, pc.add(column, 0.0))  # and -0 is 0
    chunks: list[pa.DictionaryArray] = column.dictionary_encode().chunks
    return chunks or [pa.array([], column.type).dictionary_encode()]


def bytes_of(values: pa.Array) -> tuple[Moments, Bytes]:
    """Values without nulls as bytes behind one another: where each begins, and the last ends."""
    if pa.types.is_large_string(values.type) or pa.types.is_large_binary(values.type):
        _, offsets, data = values.buffers()
        begins = np.frombuffer(offsets, np.int64)[values.offset :][: len(values) + 1]
        return begins, np.frombuffer(data or b"", np.uint8)
    if not len(values):
        return np.zeros(1, np.int64), np.empty(0, np.uint8)
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    width = values.type.bit_width // 8
    data = np.frombuffer(values.buffers()[1], np.uint8)[values.offset * width :]
    return np.arange(len(values) + 1, dtype=np.int64) * width, data


def wide(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Texts with offsets of 64 bits, in one piece: all of a history may be more than 2 GB."""
    if isinstance(values, pa.ChunkedArray):
        chunks = values.chunks or [pa.array([], values.type)]
        return pa.concat_arrays([wide(chunk) for chunk in chunks])
    return values.cast(pa.large_string()) if pa.types.is_string(values.type) else values


def _placed(encoded: pa.DictionaryArray, places: np.ndarray) -> Codes:
    """The numbers of values from their places in a dictionary, whose values have numbers."""
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    numbers: Codes = np.append(places, -1).astype(np.int32)[indices]
    return numbers


def _size(values: int) -> int:
    """A power of two, so that at most half of the slots are taken."""
    return 1 << (2 * max(values, 1) - 1).bit_length()


@compiled
def by_key(codes: Codes) -> Positions:
    """The numbers of rows in order of their keys, those of a key in the order they stand in.

    What is asked of a key list in this order lies side by side in memory. (Radix sort.)
    """
    order = np.arange(codes.size).astype(np.int32)
    most, shift = 0, 0
    for row in range(codes.size):
        most = max(most, codes[row] + 1)
    while most >> shift:
        free = np.zeros(DIGITS + 1, np.int32)
        for row in range(codes.size):
            free[((codes[row] + 1) >> shift) % DIGITS + 1] += 1
        for digit in range(DIGITS):
            free[digit + 1] += free[digit]
        sorted_so_far = np.empty_like(order)
        for place in range(order.size):
            digit = ((codes[order[place]] + 1) >> shift) % DIGITS
            sorted_so_far[free[digit]] = order[place]
            free[digit] += 1
        order, shift = sorted_so_far, shift + BITS
    return order


@compiled
def put_back(values: npt.NDArray[Kind], order: Positions) -> npt.NDArray[Kind]:
    """The values of rows that stood in another order, in order of their numbers."""
    found = np.empty_like(values)
    for place in range(order.size):
        found[order[place]] = values[place]
    return found


@compiled
def tell_apart(values: Moments, slots: Positions, known: Moments) -> tuple[Codes, int]:
    """Number whole numbers in the order they are first met; below 0 stands for none, -1.

    `slots` is a table of zeros, its size a power of two above the number of values; `known` takes
    the numbered values. They are compared themselves: a collision of hashes costs time alone.
    """
    codes = np.empty(values.size, np.int32)
    count = 0
    for place in range(values.size):
        value = values[place]
        if value < 0:
            codes[place] = -1
            continue
        slot = _place_of(value, slots, known)
        if not slots[slot]:
            known[count] = value
            count += 1
            slots[slot] = count
        codes[place] = slots[slot] - 1
    return codes, count


@compiled
def find_among(values: Moments, slots: Positions, known: Moments, absent: int) -> Codes:
    """The numbers that `tell_apart` gave to these values; `absent` for one that it has not met."""
    codes = np.empty(values.size, np.int32)
    for place in range(values.size):
        value = values[place]
        if value < 0:
            codes[place] = -1
            continue
        slot = _place_of(value, slots, known)
        codes[place] = slots[slot] - 1 if slots[slot] else absent
    return codes


@compiled
def index_texts(begins: Moments, data: Bytes, slots: Positions) -> None:
    """Fill a table of zeros that finds different texts, which stand behind one another in `data`.

    Its size is a power of two above the number of texts. `begins` says where each begins, and where
    the last ends.
    """
    for text in range(begins.size - 1):
        slot = _slot(_hash(data, begins[text], begins[text + 1]), slots.size)
        while slots[slot]:
            slot = (slot + 1) & (slots.size - 1)
        slots[slot] = text + 1


@compiled
def find_texts(
    asked_begins: Moments, asked: Bytes, begins: Moments, data: Bytes, slots: Positions
) -> Codes:
    """The numbers of asked texts among those that are indexed; as many as they are for another.

    Texts are compared themselves: a collision of hashes costs time alone.
    """
    found = np.empty(asked_begins.size - 1, np.int32)
    for place in range(found.size):
        first, last = asked_begins[place], asked_begins[place + 1]
        slot = _slot(_hash(asked, first, last), slots.size)
        while slots[slot]:
            text = slots[slot] - 1
            if _is_text(asked, first, last, data, begins[text], begins[text + 1]):
                break
            slot = (slot + 1) & (slots.size - 1)
        found[place] = slots[slot] - 1 if slots[slot] else begins.size - 1
    return found


@compiled
def pack(first: Codes, second: Codes) -> Moments:
    """Make one whole number of two codes; below 0 where one is unknown."""
    packed = np.empty(first.size, np.int64)
    for place in range(first.size):
        if first[place] < 0 or second[place] < 0:
            packed[place] = -1
        else:
            packed[place] = np.int64(first[place]) << 32 | np.int64(second[place])
    return packed


@compiled
def _place_of(value: int, slots: Positions, known: Moments) -> int:
    """The slot that has a whole number, else the free one that it would have."""
    slot = _slot(value, slots.size)
    while slots[slot] and known[slots[slot] - 1] != value:
        slot = (slot + 1) & (slots.size - 1)
    return int(slot)


@compiled
def _hash(data: Bytes, first: int, last: int) -> int:
    """Fowler, Noll and Vo's hash of bytes, FNV-1a of 64 bits."""
    mixed = np.uint64(0xCBF29CE484222325)
    for place in range(first, last):
        mixed = (mixed ^ np.uint64(data[place])) * np.uint64(0x100000001B3)
    return int(np.int64(mixed))


@compiled
def _is_text(one: Bytes, first: int, last: int, other: Bytes, begin: int, end: int) -> bool:
    is_same = last - first == end - begin
    place = 0
    while is_same and first + place < last:
        is_same = one[first + place] == other[begin + place]
        place += 1
    return is_same


@compiled
def _slot(value: int, size: int) -> np.int64:
    """Where a whole number is looked for first; the mixing is that of SplitMix64."""
    mixed = np.uint64(value)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((mixed ^ (mixed >> np.uint64(31))) & np.uint64(size - 1))
