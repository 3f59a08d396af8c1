"""The order of groups by information: what tells most comes first, and money counts.

What another group holds already comes late.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from features.declarations import Group, fact
from pipeline.portfolio import PortfolioError, read_portfolio
from pipeline.train.group_order import by_information

ROWS = 6000
NAMES = ("noise", "weak", "strong", "echo")


def group(name: str) -> Group:
    return Group(name=name, meaning=name, needs=(), features=(fact(name, name, name),))


@pytest.fixture(scope="module")
def fraud() -> np.ndarray:
    return np.random.default_rng(0).random(ROWS) < 0.05


@pytest.fixture(scope="module")
def rows(fraud: np.ndarray) -> pa.Table:
    random = np.random.default_rng(1)
    strong = 3 * fraud + random.normal(size=ROWS)
    return pa.table(
        {
            "noise": random.normal(size=ROWS),
            "weak": 1.5 * fraud + random.normal(size=ROWS),
            "strong": strong,
            "echo": strong + 0.3 * random.normal(size=ROWS),
        }
    )


def order(rows: pa.Table, fraud: np.ndarray, **prices: float) -> list[str]:
    accounts = np.array([f"a{row % 500}" for row in range(ROWS)])
    found = by_information(
        rows, fraud, accounts, [group(name) for name in NAMES], prices=prices, seed=1
    )
    return [one.name for one in found]


def test_what_tells_most_comes_first_and_what_was_told_before_comes_late(
    rows: pa.Table, fraud: np.ndarray
) -> None:
    """The echo tells more than the weak group alone, and nothing once the strong one has spoken."""
    found = order(rows, fraud)
    assert found[:2] == ["strong", "weak"]
    assert set(found) == set(NAMES)


def test_what_costs_money_comes_behind_what_is_free(rows: pa.Table, fraud: np.ndarray) -> None:
    assert order(rows, fraud, strong=0.5)[-1] == "strong"


def test_of_two_that_cost_the_one_that_tells_more_for_its_price_comes_first(
    rows: pa.Table, fraud: np.ndarray
) -> None:
    assert order(rows, fraud, strong=0.01, echo=0.01, weak=0.01)[:3] == ["noise", "strong", "weak"]
    assert order(rows, fraud, strong=100.0, echo=100.0, weak=0.0001)[:3] == [
        "noise",
        "weak",
        "strong",
    ]


def test_without_accounts_to_hold_out_the_order_stays(rows: pa.Table) -> None:
    one_fraud = np.arange(ROWS) == 7
    assert order(rows, one_fraud) == list(NAMES)


def portfolio(tmp_path: Path, groups: str) -> Path:
    file = tmp_path / "portfolio.toml"
    file.write_text(
        f'name = "one"\n[source]\npath = "rows.csv"\n[groups]\n{groups}\n', encoding="utf-8"
    )
    return file


def test_a_portfolio_leaves_the_order_to_a_training(tmp_path: Path) -> None:
    read = read_portfolio(
        portfolio(tmp_path, 'order = "auto"\nprices = { ip = 0.002, credit = 1 }')
    )
    assert read.is_ordered_by_information
    assert read.prices == {"ip": 0.002, "credit": 1.0}
    assert not read_portfolio(portfolio(tmp_path, 'order = ["amount"]')).is_ordered_by_information


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            'order = "automatic"',
            "order in .groups. of .* is 'automatic'; "
            "write it as a list of group names, or as 'auto'",
        ),
        ("prices = { ipp = 1 }", "names 'ipp', which is no group; choose from amount, clock"),
        (
            "prices = { ip = -1 }",
            "the price of ip in .groups.prices. of .* is -1; give a number of 0 or more",
        ),
        ("prices = { ip = inf }", "is inf; give a number of 0 or more"),
    ],
)
def test_what_is_no_order_and_no_price_is_refused(
    tmp_path: Path, groups: str, message: str
) -> None:
    with pytest.raises(PortfolioError, match=message):
        read_portfolio(portfolio(tmp_path, groups))
