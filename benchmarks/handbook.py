"""The Handbook's four weekly folds through `strata backtest`, judged from outside.

The judge knows nothing of our code.

    python benchmarks/handbook.py --shared ../shared [--models layered,xgboost] [--home DIR]

Prints a table of AUC, AP and CP100, the paired difference of AP, and seconds and memory of ingest
and features; the last line is one JSON object with the figures.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parent.parent
STARTS = [datetime(2018, 7, 25, tzinfo=UTC) + timedelta(days=7 * week) for week in range(4)]
WEEK = timedelta(days=7)
FEATURES = """
import sys
from pathlib import Path
from strata import open_workspace
from pipeline.lake.snapshot import read_snapshot
workspace = open_workspace(Path(sys.argv[1]))
snapshot = read_snapshot(workspace.portfolio, workspace.lake)
features = snapshot.features(build_config=workspace.settings.build_config)
print(features.num_rows, features.num_columns)
"""


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--models", default="layered,xgboost")
    parser.add_argument("--home", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = run(
            arguments.shared,
            arguments.models.split(","),
            arguments.home or Path(folder),
            Path(folder),
        )
    for name, value in figures.items():
        print(f"{name:<32} {value}")
    print(json.dumps(figures))


def run(shared: Path, models: list[str], home: Path, folder: Path) -> dict[str, float]:
    """Ingest, build, backtest each fold, judge; returns the figures."""
    portfolio = str(ROOT / "examples" / "handbook.toml")
    figures: dict[str, float] = {}
    figures["ingest_seconds"], figures["ingest_peak_gb"] = measured(
        [str(ROOT / "strata.py"), "ingest", portfolio], home
    )
    figures["features_seconds"], figures["features_peak_gb"] = measured(
        ["-c", FEATURES, portfolio], home
    )
    folds = []
    for fold, start in enumerate(STARTS):
        out = folder / f"fold{fold}.parquet"
        spans = {
            "train-from": start,
            "train-until": start + WEEK,
            "test-from": start + 2 * WEEK,
            "test-until": start + 3 * WEEK,
        }
        words = [
            word for name, moment in spans.items() for word in (f"--{name}", moment.isoformat())
        ]
        seconds, _ = measured(
            [
                str(ROOT / "strata.py"),
                "backtest",
                portfolio,
                *words,
                "--models",
                ",".join(models),
                "--out",
                str(out),
            ],
            home,
        )
        figures[f"fold{fold}_seconds"] = seconds
        folds.append(pd.read_parquet(out).assign(fold=fold))
    return figures | judged(pd.concat(folds), shared, models, folder)


def measured(words: list[str], home: Path) -> tuple[float, float]:
    """Run Python with these words.

    Returns seconds and the peak memory in GB of the largest child so far.
    """
    started = time.perf_counter()
    environment = {**os.environ, "STRATA_HOME": str(home), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, *words], env=environment, check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    return round(time.perf_counter() - started, 1), round(peak, 2)


def judged(scores: pd.DataFrame, shared: Path, models: list[str], folder: Path) -> dict[str, float]:
    """Hand the test rows of each model to the judge.

    The first model is compared with each other one.
    """
    transactions = shared / "data" / "handbook" / "transactions.parquet"
    judge = shared / "judge" / "handbook.py"
    subprocess.run(
        [sys.executable, judge, "folds", transactions, folder / "folds.parquet"], check=True
    )
    plan = pd.read_parquet(folder / "folds.parquet").query("part == 'test'")
    scores = scores.assign(TRANSACTION_ID=scores["transaction_id"].astype("int64"))
    figures: dict[str, float] = {}
    for model in models:
        rows = plan[["TRANSACTION_ID", "fold"]].merge(
            scores[scores["model"] == model], on=["TRANSACTION_ID", "fold"], how="left"
        )
        rows[["TRANSACTION_ID", "fold", "score"]].to_parquet(folder / f"{model}.parquet")
    for model in models:
        against = ["--against", folder / f"{models[0]}.parquet"] if model != models[0] else []
        answer = subprocess.run(
            [sys.executable, judge, "score", transactions, folder / f"{model}.parquet", *against],
            check=True,
            capture_output=True,
            text=True,
        )
        report = json.loads(answer.stdout)
        figures |= {
            f"{model}_{name.lower()}": report[name]["mean"] for name in ("AUC", "AP", "CP100")
        }
        figures |= {
            f"{model}_ap_fold{fold}": value for fold, value in enumerate(report["AP"]["folds"])
        }
        if against:
            paired = report["paired"]
            figures |= {
                f"{models[0]}_over_{model}": -paired["AP difference"],
                f"{models[0]}_over_{model}_low": -paired["high"],
                f"{models[0]}_over_{model}_high": -paired["low"],
            }
    return figures


if __name__ == "__main__":
    main()
