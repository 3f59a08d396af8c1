"""A schedule that demonstrably fires: a run that nobody started by hand scores what is new."""

import json
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import socket

import pytest

from flows.scoring import staleness
from tests.demo_home import ROOT, Demo


@pytest.fixture
def port() -> int:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def runs_that_scored(port: int) -> list[dict[str, object]]:
    """Runs that ended and were not too late for their slot."""
    return [run for run in finished_runs(port) if "skipped" not in str(run["state"])]


def wait_for_runs(port: int, process: "subprocess.Popen[bytes]") -> list[dict[str, object]]:
    """The runs that scored, as soon as there are any; none if the process ends or 240 s pass."""
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        if runs := runs_that_scored(port):
            return runs
        time.sleep(1)
    return runs_that_scored(port)


def finished_runs(port: int) -> list[dict[str, object]]:
    """Flow runs that ended, as the Prefect server lists them."""
    wanted = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/flow_runs/filter",
        json.dumps(wanted).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return list(json.load(answer))
    except OSError:
        return []


def test_a_scheduled_run_happens_and_scores(demo: Demo, port: int, tmp_path: Path) -> None:
    log = tmp_path / "flows.log"
    strata = [sys.executable, str(ROOT / "strata.py"), "flows", str(demo.portfolio)]
    command = [*strata, "--every", "60", "--port", str(port)]
    with (
        log.open("w") as out,
        subprocess.Popen(command, env=demo.environment, stdout=out, stderr=out) as process,
    ):
        try:
            runs = wait_for_runs(port, process)
        finally:
            process.terminate()
    assert runs, log.read_text()
    assert runs[0]["auto_scheduled"], "the run was not started by the schedule"
    assert runs[0]["state_type"] == "COMPLETED", log.read_text()
    state = runs[0]["state"]
    assert isinstance(state, dict)
    assert "taken 0, quarantined 0" in str(state["message"])


def test_a_slot_that_has_long_passed_is_left_to_the_next() -> None:
    due = datetime(2025, 1, 1, 6, tzinfo=UTC)
    assert staleness(due, due + timedelta(seconds=61), every_seconds=60).startswith(
        "skipped: due at 2025-01-01 06:00:00 UTC"
    )
    assert not staleness(due, due + timedelta(seconds=59), every_seconds=60)
