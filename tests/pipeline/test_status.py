"""Status: what a portfolio has, what is late, and what next; what it has not is 0 or None."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.casework import freeze, open_casework
from pipeline.registry.champion import load_champion
from pipeline.registry.promotion import promote
from pipeline.registry.versions import Registry
from pipeline.settings import Settings
from pipeline.status import Overdue, Status, format_status, overdue, status
from pipeline.train.recording import record
from pipeline.workspace import Workspace
from tests.demo_home import ROOT
from tests.small_world import NOW, Desk, World, trained_as

NOTHING: Status = {
    "transactions": 0,
    "quarantined": 0,
    "feed": [],
    "labels": 0,
    "labels_waiting": 0,
    "labels_quarantined": 0,
    "scored": 0,
    "alerts": {"open": 0, "in_review": 0, "decided": 0},
    "holds": 0,
    "champion": None,
    "challenger": None,
    "last_score": None,
    "tables": {},
}
PUNCTUAL = Overdue(unscored=0, unscored_since=None, holds=0)


def workspace_of(folder: Path, registry: Registry | None = None) -> Workspace:
    settings = Settings.read({"STRATA_HOME": str(folder)})
    uri = registry.uri if registry else settings.mlflow_tracking_uri
    return Workspace(settings=replace(settings, mlflow_tracking_uri=uri))


def test_status_of_an_empty_home_is_all_nothing_and_makes_nothing(tmp_path: Path) -> None:
    workspace = workspace_of(tmp_path / "home")
    assert status("empty", workspace) == NOTHING
    assert overdue("empty", workspace, now=NOW) == PUNCTUAL
    assert list(tmp_path.iterdir()) == []


def test_status_loads_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    """Nor does it where there is something to count: the casework and a registry."""
    open_casework(f"sqlite:///{tmp_path / 'casework.db'}")
    heavy = ["torch", "mlflow", "prefect", "pandas", "pyarrow", "duckdb", "numpy", "sklearn"]
    script = (
        "import sys\nfrom pathlib import Path\nfrom pipeline.settings import Settings\n"
        "from pipeline.status import overdue, status\nfrom pipeline.workspace import Workspace\n"
        "from datetime import UTC, datetime\n"
        "w = Workspace(settings=Settings.read({'STRATA_HOME': sys.argv[1]}))\n"
        "status('small', w), overdue('small', w, now=datetime.now(UTC))\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_status_counts_what_was_done(registry: Registry, world: World, tmp_path: Path) -> None:
    desk, workspace = Desk.open(world, tmp_path), workspace_of(tmp_path, registry)
    record(registry, trained_as(world, "world"))
    promote(registry, "world")
    record(registry, trained_as(world, "world", ap=0.25))
    done = desk.score(champion=load_champion(registry, "world"))
    found = status("world", workspace)
    labels = desk.lake.read("labels")
    assert labels is not None
    assert (found["transactions"], found["labels"], found["scored"]) == (
        4000,
        labels.num_rows,
        done.scored,
    )
    assert found["alerts"] == {"open": done.alerts.new_alerts, "in_review": 0, "decided": 0}
    champion, challenger, last = found["champion"], found["challenger"], found["last_score"]
    assert champion is not None
    assert challenger is not None
    assert last is not None
    assert (champion["version"], champion["model"], champion["metrics"]["ap"]) == (
        "1",
        "strata-world",
        0.5,
    )
    assert (challenger["version"], challenger["metrics"]["ap"]) == ("2", 0.25)
    assert last == {
        "at": "2025-06-01T00:00:00+00:00",
        "until": desk.scores["as_of"].max().isoformat(),
    }
    json.dumps(found)


def test_what_came_since_the_last_score_is_late(world: World, tmp_path: Path) -> None:
    """A week of the world is scored but for its last day: that day's transactions wait."""
    desk, workspace = Desk.open(world, tmp_path), workspace_of(tmp_path)
    last_day = world.unscored["as_of"].to_pylist()[-1] - timedelta(days=1)
    desk.score(until=last_day)
    waiting = sum(moment >= last_day for moment in world.unscored["as_of"].to_pylist())
    late = overdue("world", workspace, now=NOW)
    assert (late.unscored, waiting > 0) == (waiting, True)
    assert late.unscored_since == desk.scores["as_of"].max()
    desk.score()
    assert overdue("world", workspace, now=NOW) == PUNCTUAL


def test_a_hold_past_its_review_is_late(world: World, tmp_path: Path) -> None:
    desk, workspace = Desk.open(world, tmp_path), workspace_of(tmp_path)
    desk.score()
    case = desk.cases[0].alert
    freeze(
        desk.casework,
        "world",
        case.account_id,
        kind="all",
        reason="takeover",
        owner=None,
        now=NOW,
        review_by=NOW + timedelta(days=1),
    )
    assert overdue("world", workspace, now=NOW + timedelta(hours=23)).holds == 0
    assert overdue("world", workspace, now=NOW + timedelta(hours=25)).holds == 1


VERSION = {"version": "2", "model": "strata-small", "metrics": {"ap": 0.5}}


@pytest.mark.parametrize(
    ("changes", "following"),
    [
        ({}, "no transactions yet: strata ingest PORTFOLIO"),
        ({"transactions": 9}, "no champion yet: strata train PORTFOLIO"),
        (
            {"transactions": 9, "challenger": VERSION},
            "version 2 wants to decide: strata promote PORTFOLIO",
        ),
        (
            {"transactions": 9, "champion": VERSION},
            "nothing scored yet: strata score PORTFOLIO",
        ),
        (
            {
                "transactions": 9,
                "champion": VERSION,
                "scored": 4,
                "alerts": {"open": 3, "in_review": 0, "decided": 0},
            },
            "alerts to review: 3; strata dashboard",
        ),
        ({"transactions": 9, "champion": VERSION, "scored": 4}, "nothing waits"),
    ],
    ids=["empty", "ingested", "trained", "promoted", "scored", "reviewed"],
)
def test_status_ends_with_what_to_do_next(
    tmp_path: Path, changes: dict[str, object], following: str
) -> None:
    found: Status = {**NOTHING, **changes}  # type: ignore[typeddict-item]
    screen = format_status("small", found, PUNCTUAL, workspace_of(tmp_path))
    assert screen.splitlines()[-1] == f"  next       {following}"
    assert "metrics" not in screen


def test_status_says_what_is_late_and_how_to_see_to_it(tmp_path: Path) -> None:
    found: Status = {**NOTHING, "quarantined": 1234}
    since = datetime(2025, 3, 1, 6, tzinfo=UTC)
    late = Overdue(unscored=5678, unscored_since=since, holds=2)
    screen = format_status("small", found, late, workspace_of(tmp_path)).splitlines()
    assert screen[5:8] == [
        "  late       transactions unscored since 2025-03-01 06:00 UTC: 5,678; "
        "strata score PORTFOLIO",
        "  late       holds past their review: 2; strata dashboard shows them",
        "  late       rows in quarantine: 1,234; strata quarantine list PORTFOLIO says why, "
        "and what to do",
    ]
