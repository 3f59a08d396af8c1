"""Amounts of several currencies are one currency's before anything adds or ranks them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from features.build import BuildConfig
from features.schema import SchemaError
from pipeline.lake.currency import find_rates, read_rates, settled_digest
from pipeline.lake.snapshot import Snapshot, read_snapshot
from pipeline.portfolio import Portfolio, PortfolioError
from tests.ingest_examples import portfolio_of, row, take_in

EUROS = '[currency]\nreporting = "EUR"\nrates = "rates.csv"\n'
RATES = ("USD,2025-05-02,0.9", "USD,2025-05-05,0.8", "JPY,2025-05-02,0.006")
CONFIG = BuildConfig()


def write_rates(folder: Path, *lines: str, head: str = "currency,day,rate") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in (head, *lines))
    (folder / "rates.csv").write_text(text, encoding="utf-8")


def paid(name: str, amount: object, currency: str | None, day: int, hour: int = 12) -> Any:
    return row(
        name,
        amount=str(amount),
        currency=currency,
        event_time=f"2025-05-{day:02}T{hour:02}:00:00Z",
    )


def snapshot_of(folder: Path, *rows: Any, rates: tuple[str, ...] = RATES) -> Snapshot:
    write_rates(folder, *rates)
    lake, _ = take_in(folder, rows, more=EUROS)
    return read_snapshot(portfolio_of(folder, more=EUROS), lake)


def amounts(snapshot: Snapshot, **options: Any) -> dict[str, float]:
    built = snapshot.features(build_config=CONFIG, **options)
    return dict(zip(built["transaction_id"].to_pylist(), built["amount"].to_pylist(), strict=True))


def test_an_amount_is_converted_by_the_latest_rate_not_after_its_day(tmp_path: Path) -> None:
    rows = [
        paid("friday", 10, "USD", 2, 0),
        paid("sunday", 10, "USD", 4, 23),
        paid("monday", 10, "USD", 5, 0),
        paid("yen", 10_000, "JPY", 9),
        paid("euro", 10, "EUR", 1),
        paid("unnamed", 10, None, 1),
    ]
    snapshot = snapshot_of(tmp_path, *rows)
    euros = {"friday": 9.0, "sunday": 9.0, "monday": 8.0, "yen": 60.0, "euro": 10.0}
    assert amounts(snapshot) == {**euros, "unnamed": 10.0}
    assert snapshot.currency == "EUR"
    stored = snapshot.lake.read("transactions")
    assert stored is not None
    assert max(stored["amount"].to_pylist()) == 10_000, "the lake keeps what was paid"


def test_one_row_and_the_whole_history_are_the_same_numbers(tmp_path: Path) -> None:
    coins = ("USD", "JPY", "EUR", None)
    rows = [paid(f"t{at}", 3.37 * (at + 1), coins[at % 4], 2 + at % 7, at % 24) for at in range(40)]
    snapshot = snapshot_of(tmp_path, *rows)
    whole = snapshot.features(build_config=CONFIG)
    for since in (datetime(2025, 5, 4, tzinfo=UTC), datetime(2025, 5, 8, 12, tzinfo=UTC)):
        part = snapshot.features(build_config=CONFIG, since=since)
        same = whole.slice(whole.num_rows - part.num_rows)
        assert 0 < part.num_rows < whole.num_rows
        assert part["amount"].equals(same["amount"]), "bit for bit"
        pd.testing.assert_frame_equal(part.to_pandas(), same.to_pandas(), rtol=1e-9)


def test_later_rates_change_nothing_of_what_was(tmp_path: Path) -> None:
    rows = [paid("t1", 10, "USD", 2), paid("t2", 10, "USD", 4), paid("t3", 10, "USD", 6)]
    before = amounts(snapshot_of(tmp_path / "a", *rows, rates=RATES))
    later = (*RATES, "USD,2025-05-07,0.5", "USD,2025-06-01,0.4")
    assert amounts(snapshot_of(tmp_path / "b", *rows, rates=later)) == before


def test_several_currencies_without_rates_are_refused_with_the_lines_to_write(
    tmp_path: Path,
) -> None:
    rows = [paid("t1", 1, "EUR", 1), paid("t2", 1, "EUR", 1), paid("t3", 9, "JPY", 1)]
    lake, _ = take_in(tmp_path, rows)
    said = r'payments in EUR \(2\), JPY \(1\), .* write \[currency\] with reporting = "EUR"'
    with pytest.raises(PortfolioError, match=said):
        read_snapshot(portfolio_of(tmp_path), lake)


def test_one_currency_needs_nothing(tmp_path: Path) -> None:
    lake, _ = take_in(tmp_path, [paid("t1", 1, "USD", 1), paid("t2", 1, None, 1)])
    snapshot = read_snapshot(portfolio_of(tmp_path), lake)
    assert (snapshot.rates, snapshot.currency) == (None, "USD")
    portfolio = portfolio_of(tmp_path, more=EUROS.replace("EUR", "USD"))
    assert find_rates(portfolio, lake, version=snapshot.version) == (None, "USD")


def test_a_payment_without_a_rate_is_refused_with_currency_and_day(tmp_path: Path) -> None:
    rows = [paid("t1", 1, "USD", 10), paid("t2", 1, "USD", 13), paid("t3", 1, "USD", 1)]
    snapshot = snapshot_of(tmp_path, *rows)
    said = r"2 payments in USD have no rate to EUR, neither of 2025-05-01 nor of the 7 days before"
    with pytest.raises(SchemaError, match=said):
        amounts(snapshot)
    assert amounts(snapshot_of(tmp_path / "week", paid("t1", 1, "USD", 12))) == {"t1": 0.8}


WRONG = {
    "no number": (("USD,2025-05-01,much",), "row 1 of the rates .* is 'USD,2025-05-01,much'"),
    "nothing": (("USD,2025-05-01,0",), "row 1 of the rates"),
    "no day": (("USD,01/05/2025,0.9",), "row 1 of the rates"),
    "no currency": (("dollar,2025-05-01,0.9",), "row 1 of the rates"),
    "two of a day": (
        ("USD,2025-05-01,0.9", "USD,2025-05-01,0.8"),
        "two rates of USD on 2025-05-01, 0.8 and 0.9",
    ),
    "of itself": (("EUR,2025-05-01,1.1",), "one EUR is 1.1 EUR"),
    "upside down": (("JPY,2025-05-01,163.5",), "one JPY is 163.5 EUR, .* write 0.0061"),
    "a leap": (
        ("JPY,2025-05-01,0.006", "JPY,2025-05-02,163"),
        "let JPY go from 0.006 to 163 at 2025-05-02",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_rates_that_cannot_be_are_refused(tmp_path: Path, what: str) -> None:
    lines, said = WRONG[what]
    write_rates(tmp_path, *lines)
    with pytest.raises(PortfolioError, match=said):
        read_rates(portfolio_of(tmp_path, more=EUROS))


def test_a_file_of_rates_must_be_there_with_its_columns(tmp_path: Path) -> None:
    portfolio = portfolio_of(tmp_path, more=EUROS)
    with pytest.raises(PortfolioError, match=r"there is no file of rates .*rates\.csv"):
        read_rates(portfolio)
    write_rates(tmp_path, "USD;2025-05-01;0.9", head="code;date;value")
    with pytest.raises(PortfolioError, match="lack currency, day, rate; found code, date, value"):
        read_rates(portfolio)


def test_rates_may_be_written_otherwise(tmp_path: Path) -> None:
    write_rates(tmp_path, "0.9;2025-05-01;usd", "0.9;2025-05-01;usd", head="Rate;Day;Currency")
    rates = read_rates(portfolio_of(tmp_path, more=EUROS))
    assert rates.stated.to_pylist() == [{"currency": "USD", "day": 20209, "rate": 0.9}]


def digest_of(portfolio: Portfolio, folder: Path, *lines: str) -> str:
    write_rates(folder, *lines)
    return settled_digest(read_rates(portfolio), by=datetime(2025, 5, 20, tzinfo=UTC))


def test_the_digest_of_rates_is_that_of_days_whose_rates_come_no_more(tmp_path: Path) -> None:
    portfolio = portfolio_of(tmp_path, more=EUROS)
    old = digest_of(portfolio, tmp_path, *RATES)
    assert digest_of(portfolio, tmp_path, *RATES, "USD,2025-05-19,0.7") == old
    assert digest_of(portfolio, tmp_path, *RATES, "USD,2025-05-06,0.7") != old


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('reporting = "euro"\nrates = "r.csv"', "'euro' is no ISO 4217 code"),
        ('reporting = "EUR"', "has reporting and no rates"),
        ('rates = "r.csv"', "has rates and no reporting"),
    ],
    ids=["no code", "no rates", "no currency"],
)
def test_a_table_of_currency_that_is_not_whole_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(PortfolioError, match=said):
        portfolio_of(tmp_path, more=f"[currency]\n{text}\n")


def test_an_account_of_two_currencies_has_one_sum(tmp_path: Path) -> None:
    rows = [paid("t1", 100, "USD", 2), paid("t2", 1_000, "JPY", 3), paid("t3", 1, "EUR", 4)]
    built = snapshot_of(tmp_path, *rows).features(build_config=CONFIG)
    last = built.slice(2).to_pylist()[0]
    assert last["amount_mean_7d"] == pytest.approx((90 + 6) / 2)


def test_the_rows_are_those_of_the_day_in_utc(tmp_path: Path) -> None:
    late = row("t1", currency="USD", amount="10", event_time="2025-05-04T23:30:00-03:00")
    assert amounts(snapshot_of(tmp_path, late)) == {"t1": 8.0}
