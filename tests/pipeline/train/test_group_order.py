"""The order of groups by information: what tells most comes first, and money counts.

What another group holds already comes late.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from features.declarations import Group, fact
from pipeline.portfolio import PortfolioError, read_portfolio
from pipeline.train.group_order import by_information, those_that_pay, worth_on_later_days

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


def dated(rows: pa.Table, days: int) -> pa.Table:
    """The rows, evenly over so many days, each of an account of its own."""
    moments = np.datetime64("2026-01-01T00", "us") + (
        np.arange(ROWS) * days * 86_400_000_000 // ROWS
    ).astype("timedelta64[us]")
    accounts = [f"a{row}" for row in range(ROWS)]
    return rows.append_column("as_of", pa.array(moments)).append_column(
        "account_id", pa.array(accounts)
    )


@pytest.fixture(scope="module")
def misled(rows: pa.Table, fraud: np.ndarray) -> pa.Table:
    """`noise` tells frauds at first, and the opposite on the last days."""
    late = np.arange(ROWS) >= ROWS * 0.8
    said = np.where(late, -3.0, 3.0) * fraud + np.random.default_rng(2).normal(size=ROWS)
    return dated(rows.set_column(0, "noise", pa.array(said)), days=60)


def test_a_group_that_misleads_on_later_days_is_found_and_left_out(
    misled: pa.Table, fraud: np.ndarray
) -> None:
    groups = [group(name) for name in ("weak", "noise", "strong")]
    worth = {one.group: one for one in worth_on_later_days(misled, fraud, groups, seed=1)}
    assert worth["noise"].misleads
    assert worth["strong"].nats > 10
    kept = those_that_pay(misled, fraud, groups, seed=1)
    assert [one.name for one in kept] == ["weak", "strong"]


def test_groups_that_pay_or_cost_nothing_are_all_kept(rows: pa.Table, fraud: np.ndarray) -> None:
    groups = [group(name) for name in ("weak", "strong")]
    assert those_that_pay(dated(rows, days=60), fraud, groups, seed=1) == tuple(groups)


def test_without_later_days_nothing_is_said_and_all_are_kept(
    misled: pa.Table, fraud: np.ndarray
) -> None:
    few = fraud & (np.arange(ROWS) < 300)
    groups = [group(name) for name in NAMES]
    assert worth_on_later_days(misled, few, groups, seed=1) == []
    assert those_that_pay(misled, few, groups, seed=1) == tuple(groups)
    assert worth_on_later_days(misled, fraud, groups[:1], seed=1) == []


def test_a_portfolio_says_whether_groups_may_be_left_out(tmp_path: Path) -> None:
    file = tmp_path / "portfolio.toml"
    text = 'name = "world"\n[source]\npath = "rows.csv"\n[groups]\nselect = "{}"\n'
    for word, is_auto in (("all", False), ("auto", True)):
        file.write_text(text.format(word), encoding="utf-8")
        assert read_portfolio(file).selects_groups == is_auto
    file.write_text(text.format("some"), encoding="utf-8")
    with pytest.raises(PortfolioError, match="select"):
        read_portfolio(file)
