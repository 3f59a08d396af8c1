"""Held rows are offered again as they came, each once; what fails again stays."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.ingest.held_rows import drop
from pipeline.ingest.ingest import ingest, replay
from pipeline.ingest.ingested import Ingested
from pipeline.lake.tables import Lake
from pipeline.portfolio import Portfolio, PortfolioError
from tests.ingest_examples import NOW, PARQUET, portfolio_of, reasons, row, stored, take_in
from tests.pipeline.ingest.test_law_3 import Killed, kill_after

NAMES = '[columns]\ntransaction_id = "transaction_id"\naccount_id = "account_id"\n'
BEFORE = f'{NAMES}event_time = "event_time"\namount = "amount"\nis_fraud = "is_fraud"\n'
LATER = NOW + timedelta(days=1)


def mended(
    folder: Path, *, source: str = PARQUET, more: str = BEFORE, asked: Sequence[str] = ()
) -> Ingested:
    """Replay with the portfolio as it is mended."""
    portfolio = portfolio_of(folder, source=source, more=more)
    return replay(portfolio, Lake(str(folder / "lake"), "small"), now=LATER, reasons=asked)


def amounts(lake: Lake) -> dict[str, float]:
    return {taken["transaction_id"]: taken["amount"] for taken in stored(lake, "transactions")}


def test_a_replay_takes_what_the_mended_portfolio_reads_and_a_second_one_nothing(
    tmp_path: Path,
) -> None:
    lake, _ = take_in(
        tmp_path,
        [row("t1", amount="$5", is_fraud="1"), row("t2", amount="?"), row("t3")],
        more=BEFORE,
    )
    more = BEFORE.replace('"amount"\n', "\"replace(amount, '$', '')\"\n")
    done, again = mended(tmp_path, more=more), mended(tmp_path, more=more)
    assert (done.read, done.taken, done.quarantined, done.labels) == (2, 1, 1, 1)
    assert (again.read, again.taken, again.quarantined) == (1, 0, 1)
    assert amounts(lake) == {"t1": 5.0, "t3": 12.5}
    label = next(one for one in stored(lake, "labels") if one["transaction_id"] == "t1")
    assert label["known_at"] == datetime(2025, 5, 8, 10, tzinfo=UTC)  # as in the history it is of


def test_what_fails_again_stays_with_its_new_reason(tmp_path: Path) -> None:
    lake, _ = take_in(tmp_path, [row("t1", amount="x", other="-3")], more=BEFORE)
    mended(tmp_path, more=BEFORE.replace('"amount"\n', '"other"\n'))
    assert reasons(lake) == ["amount is -3.0, below 0"]
    assert stored(lake, "quarantine")[0]["quarantined_at"] == NOW


def test_only_the_rows_of_the_reason_asked_for_are_offered(tmp_path: Path) -> None:
    lake, _ = take_in(
        tmp_path, [row("t1", amount="x", other="3"), row("t2", event_time="?")], more=BEFORE
    )
    done = mended(tmp_path, more=BEFORE.replace('"amount"\n', '"other"\n'), asked=["AMOUNT"])
    assert (done.read, done.taken) == (1, 1)
    assert reasons(lake) == ["event_time is '?', no ISO 8601 time"]
    with pytest.raises(PortfolioError, match=r"no reason in quarantine is '7'; strata quarantine"):
        mended(tmp_path, asked=["7"])


def test_a_row_that_where_leaves_out_leaves_quarantine(tmp_path: Path) -> None:
    lake, _ = take_in(tmp_path, [row("t1", amount="-5")])
    done = mended(tmp_path, source=f"{PARQUET}\nwhere = 'amount >= 0'", more="")
    assert (done.read, done.left_out, done.taken, reasons(lake)) == (1, 1, 0, [])


def test_a_row_that_contradicts_one_of_its_own_file_is_not_taken_for_a_correction(
    tmp_path: Path,
) -> None:
    lake, _ = take_in(tmp_path, [row("t1"), row("t1", amount="99")])
    done = mended(tmp_path, more="")
    assert (done.taken, done.quarantined, amounts(lake)) == (0, 1, {"t1": 12.5})


def test_a_later_version_that_failed_is_a_correction_when_it_is_replayed(tmp_path: Path) -> None:
    lake, _ = take_in(tmp_path, [row("t1")], [row("t1", amount="$7")], more=BEFORE)
    done = mended(tmp_path, more=BEFORE.replace('"amount"\n', "\"replace(amount, '$', '')\"\n"))
    assert (done.corrected, amounts(lake), reasons(lake)) == (1, {"t1": 7.0}, [])


def test_numbers_are_read_as_their_file_wrote_them(tmp_path: Path) -> None:
    """1.234 alone could be a thousand and more, or one and a bit."""
    source = 'path = "rows.csv"'
    (tmp_path / "rows.csv").write_text(
        "transaction_id;event_time;account_id;amount\nt1;?2025-05-01;a;1.234\nt2;2025-05-01;a;2,50\n"
    )
    portfolio = portfolio_of(tmp_path, source=source)
    lake = Lake(str(tmp_path / "lake"), "small")
    ingest(portfolio, lake, now=NOW)
    more = f"{NAMES}event_time = \"replace(event_time, '?', '')\"\namount = \"amount\"\n"
    mended(tmp_path, source=source, more=more)
    assert amounts(lake) == {"t1": 1234.0, "t2": 2.5}


def test_values_keep_the_types_that_their_file_had(tmp_path: Path) -> None:
    portfolio = portfolio_of(tmp_path)
    moment = datetime(2025, 5, 1, 10, tzinfo=UTC)
    table: dict[str, Any] = {
        "transaction_id": [7.0, 8.0],
        "event_time": pa.array([moment, moment]).cast(pa.timestamp("ms")),
        "account_id": pa.array([1, 2], pa.int64()),
        "amount": [float("nan"), 2.0],
        "other": [3.5, 4.5],
    }
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    lake = Lake(str(tmp_path / "lake"), "small")
    ingest(portfolio, lake, now=NOW)
    assert list(amounts(lake)) == ["8"]
    mended(tmp_path, more=f'{NAMES}event_time = "event_time"\namount = "other"\n')
    assert amounts(lake) == {"7": 3.5, "8": 2.0}
    assert {one["event_time"] for one in stored(lake, "transactions")} == {moment}


def test_a_torn_line_and_a_dropped_row_are_not_offered(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(
        "transaction_id,event_time,account_id,amount\nt1,2025-05-01,a\nt2,2025-05-01,a,-1\n"
    )
    portfolio = portfolio_of(tmp_path, source='path = "rows.csv"')
    lake = Lake(str(tmp_path / "lake"), "small")
    ingest(portfolio, lake, now=NOW)
    drop(lake, reasons=["below"], keys=[], by="ann", note="a test", now=NOW)
    assert mended(tmp_path, source='path = "rows.csv"', more="").read == 0
    assert len(reasons(lake)) == 2


@pytest.mark.parametrize("offered", ["by a replay", "by the clock"])
def test_killed_after_any_change_and_run_again_a_replay_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offered: str
) -> None:
    """Transactions, the label, what leaves quarantine and what stays with a new reason."""
    more = BEFORE.replace('"amount"\n', "\"replace(amount, '$', '')\"\n")
    rows = [row("t1", amount="$5", is_fraud="1"), row("t2", amount="$-1")]
    if offered == "by the clock":
        rows, more = [row("t1", event_time="2025-06-01T10:00:00Z", is_fraud="1")], BEFORE

    def offer(folder: Path) -> None:
        if offered == "by a replay":
            mended(folder, more=more)
        else:
            ingest(clocked(folder), Lake(str(folder / "lake"), "small"), now=LATER)

    def clocked(folder: Path) -> Portfolio:
        return portfolio_of(folder, more=more)

    for killed_after in range(4):
        folder = tmp_path / str(killed_after)
        lake, _ = take_in(folder, rows, more=BEFORE)
        if killed_after:
            with monkeypatch.context() as patch:
                kill_after(patch, killed_after)
                with pytest.raises(Killed):
                    offer(folder)
        offer(folder)
        assert list(amounts(lake)) == ["t1"]
        assert [one["transaction_id"] for one in stored(lake, "labels") if one["is_fraud"]] == [
            "t1"
        ]
        expected = ["amount is -1.0, below 0"] if offered == "by a replay" else []
        assert reasons(lake) == expected
