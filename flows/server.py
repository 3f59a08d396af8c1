"""Keeps the schedules: a Prefect server, and a runner for the portfolios' flows.

The server is our own unless PREFECT_API_URL names one. A schedule fires only where a server runs
its scheduler, so an ephemeral one will not do.
"""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from pipeline.child_process import run_child_process
from pipeline.failures import BrokenError

START_SECONDS = 120.0


def serve_portfolios(files: Sequence[Path], *, every: timedelta, port: int) -> None:
    """Serve the portfolios' flows on their schedule until interrupted."""
    with api(os.environ, port=port) as url:
        os.environ["PREFECT_API_URL"] = url
        from flows.scoring import serve  # noqa: PLC0415 - Prefect reads its address when it is imported

        serve(files, every=every)


@contextmanager
def api(environment: Mapping[str, str], *, port: int) -> Iterator[str]:
    """The address of a running Prefect server.

    One is started on this machine, and stopped in the end, where none is named.
    """
    if named := environment.get("PREFECT_API_URL"):
        yield named
        return
    url = f"http://127.0.0.1:{port}/api"
    server = [sys.executable, "-m", "prefect", "server", "start"]
    command = [*server, "--host", "127.0.0.1", "--port", str(port)]
    with run_child_process(command, environment) as process:
        _wait_for(url, process)
        yield url


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BrokenError(
                f"the Prefect server for {url} ended at once (exit code {process.returncode}); "
                "take another port if that one is taken, or see what `prefect server start` says"
            )
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):  # noqa: S310 - our own loopback address
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise BrokenError(
        f"the Prefect server at {url} did not answer within {START_SECONDS:.0f} s; "
        "start one and set PREFECT_API_URL"
    )
