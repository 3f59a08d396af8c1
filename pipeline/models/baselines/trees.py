"""Classical models made of trees, whatever library grows them: columns in, log-odds out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd
from pydantic import BaseModel, ConfigDict

from features.stored_json import read_json
from pipeline.arrays import BoolArray, FloatArray
from pipeline.evaluation.metrics import both_classes
from pipeline.models.baselines.columns import Columns
from pipeline.models.baselines.folds import account_cuts, tuning_sample, tuning_settings
from pipeline.models.baselines.protocol import Settings, write_json
from pipeline.models.baselines.tuning import best_of

Matrix = npt.NDArray[np.float32]


class StoredTrees(BaseModel):
    """What <model>.json holds."""

    model_config = ConfigDict(frozen=True)

    columns: Columns
    settings: Settings


@dataclass(frozen=True, kw_only=True)
class Node:
    """A split (`left` below or at most its value, else `right`), or a leaf of that value."""

    feature: int = 0
    value: float
    test: Literal["below", "at most", "leaf"] = "leaf"
    left: int = 0
    right: int = 0
    is_missing_left: bool = False


@dataclass(frozen=True, kw_only=True)
class Trees:
    """Trees as plain nodes, the root first; a row's sum is the base and its leaves' values."""

    trees: Sequence[Sequence[Node]]
    base: float
    is_probability: bool = False


class TreeModel(ABC):
    """Trees that are grown from settings; what is particular of a library is below it."""

    name: ClassVar[str]
    file: ClassVar[str]  # the library's own format, which holds no code
    untuned: ClassVar[tuple[Settings, ...]]  # what a fit chooses from without a search

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings: Settings = dict(settings or {})
        self._columns: Columns | None = None

    @abstractmethod
    def _grow(self, matrix: Matrix, fraud: BoolArray) -> None:
        """Grow the trees on these rows as the settings say."""

    @abstractmethod
    def _margin(self, matrix: Matrix) -> FloatArray:
        """The log-odds, [R]."""

    @abstractmethod
    def _shares(self, matrix: Matrix) -> FloatArray:
        """What each column adds to the log-odds, [R, F]."""

    @abstractmethod
    def _save(self, file: Path) -> None:
        """Write the library's own file."""

    @abstractmethod
    def _load(self, file: Path) -> None:
        """Read the library's own file."""

    @abstractmethod
    def trees(self) -> Trees:
        """The trees as plain nodes."""

    @classmethod
    @abstractmethod
    def proposed(cls, trial: optuna.trial.BaseTrial, *, is_exact: bool) -> Settings:
        """Settings that a search tries."""

    @property
    def columns(self) -> Columns:
        """The columns it reads; raises ValueError before it has learned."""
        if self._columns is None:
            raise ValueError(f"the model {self.name} has not learned yet; call fit or from_files")
        return self._columns

    def fit(
        self, features: pd.DataFrame, y: npt.ArrayLike, accounts: npt.ArrayLike, *, seed: int
    ) -> Self:
        """Choose between a few settings on three folds of accounts, then grow on all rows."""
        fraud = both_classes(y, rows=len(features))
        sample = tuning_sample(fraud, accounts, seed=seed)
        tried = [{**settings, "seed": seed} for settings in self.untuned]
        best, ap = best_of(type(self), tried, features, fraud, account_cuts(sample))
        self.settings = {**best, **tuning_settings(fraud, sample, ap=ap, seed=seed)}
        self._learn(features, fraud)
        return self

    def refit(self, features: pd.DataFrame, y: npt.ArrayLike) -> Self:
        """Grow trees the same way on other rows."""
        model = type(self)(self.settings)
        model._learn(features, both_classes(y, rows=len(features)))
        return model

    def _learn(self, features: pd.DataFrame, fraud: BoolArray) -> None:
        self._columns = Columns.learn(features, most=1000, least_rows=5)
        self._grow(self._matrix(features), fraud)

    def logit(self, features: pd.DataFrame) -> FloatArray:
        """Log-odds before calibration."""
        return self._margin(self._matrix(features))

    def contributions(self, features: pd.DataFrame) -> FloatArray:
        """What each column adds to the log-odds, [rows, columns.names]."""
        return self._shares(self._matrix(features))

    def to_files(self, folder: Path) -> None:
        """Write the library's own file, and <model>.json with the columns it reads."""
        columns = self.columns
        self._save(folder / self.file)
        stored = {"columns": asdict(columns), "settings": self.settings}
        write_json(folder / f"{self.name}.json", stored)

    @classmethod
    def from_files(cls, folder: Path) -> Self:
        """Read what `to_files` wrote."""
        stored = read_json(StoredTrees, folder / f"{cls.name}.json")
        model = cls(stored.settings)
        model._columns = stored.columns
        model._load(folder / cls.file)
        return model

    def _matrix(self, features: pd.DataFrame) -> Matrix:
        columns = self.columns
        both = [columns.numbers_of(features), columns.codes_of(features)]
        return np.column_stack(both).astype(np.float32)


def at_most(threshold: float) -> float:
    """The greatest 32-bit number not above a threshold: such numbers split alike by either.

    >>> at_most(0.1) < 0.1 < float(np.nextafter(np.float32(at_most(0.1)), np.float32(1)))
    True
    """
    nearest = np.float32(threshold)
    below = nearest if float(nearest) <= threshold else np.nextafter(nearest, np.float32(-np.inf))
    return float(below)


def chosen(settings: Mapping[str, str | int | float], name: str) -> float:
    """A number of the settings."""
    return float(settings[name])
