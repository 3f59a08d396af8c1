"""Early exit: a transaction passes before all groups are looked up; what that saves and misses.

If p_g is the probability of fraud given the groups up to g, the probabilities of one transaction
are a martingale, and by Markov's inequality P(p_K >= t | p_g) <= p_g / t. Where p_g is below `miss`
* t, later look-ups bring the score to the threshold t in a share `miss` of the cases at most. That
holds as far as the stages are calibrated; `bound_violations` tests it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import beta

from pipeline.arrays import FloatArray
from pipeline.evaluation.metrics import equal_mass_bins
from pipeline.models.calibration import PlattScaling

SURE = 0.999  # how sure it must be that a bin breaks the bound before it is counted


def stage_probabilities(
    base_logit: float, increments: FloatArray, calibration: PlattScaling
) -> FloatArray:
    """The calibrated probability after each stage, [R, K], of increments [R, K].

    >>> stage_probabilities(0.0, np.array([[0.0, 1.0]]), PlattScaling()).round(3)
    array([[0.5  , 0.731]])
    """
    return calibration.probability(base_logit + np.cumsum(increments, axis=1))


def exits(
    p: FloatArray,
    stages: Sequence[str],
    *,
    threshold: float,
    miss: float,
    prices: Mapping[str, float],
) -> pd.DataFrame:
    """One row a stage: what passes behind it, what of that would have been stopped, what it saves.

    `p` [R, K] are the probabilities after the stages; a row passes behind the first stage at which
    p <= `miss` * `threshold`. `prices` are of one look-up of a group, in any currency; a group
    without a price costs nothing. `bound` is the number that would be missed at most. Raises
    ValueError on a threshold, a share or a price out of range, or a price of no stage.

    >>> p = np.array([[0.01, 0.5], [0.2, 0.9], [0.01, 0.001]])
    >>> table = exits(p, ["amount", "ip"], threshold=0.5, miss=0.1, prices={"ip": 0.02})
    >>> table[["stage", "passed", "missed", "saved"]]
        stage  passed  missed  saved
    0  amount       2       1   0.04
    1      ip       0       0   0.00
    """
    _check(threshold, miss, prices, stages)
    low = p <= miss * threshold
    first = np.where(low.any(axis=1), low.argmax(axis=1), p.shape[1])
    price = np.array([prices.get(name, 0.0) for name in stages])
    rows = []
    for place, name in enumerate(stages):
        passing = first == place
        rows.append(
            {
                "stage": name,
                "passed": int(passing.sum()),
                "missed": int((p[passing, -1] >= threshold).sum()),
                "bound": float((p[passing, place] / threshold).sum()),
                "saved": float(passing.sum() * price[place + 1 :].sum()),
            }
        )
    return pd.DataFrame(rows)


def bound_violations(
    p: FloatArray, stages: Sequence[str], *, thresholds: Sequence[float], bins: int = 10
) -> pd.DataFrame:
    """The bins of p_g in which more rows reach a threshold at the last stage than p_g / t allows.

    Bins are of equal mass. One counts where the lower end of the share's 99.9 % interval (Clopper
    and Pearson 1934) lies above the bound. One row a violation: stage, threshold, rows, mean p_g,
    share that reached the threshold, bound. No row: the bound holds.
    """
    found = []
    for place, name in enumerate(stages[:-1]):
        bin_of = equal_mass_bins(p[:, place], bins)
        for threshold in thresholds:
            rows = pd.DataFrame({"p": p[:, place], "reached": p[:, -1] >= threshold}).groupby(
                bin_of
            )
            table = rows.agg(rows=("p", "size"), mean_p=("p", "mean"), reached=("reached", "sum"))
            # nan where none reached it
            least = beta.ppf(1 - SURE, table["reached"], table["rows"] - table["reached"] + 1)
            table = table.assign(
                stage=name, threshold=threshold, bound=np.minimum(table["mean_p"] / threshold, 1.0)
            )
            found.append(
                table.assign(share=table["reached"] / table["rows"])[least > table["bound"]]
            )
    columns = ["stage", "threshold", "rows", "mean_p", "share", "bound"]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)


def _check(
    threshold: float, miss: float, prices: Mapping[str, float], stages: Sequence[str]
) -> None:
    for name, value in (("threshold", threshold), ("share that may be missed", miss)):
        if not 0 < value <= 1:
            raise ValueError(f"the {name} is {value}; give a number above 0, of 1 at most")
    for name, price in prices.items():
        if name not in stages:
            raise ValueError(
                f"there is a price of {name!r}, which is no stage; choose from {', '.join(stages)}"
            )
        if not 0 <= price < np.inf:
            raise ValueError(f"the price of {name} is {price}; give a finite number of 0 or more")
