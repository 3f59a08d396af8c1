"""Each run has a spill folder of its own, and what a killed run left is removed."""

import subprocess
import sys
from pathlib import Path

from pipeline.sources.spill import remove_stale, spill_folder

LEAVE = """
import os, sys
from pathlib import Path
from pipeline.sources.spill import spill_folder
with spill_folder(Path(sys.argv[1])) as folder:
    (folder / "rows").write_text("much")
    os._exit(9)
"""
ROOT = Path(__file__).parents[3]


def test_what_a_killed_run_left_is_removed_and_what_another_uses_is_not(tmp_path: Path) -> None:
    parent = tmp_path / "spill"
    subprocess.run([sys.executable, "-c", LEAVE, str(parent)], cwd=ROOT, check=False)
    (left,) = parent.iterdir()
    other = parent / "strata-features"
    other.mkdir()
    with spill_folder(parent) as one:
        assert not left.exists()
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
