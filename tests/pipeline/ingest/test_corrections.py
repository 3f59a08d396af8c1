"""A row that comes again and says something else is a correction; else nothing changes."""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from features.build import BuildConfig
from pipeline.ingest.ingest import ingest
from pipeline.lake.snapshot import read_snapshot
from pipeline.lake.tables import Lake
from pipeline.portfolio import PortfolioError
from tests.ingest_examples import (
    FEED,
    NOW,
    PARQUET,
    Row,
    portfolio_of,
    reasons,
    row,
    stored,
    take_in,
)

TEN = datetime(2025, 5, 1, 10, tzinfo=UTC)
LATER = NOW + timedelta(days=2)


@pytest.mark.parametrize(
    "changes",
    [{"amount": "12.51"}, {"event_time": "2025-05-01T10:00:00.000001Z"}, {"country": "DE"}],
    ids=["the amount", "the time", "a fact more"],
)
def test_other_content_under_a_known_id_is_a_new_version_and_the_old_one_is_kept(
    tmp_path: Path, changes: Row
) -> None:
    lake, (_, second) = take_in(
        tmp_path, [row("7", country="FR")], [row("7", country="FR") | changes]
    )
    (old,), (new,) = stored(lake, "versions"), stored(lake, "transactions")
    assert (second.taken, second.corrected, second.quarantined) == (1, 1, 0)
    assert (old["amount"], old["event_time"], old["country"]) == (12.5, TEN, "FR")
    assert new["corrected_at"] == old["replaced_at"] == NOW
    (name,) = changes
    assert old[name] != new[name]


def test_a_correction_of_local_times_is_kept_in_utc(tmp_path: Path) -> None:
    source = f'{PARQUET}\ntime_zone = "Asia/Tokyo"'
    local = row("7", event_time="2025-05-01 19:00:00")
    lake, _ = take_in(
        tmp_path, [local], [local | {"amount": "8"}], [local | {"amount": "9"}], source=source
    )
    (new,) = stored(lake, "transactions")
    assert (new["event_time"], new["amount"]) == (TEN, 9.0)
    assert [old["event_time"] for old in stored(lake, "versions")] == [TEN, TEN]


def test_a_corrections_place_in_history_is_the_first_versions(tmp_path: Path) -> None:
    lake, _ = take_in(tmp_path, [row("7")], source=FEED)
    take_in(tmp_path, [row("7", amount="8")], source=FEED, now=LATER)
    (new,) = stored(lake, "transactions")
    assert (new["amount"], new["known_at"], new["as_of"]) == (8.0, NOW, NOW)
    assert new["corrected_at"] == LATER


def test_a_corrected_time_moves_the_row_in_history(tmp_path: Path) -> None:
    lake, _ = take_in(tmp_path, [row("7")], [row("7", event_time="2025-05-02")])
    (new,) = stored(lake, "transactions")
    assert new["event_time"] == new["known_at"] == new["as_of"] == datetime(2025, 5, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("on_change", "amount", "held"), [("keep", 12.5, 0), ("refuse", 12.5, 1), ("correct", 9.0, 0)]
)
def test_what_a_change_does_is_the_portfolios_to_say(
    tmp_path: Path, on_change: str, amount: float, held: int
) -> None:
    source = f'{PARQUET}\non_change = "{on_change}"'
    lake, _ = take_in(tmp_path, [row("7")], [row("7", amount="9")], source=source)
    assert [taken["amount"] for taken in stored(lake, "transactions")] == [amount]
    assert len(reasons(lake)) == held


def test_a_column_that_only_one_delivery_has_changes_nothing(tmp_path: Path) -> None:
    lake, (_, wider, again, narrower) = take_in(
        tmp_path,
        [row("7")],
        [row("7", country="DE"), row("8", country="DE")],
        [row("7", country="FR"), row("8", country="DE")],
        [row("7"), row("8"), row("9")],
    )
    assert [(done.taken, done.known) for done in (wider, again, narrower)] == [
        (1, 1),
        (0, 2),
        (1, 2),
    ]
    assert [taken["country"] for taken in stored(lake, "transactions")] == [None, "DE", None]


def test_a_row_that_is_absent_from_a_later_export_stays(tmp_path: Path) -> None:
    lake, _ = take_in(tmp_path, [row("7"), row("8")], [row("8")])
    assert lake.count("transactions") == 2


def test_a_mended_portfolio_takes_the_same_file_again_as_corrections(tmp_path: Path) -> None:
    rows = [row("7", net="10"), row("8", net="12.5")]
    names = "\n".join(f'{name} = "{name}"' for name in row() if name not in ("amount", "is_fraud"))
    gross, net = (f'[columns]\n{names}\namount = "{amount}"' for amount in ("amount", "net"))
    lake, _ = take_in(tmp_path, rows, more=gross)
    portfolio = portfolio_of(tmp_path, more=net)
    passed_over = ingest(portfolio, lake, now=LATER)
    again = ingest(portfolio, lake, now=LATER, again=True)
    assert (passed_over.known, again.corrected, again.known) == (2, 1, 1)
    assert [taken["amount"] for taken in stored(lake, "transactions")] == [10.0, 12.5]


def test_a_key_that_was_declared_later_completes_the_rows_of_files_read_again(
    tmp_path: Path,
) -> None:
    rows = [row("1", mail="a"), row("2", mail="b")]
    same = "".join(f'{name} = "{name}"\n' for name in row())
    key = f'[columns]\n{same}[keys.email]\ncolumn = "mail"\nmeaning = "e-mail"\n'
    lake, _ = take_in(tmp_path, rows)
    lake, (done,) = take_in(tmp_path, rows, more=key, now=LATER, again=True)
    found = stored(lake, "transactions")
    assert (done.taken, done.corrected, stored(lake, "versions")) == (2, 2, [])
    assert [(one["email"], one["corrected_at"]) for one in found] == [("a", None), ("b", None)]
    _, (once_more,) = take_in(tmp_path, rows, more=key, now=LATER, again=True)
    assert (once_more.taken, once_more.known) == (0, 2)


def test_a_folder_costs_what_is_new_and_a_file_of_another_name_is_known(tmp_path: Path) -> None:
    portfolio = portfolio_of(tmp_path, source='path = "drop"')
    (tmp_path / "drop").mkdir()
    lake = Lake(str(tmp_path / "lake"), portfolio.name)
    head = "transaction_id,event_time,account_id,amount\n"
    counts = []
    for name in ("a.csv", "b.csv", "copy of a.csv"):
        (tmp_path / "drop" / name).write_text(f"{head}{name[-5]},2025-05-01,a,5\n")
        done = ingest(portfolio, lake, now=NOW)
        counts.append((done.read, done.taken, done.known))
    assert counts == [(1, 1, 0), (2, 1, 1), (3, 0, 3)]
    assert lake.count("deliveries") == 2


def test_a_line_without_its_end_waits_until_it_has_settled(tmp_path: Path) -> None:
    portfolio = portfolio_of(tmp_path, source='path = "rows.csv"\nsettle = "30s"')
    text = "transaction_id,event_time,account_id,amount\nt1,2025-05-01,a,5\nt2,2025-05-01,a,18"
    (tmp_path / "rows.csv").write_text(text)
    changed = datetime.fromtimestamp((tmp_path / "rows.csv").stat().st_mtime, UTC)
    lake = Lake(str(tmp_path / "lake"), portfolio.name)
    soon = ingest(portfolio, lake, now=changed + timedelta(seconds=29))
    assert (soon.read, lake.count("transactions")) == (0, 0)
    assert soon.waiting_files == (
        "rows.csv waits: its last line is not ended; "
        "it is taken once it has been unchanged for 30 s",
    )
    done = ingest(portfolio, lake, now=changed + timedelta(seconds=31))
    assert (done.taken, done.waiting_files) == (2, ())


@pytest.mark.parametrize("kept", [-4, 30, 0], ids=["no sums", "half of it", "nothing"])
def test_a_packed_file_without_its_end_waits_and_is_then_refused(tmp_path: Path, kept: int) -> None:
    portfolio = portfolio_of(tmp_path, source='path = "rows.csv.gz"')
    text = "transaction_id,event_time,account_id,amount\n" + "t1,2025-05-01,a,5\n" * 50
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(text.encode())[:kept])
    changed = datetime.fromtimestamp((tmp_path / "rows.csv.gz").stat().st_mtime, UTC)
    lake = Lake(str(tmp_path / "lake"), portfolio.name)
    (sentence,) = ingest(portfolio, lake, now=changed + timedelta(seconds=59)).waiting_files
    assert "its end is missing; it is refused once it has been unchanged for 60 s" in sentence
    with pytest.raises(PortfolioError, match=r"rows.csv.gz cannot be read"):
        ingest(portfolio, lake, now=changed + timedelta(seconds=61))
    assert lake.count("transactions") == 0


def test_rows_with_a_digest_of_before_stay_known_unless_they_say_something_else(
    tmp_path: Path,
) -> None:
    lake, _ = take_in(tmp_path, [row("t1"), row("t2")])
    rows = lake.read("transactions")
    assert rows is not None
    other = rows.set_column(
        rows.column_names.index("row_digest"), "row_digest", pa.array([7, 8], pa.int64())
    )
    lake.replace("transactions", other, key="transaction_id", writer="ingest", number=9)
    _, (done,) = take_in(tmp_path, [row("t1"), row("t2", amount="13"), row("t3")])
    assert (done.known, done.corrected, done.taken) == (1, 1, 2)


def test_a_row_ahead_of_the_clock_comes_in_by_itself_though_its_file_is_gone(
    tmp_path: Path,
) -> None:
    lake, (first,) = take_in(tmp_path, [row("t1"), row("t2", event_time="2025-06-01T00:00:09Z")])
    assert (first.taken, first.quarantined, first.waiting) == (1, 1, 1)
    _, (second,) = take_in(tmp_path, [row("t3")], now=NOW + timedelta(seconds=10))
    names = [taken["transaction_id"] for taken in stored(lake, "transactions")]
    assert (second.taken, names, reasons(lake)) == (2, ["t1", "t2", "t3"], [])


def test_a_refused_file_keeps_no_other_from_being_taken(tmp_path: Path) -> None:
    portfolio = portfolio_of(tmp_path, source='path = "drop"')
    (tmp_path / "drop").mkdir()
    head = "transaction_id,event_time,account_id,amount\n"
    (tmp_path / "drop" / "a.csv").write_text(
        "transaction_id,event_time,account_id\nt1,2025-05-01,a\n"
    )
    (tmp_path / "drop" / "b.csv").write_text(f"{head}t2,2025-05-01,a,5\n")
    lake = Lake(str(tmp_path / "lake"), portfolio.name)
    with pytest.raises(ValueError, match=r"lacks amount; .*of the other files 1 of 1 records were"):
        ingest(portfolio, lake, now=NOW)
    assert lake.count("transactions") == 1


def test_a_dry_run_says_what_would_come_of_it_and_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(
        "transaction_id,event_time,account_id,amount\nt1,2025-05-01,a,5\nt2,2025-05-01,a,x\nt3\n"
    )
    portfolio = portfolio_of(tmp_path, source='path = "rows.csv"')
    done = ingest(portfolio, Lake(str(tmp_path / "lake"), "small"), now=NOW, dry_run=True)
    assert (done.read, done.taken, done.quarantined, done.torn) == (3, 1, 1, 1)
    assert not (tmp_path / "lake").exists()


def test_a_past_run_reads_the_version_that_was_known_then(tmp_path: Path) -> None:
    moments = [NOW, NOW + timedelta(days=2), NOW + timedelta(days=4)]
    for moment, amount in zip(moments, ("12.5", "8", "9"), strict=True):
        rows = [row("7", amount=amount), row("8")]
        lake, _ = take_in(tmp_path, rows, source=FEED, now=moment)
    portfolio = portfolio_of(tmp_path, source=FEED)

    def amounts(known_by: datetime | None) -> dict[str, float]:
        snapshot = read_snapshot(portfolio, lake, known_by=known_by)
        features = snapshot.features(build_config=BuildConfig())
        rows = snapshot.columns_of(features, ["amount"])
        built = dict(
            zip(features["transaction_id"].to_pylist(), rows["amount"].to_pylist(), strict=True)
        )
        paid = dict(
            zip(features["transaction_id"].to_pylist(), features["amount"].to_pylist(), strict=True)
        )
        assert built == paid
        return built

    day = timedelta(days=1)
    assert [amounts(moment + day)["7"] for moment in moments] == [12.5, 8.0, 9.0]
    assert amounts(moments[1])["7"] == 8.0  # known at the very moment
    assert amounts(NOW - day)["7"] == 12.5  # behind the moment: as it first came
    assert amounts(None) == {"7": 9.0, "8": 12.5}


def test_a_correction_of_local_times_is_taken(tmp_path: Path) -> None:
    source = f'{PARQUET}\ntime_zone = "Europe/Paris"'
    lake, (_, done) = take_in(tmp_path, [row()], [row(amount="13")], source=source)
    assert (done.corrected, stored(lake, "transactions")[0]["amount"]) == (1, 13.0)
