"""From log-odds to a probability that can be believed: one affine map, and the tables that show whether it can."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.arrays import BoolArray, FloatArray
from pipeline.compare import account_draws
from pipeline.evaluate import both_classes, calibration_error, checked, equal_mass_bins

LEAST_SLOPE = 0.01  # a map that turned the ranking round would hide a broken model
PRIOR = np.array([1.0, 0.0])  # a and b that leave the log-odds as they are


@dataclass(frozen=True, kw_only=True)
class Affine:
    """Calibrated log-odds a * z + b; affine, so that what the stages add up to stays a sum.

    With z = base + the increments, a * z + b = (a * base + b) + the increments each times a.

    >>> Affine(a=2.0, b=1.0).logit(np.array([-1.0, 0.0]))
    array([-1.,  1.])
    >>> Affine.from_json(Affine(a=2.0, b=1.0).to_json())
    Affine(a=2.0, b=1.0)
    """

    a: float = 1.0
    b: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.a) and np.isfinite(self.b) and self.a > 0):
            raise ValueError(f"a calibration needs finite a > 0 and b, found a={self.a}, b={self.b}; fit it again")

    def logit(self, z: npt.ArrayLike) -> FloatArray:
        """Calibrated log-odds of log-odds z."""
        return self.a * np.asarray(z, dtype=np.float64) + self.b

    def probability(self, z: npt.ArrayLike) -> FloatArray:
        """Calibrated probability of log-odds z."""
        return sigmoid(self.logit(z))

    def to_json(self) -> dict[str, float]:
        """The two numbers, as a bundle keeps them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, float]) -> "Affine":
        """The map that to_json() described; raises ValueError for anything else."""
        if set(values) != {"a", "b"}:
            raise ValueError(f"a calibration has the numbers a and b, found {sorted(values)}; export the bundle again")
        return cls(a=float(values["a"]), b=float(values["b"]))


def sigmoid(logit: npt.ArrayLike) -> FloatArray:
    """Probability of log-odds, without overflow at either end."""
    small = np.exp(-np.abs(np.asarray(logit, dtype=np.float64)))
    return np.where(np.asarray(logit) >= 0, 1.0, small) / (1.0 + small)


def fit_affine(z: npt.ArrayLike, y: npt.ArrayLike, *, prior_weight: float = 1.0, steps: int = 100) -> Affine:
    """The likeliest map of log-odds z to labels y, under a light normal prior around leaving z as it is.

    `prior_weight` is the prior's precision in a and b alike: it decides when frauds are a handful, and is lost among hundreds.
    A slope below `LEAST_SLOPE` is not followed; then b alone is fitted beside it.
    """
    scores = np.asarray(z, dtype=np.float64)
    fraud = both_classes(y, rows=len(scores))
    if not np.isfinite(scores).all():
        endless = int((~np.isfinite(scores)).sum())
        raise ValueError(f"{endless} of {len(scores)} log-odds are not finite; score those rows again")
    inputs = np.column_stack([scores, np.ones_like(scores)])
    found = _newton(inputs, fraud, start=PRIOR, free=np.array([True, True]), prior_weight=prior_weight, steps=steps)
    if found[0] < LEAST_SLOPE:
        held = np.array([LEAST_SLOPE, found[1]])
        found = _newton(inputs, fraud, start=held, free=np.array([False, True]), prior_weight=prior_weight, steps=steps)
    return Affine(a=float(found[0]), b=float(found[1]))


def _newton(
    inputs: FloatArray, fraud: BoolArray, *, start: FloatArray, free: BoolArray, prior_weight: float, steps: int
) -> FloatArray:
    """Newton's method on the penalised likelihood, concave in both numbers; a step that makes it worse is halved."""
    at = start
    for _ in range(steps):
        p = sigmoid(inputs @ at)
        gradient = inputs.T @ (fraud - p) - prior_weight * (at - PRIOR)
        curvature = (inputs * (p * (1 - p))[:, None]).T @ inputs + prior_weight * np.eye(2)
        step = np.zeros(2)
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], gradient[free])
        before = _penalised(inputs, fraud, at, prior_weight)
        while np.abs(step).max() > 1e-12 and _penalised(inputs, fraud, at + step, prior_weight) < before:
            step = step / 2
        at = at + step
        if np.abs(step).max() < 1e-10:
            break
    return at


def _penalised(inputs: FloatArray, fraud: BoolArray, at: FloatArray, prior_weight: float) -> float:
    logit = inputs @ at
    likelihood = -np.logaddexp(0.0, np.where(fraud, -logit, logit)).sum()
    return float(likelihood - prior_weight / 2 * ((at - PRIOR) ** 2).sum())


def reliability(y: npt.ArrayLike, p: npt.ArrayLike, *, bins: int = 10) -> pd.DataFrame:
    """One row a bin of equal mass, lowest probabilities first: rows, frauds, mean probability, fraud rate.

    >>> reliability([0, 1, 0, 1], [0.1, 0.1, 0.5, 0.9], bins=2)
       rows  frauds  mean_probability  fraud_rate
    0     2       1               0.1         0.5
    1     2       1               0.7         0.5
    """
    fraud, score = checked(y, p)
    rows = pd.DataFrame({"fraud": fraud, "score": score}).groupby(equal_mass_bins(score, bins))
    table = rows.agg(rows=("fraud", "size"), frauds=("fraud", "sum"), mean_probability=("score", "mean"))
    return table.assign(fraud_rate=table["frauds"] / table["rows"])


def stage_reliability(y: npt.ArrayLike, p: FloatArray, stages: Sequence[str], *, bins: int = 10) -> pd.DataFrame:
    """The reliability of the probabilities after each stage, p [R, K]: `reliability` of each, with its stage and bin.

    >>> stage_reliability([0, 1], np.array([[0.5, 0.1], [0.5, 0.9]]), ["amount", "ip"], bins=2)[["stage", "bin", "fraud_rate"]]
        stage  bin  fraud_rate
    0  amount    0         0.5
    1      ip    0         0.0
    2      ip    1         1.0
    """
    tables = {name: reliability(y, p[:, place], bins=bins) for place, name in enumerate(stages)}
    return pd.concat(tables, names=["stage", "bin"]).reset_index()


@dataclass(frozen=True, kw_only=True)
class CalibrationError:
    """Expected calibration error over bins of equal mass, and its 95 % interval."""

    error: float
    low: float
    high: float


def expected_calibration_error(
    y: npt.ArrayLike, p: npt.ArrayLike, *, accounts: npt.ArrayLike, bins: int = 10, draws: int = 1000, seed: int = 0
) -> CalibrationError:
    """Mean distance of probability from fraud rate, its interval by drawing whole accounts, bins held fixed.

    The distance of a perfect model is above zero by chance alone, so the interval of a good one does not reach zero: compare it
    with another model's, not with nothing.
    """
    fraud, score = checked(y, p)
    account, names = pd.factorize(np.asarray(accounts))
    bin_of = equal_mass_bins(score, bins)
    count = int(bin_of.max()) + 1
    cell = account * count + bin_of
    gap, rows = (
        np.bincount(cell, weights=values, minlength=len(names) * count).reshape(len(names), count)
        for values in (score - fraud, np.ones_like(score))
    )
    errors = [
        np.abs(weights @ gap).sum(axis=1) / (weights @ rows).sum(axis=1)
        for weights in account_draws(len(names), draws=draws, seed=seed, width=len(names))
    ]
    low, high = np.quantile(np.concatenate(errors), [0.025, 0.975])
    return CalibrationError(error=calibration_error(fraud, score, bins=bins), low=float(low), high=float(high))
