"""Each fault of a home has its sentence and exit code, and the next run after it is complete."""

import json
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pipeline.failures import explain
from pipeline.registry.bundle import MANIFEST
from strata import score_and_alert
from tests.demo_home import Demo
from tests.old_home import unpack, use, workspace_of

NOBODY = 65_534


def bundle_of(home: Path) -> Path:
    (folder,) = home.glob("mlflow-artifacts/*/*/artifacts/bundle")
    return folder


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def be_of_format(folder: Path, number: int) -> None:
    facts = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**facts, "format": number}))


BUNDLE_FAULTS: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "cut": (
        lambda folder: cut(folder / "network-0.safetensors"),
        4,
        "is missing or altered; put its folder back from a backup, or run strata rollback",
    ),
    "without a manifest": (lambda folder: (folder / MANIFEST).unlink(), 4, "version 1 of portfol"),
    "with a cut manifest": (lambda folder: cut(folder / MANIFEST), 4, "no readable manifest.json"),
    "gone": (shutil.rmtree, 4, "; put its folder back from a backup, or run strata rollback"),
    "of a former format": (
        lambda folder: be_of_format(folder, 3),
        2,
        "was made by another release of Strata, as the bundle",
    ),
}


@pytest.mark.parametrize("fault", BUNDLE_FAULTS)
def test_a_champion_whose_bundle_does_not_serve_is_named_with_what_to_do(
    home: Demo, tmp_path: Path, fault: str
) -> None:
    spoil, code, sentence = BUNDLE_FAULTS[fault]
    bundle = bundle_of(home.home)
    copy = shutil.copytree(bundle, tmp_path / "copy")
    spoil(bundle)
    with pytest.raises(ValueError, match="version 1 of portfolio world") as raised:
        use(home)
    assert explain(raised.value).code == code
    assert sentence in explain(raised.value).sentence
    shutil.rmtree(bundle, ignore_errors=True)
    shutil.copytree(copy, bundle)
    use(home)
