"""The classical model's opinion as the last stage of the network (stacking, Wolpert 1992)."""

from dataclasses import dataclass, field, replace

from pydantic import BaseModel, ConfigDict, Field
from scipy.special import expit
from sklearn.metrics import log_loss

from pipeline.arrays import BoolArray, FloatArray
from pipeline.models.baselines.protocol import Baseline
from pipeline.models.calibration import PlattScaling, fit_platt_scaling

CLASSICAL = "classical"


STACKING_WEIGHTS = tuple(place / 20 for place in range(21))


class StoredStacking(BaseModel):
    """Weight and calibration as network.json keeps them."""

    model_config = ConfigDict(frozen=True)

    weight: float = Field(alias="trust", ge=0, le=1)
    a: float
    b: float


@dataclass(frozen=True, kw_only=True)
class Stacking:
    """The classical model as the last stage: it moves the log-odds part of the way to its own.

    That part (`weight`, 0 to 1) and the calibration of what comes of it are learned on accounts
    that neither model learned from (stacking, Wolpert 1992). The calibration is the last stage's
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

    def to_json(self) -> dict[str, float]:
        """The weight and the calibration, as a bundle keeps them."""
        return {"trust": self.weight, **self.calibration.to_json()}

    @classmethod
    def from_stored(cls, model: Baseline, stored: StoredStacking) -> "Stacking":
        """The stacking that `to_json` described, of this model."""
        calibration = PlattScaling(a=stored.a, b=stored.b)
        return cls(model=model, weight=stored.weight, calibration=calibration)


def fit_stacking(
    model: Baseline, *, network: FloatArray, classical: FloatArray, y: BoolArray
) -> Stacking:
    """Learn the classical model's weight: that whose calibrated blend suits held-out rows best."""
    stackings = [Stacking(model=model, weight=weight) for weight in STACKING_WEIGHTS]
    calibrated = [
        replace(one, calibration=fit_platt_scaling(one.blend(network, classical), y))
        for one in stackings
    ]
    return min(
        calibrated, key=lambda stacking: log_loss(y, expit(stacking.blend(network, classical)))
    )
