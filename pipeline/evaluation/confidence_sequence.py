"""How sure a mean of daily differences is, looked at every day: an asymptotic confidence sequence.

An interval that is worked out anew each night decides wrongly in a third of A/A runs over 60
nights: any night that happens to lie apart counts. A confidence sequence holds on all of them at
once.
Days are taken as exchangeable, and ten of them as enough to know their spread.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import FloatArray

MIN_DAYS = 10  # before the first look
BEST_AT = 30  # days, where the sequence is narrowest for its error


@dataclass(frozen=True, kw_only=True)
class ConfidenceSequence:
    """The mean of the days so far and its bounds, each [T]; bounds are infinite at first."""

    mean: FloatArray
    low: FloatArray
    high: FloatArray

    def first_above(self, bound: float) -> int | None:
        """How many days it took until the lower end lay above a bound; None while it does not."""
        return _first(self.low > bound)

    def first_apart(self) -> int | None:
        """How many days it took until 0 lay outside; None while it does not."""
        return _first((self.low > 0) | (self.high < 0))


def confidence_sequence(differences: npt.ArrayLike, *, alpha: float = 0.05) -> ConfidenceSequence:
    """Bounds that hold the mean difference on all days at once, but for a share `alpha` of runs.

    `differences` are [T], a day each, the earliest first. After Waudby-Smith et al. 2024 (Annals of
    Statistics 52:6); for comparing forecasters, Choe and Ramdas 2023 (Operations Research 72:4).
    Raises ValueError where a difference is not finite.

    >>> steady = confidence_sequence([1.0, 1.2] * 10)
    >>> steady.first_apart(), steady.first_above(0.9), steady.first_above(1.1)
    (10, 10, None)
    """
    days = np.asarray(differences, dtype=np.float64)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is a share of runs between 0 and 1, not {alpha}; 0.05 is usual")
    if not np.isfinite(days).all():
        place = int(np.flatnonzero(~np.isfinite(days))[0])
        raise ValueError(f"day {place + 1} has the difference {days[place]}; leave the day out")
    count = np.arange(1, len(days) + 1)
    mean = np.cumsum(days) / count
    squares = np.cumsum((days - days[:1]) ** 2) - count * (mean - days[:1]) ** 2
    spread = np.sqrt(np.maximum(squares, 0) / np.maximum(count - 1, 1))
    width = spread * _widths(count, alpha)
    width[: MIN_DAYS - 1] = np.inf
    return ConfidenceSequence(mean=mean, low=mean - width, high=mean + width)


def _widths(count: npt.NDArray[np.int64], alpha: float) -> FloatArray:
    """Half the width after so many days, in spreads of a day."""
    level = -2 * np.log(alpha)
    scale = (level + np.log(level + 1)) / BEST_AT
    grown = count * scale + 1
    return np.asarray(np.sqrt(2 * grown / (count**2 * scale) * np.log(np.sqrt(grown) / alpha)))


def _first(found: npt.NDArray[np.bool_]) -> int | None:
    return int(np.argmax(found)) + 1 if found.any() else None
