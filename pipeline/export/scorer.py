"""Scores raw feature rows with onnxruntime and numpy alone; an exported folder has this file.

from scorer import Scorer
scores = Scorer("exported").score({"amount_paid": [12.5, None], "channel": ["online", None], ...})
scores.score  # probability of fraud, one a row
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt
import onnxruntime

MISSING, UNKNOWN, FIRST_KNOWN = 0, 1, 2  # codes of a category
BUCKETS = 64  # where a category has too many values, those without a code of their own share these
LARGEST = float(np.finfo(np.float32).max)
BLOCK = 512  # rows at a time: what is between the operators stays in the processor's cache

FloatArray = npt.NDArray[np.float64]
Rows = Mapping[str, Sequence[Any] | npt.NDArray[Any]]


class Scores(NamedTuple):
    """Calibrated probability of fraud [B], log-odds before calibration [B], increments [B, K].

    An increment is what a stage added to the log-odds.
    """

    score: FloatArray
    logit: FloatArray
    increments: FloatArray


class Scorer:
    """A model read once from an exported folder."""

    def __init__(self, folder: str | Path, *, threads: int = 1) -> None:
        facts = json.loads((Path(folder) / "preprocessing.json").read_text(encoding="utf-8"))
        self.stages: tuple[str, ...] = tuple(facts["stages"])
        self.numbers: tuple[str, ...] = tuple(facts["numbers"])
        categories = facts["categories"].items()
        self.codes: dict[str, dict[str, int]] = {name: _codes(known) for name, known in categories}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            str(Path(folder) / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def score(self, rows: Rows) -> Scores:
        """Score rows given column by column: numbers and texts.

        None is missing, and so is a number that is NaN. Raises ValueError where a feature is absent
        or holds what no feature can.
        """
        inputs = self.inputs(rows)
        count = len(inputs["numbers"])
        blocks = [self._scored(inputs, start) for start in range(0, count, BLOCK)]
        nothing = [np.empty(0), np.empty(0), np.empty((0, len(self.stages)))]
        return Scores(*(np.concatenate(parts) for parts in zip(nothing, *blocks, strict=True)))

    def _scored(self, inputs: Mapping[str, npt.NDArray[Any]], start: int) -> list[Any]:
        block = {name: values[start : start + BLOCK] for name, values in inputs.items()}
        return list(self.session.run(None, block))

    def inputs(self, rows: Rows) -> dict[str, npt.NDArray[Any]]:
        """What the graph takes: numbers [B, N] and the codes of the categories [B, C]."""
        names = (*self.numbers, *self.codes)
        if absent := [name for name in names if name not in rows]:
            raise ValueError(
                f"the rows lack {', '.join(absent)}; "
                "give every feature that preprocessing.json names"
            )
        lengths = {name: len(rows[name]) for name in names}
        if len(set(lengths.values())) > 1:
            short, long = (
                min(lengths, key=lengths.__getitem__),
                max(lengths, key=lengths.__getitem__),
            )
            raise ValueError(
                f"{short} has {lengths[short]} rows and {long} {lengths[long]}; "
                "give each feature a value a row"
            )
        count = next(iter(lengths.values()))
        codes = np.empty((count, len(self.codes)), dtype=np.int64)
        for place, (name, known) in enumerate(self.codes.items()):
            codes[:, place] = [_code(name, value, known) for value in rows[name]]
        return {
            "numbers": _numbers({name: rows[name] for name in self.numbers}, count),
            "codes": codes,
        }


def _codes(values: Sequence[str]) -> dict[str, int]:
    """The code of each known value of a category."""
    return {value: place + FIRST_KNOWN for place, value in enumerate(values)}


def _numbers(columns: Rows, count: int) -> FloatArray:
    """The columns side by side, [B, N]."""
    try:
        numbers = np.array(list(columns.values()), dtype=np.float64).reshape(len(columns), count)
    except (TypeError, ValueError):  # one by one it is slower, and said which one is at fault
        numbers = np.array([_column(name, values) for name, values in columns.items()])
    beyond = np.abs(numbers) > LARGEST
    if beyond.any():
        names = ", ".join(
            name for name, column in zip(columns, beyond, strict=True) if column.any()
        )
        raise ValueError(
            f"{names}: infinite or beyond {LARGEST:.3g}; give None where it is missing"
        )
    return np.ascontiguousarray(numbers.T)


def _column(name: str, values: Sequence[Any] | npt.NDArray[Any]) -> FloatArray:
    try:
        column = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} holds what is no number ({error}); give numbers, and None where missing"
        ) from error
    if column.ndim != 1:
        raise ValueError(f"{name} holds {column.ndim} dimensions; give one value a row")
    return column


def _code(name: str, value: object, known: Mapping[str, int]) -> int:
    if value is None or value != value:  # noqa: PLR0124 - NaN alone is not itself
        return MISSING
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004
            f"{name} holds {value!r}, which is no text; give texts, and None where missing"
        )
    if value in known:
        return known[value]
    return known.get(f"\x1fbucket {crc32(value.encode()) % BUCKETS}", UNKNOWN)
