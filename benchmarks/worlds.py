"""Simulated worlds of a year in a lake: a history, and the last rows that came after it."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.lake.snapshot import Snapshot, read_snapshot
from pipeline.lake.tables import Lake
from pipeline.portfolio import Portfolio, read_portfolio

ROOT = Path(__file__).parent.parent
DAYS = 365
NEW_ROWS = 1_000  # that came last
SOURCE = 'path = "transactions.parquet"'


@dataclass(frozen=True)
class World:
    """A simulated portfolio of so many transactions and its lake, in a folder of the home."""

    home: Path
    rows: int

    @property
    def folder(self) -> Path:
        """Where everything of this world lies."""
        return self.home / str(self.rows)

    @cached_property
    def portfolio(self) -> Portfolio:
        """What its columns mean."""
        return read_portfolio(self.folder / "world" / "portfolio.toml")

    @cached_property
    def lake(self) -> Lake:
        """Its tables."""
        return Lake(str(self.folder / "lake"), self.portfolio.name)

    @cached_property
    def transactions(self) -> list[str]:
        """The files of its transactions."""
        return [str(file) for file in self.lake.source("transactions")]

    @cached_property
    def labels(self) -> list[str]:
        """The files of its labels."""
        return [str(file) for file in self.lake.source("labels")]

    @property
    def spill(self) -> Path:
        """Where engines put what memory does not hold."""
        return self.folder / "spill"

    @property
    def history(self) -> Snapshot:
        """What the lake knew before the last rows came."""
        versions = json.loads(self._versions.read_text(encoding="utf-8"))
        return replace(read_snapshot(self.portfolio, self.lake), **versions)

    def answers(self, run: str) -> Path:
        """Where a run puts the features it built."""
        return self.folder / f"{run}.parquet"

    def make(self) -> None:
        """Simulate and ingest it, unless that was done before."""
        done, came = self.folder / "ingested", self.folder / "world" / "came"
        if done.exists() and self._versions.exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)  # what was begun
        rows, days, world = str(self.rows), str(DAYS), self.folder / "world"
        self.strata("simulate", "--transactions", rows, "--days", days, "--out", str(world))
        settings = (world / "portfolio.toml").read_text(encoding="utf-8")
        settings = settings.replace(SOURCE, 'path = "came"\nsettle = "0s"')
        (world / "portfolio.toml").write_text(settings, encoding="utf-8")
        simulated = pq.read_table(world / "transactions.parquet").sort_by("known_at")
        came.mkdir()
        earlier = self.rows - NEW_ROWS
        pq.write_table(simulated.slice(0, earlier), came / "history.parquet")
        self.strata("ingest", str(self.portfolio.file))
        versions = {
            "version": self.lake.version("transactions"),
            "label_version": self.lake.version("labels"),
        }
        self._versions.write_text(json.dumps(versions), encoding="utf-8")
        pq.write_table(simulated.slice(earlier), came / "last.parquet")
        self.strata("ingest", str(self.portfolio.file))
        done.touch()

    @property
    def _versions(self) -> Path:
        return self.folder / "history.json"

    def strata(self, *words: str) -> None:
        """Run a command in its folder; raises CalledProcessError where that fails."""
        environment = {**os.environ, "STRATA_HOME": str(self.folder)}
        subprocess.run(
            [sys.executable, ROOT / "strata.py", *words],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
