"""A classical model as a champion: one stage, whose reasons are what each fact contributes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from features.declarations import Group
from features.encoder import Encoder
from features.stored_json import read_json
from pipeline.arrays import BoolArray, FloatArray
from pipeline.models.baselines.columns import as_frame
from pipeline.models.baselines.protocol import Baseline
from pipeline.models.baselines.registry import BASELINES
from pipeline.models.layered.model import STAGE, Layered
from pipeline.models.layered.stacking import CLASSICAL
from pipeline.models.risk_encoding import NO_RISK, RiskEncoding, encoded_category

FILE = "classical.json"


class StoredOneStage(BaseModel):
    """What classical.json holds."""

    model_config = ConfigDict(frozen=True)

    model: str
    base_logit: float


@dataclass(frozen=True, kw_only=True)
class OneStage:
    """A classical model that scores as the network does, in one stage.

    `encoder` knows what is usual of each fact, all of them in one group of the stage's name;
    `risk` adds what was learned of the values of categories.
    """

    baseline: Baseline
    base_logit: float
    encoder: Encoder
    risk: RiskEncoding = NO_RISK

    @classmethod
    def of(
        cls,
        baseline: Baseline,
        features: pa.Table,
        y: BoolArray,
        groups: Sequence[Group],
        risk: RiskEncoding = NO_RISK,
    ) -> "OneStage":
        """The stage of a model that was fitted on these rows; y is [R]."""
        facts = tuple(feature for group in groups for feature in group.features)
        whole = Group(name=CLASSICAL, meaning="all facts together", needs=(), features=facts)
        rate = float(y.mean())
        return cls(
            baseline=baseline,
            base_logit=float(np.log(rate / (1 - rate))),
            encoder=Encoder.fit(features, [whole]),
            risk=risk,
        )

    @property
    def stages(self) -> tuple[str, ...]:
        """The one stage."""
        return (CLASSICAL,)

    @property
    def facts(self) -> tuple[str, ...]:
        """The facts that contribute, in their order."""
        return tuple(dict.fromkeys(map(encoded_category, self.baseline.columns.names)))

    def increments(self, features: pa.Table) -> FloatArray:
        """What the stage adds to the log-odds of the base rate, [R, 1]."""
        return (self.logit(features) - self.base_logit)[:, None]

    def logit(self, features: pa.Table) -> FloatArray:
        """Log-odds before calibration, [R]."""
        return self.baseline.logit(as_frame(self.risk.added_to(features)))

    def score(self, features: pa.Table) -> tuple[FloatArray, dict[str, FloatArray]]:
        """Log-odds before calibration, [R], and the stage's increments, [R] by its column."""
        logit = self.logit(features)
        return logit, {f"{STAGE}{CLASSICAL}": logit - self.base_logit}

    def contributions(self, features: pa.Table) -> FloatArray:
        """What each fact adds to the log-odds, [R, facts].

        What the risk of a value adds is its category's.
        """
        shares = self.baseline.contributions(as_frame(self.risk.added_to(features)))
        places = {name: place for place, name in enumerate(self.facts)}
        found = np.zeros((len(shares), len(places)))
        for name, share in zip(self.baseline.columns.names, shares.T, strict=True):
            found[:, places[encoded_category(name)]] += share
        return found

    def to_files(self, folder: Path) -> None:
        """Write classical.json, encoder.json, the files of the model, and risk.json if any."""
        self.risk.to_files(folder)
        stored = {"model": self.baseline.name, "base_logit": self.base_logit}
        (folder / FILE).write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        (folder / "encoder.json").write_text(self.encoder.to_json() + "\n", encoding="utf-8")
        self.baseline.to_files(folder)

    @classmethod
    def from_files(cls, folder: Path) -> "OneStage":
        """Read what `to_files` wrote. Raises ValueError for anything else."""
        stored = read_json(StoredOneStage, folder / FILE)
        if stored.model not in BASELINES:
            raise ValueError(f"{FILE} names the model {stored.model!r}, which does not exist")
        return cls(
            baseline=BASELINES[stored.model].from_files(folder),
            base_logit=stored.base_logit,
            encoder=Encoder.from_json((folder / "encoder.json").read_text(encoding="utf-8")),
            risk=RiskEncoding.from_files(folder),
        )


Model = Layered | OneStage


def read_model(folder: Path) -> Model:
    """The model whose files are in a folder."""
    return OneStage.from_files(folder) if (folder / FILE).exists() else Layered.from_files(folder)


def state_width(model: Model) -> int:
    """How many numbers tell rows apart: the units of the network's state, or facts."""
    return model.shape.width if isinstance(model, Layered) else len(model.facts)
