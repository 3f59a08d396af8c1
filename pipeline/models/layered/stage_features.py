"""What the network knows after a stage, as features for a classical model (scikit-learn)."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import torch
from sklearn.base import BaseEstimator, TransformerMixin

from pipeline.models.layered.model import Layered
from pipeline.models.layered.network import LayeredNetwork
from pipeline.models.layered.tensors import Tensors


class StageFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The states h_g of a trained network's seeds behind one stage, side by side, [R, D * seeds].

    `stage` is the name of a group, and the last one by default. It learns nothing in `fit`: what it
    tells was learned with the network, so rows that the network was trained on are better known to
    it than others; fit what follows on other rows.
    """

    def __init__(self, model: Layered, stage: str | None = None) -> None:
        self.model = model
        self.stage = stage

    def fit(self, X: pd.DataFrame | pa.Table, y: npt.ArrayLike | None = None) -> Self:  # noqa: N803 - scikit-learn's name
        """Check that the rows have the network's features.

        Raises EncodeError or ValueError where they have not.
        """
        self._place()
        self.model.tensors(_table(X).slice(0, 0))
        return self

    def transform(self, X: pd.DataFrame | pa.Table) -> npt.NDArray[np.float32]:  # noqa: N803
        """Return the states of built features."""
        place = self._place()
        rows, networks = self.model.tensors(_table(X)), self.model.networks
        with torch.inference_mode():
            found = [_states(networks, block, place) for block in rows.blocks()]
        return torch.cat(found or [torch.empty(0, self.model.shape.width * len(networks))]).numpy()

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Names such as `ip_0_17`: stage, seed, place in the state."""
        name = [group.name for group in self.model.encoder.groups][self._place()]
        seeds, width = range(len(self.model.networks)), range(self.model.shape.width)
        return np.array([f"{name}_{seed}_{unit}" for seed in seeds for unit in width], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        """There is nothing to fit."""
        return True

    def _place(self) -> int:
        names = [group.name for group in self.model.encoder.groups]
        if self.stage is not None and self.stage not in names:
            raise ValueError(
                f"the network has no stage {self.stage!r}; choose from {', '.join(names)}"
            )
        return names.index(self.stage) if self.stage is not None else len(names) - 1


def _states(networks: Sequence[LayeredNetwork], rows: Tensors, place: int) -> torch.Tensor:
    """The networks' states behind a stage, side by side."""
    columns = (rows.numbers, rows.missing, rows.codes)
    return torch.cat([network.states(*columns)[place] for network in networks], dim=1)


def _table(rows: pd.DataFrame | pa.Table) -> pa.Table:
    return rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows, preserve_index=False)
