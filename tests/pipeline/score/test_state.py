"""A run that goes on from the state of features sees what a run that reads everything sees."""

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import pipeline.lake.data_files
import pipeline.score.state
from features.build import BuildConfig
from features.state.files import check_state
from pipeline.failures import explain
from pipeline.lake.compaction import compact
from pipeline.lake.identity import LakeIdentity, write_identity
from pipeline.lake.snapshot import Snapshot, read_snapshot
from pipeline.lake.tables import MONTH_OF, Lake
from pipeline.portfolio import Portfolio, read_portfolio
from pipeline.progress import SILENT, Step
from pipeline.score.state import features_since
from tests.features.streams import CONFIG, DAY, Stream, differing
from tests.features.test_values import fixed_stream
from tests.pipeline.lake.test_faults import room_for

DELAY = timedelta(hours=3)
GROUPS = {"amount", "location", "retailer"}  # windows, look-ups and labels


@dataclass
class Told:
    """The steps that a run said it did."""

    steps: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Step]:
        self.steps.append(name)
        with SILENT.step(name, total) as step:
            yield step


@dataclass
class Home:
    """A lake that a stream comes into bit by bit, and the state of features beside it."""

    stream: Stream
    lake: Lake
    portfolio: Portfolio
    config: BuildConfig
    rows: int = 0
    lines: int = 0

    @classmethod
    def open(cls, folder: Path) -> "Home":
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "portfolio.toml"
        file.write_text('name = "small"\n[source]\npath = "rows.csv"\n')
        lake = Lake(str(folder / "lake"), "small")
        write_identity(lake.url, LakeIdentity(home="one"))
        config = replace(CONFIG, engine="kernel", state_folder=folder / "state")
        home = cls(fixed_stream(), lake, read_portfolio(file), config)
        home.stream = Stream(
            transactions=home.stream.transactions,
            labels=home.stream.labels.sort_by("known_at"),
        )
        return home

    @property
    def now(self) -> datetime:
        """The moment of the last row that came."""
        moment: datetime = self.stream.transactions["as_of"][self.rows - 1].as_py()
        return moment

    def come(self, count: int) -> datetime:
        """Let so many rows come, and the labels that are known by then; the first row's moment."""
        rows = self.stream.transactions.slice(self.rows, count)
        self.rows += count
        known = pc.sum(pc.less_equal(self.stream.labels["known_at"], rows["as_of"][-1])).as_py()
        lines = self.stream.labels.slice(self.lines, known - self.lines)
        ids = self.stream.transactions.slice(0, self.rows)["transaction_id"]
        self.append("transactions", rows)
        if lines.num_rows:
            self.lines = known
            self.append("labels", lines.filter(pc.is_in(lines["transaction_id"], ids)))
        first: datetime = rows["as_of"][0].as_py()
        return first

    def append(self, table: str, rows: pa.Table) -> None:
        number = self.lake.next_number(table, "test")  # type: ignore[arg-type]
        self.lake.append(table, rows, writer="test", number=number)  # type: ignore[arg-type]

    def correct(self, place: int) -> None:
        """Change the amount of a row that came."""
        row = self.stream.transactions.slice(place, 1)
        at = row.schema.get_field_index("amount")
        row = row.set_column(at, "amount", pa.array([77.0]))
        number = self.lake.next_number("transactions", "test")
        self.lake.replace("transactions", row, key="transaction_id", writer="test", number=number)

    @property
    def snapshot(self) -> Snapshot:
        found = read_snapshot(self.portfolio, self.lake)
        return replace(found, groups=tuple(one for one in found.groups if one.name in GROUPS))

    def run(self, since: datetime, config: BuildConfig | None = None) -> str:
        """Compare the rows from a moment on with one pass over everything; what was made again."""
        told = Told()
        found = features_since(
            self.snapshot,
            since,
            delay=DELAY,
            build_config=config or self.config,
            progress=told,
        )
        whole = self.snapshot.features(build_config=CONFIG, since=since)
        assert differing(by_id(found), by_id(whole)) == []
        return " ".join(told.steps)


def by_id(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas().set_index("transaction_id")
    return frame


def killed_between(home: Home) -> None:
    """The making wrote what it keeps, and not yet what is told beside it."""
    listed = json.loads((state(home) / "state.json").read_text())
    listed["segments"] = listed["segments"][:1]
    (state(home) / "state.json").write_text(json.dumps(listed))


def state(home: Home) -> Path:
    return Path(str(home.config.state_folder)) / "small"


def older(home: Home) -> None:
    row = home.stream.transactions.slice(0, 1)
    home.append("transactions", row.set_column(0, "transaction_id", pa.array(["older"])))


def cut(home: Home) -> None:
    file = next(state(home).rglob("moments"))
    file.write_bytes(file.read_bytes()[:-1])


@pytest.fixture(autouse=True)
def of_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.score.state, "MIN_ROWS", 100)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose state was made when 220 of 300 rows had come."""
    folder = tmp_path_factory.mktemp("begun") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.score.state, "MIN_ROWS", 100)
        home = Home.open(folder)
        home.come(200)
        assert "there is no state of features" in home.run(home.come(20))
    return folder


@pytest.fixture
def home(begun: Path, tmp_path: Path) -> Home:
    shutil.copytree(begun, tmp_path / "home")
    found = Home.open(tmp_path / "home")
    found.rows = 220
    known = pc.less_equal(found.stream.labels["known_at"], found.now)
    found.lines = pc.sum(known).as_py()
    return found


def test_runs_go_on_from_the_state_whatever_comes(home: Home) -> None:
    drawn = np.random.default_rng(1)
    while home.rows < 300:
        assert home.run(home.come(min(int(drawn.integers(1, 30)), 300 - home.rows))) == ""
    check_state(home.config.state_folder / "small")  # type: ignore[operator]


def test_tables_put_together_are_nothing_new(home: Home) -> None:
    for _ in range(3):
        since = home.come(5)
        for table in ("transactions", "labels"):
            compact(home.lake.uri(table), MONTH_OF[table])  # type: ignore[arg-type,index]
        assert home.run(since) == ""


def test_a_correction_of_a_late_row_goes_on(home: Home) -> None:
    assert home.run(home.come(5)) == ""
    home.correct(home.rows - 2)
    assert home.run(home.now) == ""


def test_a_late_row_within_the_delay_goes_to_its_place(home: Home) -> None:
    since = home.come(5)
    late = home.stream.transactions.slice(home.rows - 1, 1)
    late = late.set_column(0, "transaction_id", pa.array(["late"]))
    at = late.schema.get_field_index("as_of")
    moment = pa.array([home.now - DELAY / 2], late.schema.field("as_of").type)
    home.append("transactions", late.set_column(at, "as_of", moment))
    assert home.run(min(since, home.now - DELAY / 2)) == ""


def test_a_lake_whose_files_an_object_store_opens_has_a_state_too(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.lake.data_files, "is_remote", lambda _: True)
    assert home.run(home.come(5)) == ""
    home.correct(100)
    assert "came or changed" in home.run(home.now)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda home: home.correct(100), "came or changed"),
        (older, "came or changed"),
        (lambda home: write_identity(home.lake.url, LakeIdentity(home="b")), "lake changed from"),
        (cut, "bytes, the state lists"),
        (killed_between, "its making was killed"),
        (lambda home: (state(home) / "state.json").write_text("{"), "not the list of a state"),
        (lambda home: shutil.rmtree(home.lake.uri("labels")), "of labels, the lake has -1"),
    ],
    ids=[
        "a correction",
        "an older row",
        "another lake",
        "a cut file",
        "killed",
        "no list",
        "no labels",
    ],
)
def test_what_the_state_cannot_take_in_makes_it_again(
    home: Home, change: Callable[[Home], object], reason: str
) -> None:
    since = home.come(5)
    change(home)
    assert reason in home.run(since)
    assert home.run(home.come(5)) == ""


def test_other_ip_data_and_rows_already_taken_in_make_it_again(home: Home, tmp_path: Path) -> None:
    since = home.come(5)
    other = tmp_path / "other.mmdb"
    shutil.copy(CONFIG.ip_databases[0], other)
    config = replace(home.config, ip_databases=(other, *CONFIG.ip_databases[1:]))
    assert "ip data changed" in home.run(since, config)
    assert "which it has taken in" in home.run(since - 30 * DAY, config)


def test_a_long_tail_is_taken_in(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.score.state, "MIN_ROWS", 30)
    since = home.come(40)
    assert "rows came since" in home.run(since)  # which stand behind what is kept now, all of them
    assert "rows came since" in home.run(home.come(5))
    assert home.run(home.come(5)) == ""


def test_an_update_that_is_killed_leaves_the_former_state(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = home.come(20)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline.score.state, "sync", killed)
    with pytest.raises(KeyboardInterrupt):
        home.run(since)
    monkeypatch.undo()
    monkeypatch.setattr(pipeline.score.state, "MIN_ROWS", 100)
    assert home.run(since) == ""


@pytest.mark.parametrize("size", [0, 300, 1000])
def test_an_update_on_a_full_disk_says_so_and_leaves_the_former_state(
    home: Home, size: int
) -> None:
    since = home.come(20)
    with room_for(size), pytest.raises(OSError, match=r"\w") as raised:
        home.run(since)
    assert raised.value.errno == errno.EFBIG  # as a limit says it; a disk says ENOSPC
    failure = explain(raised.value)
    assert (failure.code, failure.is_expected) == (4, True), failure.sentence
    assert home.run(since) == ""
