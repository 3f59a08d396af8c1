"""What a classical model is: it learns from features and labels, and gives log-odds.

It is kept in files that hold data only.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Protocol, Self

import numpy.typing as npt
import optuna
import pandas as pd

from pipeline.arrays import FloatArray
from pipeline.models.baselines.columns import Columns

Settings = dict[str, str | int | float]


class Baseline(Protocol):
    """A classical model of fraud; `settings` holds what its fit chose, and on how much."""

    name: ClassVar[str]
    settings: Settings

    def __init__(self, settings: Settings | None = None) -> None: ...

    @property
    def columns(self) -> Columns:
        """The columns it reads; raises ValueError before it has learned."""
        ...

    @classmethod
    def proposed(cls, trial: optuna.trial.BaseTrial, *, is_exact: bool) -> Settings:
        """Settings that a search tries; `is_exact` where values are few enough for every split."""
        ...

    def fit(
        self, features: pd.DataFrame, y: npt.ArrayLike, accounts: npt.ArrayLike, *, seed: int
    ) -> Self:
        """Learn from one row a transaction: float columns (NaN is missing), text columns (null)."""
        ...

    def refit(self, features: pd.DataFrame, y: npt.ArrayLike) -> Self:
        """Another model with the settings this one chose, learned from other rows."""
        ...

    def logit(self, features: pd.DataFrame) -> FloatArray:
        """Log-odds of fraud before calibration, one a row.

        Raises ValueError where a column of the fit is missing.
        """
        ...

    def contributions(self, features: pd.DataFrame) -> FloatArray:
        """What each column adds to the log-odds, [rows, columns.names].

        A row's log-odds less their sum is the same for every row.
        """
        ...

    def to_files(self, folder: Path) -> None:
        """Write everything logit() needs into an existing folder."""
        ...

    @classmethod
    def from_files(cls, folder: Path) -> Self:
        """The model that to_files() wrote."""
        ...


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Write values as a file of JSON."""
    path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
