"""Commands in processes of their own that begin in an instant: one has imported all for them."""

import os
import sys
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

from pipeline.registry.changes import open_client
from pipeline.settings import Settings
from pipeline.workspace import Workspace
from strata import main
from tests.demo_home import Demo

IMPORTED = [
    "tests.first_command",
    "pipeline.casework.migrations.upgrade",
    "pipeline.ingest.run",
    "pipeline.registry.champion",
    "pipeline.score.score",
    "pipeline.status",
]


def first_command(home: str) -> None:
    """What a home's first command does, without a training: both databases are made."""
    workspace = Workspace(settings=Settings.read({"STRATA_HOME": home}))
    _ = workspace.casework
    open_client(workspace.registry).search_registered_models()


def command(home: str, *words: str) -> None:
    """What the command line does with these words."""
    os.environ["STRATA_HOME"] = home
    sys.argv = ["strata", *words]
    main()


def processes() -> ForkServerContext:
    """Where they come from."""
    context = get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


def begin_first_command(home: Demo) -> BaseProcess:
    """Begin a home's first command."""
    process = processes().Process(target=first_command, args=(str(home.home),))
    process.start()
    return process


def begin_command(home: Demo, *words: str) -> BaseProcess:
    """Begin a command."""
    process = processes().Process(target=command, args=(str(home.home), *words))
    process.start()
    return process


def codes(begun: list[BaseProcess]) -> list[int | None]:
    """Wait for the ends of processes; returns their exit codes."""
    for one in begun:
        one.join()
    return [one.exitcode for one in begun]
