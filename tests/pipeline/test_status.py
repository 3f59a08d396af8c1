"""Status: what a portfolio has, counted; what it has not is 0 or None."""

import json
from pathlib import Path

from pipeline.casework import open_casework
from pipeline.lake.tables import Lake
from pipeline.registry.promotion import promote
from pipeline.registry.versions import Registry
from pipeline.status import status
from pipeline.train.recording import record
from tests.small_world import Desk, World, trained_as


def test_status_of_an_empty_home_is_all_nothing(registry: Registry, tmp_path: Path) -> None:
    casework = open_casework(f"sqlite:///{tmp_path / 'casework.db'}")
    assert status("empty", Lake(str(tmp_path / "lake"), "empty"), casework, registry) == {
        "transactions": 0,
        "quarantined": 0,
        "labels": 0,
        "scored": 0,
        "alerts": {"open": 0, "in_review": 0, "decided": 0},
        "holds": 0,
        "champion": None,
        "challenger": None,
        "last_score": None,
    }


def test_status_counts_what_was_done(registry: Registry, world: World, tmp_path: Path) -> None:
    desk = Desk.open(world, tmp_path / "desk")
    record(registry, trained_as(world, "world"))
    promote(registry, "world")
    record(registry, trained_as(world, "world", ap=0.25))
    done = desk.score(champion=registry.champion("world"))
    told = status("world", desk.lake, desk.casework, registry)
    labels = desk.lake.read("labels")
    assert labels is not None
    assert (told["transactions"], told["labels"], told["scored"]) == (
        4000,
        labels.num_rows,
        done.scored,
    )
    assert told["alerts"] == {"open": done.alerts.new_alerts, "in_review": 0, "decided": 0}
    champion, challenger, last = told["champion"], told["challenger"], told["last_score"]
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
    json.dumps(told)
