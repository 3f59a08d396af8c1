"""Each run has a spill folder of its own, and what a killed run left is removed."""

import subprocess
import sys
from pathlib import Path

from features.spill import remove_stale, spill_folder

LEAVE = """
import os, sys
from pathlib import Path
from features.engines.kernel import Kernel
from features.spill import spill_folder
with spill_folder(Path(sys.argv[1])) as folder, Kernel(spill_folder=Path(sys.argv[1])):
    (folder / "rows").write_text("much")
    os._exit(9)
"""
ROOT = Path(__file__).parents[2]


def test_what_a_killed_run_left_is_removed_and_what_another_uses_is_not(tmp_path: Path) -> None:
    parent = tmp_path / "spill"
    subprocess.run([sys.executable, "-c", LEAVE, str(parent)], cwd=ROOT, check=False)
    assert len(list(parent.iterdir())) == 2
    (parent / "ingest-of-0.1").mkdir()
    other = parent / "another"
    other.mkdir()
    with spill_folder(parent) as one:
        assert {*parent.iterdir()} == {one, other}
        (one / "rows").write_text("much")
        with spill_folder(parent) as two:
            assert one != two
            assert (one / "rows").exists()
        remove_stale(parent)
        assert one.exists()
    assert list(parent.iterdir()) == [other]


def test_the_folder_is_the_users_alone(tmp_path: Path) -> None:
    with spill_folder(tmp_path / "spill") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.parent.stat().st_mode & 0o777 == 0o700
