"""Law 3: nothing is lost, nothing counts twice, in any order, again, killed, or two at a time."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from deltalake import DeltaTable
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pipeline.ingest.ingest import ingest
from pipeline.lake.tables import Lake
from tests.ingest_examples import (
    NOW,
    PARQUET,
    end_state,
    portfolio_of,
    row,
    stored,
    take_in,
    write_rows,
)

ROOT = Path(__file__).parents[3]
INGEST = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pipeline.ingest.ingest import ingest
from pipeline.lake.tables import Lake
from pipeline.portfolio import read_portfolio
portfolio = read_portfolio(Path(sys.argv[1]))
lake, now = Lake(sys.argv[2], portfolio.name), datetime(2025, 6, 1, tzinfo=UTC)
ingest(portfolio, lake, now=now, batch_rows=int(sys.argv[3]))
"""

ANY = f"{PARQUET}\nmax_bad_share = 1.0"  # however many of the drawn rows fail
AMOUNTS = {"1": 1.0, "2.50": 2.5, "-3": None, "cheap": None, None: None}
TIMES: dict[str, datetime | None] = {
    "2025-05-01": datetime(2025, 5, 1, tzinfo=UTC),
    "2025-05-02T10:00:00+02:00": datetime(2025, 5, 2, 8, tzinfo=UTC),
}
TIMES |= {"2031-01-01": None, "yesterday": None}
PLACES = {None: None, "51.5": 51.5, "-91": None}
LABELS = ["0", "true", None]


def drawn_rows(*, ids: st.SearchStrategy[str | None]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rows good and bad, some of them twice."""
    drawn: dict[str, Any] = {
        "amount": AMOUNTS,
        "event_time": TIMES,
        "is_fraud": LABELS,
        "latitude": PLACES,
    }
    one = st.builds(
        row, ids, **{name: st.sampled_from(list(values)) for name, values in drawn.items()}
    )
    return st.lists(one, min_size=1, max_size=12)


def with_copies(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each row an id of its own, and append every third row once more."""
    named = [{**r, "transaction_id": f"t{place}"} for place, r in enumerate(rows)]
    return named + named[::3]


@settings(deadline=None, max_examples=6, phases=[Phase.explicit, Phase.generate])
@given(
    drawn_rows(ids=st.just("t")).map(with_copies),
    st.randoms(use_true_random=False),
    st.integers(1, 6),
)
def test_any_order_and_any_split_over_files_and_batches_give_the_same_end_state(
    rows: list[dict[str, Any]], chance: random.Random, batch_rows: int
) -> None:
    shuffled = chance.sample(rows, len(rows))
    cut = chance.randint(0, len(rows))
    with TemporaryDirectory() as folder:
        whole, _ = take_in(Path(folder) / "whole", rows, source=ANY)
        parts, _ = take_in(
            Path(folder) / "parts",
            shuffled[:cut],
            shuffled[cut:],
            batch_rows=batch_rows,
            source=ANY,
        )
        assert end_state(parts) == end_state(whole)


@settings(deadline=None, max_examples=6, phases=[Phase.explicit, Phase.generate])
@given(drawn_rows(ids=st.sampled_from(["t1", "t2", "t3", " ", None])), st.integers(1, 6))
def test_each_row_ends_in_exactly_one_place_and_offering_all_again_changes_nothing(
    rows: list[dict[str, Any]], batch_rows: int
) -> None:
    with TemporaryDirectory() as folder:
        lake, (first, again) = take_in(Path(folder), rows, rows, batch_rows=batch_rows, source=ANY)
        once, _ = take_in(Path(folder) / "once", rows, batch_rows=batch_rows, source=ANY)
        assert end_state(lake) == end_state(once)
        taken = [
            (t["transaction_id"], t["event_time"], t["amount"], t["latitude"])
            for t in stored(lake, "transactions")
        ]
        held = [json.loads(h["row"]) for h in stored(lake, "quarantine")]
    assert first.read == first.taken + first.known + first.quarantined == len(rows)
    assert (again.taken, again.quarantined, again.labels, again.known) == (0, 0, 0, len(rows))
    assert first.taken == len(taken) == len({name for name, *_ in taken})
    assert first.quarantined == len(held) == len({str(h) for h in held})
    assert all((facts(r) in taken) != (r in held) for r in rows)


def facts(row: dict[str, Any]) -> tuple[object, ...]:
    """What a row says, worked out by hand; a bad value as None."""
    return (
        row["transaction_id"],
        TIMES[row["event_time"]],
        AMOUNTS[row["amount"]],
        PLACES[row["latitude"]],
    )


class Killed(BaseException):
    """What a test ends a run with."""


def kill_after(monkeypatch: pytest.MonkeyPatch, changes: int) -> None:
    """End the run just after it changed the lake that many times: just before its next change."""
    seen: list[str] = []
    for name in ("append_parts", "remove", "replace"):
        real: Callable[..., None] = getattr(Lake, name)

        def counted(*args: Any, real: Callable[..., None] = real, **options: Any) -> None:
            real(*args, **options)
            seen.append(real.__name__)
            if len(seen) == changes:
                raise Killed

        monkeypatch.setattr(Lake, name, counted)


FORMERLY = [row("t1", amount="-1"), row("t2", event_time="never"), row("t6")]
NOWADAYS = [
    row("t1"),
    row("t2", is_fraud=None),
    row("t3", amount="x"),
    row("t4", is_fraud="1"),
    row("t4", amount="9"),
    row("t5"),
    row("t6", amount="7"),
]


def test_killed_after_any_change_and_run_again_the_end_state_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = take_in(tmp_path / "whole", FORMERLY, NOWADAYS, batch_rows=2)
    assert [held["transaction_id"] for held in stored(whole, "quarantine")] == ["t3", "t4"]
    # held rows, released ones, transactions, the version that a correction replaces, the
    # correction, labels, the delivery
    changes = 7
    for killed_after in range(1, changes + 1):
        folder = tmp_path / f"killed after {killed_after}"
        lake, _ = take_in(folder, FORMERLY, batch_rows=2)
        with monkeypatch.context() as patch:
            kill_after(patch, killed_after)
            with pytest.raises(Killed):
                take_in(folder, NOWADAYS, batch_rows=2)
        take_in(folder, NOWADAYS, batch_rows=2)
        assert end_state(lake) == end_state(whole), folder.name
        assert [old["amount"] for old in stored(lake, "versions")] == [12.5]


def started(portfolio_file: Path, lake_url: Path, batch_rows: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", INGEST, str(portfolio_file), str(lake_url), str(batch_rows)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def many_rows(count: int) -> list[dict[str, Any]]:
    return [
        row(f"t{n}", amount="-1" if n % 200 == 0 else f"{n}", is_fraud=str(n % 2))
        for n in range(count)
    ]


def test_a_process_killed_at_random_moments_and_run_again_ends_like_one_that_was_not(
    tmp_path: Path,
) -> None:
    rows = many_rows(3000)
    whole, _ = take_in(tmp_path / "whole", rows)
    portfolio = portfolio_of(tmp_path / "killed")
    write_rows(portfolio, rows)
    lake = Lake(str(tmp_path / "killed" / "lake"), portfolio.name)
    chance = random.Random(7)
    for files in (3, 9):
        with started(portfolio.file, Path(lake.url), 50) as process:
            while process.poll() is None and len(written(lake)) < files:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.01))
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    ingest(portfolio, lake, now=NOW)
    assert end_state(lake) == end_state(whole)
    committed = DeltaTable(lake.uri("transactions")).file_uris()
    assert sorted(written(lake)) == sorted(map(Path, committed))


def written(lake: Lake) -> list[Path]:
    """The files of transactions, committed or not."""
    return list(Path(lake.uri("transactions")).rglob("*.parquet"))


def test_two_processes_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    rows = many_rows(6000)
    whole, _ = take_in(tmp_path / "whole", rows)
    portfolio = portfolio_of(tmp_path / "both")
    write_rows(portfolio, rows)
    lake = Lake(str(tmp_path / "both" / "lake"), portfolio.name)
    both = [started(portfolio.file, Path(lake.url), 50) for _ in range(2)]
    assert [process.communicate(timeout=120) and process.returncode for process in both] == [0, 0]
    assert end_state(lake) == end_state(whole)
