"""A program that runs as our child and ends with us, together with all that it started."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

PATIENCE_SECONDS = 10.0


@contextmanager
def run_child_process(
    command: Sequence[str], environment: Mapping[str, str], *, folder: Path | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the program in a session of its own, silent, in a folder or in ours.

    In the end its whole session is asked to stop, then made to.
    """
    silent = subprocess.DEVNULL
    process = subprocess.Popen(
        command,
        env=dict(environment),
        cwd=folder,
        stdout=silent,
        stderr=silent,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _signal_session(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_SECONDS)
        _signal_session(process.pid, signal.SIGKILL)
        process.wait()


def _signal_session(leader: int, what: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, what)
