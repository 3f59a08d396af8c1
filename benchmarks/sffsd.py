"""S-FFSD by time through `strata ingest` and `strata backtest`.

The last 40 % of the labelled rows are judged, learned from the first 60 %.

    python benchmarks/sffsd.py --shared ../shared [--models xgboost,layered,logistic] [--seeds
    1,2,3] [--within-training]

Time is an order, so a place in it becomes a minute: the rows then span 54 days, and windows of 1 h
to 30 d hold 60 to 43,200 of them. Labels are told in two ways:

    never    those of the training part come all at once, when the test begins; those of the test
    part never. The source
             has no moment at which a label was known, so no model learns from facts about labels
    delayed  every label comes 7 days (10,080 rows) after its row, as in examples/s-ffsd.toml;
    training has those that came
             before the test, and a test row's facts those that came before it

The bar is held against "never", the stricter one. Figures are means over the seeds, by which the
gradient boosting deals accounts into the folds that choose its trees; "low" is the least of them.
`--within-training` does the same inside the first 60 %, where choices are made. The last line is
one JSON object with the figures.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

ROOT = Path(__file__).parent.parent
PORTFOLIO = ROOT / "examples" / "s-ffsd.toml"
START = pd.Timestamp("2020-01-01", tz="UTC")
UNIT = pd.Timedelta(minutes=1)
UNLABELLED, FRAUD = 2, 1
TRAINING_SHARE = 0.6
WAYS = ("never", "delayed")
BAR = {"bar": 0.587, "bar_auc": 0.874}  # AP and AUC of this split in data/README.md beside the file


@dataclass(frozen=True, kw_only=True)
class Task:
    """The rows with their moments, and the moment the test part begins."""

    rows: pd.DataFrame
    test_from: pd.Timestamp

    @property
    def test(self) -> pd.DataFrame:
        """The labelled rows of the test part."""
        return self.rows[
            self.rows["is_fraud"].notna() & (self.rows["event_time"] >= self.test_from)
        ]


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--models", default="xgboost,layered,logistic")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--within-training", action="store_true")
    arguments = parser.parse_args()
    file = arguments.shared / "data" / "s-ffsd" / "transactions.parquet"
    if not file.is_file():
        sys.exit(
            f"S-FFSD is measured on {file}, and there is no such file; "
            "name the folder that has data/s-ffsd with --shared"
        )
    task = read_task(file, within_training=arguments.within_training)
    models, seeds = arguments.models.split(","), arguments.seeds.split(",")
    with tempfile.TemporaryDirectory() as folder:
        home = arguments.home or Path(folder)
        figures = {way: run(task, way, models, seeds, home / way) for way in WAYS}
    print(
        f"{len(task.test):,} labelled test rows, {task.test['is_fraud'].mean():.1%} of them fraud"
    )
    print(f"{'test labels':<12}{'model':<10}{'AP':>7}{'low':>7}{'AUC':>7}{'low':>7}")
    for way in WAYS:
        for model in models:
            told = [
                figures[way][f"{model}_{figure}"] for figure in ("ap", "ap_low", "auc", "auc_low")
            ]
            print(f"{way:<12}{model:<10}" + "".join(f"{figure:>7.3f}" for figure in told))
    bar = {} if arguments.within_training else BAR
    if bar:
        print(f"{'bar':<22}{bar['bar']:>7.3f}{bar['bar_auc']:>14.3f}")
    delayed = {f"delayed_{name}": value for name, value in figures["delayed"].items()}
    print(json.dumps(figures["never"] | delayed | bar))


def read_task(file: Path, *, within_training: bool = False) -> Task:
    """Read the rows, a minute for each place in their order; split the labelled ones by time."""
    source = pd.read_parquet(file).sort_values("Time", kind="stable")
    is_fraud = source["Labels"].map({UNLABELLED: None, 0: False, FRAUD: True}).astype("boolean")
    event_time = (START + UNIT * source["Time"]).astype("datetime64[us, UTC]")
    rows = source.drop(columns=["Time", "Labels"]).assign(
        transaction_id=source["Time"].astype(str), event_time=event_time, is_fraud=is_fraud
    )
    test_from = _test_from(rows)
    if within_training:
        rows = rows[rows["event_time"] < test_from]
        test_from = _test_from(rows)
    return Task(rows=rows, test_from=test_from)


def _test_from(rows: pd.DataFrame) -> pd.Timestamp:
    labelled = rows.loc[rows["is_fraud"].notna(), "event_time"]
    return labelled.iloc[int(len(labelled) * TRAINING_SHARE)]


def prepare(task: Task, way: str, folder: Path) -> Path:
    """Write what the lake may know, and the portfolio that describes it.

    Returns the portfolio file.
    """
    rows = task.rows.assign(label_known_at=pd.Series(dtype="datetime64[us, UTC]"))
    if way == "never":
        is_training = rows["event_time"] < task.test_from
        known_at = rows["event_time"].mask(is_training, task.test_from).where(is_training)
        rows = rows.assign(is_fraud=rows["is_fraud"].where(is_training), label_known_at=known_at)
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(folder / "transactions.parquet", index=False)
    return Path(shutil.copy(PORTFOLIO, folder / "portfolio.toml"))


def run(task: Task, way: str, models: list[str], seeds: list[str], home: Path) -> dict[str, float]:
    """Ingest, backtest with each seed and judge; returns the figures of each model."""
    portfolio, out = prepare(task, way, home / "source"), home / "scores.parquet"
    moments = {
        "train-from": START,
        "train-until": task.test_from,
        "test-from": task.test_from,
        "test-until": task.rows["event_time"].max() + UNIT,
    }
    spans = [word for name, moment in moments.items() for word in (f"--{name}", moment.isoformat())]
    started = time.perf_counter()
    strata(["ingest", str(portfolio)], home)
    runs = []
    for seed in seeds:
        words = ["--models", ",".join(models), "--seed", seed, "--out", str(out)]
        strata(["backtest", str(portfolio), *spans, *words], home)
        runs.append(judged(task.test, pd.read_parquet(out), models))
    found = pd.DataFrame(runs).agg(["mean", "min"]).round(4)
    low = {f"{name}_low": value for name, value in found.loc["min"].items()}
    return found.loc["mean"].to_dict() | low | {"seconds": round(time.perf_counter() - started, 1)}


def strata(words: list[str], home: Path) -> None:
    """Run a command of strata with a lake of its own."""
    environment = {**os.environ, "STRATA_HOME": str(home), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(ROOT / "strata.py"), *words], env=environment, check=True)


def judged(test: pd.DataFrame, scores: pd.DataFrame, models: list[str]) -> dict[str, float]:
    """AP and AUC of each model on the labelled test rows, every one of which must have a score."""
    figures: dict[str, float] = {}
    for model in models:
        of_model = scores[scores["model"] == model].set_index("transaction_id")["score"]
        score, truth = of_model.loc[test["transaction_id"]], test["is_fraud"].astype(bool)
        figures[f"{model}_ap"] = float(average_precision_score(truth, score))
        figures[f"{model}_auc"] = float(roc_auc_score(truth, score))
    return figures


if __name__ == "__main__":
    main()
