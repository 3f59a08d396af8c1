"""The columns a classical model reads: numbers, and categories as frequency ranks."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from features.build import KEYS
from pipeline.arrays import FloatArray


def as_frame(features: pa.Table) -> pd.DataFrame:
    """Features as the classical models take them: float64 columns with NaN, text columns with null.

    No KEYS.
    """
    return pd.DataFrame(
        features.drop_columns([name for name in KEYS if name in features.column_names]).to_pandas()
    )


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns a model reads, and what each text column may say, the most frequent first."""

    numbers: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """Every column in the order a matrix of them has."""
        return (*self.numbers, *self.categories)

    @classmethod
    def learn(cls, features: pd.DataFrame, *, most: int, least_rows: int) -> "Columns":
        """Every column of `features`.

        Of a text column the `most` frequent values seen in `least_rows` rows or more.
        """
        texts = [name for name in features if not pd.api.types.is_numeric_dtype(features[name])]
        return cls(
            numbers=tuple(str(name) for name in features if name not in texts),
            categories={
                str(name): _frequent(features[name], most=most, least_rows=least_rows)
                for name in texts
            },
        )

    def numbers_of(self, features: pd.DataFrame) -> FloatArray:
        """The numeric columns [rows, numbers], NaN where missing.

        Raises ValueError for an absent column or infinity.
        """
        absent = [name for name in self.names if name not in features]
        if absent:
            raise ValueError(
                f"the features lack {', '.join(absent)}; "
                "build them with the portfolio the model was trained on"
            )
        values = features[list(self.numbers)].to_numpy(dtype=np.float64, na_value=np.nan)
        endless = (np.abs(values) > np.finfo(np.float32).max).any(axis=0)
        if endless.any():
            names = ", ".join(name for name, bad in zip(self.numbers, endless, strict=True) if bad)
            raise ValueError(
                f"the features hold infinite numbers in {names}; give a missing value instead"
            )
        return values

    def codes_of(self, features: pd.DataFrame) -> FloatArray:
        """The text columns [rows, categories] as frequency ranks from 0.

        NaN where null, the next rank for a rarer value.
        """
        codes = np.empty((len(features), len(self.categories)))
        for place, (name, values) in enumerate(self.categories.items()):
            known = pd.Index(values, dtype="object").get_indexer(
                pd.Index(features[name].astype("object"))
            )
            codes[:, place] = np.where(
                features[name].isna(), np.nan, np.where(known < 0, len(values), known)
            )
        return codes


def _frequent(column: "pd.Series[str]", *, most: int, least_rows: int) -> tuple[str, ...]:
    counts = column.value_counts().rename_axis("value").reset_index(name="rows")
    counts = counts[counts["rows"] >= least_rows].sort_values(
        ["rows", "value"], ascending=[False, True]
    )
    return tuple(counts["value"].astype("object").head(most))
