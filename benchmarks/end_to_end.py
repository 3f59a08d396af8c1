"""From rows that were ingested to scores and alerts in place: rows a second, phase by phase.

    python -m benchmarks.end_to_end [--rows 1000000] [--home DIR]

The champion is of the demo's kind: three networks with the boosting's opinion as their last stage;
it was trained on a small world of the same columns, for two epochs. Every row is scored for the
first time, in a fresh process. The last line is one JSON object.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from features.build import BuildConfig
from features.ip.addresses import packaged_database
from pipeline.casework import open_casework
from pipeline.ingest.ingest import ingest
from pipeline.lake.tables import Lake
from pipeline.models.layered.training import TrainConfig
from pipeline.portfolio import read_portfolio
from pipeline.progress import SILENT, Step
from pipeline.registry.bundle import read_bundle, write_bundle
from pipeline.registry.champion import Champion
from pipeline.score.score import score
from pipeline.simulate.simulate import SimulateConfig, simulate, write
from pipeline.train.train import DEFAULT_MODELS, train

ROOT = Path(__file__).parent.parent
ROWS, DAYS, SMALL = 1_000_000, 90, 15_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUICK = TrainConfig(seeds=(1, 2, 3), epochs=2)
BUILD = BuildConfig(ip_databases=(packaged_database(),))
# by which words of its steps a phase is known
PHASES = {
    "features": "features",
    "scoring": "network",
    "writing": "writing",
    "choosing": "choosing",
    "reasons": "reasons",
    "raising": "alerts",
}


@dataclass
class Clock:
    """Takes the seconds of each phase of a run, on the clock and of all cores."""

    phases: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Step]:
        """Do the step, and add what it took to its phase; others are part of one of these."""
        phase = PHASES.get(name.split(maxsplit=1)[0])
        began, worked = time.perf_counter(), time.process_time()
        with SILENT.step(name, total) as step:
            yield step
        if phase:
            took = self.phases.setdefault(phase, [0.0, 0.0])
            took[0] += time.perf_counter() - began
            took[1] += time.process_time() - worked


def make(home: Path, rows: int) -> None:
    """Make a home of so many rows without scores, and beside it a champion, once each."""
    if not (home / "made").exists():
        shutil.rmtree(home, ignore_errors=True)
        world = simulate(SimulateConfig(transactions=rows, days=DAYS))
        _ingest(write(world, home / "world"), home)
        (home / "made").touch()
    if not _champion(home).exists():
        small = home.parent / "small"
        world = simulate(SimulateConfig(transactions=SMALL, days=DAYS))
        file = write(world, small / "world")
        lake = _ingest(file, small)
        trained = train(
            read_portfolio(file),
            lake,
            build_config=BUILD,
            models=DEFAULT_MODELS,
            champion="layered",
            config=QUICK,
        )
        start = SimulateConfig().start - timedelta(days=1)  # so every row is to be scored
        write_bundle(replace(trained.bundle, trained_as_of=start), _champion(home))


def _champion(home: Path) -> Path:
    return home.parent / "champion"


def _ingest(portfolio_file: Path, home: Path) -> Lake:
    portfolio = read_portfolio(portfolio_file)
    lake = Lake(str(home / "lake"), portfolio.name)
    ingest(portfolio, lake, now=NOW, spill=home / "spill")
    return lake


def run(home: Path, rows: int) -> dict[str, object]:
    """Score all rows of a home and raise the alerts; the home is as before when it is done."""
    portfolio = read_portfolio(home / "world" / "portfolio.toml")
    lake = Lake(str(home / "lake"), portfolio.name)
    database = home / "casework.db"
    database.unlink(missing_ok=True)
    shutil.rmtree(lake.uri("scores"), ignore_errors=True)
    casework, clock = open_casework(f"sqlite:///{database}"), Clock()
    champion = Champion(version="1", bundle=read_bundle(_champion(home)))
    began, worked = time.perf_counter(), time.process_time()
    config = replace(BUILD, spill_folder=home / "spill", state_folder=home / "state")
    done = score(
        portfolio,
        lake,
        casework,
        champion,
        build_config=config,
        now=NOW,
        progress=clock,
    )
    seconds, core = time.perf_counter() - began, time.process_time() - worked
    casework.dispose()
    if done.scored != rows:
        raise SystemExit(f"{done.scored:,} of {rows:,} rows were scored; remove {home}")
    return {
        "end_to_end_rows_per_second": round(rows / seconds),
        "end_to_end_seconds": round(seconds, 2),
        "end_to_end_core_seconds": round(core, 2),
        "end_to_end_peak_gb": round(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2
        ),
        "end_to_end_alerts": done.alerts.new_alerts,
        "phases": {name: [round(one, 2) for one in took] for name, took in clock.phases.items()},
    }


def measure(home: Path, rows: int) -> dict[str, float]:
    """Make the home, score it in a fresh process, print its phases; returns the figures."""
    make(home, rows)
    command = [sys.executable, "-m", "benchmarks.end_to_end", "--rows", str(rows)]
    command += ["--run-in", str(home)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    found: dict[str, float | dict[str, list[float]]] = json.loads(done.stdout.splitlines()[-1])
    figures = {name: value for name, value in found.items() if not isinstance(value, dict)}
    print(f"{'phase':<12}{'seconds':>9}{'of cores':>10}")
    for name, took in dict(found["phases"]).items():  # type: ignore[arg-type]  # it is a dict
        print(f"{name:<12}{took[0]:>9.2f}{took[1]:>10.2f}")
        figures[f"end_to_end_{name}_seconds"] = took[0]
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--home", type=Path, help="where the home is made, and kept")
    parser.add_argument("--run-in", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.run_in:
        print(json.dumps(run(asked.run_in, asked.rows)))
        return
    with TemporaryDirectory() as folder:
        home = (asked.home or Path(folder)).absolute() / f"end-to-end-{asked.rows}"
        print(json.dumps(measure(home, asked.rows)))


if __name__ == "__main__":
    main()
