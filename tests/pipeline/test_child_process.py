"""A child process ends with us, and so does what it started."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from pipeline.child_process import run_child_process, side_by_side

PARENT = """
import subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(600)
"""


ROOT = Path(__file__).parents[2]
KILLED = """
import sys
from functools import partial
from pipeline.child_process import side_by_side
from tests.pipeline.test_child_process import stay
if __name__ == "__main__":
    side_by_side([partial(stay, sys.argv[1])], on_done=bool)
"""


def stay(note: str) -> None:
    """Write down which process this is, and stay in it."""
    Path(note).write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(600)


def test_its_children_end_with_it(tmp_path: Path) -> None:
    note = tmp_path / "child"
    with run_child_process([sys.executable, "-c", PARENT, str(note)], os.environ) as process:
        deadline = time.monotonic() + 30
        while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        child = int(note.read_text())
        assert alive(child)
    assert process.returncode is not None
    deadline = time.monotonic() + 10
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def test_calls_are_done_in_processes_and_come_back_in_their_order() -> None:
    done: list[int] = []
    found = side_by_side([partial(divmod, 7, by) for by in (2, 3)], on_done=lambda: done.append(1))
    assert (found, len(done)) == ([(3, 1), (2, 1)], 2)
    assert os.getpid() not in side_by_side([os.getpid], on_done=done.clear)


def test_the_error_of_a_call_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        side_by_side([partial(divmod, 7, by) for by in (1, 0)], on_done=bool)


def test_calls_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "child"
    parent = subprocess.Popen([sys.executable, "-c", KILLED, str(note)], cwd=ROOT)
    deadline = time.monotonic() + 30
    while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    child = int(note.read_text())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
