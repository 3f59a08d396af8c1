"""Baskets: payments without history, one an account, told apart by what is bought together.

A world of categories: 80,000 rows of 90 days, 24 categories of 3 to 5,000 values that are as
frequent as words are (Zipf), four numbers, 1.4 % frauds. Fraud follows from single values, from
pairs and, above all, from triples of them; no account is met again, and nothing changes in time.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.optimize import brentq
from scipy.special import expit

from benchmarks.tasks import Fold, Task
from features.declarations import Group, fact

ROWS, SHARE, RATE = 80_000, 0.6, 0.014
START, DAYS = datetime(2025, 1, 1, tzinfo=UTC), 90
# how many values each category has, group by group
VALUES: dict[str, tuple[int, ...]] = {
    "basket": (3, 5, 8, 12, 20, 40, 400),
    "device": (4, 6, 10, 25, 60, 1500),
    "address": (5, 9, 15, 50, 200, 5000),
    "person": (3, 7, 30, 100, 800),
}
SINGLE = 0.8  # spread of the log-odds of a value
PAIRS, TRIPLES = 8, 16
COARSE = 6  # classes of a category's values in an interaction
TOLD, MORE = 0.03, 2.5  # share of an interaction's cells that tell something, and their log-odds


def baskets(*, seed: int = 1, rows: int = ROWS) -> Task:
    """The baskets of a seed: what comes first is learned from, the rest judged."""
    random = np.random.default_rng(seed)
    codes = {
        f"{group}_{place}": _drawn(random, count, rows)
        for group, counts in VALUES.items()
        for place, count in enumerate(counts)
    }
    numbers = {f"number_{place}": random.normal(size=rows) for place in range(3)}
    amount = np.round(np.exp(random.normal(3.5, 1.0, rows)), 2)
    logit = _log_odds(random, list(codes.values())) + 0.4 * np.tanh(np.log(amount) - 3.5)
    logit += 0.5 * numbers["number_0"] * (codes["basket_2"] % 2)
    base = brentq(lambda at: expit(at + logit).mean() - RATE, -40, 40)
    fraud = random.random(rows) < expit(base + logit)
    when = np.sort(random.integers(0, DAYS * 86_400, rows))
    names = [str(row) for row in range(rows)]
    moments = [START + timedelta(seconds=int(second)) for second in when]
    table = pa.table(
        {
            "transaction_id": names,
            "account_id": names,
            "event_time": pa.array(moments, pa.timestamp("us", tz="UTC")),
            "as_of": pa.array(moments, pa.timestamp("us", tz="UTC")),
            "amount": amount,
            "paid": amount,
            **numbers,
            **{name: np.char.add("v", code.astype(str)) for name, code in codes.items()},
        }
    )
    first = int(rows * SHARE)
    fold = Fold(
        train=table.slice(0, first),
        y=fraud[:first],
        test=table.slice(first),
        truth=fraud[first:],
    )
    return Task(name="baskets", groups=_groups(), folds=(fold,))


def _groups() -> tuple[Group, ...]:
    paid = tuple(fact(name, name, name) for name in ("paid", "number_0", "number_1", "number_2"))
    texts = {
        group: tuple(
            fact(f"{group}_{place}", f"{group}_{place}", group, kind="category")
            for place in range(len(counts))
        )
        for group, counts in VALUES.items()
    }
    return tuple(
        Group(name=name, meaning=name, needs=(), features=features)
        for name, features in {"amount": paid, **texts}.items()
    )


def _drawn(random: np.random.Generator, count: int, rows: int) -> npt.NDArray[np.int64]:
    """Values of a category, the n-th as frequent as 1 / (n + 2)."""
    shares = 1 / np.arange(3, count + 3)
    return random.choice(count, size=rows, p=shares / shares.sum())


def _log_odds(
    random: np.random.Generator, codes: list[npt.NDArray[np.int64]]
) -> npt.NDArray[np.float64]:
    logit = np.zeros(len(codes[0]))
    for code in codes:
        logit += random.normal(0, SINGLE, code.max() + 1)[code]
    for size, count in ((2, PAIRS), (3, TRIPLES)):
        for _ in range(count):
            chosen = random.choice(len(codes), size, replace=False)
            cell = np.zeros(len(logit), np.int64)
            for code in [codes[place] for place in chosen]:
                cell = cell * COARSE + random.integers(0, COARSE, code.max() + 1)[code]
            logit += np.where(random.random(COARSE**size) < TOLD, MORE, 0.0)[cell]
    return logit
