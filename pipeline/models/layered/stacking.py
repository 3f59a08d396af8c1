"""What each stage is worth on rows that a first network has not seen, the last days where known.

The last stage is a classical model's opinion (stacking, Wolpert 1992).
"""

from dataclasses import dataclass, field, replace

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import minimize
from scipy.special import expit

from pipeline.arrays import BoolArray, FloatArray
from pipeline.models.baselines.protocol import Baseline
from pipeline.models.calibration import PlattScaling, fit_platt_scaling

CLASSICAL = "classical"
STACKING_WEIGHTS = tuple(place / 20 for place in range(21))
# nats for a weight that is 1 away from where it would be without any rows
STAGE_SHRINKAGE, OPINION_SHRINKAGE = 10.0, 30.0


class StoredStacking(BaseModel):
    """Weight and calibration as network.json keeps them."""

    model_config = ConfigDict(frozen=True)

    model: str = "xgboost"
    weight: float = Field(alias="trust", ge=0, le=1)
    a: float
    b: float


@dataclass(frozen=True, kw_only=True)
class Stacking:
    """The classical model as the last stage: it moves the log-odds part of the way to its own.

    That part (`weight`, 0 to 1) and the calibration of what comes of it are learned on rows that
    neither model learned from (stacking, Wolpert 1992). The calibration is the last stage's
    alone: the stages before were each trained to be right by themselves, and a map that the last
    one needs would bend them.
    """

    model: Baseline
    weight: float
    calibration: PlattScaling = field(default_factory=PlattScaling)

    def blend(self, so_far: FloatArray, classical: FloatArray) -> FloatArray:
        """The log-odds after the stage, [R].

        >>> import numpy as np
        >>> from pipeline.models.baselines.boosting import XGBoost
        >>> calibration = PlattScaling(a=2.0, b=1.0)
        >>> stacking = Stacking(model=XGBoost(), weight=0.25, calibration=calibration)
        >>> stacking.blend(np.array([0.0]), np.array([2.0]))
        array([2.])
        """
        return self.calibration.logit(so_far + self.weight * (classical - so_far))

    def increment(self, so_far: FloatArray, classical: FloatArray) -> FloatArray:
        """What the stage adds to the log-odds so far, [R]."""
        return self.blend(so_far, classical) - so_far

    def to_json(self) -> dict[str, float | str]:
        """The model's name, its weight and the calibration, as a bundle keeps them."""
        return {"model": self.model.name, "trust": self.weight, **self.calibration.to_json()}

    @classmethod
    def from_stored(cls, model: Baseline, stored: StoredStacking) -> "Stacking":
        """The stacking that `to_json` described, of this model."""
        calibration = PlattScaling(a=stored.a, b=stored.b)
        return cls(model=model, weight=stored.weight, calibration=calibration)


def fit_stacking(
    model: Baseline, *, network: FloatArray, classical: FloatArray, y: BoolArray
) -> Stacking:
    """Learn the classical model's weight: that whose calibrated blend suits held-out rows best.

    It is drawn to a half as far as these rows leave it open.
    """
    stackings = [Stacking(model=model, weight=weight) for weight in STACKING_WEIGHTS]
    calibrated = [
        replace(one, calibration=fit_platt_scaling(one.blend(network, classical), y))
        for one in stackings
    ]
    return min(
        calibrated,
        key=lambda one: (
            _loss(one.blend(network, classical), y) + OPINION_SHRINKAGE * (one.weight - 0.5) ** 2
        ),
    )


@dataclass(frozen=True, kw_only=True)
class StageWeights:
    """What each stage's increment is taken times, [K], and what the base log-odds are moved by."""

    weights: FloatArray
    shift: float


def fit_stage_weights(base: FloatArray, increments: FloatArray, y: BoolArray) -> StageWeights:
    """The likeliest weights of increments [R, K] on held-out rows, from 0 to 1.

    They are drawn to 1: a stage is turned down where it misleads, and none is turned up. `base` is
    [R].
    """

    def loss(at: FloatArray) -> tuple[float, FloatArray]:
        shift, weights = at[0], at[1:]
        logit = base + shift + increments @ weights
        error = expit(logit) - y
        gradient = increments.T @ error + 2 * STAGE_SHRINKAGE * (weights - 1)
        drawn = STAGE_SHRINKAGE * ((weights - 1) ** 2).sum()
        return _loss(logit, y) + drawn, np.array([error.sum(), *gradient])

    stages = increments.shape[1]
    bounds = [(None, None), *[(0, 1)] * stages]
    found = minimize(loss, np.array([0.0] + [1.0] * stages), jac=True, bounds=bounds).x
    return StageWeights(weights=found[1:], shift=float(found[0]))


def _loss(logit: FloatArray, y: BoolArray) -> float:
    """Cross-entropy of all rows together, in nats."""
    return float(np.logaddexp(0.0, np.where(y, -logit, logit)).sum())
