"""A demo that ran, and the command line on its home, as its user calls it."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class Demo:
    """A demo that ran: its home, what it printed, and how to run further commands on it."""

    home: Path
    printed: str

    @property
    def portfolio(self) -> Path:
        return self.home / "world" / "portfolio.toml"

    @property
    def environment(self) -> dict[str, str]:
        """That of this process, without the addresses that MLflow and Prefect leave in it."""
        own = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MLFLOW_", "PREFECT_", "STRATA_"))
        }
        return {**own, "STRATA_HOME": str(self.home), "PYTHONPATH": str(ROOT)}

    def strata(self, *words: str, expect: int = 0) -> str:
        """Run the command line as its user does; returns what it printed."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "strata.py"), *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expect, (
            f"strata {' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout if expect == 0 else done.stderr
