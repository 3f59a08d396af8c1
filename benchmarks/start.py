"""How long a command takes to answer, and how large an installation is.

python -m benchmarks.start [--home DIR] [--demo]

`help` and `status` are run as processes of their own, in turns with `python -c pass`; the median
of each. Without a home, one is made by a small demo. With `--demo` the whole default demo is timed,
in a home of its own. The last line is one JSON object with the figures.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from statistics import median
from time import perf_counter

ROOT = Path(__file__).parent.parent
ROUNDS = 7
STRATA = [sys.executable, str(ROOT / "strata.py")]


def main() -> None:
    """Time the commands and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="a home with a demo")
    parser.add_argument("--demo", action="store_true", help="time the default demo, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = arguments.home or Path(folder) / "small"
        if arguments.home is None:
            seconds([*STRATA, "demo", "--transactions", "15000"], home)
        figures = answers(home)
        figures["installed_gb"] = installed_bytes(ROOT / "requirements.lock") / 1e9
        if arguments.demo:
            figures["demo_seconds"] = seconds([*STRATA, "demo"], Path(folder) / "whole")
    for name, value in figures.items():
        print(f"{name:<16} {value:.3f}")
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


def answers(home: Path) -> dict[str, float]:
    """Seconds of help and status, and their ratios to an interpreter that does nothing."""
    commands = {
        "nothing": [sys.executable, "-c", "pass"],
        "help": [*STRATA, "--help"],
        "status": [*STRATA, "status"],
    }
    took: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            took[name].append(seconds(command, home))
    medians = {name: median(values) for name, values in took.items()}
    return {
        "help_seconds": medians["help"],
        "status_seconds": medians["status"],
        "help_ratio": medians["help"] / medians["nothing"],
        "status_ratio": medians["status"] / medians["nothing"],
    }


def seconds(command: list[str], home: Path) -> float:
    """How long a command takes on a home; it has to succeed."""
    started = perf_counter()
    subprocess.run(
        command,
        env=os.environ | {"STRATA_HOME": str(home), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return perf_counter() - started


def installed_bytes(lock: Path) -> int:
    """The size of all that a lock names and this environment has."""
    names = re.findall(r"^([A-Za-z0-9_.-]+)==", lock.read_text(encoding="utf-8"), re.MULTILINE)
    return sum(size_of(name) for name in names)


def size_of(name: str) -> int:
    """The size of a package's files; nothing where it is not installed, as on another system."""
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return 0
    paths = (Path(str(file.locate())) for file in files)
    return sum(path.stat().st_size for path in paths if path.is_file())


if __name__ == "__main__":
    main()
