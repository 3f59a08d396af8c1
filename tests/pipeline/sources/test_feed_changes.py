"""What is other than in the deliveries before is said, by the run and by status."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.schema import SchemaError
from pipeline.ingest.ingest import ingest
from pipeline.ingest.ingested import Ingested
from pipeline.lake.tables import Lake
from pipeline.settings import Settings
from pipeline.sources.files import read_deliveries
from pipeline.status import status
from pipeline.workspace import Workspace
from tests.ingest_examples import NOW, PARQUET, portfolio_of, row, take_in

Rows = list[dict[str, Any]]
FROM = datetime(2025, 4, 7, tzinfo=UTC)  # a Monday


def day_of(day: int, count: int, **changes: object) -> Rows:
    moment = (FROM + timedelta(days=day, hours=9)).isoformat()
    return [row(f"t{day}-{n}", event_time=moment, **changes) for n in range(count)]


def said_of(folder: Path, *batches: Rows, more: str = "") -> tuple[str, ...]:
    """What is said to have changed with the last of the batches."""
    _, done = take_in(folder, *batches, more=more)
    return done[-1].changes


def feed_of(folder: Path) -> list[str]:
    """What status says of the feed."""
    settings = Settings.read({"STRATA_HOME": str(folder)})
    return status("small", Workspace(settings=settings))["feed"]


def test_a_column_that_is_gone_is_said_with_what_is_new(tmp_path: Path) -> None:
    said = said_of(tmp_path, day_of(0, 3, country="FR"), day_of(1, 3, land="FR"))
    assert said == (
        "rows.parquet: country, which rows.parquet had, is not in it (new in it: land); nothing "
        "fills it",
    )
    assert feed_of(tmp_path) == list(said)


def test_a_column_that_is_empty_all_at_once_is_said_unless_it_always_was_rare(
    tmp_path: Path,
) -> None:
    often = [{**one, "channel": None} for one in day_of(0, 20, country="FR")]
    often[0]["channel"] = "web"
    empty = [{**one, "channel": "", "country": ""} for one in day_of(1, 20)]
    assert said_of(tmp_path, often, empty) == (
        "rows.parquet: country, which 100% of the rows of rows.parquet had, is empty in it",
    )


def test_a_column_of_another_type_is_said_where_it_is_read(tmp_path: Path) -> None:
    before = day_of(0, 2, amount=12.5, note=1)
    after = day_of(1, 2, amount=1250, note="x")
    assert said_of(tmp_path, before, after) == (
        "rows.parquet: amount is whole number in it, and was number in rows.parquet",
    )


def test_a_name_that_became_a_float_says_nothing(tmp_path: Path) -> None:
    before, after = day_of(0, 2, account_id=36), day_of(1, 2, account_id=36.0)
    assert said_of(tmp_path, before, after) == ()


def test_what_is_as_before_says_nothing(tmp_path: Path) -> None:
    assert said_of(tmp_path, day_of(0, 3, country="FR"), day_of(1, 3, country="DE", new="x")) == ()


def test_a_file_without_rows_is_said(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("transaction_id,event_time,account_id,amount\n")
    portfolio = portfolio_of(tmp_path, source='path = "rows.csv"')
    done = ingest(portfolio, Lake(str(tmp_path / "lake"), "small"), now=NOW)
    assert (done.read, done.changes) == (0, ("rows.csv: it has no rows",))


def usual_days(days: int) -> Iterator[dict[str, Any]]:
    """Thirty rows a day, and none on Sundays."""
    for day in range(days):
        yield from day_of(day, 0 if day % 7 == 6 else 30)


def test_a_day_with_a_tenth_of_its_rows_is_said_within_one_file(tmp_path: Path) -> None:
    rows = [one for one in usual_days(40) if not one["transaction_id"].startswith("t37-")]
    said = said_of(tmp_path, [*rows, *day_of(37, 3)])
    assert said == (
        "rows.parquet: 1 day has less than a fifth of the usual rows, such as 2025-05-14 with 3 "
        "of 30",
    )


def test_a_daily_file_that_is_short_or_left_out_is_said_and_a_sunday_is_not(tmp_path: Path) -> None:
    said = said_of(tmp_path, list(usual_days(35)), day_of(35, 4))
    assert "such as 2025-05-12 with 4 of 30" in said[0]
    assert said_of(tmp_path, day_of(36, 31)) == ()
    assert "such as 2025-05-14 with 0 of 30" in said_of(tmp_path, day_of(38, 30))[0]
    assert said_of(tmp_path, day_of(39, 30), day_of(40, 1)[:0] + day_of(42, 30))[-1:] == (
        "rows.parquet: 1 day has less than a fifth of the usual rows, such as 2025-05-17 with 0 "
        "of 30",
    )


def test_a_day_that_is_not_over_is_not_short(tmp_path: Path) -> None:
    noon = FROM + timedelta(days=35, hours=12)
    take_in(tmp_path, list(usual_days(35)))
    _, (done,) = take_in(tmp_path, day_of(35, 1), now=noon)
    assert done.changes == ()


def test_a_mended_portfolio_says_that_known_files_were_read_otherwise(tmp_path: Path) -> None:
    columns = "[columns]\n" + "".join(f'{name} = "{name}"\n' for name in row() if name != "amount")
    first, other = f'{columns}amount = "amount"\n', f'{columns}amount = "amount::DOUBLE * 2"\n'
    rows = [row("t1")]
    assert said_of(tmp_path, rows, rows, more=first) == ()
    (said,) = known_again(tmp_path, other).doubts
    assert "has changed in how it reads files since some were taken" in said
    assert "portfolio.toml --again takes them as corrections" in said
    again = known_again(tmp_path, other, again=True)
    assert (again.corrected, again.changes) == (1, ())
    assert known_again(tmp_path, other).doubts == ()
    review = f"{other}[review]\nminutes = 9.0\n"
    assert known_again(tmp_path, review).doubts == ()


def known_again(folder: Path, more: str, *, again: bool = False) -> Ingested:
    portfolio = portfolio_of(folder, more=more)
    return ingest(portfolio, Lake(str(folder / "lake"), "small"), now=NOW, again=again)


def test_what_an_older_home_does_not_know_is_not_claimed(tmp_path: Path) -> None:
    lake, _ = take_in(tmp_path, [row("t1")])
    stored = lake.read("deliveries")
    assert stored is not None
    old = Lake(str(tmp_path / "old"), "small")
    names = [name for name in stored.column_names if name not in NEWER]
    old.append("deliveries", stored.select(names), writer="ingest", number=0)
    assert [one.mapping for one in read_deliveries(old)] == [""]
    portfolio = portfolio_of(tmp_path, source=f"{PARQUET}\ntime_zone = 'Europe/Paris'")
    done = ingest(portfolio, old, now=NOW)
    assert (done.known, done.changes) == (1, ())


NEWER = ("mapping", "shape", "changes", "refused")


def test_a_refused_file_of_a_feed_is_in_status_until_it_is_taken(tmp_path: Path) -> None:
    portfolio = portfolio_of(tmp_path)
    lake = Lake(str(tmp_path / "lake"), "small")
    take_in(tmp_path, [row("t1")])
    lacks = pa.table({"transaction_id": ["t2"], "event_time": ["2025-05-01"], "amount": ["1"]})
    pq.write_table(lacks, tmp_path / "rows.parquet")
    for _ in range(2):
        with pytest.raises(SchemaError, match="lacks account_id"):
            ingest(portfolio, lake, now=NOW + timedelta(hours=1))
    (sentence,) = feed_of(tmp_path)
    assert "lacks account_id" in sentence
    take_in(tmp_path, [row("t2")], now=NOW + timedelta(hours=2))
    assert feed_of(tmp_path) == []
