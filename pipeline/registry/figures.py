"""The figures that a promotion turns on, and the names under which MLflow keeps them."""

from collections.abc import Mapping
from dataclasses import dataclass

OVER = "ap_over_"
PARTS = ("", "_low", "_high")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The layered network's AP minus another model's, and the 95 % interval of that."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Average precision, what chance gives, and the difference to each rival."""

    ap: float
    base_rate: float
    over: Mapping[str, Difference]

    @classmethod
    def from_metrics(cls, metrics: Mapping[str, float]) -> "Figures":
        """Read them from a version's metrics.

        >>> kept = difference_metrics("logistic", Difference(difference=.1, low=.0, high=.2))
        >>> Figures.from_metrics({"ap": .5, "base_rate": .005, **kept}).over["logistic"].high
        0.2
        """
        rivals = [name.removeprefix(OVER) for name in metrics if f"{name}_high" in metrics]
        over = {rival: _difference(rival, metrics) for rival in rivals}
        return cls(ap=metrics["ap"], base_rate=metrics["base_rate"], over=over)


def difference_metrics(rival: str, found: Difference) -> dict[str, float]:
    """Return a difference as MLflow keeps it."""
    values = (found.difference, found.low, found.high)
    return {f"{OVER}{rival}{part}": value for part, value in zip(PARTS, values, strict=True)}


def _difference(rival: str, metrics: Mapping[str, float]) -> Difference:
    difference, low, high = (metrics[f"{OVER}{rival}{part}"] for part in PARTS)
    return Difference(difference=difference, low=low, high=high)
