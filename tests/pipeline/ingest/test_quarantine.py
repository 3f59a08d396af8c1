"""Failed rows are kept once with their reason, and leave when they come mended."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.ingest.ingest import ingest
from pipeline.lake.tables import Lake
from tests.ingest_examples import NOW, portfolio_of, reasons, row, stored, take_in

COLUMNS = '[columns]\nevent_time = "event_time"\naccount_id = "account_id"\n'


def test_the_same_bad_row_twice_is_held_once(tmp_path: Path) -> None:
    lake, (done,) = take_in(tmp_path, [row(amount="-1"), row(amount="-1")])
    assert (done.read, done.known, done.quarantined, len(reasons(lake))) == (2, 1, 1, 1)


def test_the_same_content_under_one_id_is_known_and_other_content_is_held(tmp_path: Path) -> None:
    lake, (done,) = take_in(tmp_path, [row("t1"), row("t1"), row("t1", amount="99")])
    assert (done.taken, done.known, done.quarantined) == (1, 1, 1)
    assert reasons(lake) == [
        "transaction_id is 't1', a duplicate of a row that says something else"
    ]
    assert [taken["amount"] for taken in stored(lake, "transactions")] == [12.5]


def test_a_row_mended_in_the_source_is_taken_in_and_leaves_quarantine(tmp_path: Path) -> None:
    lake, (before, after) = take_in(
        tmp_path,
        [row("t1", amount="-5"), row("t2", amount="-1")],
        [row("t1", amount="5"), row("t2", amount="-1")],
    )
    assert (before.quarantined, after.taken, after.known) == (2, 1, 1)
    assert [held["transaction_id"] for held in stored(lake, "quarantine")] == ["t2"]


def test_a_failed_row_that_the_source_still_has_beside_a_good_one_stays(tmp_path: Path) -> None:
    lake, _ = take_in(
        tmp_path, [row("t1", amount="-5")], [row("t1", amount="-5"), row("t1", amount="5")]
    )
    assert (reasons(lake), lake.count("transactions")) == (["amount is -5.0, below 0"], 1)


def test_a_row_without_an_id_stays_as_a_record_when_it_comes_mended(tmp_path: Path) -> None:
    lake, (_, after) = take_in(tmp_path, [row("")], [row("t1")])
    assert (after.taken, reasons(lake)) == (1, ["transaction_id is missing"])


def test_a_row_whose_time_has_come_leaves_quarantine(tmp_path: Path) -> None:
    rows = [row("t1", event_time="2025-06-02")]
    lake, _ = take_in(tmp_path, rows)
    assert len(reasons(lake)) == 1
    take_in(tmp_path, rows, now=datetime(2025, 6, 3, tzinfo=UTC))
    assert (reasons(lake), lake.count("transactions")) == ([], 1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            'amount = "A"\ntransaction_id = "transaction_id"',
            'amount = "B"\ntransaction_id = "transaction_id"',
            id="the amount",
        ),
        pytest.param(
            'amount = "B"\ntransaction_id = "I"',
            'amount = "B"\ntransaction_id = "transaction_id"',
            id="the id, which was null",
        ),
    ],
)
def test_a_row_leaves_quarantine_when_its_portfolio_is_mended(
    tmp_path: Path, before: str, after: str
) -> None:
    rows = [{**row("t1"), "A": "much", "B": "3", "I": ""}]
    lake, _ = take_in(tmp_path, rows, more=f"{COLUMNS}{before}")
    assert len(reasons(lake)) == 1
    take_in(tmp_path, rows, more=f"{COLUMNS}{after}", again=True)
    assert (reasons(lake), [taken["amount"] for taken in stored(lake, "transactions")]) == (
        [],
        [3.0],
    )


def test_torn_csv_lines_are_held_once_and_the_others_go_in(tmp_path: Path) -> None:
    source = 'path = "rows.csv"'
    portfolio = portfolio_of(tmp_path, source=source)
    (tmp_path / "rows.csv").write_text(
        "transaction_id,event_time,account_id,amount\nt1,2025-05-01,a,1\nt2,2025-05-01\nt3,2025-05-01,a,3\n"
    )
    lake = Lake(str(tmp_path / "lake"), "small")
    first, again = (ingest(portfolio, lake, now=NOW) for _ in range(2))
    assert (first.read, first.taken, first.quarantined, first.torn) == (3, 2, 0, 1)
    assert (again.read, again.known, again.torn) == (3, 3, 0)
    assert reasons(lake) == ["the line has too few or too many fields"]
    assert json.loads(stored(lake, "quarantine")[0]["row"]) == {"line": "t2,2025-05-01"}


def test_what_a_killed_run_held_is_told_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends after its row is held and before its good row is taken."""
    rows = [row("t1", amount="x"), row("t2")]
    with monkeypatch.context() as patch:
        append, appended = Lake.append_parts, []

        def once(*args: object, **options: object) -> None:
            if appended:
                raise InterruptedError
            append(*args, **options)  # type: ignore[arg-type]
            appended.append(args[1])

        patch.setattr(Lake, "append_parts", once)
        with pytest.raises(InterruptedError):
            take_in(tmp_path, rows)
    assert appended == ["quarantine"]
    lake, (told,) = take_in(tmp_path, rows)
    assert (told.taken, told.quarantined, told.failed, len(reasons(lake))) == (1, 1, 1, 1)


def test_the_commonest_reason_is_named_with_its_number(tmp_path: Path) -> None:
    _, (done,) = take_in(
        tmp_path, [row("t1", account_id=""), row("t2", amount="x"), row("t3", amount="y")]
    )
    assert done.commonest == ("2 because amount is 'x', no finite number (beside 1 other reason)")
