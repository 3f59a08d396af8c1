"""Training and scoring on a GPU beside the CPU of the same machine, where it has one.

    make bench-gpu

Two seeds on the baskets, each way in a process of its own. Where there is no GPU nothing is
measured, and that is said. The last line is one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import torch

from benchmarks.baskets import baskets
from pipeline.evaluation.metrics import average_precision
from pipeline.models.layered.model import Layered
from pipeline.models.layered.tensors import increments_of
from pipeline.models.layered.training import TrainConfig

ROOT = Path(__file__).parent.parent
SEEDS, TIMES = (1, 2), 5  # and how often the test rows are scored


def run_here() -> dict[str, float]:
    """Train and score on what this process sees."""
    task = baskets()
    (fold,) = task.folds
    began = perf_counter()
    config = TrainConfig(seeds=SEEDS)
    model = Layered.fit(fold.train, fold.y, fold.accounts, task.groups, config=config)
    trained = perf_counter() - began
    rows, device = model.tensors(fold.test), "cuda" if torch.cuda.is_available() else "cpu"
    networks = [network.to(device) for network in model.networks]
    began = perf_counter()
    for _ in range(TIMES):
        logit = sum(increments_of(network, rows).sum(axis=1) for network in networks)
    scored = TIMES * fold.test.num_rows / (perf_counter() - began)
    return {
        "train_seconds": round(trained, 2),
        "rows_per_second": round(scored),
        "ap": round(average_precision(fold.truth, logit), 4),
    }


def main(words: Sequence[str] | None = None) -> None:
    """Print both, or that there is no GPU."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args(words).here:
        print(json.dumps(run_here()))
        return
    if not torch.cuda.is_available():
        print("there is no GPU here, so nothing is measured; run this on a machine that has one")
        print(json.dumps({"gpus": 0}))
        return
    figures: dict[str, float] = {"gpus": torch.cuda.device_count()}
    for name, seen in (("cpu", {"CUDA_VISIBLE_DEVICES": ""}), ("gpu", {})):
        command = [sys.executable, "-m", "benchmarks.gpu", "--here"]
        done = subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, **seen},
        )
        found = json.loads(done.stdout.splitlines()[-1])
        figures |= {f"{name}_{figure}": value for figure, value in found.items()}
    figures["train_speedup"] = round(figures["cpu_train_seconds"] / figures["gpu_train_seconds"], 2)
    figures["score_speedup"] = round(
        figures["gpu_rows_per_second"] / figures["cpu_rows_per_second"], 2
    )
    for name, value in figures.items():
        print(f"{name:<24}{value:>14,}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
