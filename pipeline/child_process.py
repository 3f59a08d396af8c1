"""Programs and calls that run as our children and end with us, with all that they started."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from threading import Thread
from typing import TypeVar

PATIENCE_SECONDS = 10.0
T = TypeVar("T")


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


def side_by_side(calls: Sequence[Callable[[], T]], *, on_done: Callable[[], None]) -> list[T]:
    """Do calls in processes of their own, as many at a time as there are cores.

    What they are given and return goes from process to process. `on_done` is called for each that
    is done; the first that fails ends them all, and is raised.
    """
    workers = min(len(calls), os.cpu_count() or 1)
    context = get_context("spawn")  # a fork would inherit the locks of our threads
    with ProcessPoolExecutor(
        workers, context, initializer=_end_with, initargs=(os.getpid(),)
    ) as processes:
        called = [processes.submit(call) for call in calls]
        try:
            for one in as_completed(called):
                one.result()
                on_done()
        except BaseException:
            processes.shutdown(wait=False, cancel_futures=True)
            raise
        return [one.result() for one in called]


def _end_with(parent: int) -> None:
    """End this process when its parent is no more, however that was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _signal_session(leader: int, what: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, what)
