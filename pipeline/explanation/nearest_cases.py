"""The nearest confirmed cases: the known frauds and false alarms most like a transaction.

A bundle keeps the state behind the last stage (h_K) of the latest frauds it was trained on, and of
as many legitimate transactions that scored highest. The state is that of the first network: three
networks' states side by side find no better cases. A classical model has no state: the
contributions of its facts stand for it. Each unit of it is scaled by what these cases
have of it, so that the distance weighs the directions in which suspicious transactions differ.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pydantic import BaseModel, ConfigDict
from safetensors.numpy import load_file, save_file

from features.schema import ARROW_TYPES
from features.stored_json import read_json
from pipeline.arrays import BoolArray, FloatArray
from pipeline.flagged import NearCase
from pipeline.lake.snapshot import Snapshot
from pipeline.models.layered.model import Layered
from pipeline.models.layered.stage_features import StageFeatures
from pipeline.models.one_stage import Model

NEAREST = 3
# frauds, and as many legitimate ones: with the default width, 0.75 MB on disk
MAX_OF_A_KIND = 2_000
ROWS_AT_ONCE = 1_000
ROUNDING = 1e-5  # states of one and the same facts differ by so little, and that is no spread
FACTS = pa.schema(
    [
        ("transaction_id", pa.string()),
        ("event_time", ARROW_TYPES["time"]),
        ("amount", pa.float64()),
        ("currency", pa.string()),
        ("is_fraud", pa.bool_()),
    ]
)


class StoredCases(BaseModel):
    """The columns of FACTS in cases.json; times are microseconds since 1970."""

    model_config = ConfigDict(frozen=True)

    transaction_id: tuple[str, ...]
    event_time: tuple[int, ...]
    amount: tuple[float | None, ...]
    currency: tuple[str | None, ...]
    is_fraud: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class CaseIndex:
    """Confirmed transactions in order of their id, and their scaled states [N, D], halves."""

    facts: pa.Table
    states: npt.NDArray[np.float16]
    middle: npt.NDArray[np.float32]
    spread: npt.NDArray[np.float32]

    @classmethod
    def none(cls) -> "CaseIndex":
        """No case at all: nothing is near."""
        nothing = np.zeros(0, dtype=np.float32)
        return cls(
            facts=FACTS.empty_table(),
            states=np.zeros((0, 0), dtype=np.float16),
            middle=nothing,
            spread=nothing,
        )

    @classmethod
    def of(
        cls,
        model: Model,
        features: pa.Table,
        is_fraud: BoolArray,
        score: FloatArray,
        currency: pa.Array,
    ) -> "CaseIndex":
        """Keep cases of these confirmed rows, which stand in order of as_of.

        All but `model` and `features` are [R].
        """
        if not is_fraud.any():
            return cls.none()
        frauds, legitimate = np.flatnonzero(is_fraud)[-MAX_OF_A_KIND:], np.flatnonzero(~is_fraud)
        highest = legitimate[np.argsort(-score[legitimate], kind="stable")][: len(frauds)]
        ids = features["transaction_id"].to_numpy(zero_copy_only=False).astype(str)
        kept = np.concatenate([frauds, highest])
        kept = kept[np.argsort(ids[kept])]
        rows = features.take(kept)
        columns = {name: rows[name] for name in ("transaction_id", "event_time", "amount")}
        facts = pa.table(
            {**columns, "currency": currency.take(pa.array(kept)), "is_fraud": is_fraud[kept]}
        ).cast(FACTS)
        states = _states(model, rows)
        middle, spread = states.mean(axis=0), states.std(axis=0)
        spread = np.where(spread > ROUNDING, spread, np.float32(1))
        return cls(
            facts=facts, states=_scaled(states, middle, spread), middle=middle, spread=spread
        )

    def nearest(self, model: Model, features: pa.Table) -> list[tuple[NearCase, ...]]:
        """Return the cases most like each row, the nearest first; never the row itself.

        Cases that are equally near stand in order of their id. The distance is Euclidean over the
        square root of the state's width: two cases taken at random are 1.4 apart.
        """
        if not self.facts.num_rows:
            return [()] * features.num_rows
        nearest: list[tuple[NearCase, ...]] = []
        for start in range(0, features.num_rows, ROWS_AT_ONCE):
            nearest += self._nearest(model, features.slice(start, ROWS_AT_ONCE))
        return nearest

    def _nearest(self, model: Model, features: pa.Table) -> list[tuple[NearCase, ...]]:
        far = _distances(_scaled(_states(model, features), self.middle, self.spread), self.states)
        own = pc.index_in(features["transaction_id"], self.facts["transaction_id"].combine_chunks())
        itself = own.is_valid().to_numpy()
        far[itself, own.drop_null().to_numpy()] = np.inf
        # stable: the cases stand in order of their id
        places = np.argsort(far, axis=1, kind="stable")[:, :NEAREST]
        near = np.take_along_axis(far, places, axis=1)
        facts = self.facts.take(pa.array(places.ravel())).to_pylist()
        cases = [
            NearCase(**fact, distance=float(distance))
            for fact, distance in zip(facts, near.ravel(), strict=True)
        ]
        width = places.shape[1]
        starts = range(0, len(cases), width)
        return [_finite(cases[start : start + width]) for start in starts]

    def to_files(self, folder: Path) -> None:
        """Write cases.json, a list a column, and cases.safetensors into a folder."""
        moments = self.facts.set_column(1, "event_time", self.facts["event_time"].cast(pa.int64()))
        (folder / "cases.json").write_text(json.dumps(moments.to_pydict()) + "\n", encoding="utf-8")
        save_file(
            {"states": self.states, "middle": self.middle, "spread": self.spread},
            folder / "cases.safetensors",
        )

    @classmethod
    def from_files(cls, folder: Path, *, width: int) -> "CaseIndex":
        """Read what `to_files` wrote.

        Raises ValueError where that does not fit together, or no network of this width.
        """
        stored = read_json(StoredCases, folder / "cases.json")
        arrays = load_file(folder / "cases.safetensors")
        facts = pa.table(
            {name: pa.array(values, FACTS.field(name).type) for name, values in stored},
            schema=FACTS,
        )
        states, middle, spread = (arrays[name] for name in ("states", "middle", "spread"))
        units = width if facts.num_rows else 0
        if not states.shape == (facts.num_rows, units) or not middle.shape == spread.shape == (
            units,
        ):
            raise ValueError(
                f"{facts.num_rows} cases of a network of width {width} "
                f"have states of the shape {states.shape}"
            )
        return cls(facts=facts, states=states, middle=middle, spread=spread)


def currencies(snapshot: Snapshot, rows: pa.Table) -> pa.Array:
    """Return the currency of each row's amount among the features; null where none is known."""
    if snapshot.rates is not None:
        return pa.repeat(pa.scalar(snapshot.currency), rows.num_rows)
    if "currency" not in snapshot.columns or not rows.num_rows:
        return pa.nulls(rows.num_rows, pa.string())
    return snapshot.columns_of(rows, ["currency"])["currency"].combine_chunks()


def _finite(cases: Sequence[NearCase]) -> tuple[NearCase, ...]:
    """The cases but for the row itself, which is infinitely far."""
    return tuple(case for case in cases if np.isfinite(case.distance))


def _states(model: Model, features: pa.Table) -> npt.NDArray[np.float32]:
    """What tells rows apart, [R, D]: the network's state, or what each fact contributes."""
    if not isinstance(model, Layered):
        return model.contributions(features).astype(np.float32)
    return StageFeatures(replace(model, networks=model.networks[:1])).transform(features)


def _scaled(
    states: npt.NDArray[np.float32],
    middle: npt.NDArray[np.float32],
    spread: npt.NDArray[np.float32],
) -> npt.NDArray[np.float16]:
    most = np.finfo(np.float16).max
    return np.asarray(np.clip(((states - middle) / spread).round(3), -most, most), dtype=np.float16)


def _distances(
    left: npt.NDArray[np.float16], right: npt.NDArray[np.float16]
) -> npt.NDArray[np.float32]:
    """Distances [L, R], by differences.

    The quicker way by products would part cases that are equally near.
    """
    one, other = (torch.from_numpy(side.astype(np.float32)) for side in (left, right))
    far = (
        torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist") / left.shape[1] ** 0.5
    )
    return np.asarray(far.numpy())
