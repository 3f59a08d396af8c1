"""What a classical model is: it learns from features and labels, and gives log-odds.

It is kept in files that hold data only.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, Self

import numpy.typing as npt
import pandas as pd

from pipeline.arrays import FloatArray

Settings = dict[str, str | int | float]


class Baseline(Protocol):
    """A classical model of fraud; `settings` holds what its fit chose, and on how much."""

    settings: Settings

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
