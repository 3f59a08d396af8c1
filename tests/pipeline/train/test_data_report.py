"""What stands in the way of a training is said before it, with what helps."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from features.schema import ARROW_TYPES
from pipeline.lake.tables import Lake
from pipeline.portfolio import Portfolio
from pipeline.train.data_report import data_report, doubts, format_data_report
from tests.ingest_examples import NOW, portfolio_of, row, take_in

START = datetime(2025, 1, 6, tzinfo=UTC)  # a Monday
CARD = "4111111111111111"
Rows = list[dict[str, Any]]


def history(*, days: int = 84, frauds: Iterable[int], a_day: int = 3) -> Rows:
    """Rows of a world of so many days; on each of the named days the first one is fraud."""
    fraud_days = set(frauds)
    return [
        row(
            f"t{day}-{n}",
            event_time=(START + timedelta(days=day, hours=8 + n)).isoformat(),
            account_id=f"a{(day + n) % 29}",
            is_fraud=str(int(n == 0 and day in fraud_days)),
        )
        for day in range(days)
        for n in range(a_day)
    ]


def lake_with(folder: Path, rows: Rows, *, more: str = "") -> tuple[Portfolio, Lake]:
    lake, _ = take_in(folder, rows, more=more)
    return portfolio_of(folder, more=more), lake


def test_rows_labels_and_frauds_are_counted_by_week(tmp_path: Path) -> None:
    portfolio, lake = lake_with(tmp_path, history(frauds=range(0, 84, 7)))
    report = data_report(portfolio, lake)
    assert [week.frauds for week in report.weeks] == [1] * 11 + [0]  # the last is not known yet
    assert {week.rows for week in report.weeks} == {21}
    assert (report.rows, report.frauds) == (252, 11)
    assert report.train_frauds + report.test_frauds == 10  # one lies in the gap between the two
    assert list(doubts(report, portfolio)) == []


def test_test_weeks_without_a_fraud_are_named_with_the_moment_that_would_do(
    tmp_path: Path,
) -> None:
    portfolio, lake = lake_with(tmp_path, history(frauds=range(45), a_day=5))
    with pytest.raises(
        ValueError,
        match=r"the test weeks, 2025-03-04 to 2025-03-23, have no known fraud, of which the last "
        r"is of 2025-02-19: labels .*; judge on earlier weeks by .* --as-of 2025-02-27",
    ):
        data_report(portfolio, lake)
    report = data_report(portfolio, lake, as_of=datetime(2025, 2, 27, tzinfo=UTC))
    assert report.train_frauds
    assert report.test_frauds


def test_the_last_weeks_without_frauds_are_a_doubt_where_the_test_has_others(
    tmp_path: Path,
) -> None:
    portfolio, lake = lake_with(tmp_path, history(frauds=range(61), a_day=8))
    report = data_report(portfolio, lake)
    assert [week.start for week in report.immature] == [START + timedelta(weeks=9)]
    (doubt,) = doubts(report, portfolio)
    assert "from 2025-03-10 to 2025-03-17 have no fraud" in doubt
    assert "--as-of 2025-03-17" in doubt


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        pytest.param(
            [{**one, "is_fraud": None} for one in history(frauds=[])],
            r"no transaction of small has a label that was known by 2025-03-30; map is_fraud",
            id="no labels",
        ),
        pytest.param(
            history(frauds=[]),
            r"none of the 231 labelled transactions of small is fraud; say in \[labels\] values",
            id="no frauds",
        ),
        pytest.param(
            history(frauds=range(70, 77)),
            r"what is learned from, .* has no known fraud.* no earlier weeks have frauds both",
            id="frauds in the test alone",
        ),
        pytest.param(
            history(frauds=range(84), a_day=2),
            r"50\.0% of the labelled .* write the stream's own share under \[labels\].*prior = 0",
            id="a sample with half frauds",
        ),
    ],
)
def test_what_no_training_can_learn_from_is_refused(
    tmp_path: Path, rows: Rows, sentence: str
) -> None:
    portfolio, lake = lake_with(tmp_path, rows)
    with pytest.raises(ValueError, match=sentence):
        data_report(portfolio, lake)


def test_a_sample_whose_prior_is_said_is_taken_and_says_so(tmp_path: Path) -> None:
    more = "[labels]\nprior = 0.002"
    portfolio, lake = lake_with(tmp_path, history(frauds=range(84), a_day=2), more=more)
    (doubt,) = doubts(data_report(portfolio, lake), portfolio)
    assert doubt.startswith("probabilities follow prior = 0.002")


def test_one_row_of_1970_and_one_of_years_later_do_not_stretch_the_span(tmp_path: Path) -> None:
    rows = history(frauds=range(0, 84, 2))
    strays = [row("old", event_time="1970-01-01"), row("odd", event_time="2024-01-01")]
    portfolio, lake = lake_with(tmp_path, [*rows, *strays])
    report = data_report(portfolio, lake)
    assert report.first == START + timedelta(hours=8)
    assert report.outliers is not None
    assert (report.outliers.rows, report.outliers.example) == (2, "old")
    (doubt,) = doubts(report, portfolio)
    assert doubt.startswith("rows far from all others in time")
    assert doubt.endswith(": 2, such as old of 1970-01-01")


def test_an_account_that_may_be_many_is_a_doubt_and_no_card_number_is_shown(
    tmp_path: Path,
) -> None:
    rows = [
        {**one, "account_id": CARD if place % 4 == 0 else f"a{place}"}
        for place, one in enumerate(history(frauds=range(0, 84, 2)))
    ]
    portfolio, lake = lake_with(tmp_path, rows)
    (doubt,) = doubts(data_report(portfolio, lake), portfolio)
    assert doubt.startswith("the account ************1111 has 25% of the rows: perhaps one name")


def test_missing_values_are_told_by_column(tmp_path: Path) -> None:
    rows = [
        {**one, "country": "FR" if place % 4 else None}
        for place, one in enumerate(history(frauds=range(0, 84, 2)))
    ]
    portfolio, lake = lake_with(tmp_path, rows)
    report = data_report(portfolio, lake)
    assert report.missing == {"country": 0.25}
    assert "  missing  country 25%" in format_data_report(report, portfolio)


def test_rows_that_were_corrected_after_they_were_scored_are_counted(tmp_path: Path) -> None:
    rows = history(frauds=range(0, 84, 2))
    portfolio, lake = lake_with(tmp_path, rows)
    scored = pa.table(
        {
            "transaction_id": ["t3-1", "t4-1", "t5-1"],
            "scored_at": pa.array(
                [NOW - timedelta(days=1), NOW - timedelta(days=1), NOW + timedelta(days=1)],
                ARROW_TYPES["time"],
            ),
        }
    )
    lake.append("scores", scored, writer="score", number=0)
    corrected = {"t3-1", "t5-1", "t6-1"}  # of the last nobody said a score
    take_in(
        tmp_path,
        [{**one, "amount": "99"} for one in rows if one["transaction_id"] in corrected],
    )
    (doubt,) = doubts(data_report(portfolio, lake), portfolio)
    assert doubt.startswith("rows corrected after they were scored: 1;")
