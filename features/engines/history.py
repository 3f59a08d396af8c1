"""A history as the kernel keeps it: rows in order of time, behind what is kept of earlier ones.

It is filled depth by depth (`take_in`), and answers what windows and look-ups ask (`answers`): of
its own rows, and of the segments before them.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.declarations import Aggregate
from features.engines import label_lists
from features.engines.arrays import (
    Answer,
    Codes,
    Doubles,
    Flags,
    Moments,
    Positions,
    column,
    known_of,
    values_of,
)
from features.engines.key_lists import Asking, answer, asking, find, key_list
from features.engines.keys import Tuples, Values, by_key, encoded, put_back
from features.engines.label_lists import Judged, LateLabels, Ledger, label_list
from features.engines.program import Key, Program, Wanted
from features.engines.segment import Segment
from features.sql.plan import Part

Asked = tuple[Key, Key]  # a key that asks, and the key of the list that it asks


class History:
    """Rows in order of as_of, as a program needs them, and the `earlier` segments before them.

    A row's number counts from 0 here; a `row_id`, as everywhere in SQL, from 1. `own` is the
    segment of these rows; it is whole where they are to be kept. `late` are labels on rows of
    earlier segments, one for each segment.
    """

    def __init__(
        self,
        program: Program,
        moments: Moments,
        verdicts: Ledger | None,
        *,
        earlier: Sequence[Segment] = (),
        late: Sequence[LateLabels] = (),
        keep: bool = False,
    ) -> None:
        self.program, self._verdicts, self._late, self._keep = program, verdicts, late, keep
        self.own = Segment(first=sum(one.moments.size for one in earlier), moments=moments)
        groups = {names: Values() for names in program.compared.values()}
        self.own.values.update({name: groups[names] for name, names in program.compared.items()})
        self._segments = [*earlier, self.own]
        self._columns: list[dict[str, Codes]] = [{} for _ in self._segments]
        self._codes: list[dict[Asked, Codes]] = [{} for _ in self._segments]

    def take_in(
        self, parts: Iterable[Wanted], read: Callable[[Wanted], Iterator[pa.Table]]
    ) -> None:
        """Take in what is wanted of all rows, which is read piece by piece, and make lists of it.

        What one part wants is made into lists while the next is read, and let go of.
        """
        making: list[Future[None]] = []
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for part in parts:
                taken = _Taken(part, len(self.own.moments))
                for piece in read(part):
                    taken.take(piece)
                self._take_columns(taken)
                _wait(making)
                making = [threads.submit(self._make, key, taken) for key in self.program.lists]
            _wait(making)
        self._make_label_lists()

    def forget(self) -> None:
        """Let go of what only `take_in` needs, and whoever comes later does not."""
        self._columns.clear()
        self._verdicts = None
        if not self._keep:
            self.own.values.clear()
            self.own.tuples.clear()

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
        moments = self.own.moments[rows]
        seen = [asking(segment.moments, moments, spans) for segment in self._segments]
        tasks = [self._ask_rows(asked, own, rows, seen) for asked, own in shared.items()]
        tasks += [self._ask_labels(key, own, rows) for key, own in labels.items()]
        found: dict[str, pa.Array] = {}
        for columns in _side_by_side(tasks):
            found |= columns
        for feature in (one for part in parts if part.is_lookup for one in part.features):
            if feature.name in needed:
                found[feature.name] = self._look_up(feature.sql, found[feature.lookup])
        return pa.table(found)

    def _take_columns(self, taken: "_Taken") -> None:
        """Number the values of keys, and keep what is looked up."""
        for name, encoded_values in taken.keys.items():
            for columns, segment in zip(self._columns, self._segments, strict=True):
                numbered, own = segment.values[name], segment is self.own
                number = numbered.number if own else numbered.find
                columns[name] = number(encoded_values)
        taken.keys.clear()
        for name, pieces_of in taken.looked_up.items():
            chunks = [chunk for column in pieces_of for chunk in column.chunks]
            self.own.looked_up[name] = pa.chunked_array(chunks, pieces_of[0].type)

    def _make(self, key: Key, taken: "_Taken") -> None:
        """Make a key list, find those that ask it and take its measures, as far as is known."""
        known = self._columns[-1]
        if key not in self.own.lists and known.keys() >= {*key}:
            self._make_list(key)
        if key in self.own.lists:
            for asked_by in self.program.asked_as[key]:
                if known.keys() >= {*asked_by}:
                    self._find_keys(asked_by, key)
            own = self.own.lists[key]
            for measure in self.program.lists[key]:
                if measure.sql in taken and measure.sql not in own.measures:
                    own.take(measure, *taken.measure(measure.sql))

    def _make_list(self, key: Key) -> None:
        tuples = Tuples()
        codes = tuples.number([self._columns[-1][name] for name in key])
        self.own.lists[key] = key_list(codes, tuples.count, self.own.moments)
        self._codes[-1][key, key] = codes
        if self._keep or self.program.asked_as[key] != {key}:
            self.own.tuples[key] = tuples

    def _find_keys(self, asked_by: Key, key: Key) -> None:
        for place, segment in enumerate(self._segments):
            if (asked_by, key) not in self._codes[place]:
                columns = [self._columns[place][name] for name in asked_by]
                self._codes[place][asked_by, key] = segment.tuples[key].find(columns)

    def _make_label_lists(self) -> None:
        for key in self.program.judged:
            if key not in self.own.labels and key[0] in self._columns[-1] and self._verdicts:
                for place, columns in enumerate(self._columns):
                    self._codes[place].setdefault((key, key), columns[key[0]])
                codes = self._columns[-1][key[0]]
                keys = int(codes.max(initial=-1)) + 1
                self.own.judged[key] = codes
                self.own.labels[key] = label_list(self._verdicts, codes, keys)

    def _ask_rows(
        self,
        asked: Asked,
        aggregates: dict[str, Aggregate],
        rows: slice,
        seen: Sequence[Asking],
    ) -> Callable[[], dict[str, pa.Array]]:
        def ask() -> dict[str, pa.Array]:
            order, codes = self._by_key(asked, rows)
            spans = [one.span for one in aggregates.values()]
            windows = [
                find(one.lists[asked[1]], own, sees.take(order), spans, first=one.first)
                for one, own, sees in zip(self._segments, codes, seen, strict=True)
            ]
            known, moments = codes[-1] >= 0, self.own.moments[rows][order]
            found = {name: answer(windows, known, moments, one) for name, one in aggregates.items()}
            return _in_row_order(found, order)

        return ask

    def _ask_labels(
        self, key: Key, aggregates: dict[str, Aggregate], rows: slice
    ) -> Callable[[], dict[str, pa.Array]]:
        def ask() -> dict[str, pa.Array]:
            order, (*earlier, own) = self._by_key((key, key), rows)
            asked = [Judged(own=self.own.labels[key], codes=own)]
            for late, segment, codes in zip(self._late, self._segments, earlier, strict=False):
                asked += late.asked(segment.labels[key], key, codes)
            moments = self.own.moments[rows][order]
            return _in_row_order(label_lists.answers(asked, own >= 0, moments, aggregates), order)

        return ask

    def _by_key(self, asked: Asked, rows: slice) -> tuple[Positions, list[Codes]]:
        """The order of rows by key, and the numbers of their keys in each segment, in it."""
        order = by_key(self._codes[-1][asked][rows])
        return order, [codes[asked][rows][order] for codes in self._codes]

    def _look_up(self, name: str, row_ids: pa.Array) -> pa.ChunkedArray:
        found = []
        for segment in self._segments:
            rows = pc.subtract(row_ids, segment.first + 1)
            here = pc.and_(pc.greater_equal(rows, 0), pc.less(rows, len(segment.moments)))
            found.append(segment.looked_up[name].take(pc.if_else(here, rows, None)))
        return pc.coalesce(*found) if len(found) > 1 else found[0]


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

    def __contains__(self, sql: str) -> bool:
        """Whether a measure is wanted."""
        return sql in self._asked

    def measure(self, sql: str) -> tuple[Doubles, Flags]:
        """The values of a measure and where they are known; the last list that asks takes them."""
        with self._turn:
            self._asked[sql] -= 1
            return self._measures[sql] if self._asked[sql] else self._measures.pop(sql)


def _in_row_order(found: Mapping[str, Answer], order: Positions) -> dict[str, pa.Array]:
    return {
        name: column(put_back(values, order), put_back(known, order))
        for name, (values, known) in found.items()
    }


def _wait(making: Iterable[Future[None]]) -> None:
    for one in making:
        one.result()


def _side_by_side(tasks: Iterable[Callable[[], Any]]) -> Iterator[Any]:
    """Do tasks on all cores: compiled loops let go of Python's lock."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        yield from threads.map(lambda task: task(), tasks)
