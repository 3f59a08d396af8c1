"""A segment: what is kept of a stretch of rows in order of as_of, for the rows that come later.

It has all that such rows ask: the key lists, what finds a key in them, the columns to look up, and
the verdicts on its rows with the lines of the ledger that they were made of.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.engines.arrays import Codes, Moments
from features.engines.key_lists import KeyList, Running
from features.engines.keys import Slots, Tuples, Values
from features.engines.label_lists import NO_LINES, LabelList, Lines
from features.engines.program import Key, Program
from features.state.files import Arrays, StateError, read_back, written

ALIASES = "aliases"  # names of arrays that are others, stored once


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Rows from the number `first` on; a row's number in it counts from 0.

    `values` are those of columns by their names, the same where they are compared. `ids`, `judged`
    (the numbers of the rows' keys in the label lists) and `lines` are there where labels are asked.
    """

    first: int
    moments: Moments
    values: dict[str, Values] = field(default_factory=dict)
    tuples: dict[Key, Tuples] = field(default_factory=dict)
    lists: dict[Key, KeyList] = field(default_factory=dict)
    looked_up: dict[str, pa.ChunkedArray] = field(default_factory=dict)
    labels: dict[Key, LabelList] = field(default_factory=dict)
    judged: dict[Key, Codes] = field(default_factory=dict)
    ids: Values = field(default_factory=Values)
    lines: Lines = NO_LINES


def arrays_of(segment: Segment, program: Program) -> Arrays:
    """A segment as arrays by names, each once."""
    packed: dict[str, npt.NDArray[Any]] = {"moments": segment.moments}
    for place, names in enumerate(_compared(program)):
        packed |= _values(f"values_{place}", segment.values[names[0]])
    for place, key in enumerate(sorted(segment.lists)):
        packed |= _list(f"list_{place}", segment.lists[key], segment.tuples[key], program, key)
    for place, name in enumerate(sorted(segment.looked_up)):
        packed[f"looked_up_{place}"] = _written(segment.looked_up[name])
    if segment.labels:
        packed |= _values("ids", segment.ids) | _fields("lines", segment.lines)
    for place, key in enumerate(sorted(segment.labels)):
        packed |= _fields(f"labels_{place}", segment.labels[key])
        packed[f"judged_{place}"] = segment.judged[key]
    return _each_once(packed)


def segment_of(arrays: Arrays, program: Program, *, first: int) -> Segment:
    """The segment that was made into arrays for this program. Raises StateError for another's."""
    try:
        return _read(_unpacked(arrays), program, first)
    except (KeyError, pa.ArrowInvalid) as error:
        raise StateError(f"the state lacks or misnames {error}") from error


def _read(found: Arrays, program: Program, first: int) -> Segment:
    moments = found["moments"]
    segment = Segment(
        first=first,
        moments=moments,
        ids=_values_of(found, "ids") if program.judged else Values(),
        lines=Lines(**_fields_of(Lines, found, "lines")) if program.judged else NO_LINES,
    )
    for place, names in enumerate(_compared(program)):
        segment.values.update(dict.fromkeys(names, _values_of(found, f"values_{place}")))
    for place, key in enumerate(sorted(program.lists)):
        segment.tuples[key] = _tuples_of(found, f"list_{place}")
        segment.lists[key] = _list_of(found, f"list_{place}", moments, program, key)
    for place, name in enumerate(program.looked_up):
        segment.looked_up[name] = _column_of(found[f"looked_up_{place}"])
    for place, key in enumerate(sorted(set(program.judged))):
        segment.labels[key] = LabelList(**_fields_of(LabelList, found, f"labels_{place}"))
        segment.judged[key] = found[f"judged_{place}"]
    return segment


def _compared(program: Program) -> list[list[str]]:
    """The names of columns whose values are numbered together."""
    return sorted(sorted(names) for names in set(program.compared.values()))


def _values(prefix: str, values: Values) -> dict[str, npt.NDArray[Any]]:
    known, slots = values.indexed()
    return {f"{prefix}_known": _written(known), f"{prefix}_slots": slots}


def _values_of(found: Arrays, prefix: str) -> Values:
    known = _column_of(found[f"{prefix}_known"])
    # what is in one piece stays where it is mapped
    whole = known.chunk(0) if known.num_chunks == 1 else known.combine_chunks()
    return Values(whole, found[f"{prefix}_slots"])


def _list(
    prefix: str, own: KeyList, tuples: Tuples, program: Program, key: Key
) -> dict[str, npt.NDArray[Any]]:
    packed: dict[str, npt.NDArray[Any]] = {
        f"{prefix}_offsets": own.offsets,
        f"{prefix}_order": own.order,
    }
    for place, (slots, known) in enumerate(tuples.met):
        packed |= {f"{prefix}_slots_{place}": slots, f"{prefix}_known_{place}": known}
    for place, measure in enumerate(program.lists[key]):
        packed |= _fields(f"{prefix}_measure_{place}", own.measures[measure.sql])
    return packed


def _list_of(found: Arrays, prefix: str, moments: Moments, program: Program, key: Key) -> KeyList:
    return KeyList(
        offsets=found[f"{prefix}_offsets"],
        order=found[f"{prefix}_order"],
        moments=moments,
        measures={
            measure.sql: Running(**_fields_of(Running, found, f"{prefix}_measure_{place}"))
            for place, measure in enumerate(program.lists[key])
        },
    )


def _tuples_of(found: Arrays, prefix: str) -> Tuples:
    met: list[tuple[Slots, Moments]] = []
    while f"{prefix}_slots_{len(met)}" in found:
        met.append((found[f"{prefix}_slots_{len(met)}"], found[f"{prefix}_known_{len(met)}"]))
    return Tuples(met, found[f"{prefix}_offsets"].size - 1)


def _fields(prefix: str, kept: Any) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a dataclass by the names of its fields, numbered where they are several."""
    packed: dict[str, npt.NDArray[Any]] = {}
    for one in fields(kept):
        value = getattr(kept, one.name)
        if isinstance(value, tuple):
            packed |= {f"{prefix}_{one.name}_{n}": array for n, array in enumerate(value)}
        else:
            packed[f"{prefix}_{one.name}"] = value
    return packed


def _fields_of(kind: Any, found: Arrays, prefix: str) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for one in fields(kind):
        name = f"{prefix}_{one.name}"
        several: list[npt.NDArray[Any]] = []
        while f"{name}_{len(several)}" in found:
            several.append(found[f"{name}_{len(several)}"])
        kept[one.name] = tuple(several) or found[name]
    return kept


def _written(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    return written(pa.table({"column": column}).combine_chunks())


def _column_of(data: npt.NDArray[Any]) -> pa.ChunkedArray:
    return read_back(data)["column"]


def _each_once(packed: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    """Arrays that several share stand once, under their first name."""
    first: dict[int, str] = {}
    aliases = {name: first.setdefault(id(array), name) for name, array in packed.items()}
    others = {name: of for name, of in aliases.items() if name != of}
    kept = {name: array for name, array in packed.items() if name not in others}
    return kept | {ALIASES: np.frombuffer(json.dumps(others).encode(), np.uint8)}


def _unpacked(arrays: Arrays) -> Arrays:
    others: dict[str, str] = json.loads(arrays[ALIASES].tobytes())
    return {**arrays, **{name: arrays[of] for name, of in others.items()}}
