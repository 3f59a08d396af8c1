"""The models that compete, fitted on the same rows and each calibrated on accounts that its calibration fit did not see."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from features.build import KEYS
from features.windows import Group
from pipeline.baselines import BASELINES, Baseline, Settings
from pipeline.calibrate import Affine, fit_affine
from pipeline.evaluate import BoolArray, FloatArray
from pipeline.layered import Layered, settings_of
from pipeline.model.train import TrainConfig, held_out_accounts

LAYERED = "layered"
MODELS = (LAYERED, *BASELINES)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A fitted model with its calibration, the settings it chose and the seconds it took."""

    name: str
    model: Layered | Baseline
    calibration: Affine
    settings: Settings
    seconds: float

    @property
    def layered(self) -> Layered:
        """The model, which is the layered network. Raises TypeError for a classical one."""
        if not isinstance(self.model, Layered):
            raise TypeError(f"the model {self.name} has no stages; take {LAYERED}")
        return self.model

    def logit(self, features: pa.Table) -> FloatArray:
        """Log-odds before calibration, [R]."""
        if isinstance(self.model, Layered):
            return self.model.logit(features)
        return self.model.logit(as_frame(features))

    def probability(self, features: pa.Table) -> FloatArray:
        """Calibrated probability of fraud, [R]."""
        return self.calibration.probability(self.logit(features))


def check_models(names: Sequence[str]) -> None:
    """Refuse models that do not exist, or none at all."""
    if not names:
        raise ValueError(f"no model is named; choose from {', '.join(MODELS)}")
    for name in names:
        if name not in MODELS:
            raise ValueError(f"there is no model {name!r}; choose from {', '.join(MODELS)}")
        if list(names).count(name) > 1:
            raise ValueError(f"the model {name!r} is named twice; name each once")


def as_frame(features: pa.Table) -> pd.DataFrame:
    """Features as the classical models take them: float64 columns with NaN, text columns with null; no KEYS."""
    return pd.DataFrame(features.drop_columns(list(KEYS)).to_pandas())


def fit_candidates(
    names: Sequence[str],
    features: pa.Table,
    y: BoolArray,
    groups: Sequence[Group],
    *,
    seed: int,
    config: TrainConfig | None = None,
    progress: bool = False,
) -> dict[str, Candidate]:
    """Fit each named model on these rows; `y` is [R].

    Every model is calibrated on accounts that its calibration fit did not learn from: of each network the ones that stopped
    its training; a classical model is fitted without some accounts, calibrated on them, and stays as fitted on all.
    """
    config = config or TrainConfig(seeds=(seed, seed + 1, seed + 2))
    accounts = features["account_id"].to_numpy(zero_copy_only=False).astype(str)
    return {name: _fit(name, features, y, accounts, groups, seed, config, progress) for name in names}


def _fit(
    name: str,
    features: pa.Table,
    y: BoolArray,
    accounts: npt.NDArray[np.str_],
    groups: Sequence[Group],
    seed: int,
    config: TrainConfig,
    progress: bool,
) -> Candidate:
    started = perf_counter()
    model: Layered | Baseline
    if name == LAYERED:
        model = Layered.fit(features, y, accounts, groups, config=config, progress=progress)
        calibration = fit_affine(*model.held_out_logits(features, y, accounts, config=config))
        settings = settings_of(model)
    else:
        frame = as_frame(features)
        model = BASELINES[name]().fit(frame, y, accounts, seed=seed)
        apart = held_out_accounts(accounts, share=config.held_out, seed=seed)
        calibration = fit_affine(model.refit(frame[~apart], y[~apart]).logit(frame[apart]), y[apart])
        settings = model.settings
    return Candidate(name=name, model=model, calibration=calibration, settings=settings, seconds=perf_counter() - started)
