"""From log-odds to a probability that can be believed: Platt scaling (Platt 1999)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from pipeline.arrays import BoolArray, FloatArray
from pipeline.evaluation.metrics import both_classes

MIN_SLOPE = 0.01  # a map that turned the ranking round would hide a broken model
PRIOR = np.array([1.0, 0.0])  # a and b that leave the log-odds as they are


@dataclass(frozen=True, kw_only=True)
class PlattScaling:
    """Calibrated log-odds a * z + b; affine, so that what the stages add up to stays a sum.

    With z = base + the increments, a * z + b = (a * base + b) + the increments each times a.

    >>> PlattScaling(a=2.0, b=1.0).logit(np.array([-1.0, 0.0]))
    array([-1.,  1.])
    >>> PlattScaling.from_json(PlattScaling(a=2.0, b=1.0).to_json())
    PlattScaling(a=2.0, b=1.0)
    """

    a: float = 1.0
    b: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.a) and np.isfinite(self.b) and self.a > 0):
            found = f"found a={self.a}, b={self.b}"
            raise ValueError(f"a calibration needs finite a > 0 and b, {found}; fit it again")

    def logit(self, z: npt.ArrayLike) -> FloatArray:
        """Calibrated log-odds of log-odds z."""
        return self.a * np.asarray(z, dtype=np.float64) + self.b

    def probability(self, z: npt.ArrayLike) -> FloatArray:
        """Calibrated probability of log-odds z."""
        return np.asarray(expit(self.logit(z)))

    def shifted(self, by: float) -> "PlattScaling":
        """The map with so many log-odds more.

        >>> PlattScaling().shifted(-2.0)
        PlattScaling(a=1.0, b=-2.0)
        """
        return replace(self, b=self.b + by)

    def to_json(self) -> dict[str, float]:
        """The two numbers, as a bundle keeps them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, float]) -> "PlattScaling":
        """The map that to_json() described; raises ValueError for anything else."""
        if set(values) != {"a", "b"}:
            found = f"a calibration has the numbers a and b, found {sorted(values)}"
            raise ValueError(f"{found}; export the bundle again")
        return cls(a=float(values["a"]), b=float(values["b"]))


def prior_shift(sample_rate: float, prior: float) -> float:
    """Log-odds from a sample's share of fraud to the stream's (Saerens et al. 2002).

    Nothing where no prior is said. A sample thinned by class has the stream's likelihood ratios, so
    that only the prior log-odds differ.

    >>> round(prior_shift(0.5, 0.01), 3), prior_shift(0.5, 0.0)
    (-4.595, 0.0)
    """
    return float(logit(prior) - logit(sample_rate)) if prior else 0.0


def fit_platt_scaling(
    z: npt.ArrayLike, y: npt.ArrayLike, *, prior_weight: float = 1.0, steps: int = 100
) -> PlattScaling:
    """The likeliest map of log-odds z to labels y, under a light normal prior around z itself.

    `prior_weight` is the prior's precision in a and b alike: it decides when frauds are a handful,
    and is lost among hundreds. A slope below `MIN_SLOPE` is not followed; then b alone is fitted
    beside it.
    """
    scores = np.asarray(z, dtype=np.float64)
    fraud = both_classes(y, rows=len(scores))
    if not np.isfinite(scores).all():
        endless = int((~np.isfinite(scores)).sum())
        raise ValueError(
            f"{endless} of {len(scores)} log-odds are not finite; score those rows again"
        )
    inputs = np.column_stack([scores, np.ones_like(scores)])
    found = _newton(
        inputs,
        fraud,
        start=PRIOR,
        free=np.array([True, True]),
        prior_weight=prior_weight,
        steps=steps,
    )
    if found[0] < MIN_SLOPE:
        held = np.array([MIN_SLOPE, found[1]])
        found = _newton(
            inputs,
            fraud,
            start=held,
            free=np.array([False, True]),
            prior_weight=prior_weight,
            steps=steps,
        )
    return PlattScaling(a=float(found[0]), b=float(found[1]))


def _newton(
    inputs: FloatArray,
    fraud: BoolArray,
    *,
    start: FloatArray,
    free: BoolArray,
    prior_weight: float,
    steps: int,
) -> FloatArray:
    """Newton's method on the penalised likelihood, concave in both numbers.

    A step that makes it worse is halved.
    """
    at = start
    for _ in range(steps):
        p = expit(inputs @ at)
        gradient = inputs.T @ (fraud - p) - prior_weight * (at - PRIOR)
        curvature = (inputs * (p * (1 - p))[:, None]).T @ inputs + prior_weight * np.eye(2)
        step = np.zeros(2)
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], gradient[free])
        before = _penalised(inputs, fraud, at, prior_weight)
        while (
            np.abs(step).max() > 1e-12
            and _penalised(inputs, fraud, at + step, prior_weight) < before
        ):
            step = step / 2
        at = at + step
        if np.abs(step).max() < 1e-10:
            break
    return at


def _penalised(inputs: FloatArray, fraud: BoolArray, at: FloatArray, prior_weight: float) -> float:
    logit = inputs @ at
    likelihood = -np.logaddexp(0.0, np.where(fraud, -logit, logit)).sum()
    return float(likelihood - prior_weight / 2 * ((at - PRIOR) ** 2).sum())
