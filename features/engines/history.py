"""A history as the kernel keeps it: numbered keys, key lists, label lists, columns to look up.

It is filled depth by depth (`take_in`), and answers what windows and look-ups ask (`answers`).
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.declarations import Aggregate
from features.engines import label_lists
from features.engines.arrays import Codes, Doubles, Flags, Moments, known_of, values_of
from features.engines.key_lists import Asking, KeyList, answer, asking, find, key_list
from features.engines.keys import Tuples, Values, encoded, joined
from features.engines.label_lists import LabelList, Ledger, label_list
from features.engines.program import Key, Program, Wanted
from features.sql.plan import Part

Asked = tuple[Key, Key]  # a key that asks, and the key of the list that it asks


class History:
    """All rows in order of as_of, as a program needs them.

    A row's number counts from 0 here; a `row_id`, as everywhere in SQL, from 1.
    """

    def __init__(self, program: Program, moments: Moments, verdicts: Ledger | None) -> None:
        self.program, self.moments, self._verdicts = program, moments, verdicts
        pairs = [
            own
            for as_key, keys in program.asked_as.items()
            for key in keys
            for own in zip(key, as_key, strict=True)
        ]
        self._compared = joined([*pairs, *program.judged])
        self._values = {names: Values() for names in self._compared.values()}
        self._columns: dict[str, Codes] = {}
        self._codes: dict[Asked, Codes] = {}
        self._tuples: dict[Key, Tuples] = {}
        self._lists: dict[Key, KeyList] = {}
        self._labels: dict[Key, LabelList] = {}
        self._looked_up: dict[str, pa.ChunkedArray] = {}

    def take_in(self, depth: int, wanted: Wanted, pieces: Iterable[pa.Table]) -> None:
        """Take in what is wanted at a depth, of all rows piece by piece, and make lists of it."""
        taken = _Taken(wanted, len(self.moments))
        for piece in pieces:
            taken.take(piece)
        for name in wanted.keys:
            self._columns[name] = self._values[self._compared[name]].number(taken.keys.pop(name))
        for name, columns in taken.looked_up.items():
            chunks = [chunk for column in columns for chunk in column.chunks]
            self._looked_up[name] = pa.chunked_array(chunks, columns[0].type)
        list(_side_by_side(self._make(key, depth, taken) for key in self.program.lists))
        self._make_label_lists()

    def forget(self) -> None:
        """Let go of what only `take_in` needs."""
        self._columns.clear()
        self._values.clear()
        self._tuples.clear()
        self._verdicts = None

    def answers(self, parts: Sequence[Part], needed: set[str], first: int, last: int) -> pa.Table:
        """Compute the needed features of windows and look-ups for the rows first to last."""
        shared: dict[Asked, dict[str, Aggregate]] = {}
        labels: dict[Key, dict[str, Aggregate]] = {}
        for part in parts:
            own = {name: one for name, one in part.aggregates.items() if name in needed}
            if part.is_of_labels:
                labels.setdefault(part.key, {}).update(own)
            elif part.key:
                shared.setdefault((part.key, part.as_key), {}).update(own)
        rows = slice(first, last)
        spans = {one.span for own in shared.values() for one in own.values()}
        seen = asking(self.moments, self.moments[rows], spans)
        tasks = [self._ask_rows(asked, own, rows, seen) for asked, own in shared.items()]
        tasks += [self._ask_labels(key, own, rows) for key, own in labels.items()]
        found: dict[str, pa.Array] = {}
        for columns in _side_by_side(tasks):
            found |= columns
        for feature in (one for part in parts if part.is_lookup for one in part.features):
            if feature.name in needed:
                found[feature.name] = self._look_up(feature.sql, found[feature.lookup])
        return pa.table(found)

    def _make(self, key: Key, depth: int, taken: "_Taken") -> Callable[[], None]:
        def make() -> None:
            if self.program.depth(key) == depth:
                self._make_list(key)
            for asked_by in self.program.asking_at(key, depth):
                columns = [self._columns[name] for name in asked_by]
                if asked_by != key:
                    self._codes[asked_by, key] = self._tuples[key].find(columns)
            for measure in self.program.measures_at(key, depth):
                self._lists[key].take(measure, *taken.measure(measure.sql))

        return make

    def _make_list(self, key: Key) -> None:
        tuples = Tuples()
        codes = tuples.number([self._columns[name] for name in key])
        self._lists[key] = key_list(codes, tuples.count, self.moments)
        self._codes[key, key] = codes
        if self.program.asked_as[key] != {key}:
            self._tuples[key] = tuples

    def _make_label_lists(self) -> None:
        for key in self.program.judged:
            if key not in self._labels and key[0] in self._columns and self._verdicts:
                codes = self._columns[key[0]]
                self._codes.setdefault((key, key), codes)
                keys = int(codes.max(initial=-1)) + 1
                self._labels[key] = label_list(self._verdicts, codes, keys)

    def _ask_rows(
        self, asked: Asked, aggregates: dict[str, Aggregate], rows: slice, seen: Asking
    ) -> Callable[[], dict[str, pa.Array]]:
        def ask() -> dict[str, pa.Array]:
            own, spans = self._lists[asked[1]], [one.span for one in aggregates.values()]
            windows = find(own, self._codes[asked][rows], seen, spans)
            return {name: answer(own, windows, one) for name, one in aggregates.items()}

        return ask

    def _ask_labels(
        self, key: Key, aggregates: dict[str, Aggregate], rows: slice
    ) -> Callable[[], dict[str, pa.Array]]:
        def ask() -> dict[str, pa.Array]:
            codes, moments = self._codes[key, key][rows], self.moments[rows]
            return label_lists.answers(self._labels[key], codes, moments, aggregates)

        return ask

    def _look_up(self, name: str, row_ids: pa.Array) -> pa.ChunkedArray:
        return self._looked_up[name].take(pc.subtract(row_ids, 1))


class _Taken:
    """What is wanted of all rows, as it comes piece by piece."""

    def __init__(self, wanted: Wanted, rows: int) -> None:
        self._wanted, self._rows = wanted, 0
        self.keys: dict[str, list[pa.DictionaryArray]] = {name: [] for name in wanted.keys}
        self.looked_up: dict[str, list[pa.ChunkedArray]] = {name: [] for name in wanted.looked_up}
        self._asked, self._turn = Counter(wanted.measures), Lock()
        self._measures: dict[str, tuple[Doubles, Flags]] = {
            sql: (np.empty(rows), np.empty(rows, np.bool_)) for sql in self._asked
        }

    def take(self, piece: pa.Table) -> None:
        """Take in the next piece; texts are kept once."""
        own = slice(self._rows, self._rows + piece.num_rows)
        self._rows += piece.num_rows
        for name in self._wanted.keys:
            self.keys[name] += encoded(piece[name])
        for name in self._wanted.looked_up:
            self.looked_up[name].append(piece[name])
        for place, sql in enumerate(self._asked):
            values, known = self._measures[sql]
            column = piece[f"measure_{place}"].cast(pa.float64())
            values[own], known[own] = values_of(column), known_of(column)

    def measure(self, sql: str) -> tuple[Doubles, Flags]:
        """The values of a measure and where they are known; the last list that asks takes them."""
        with self._turn:
            self._asked[sql] -= 1
            return self._measures[sql] if self._asked[sql] else self._measures.pop(sql)


def _side_by_side(tasks: Iterable[Callable[[], Any]]) -> Iterator[Any]:
    """Do tasks on all cores: compiled loops let go of Python's lock."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        yield from threads.map(lambda task: task(), tasks)
