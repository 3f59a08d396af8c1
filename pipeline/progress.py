"""What a long step does and how far it is, told to whoever waits; by default nobody is told.

>>> with SILENT.step("network 1 of 3", 8) as step:
...     step.advance()
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event, Thread
from time import monotonic
from typing import Protocol

EVERY_SECONDS = 10.0


class Step(Protocol):
    """A step that is under way."""

    def advance(self, count: int = 1) -> None:
        """Say that so many more parts are done."""


class Progress(Protocol):
    """Whom steps are told to."""

    def step(self, name: str, total: int | None = None) -> AbstractContextManager[Step]:
        """Begin a step of so many parts; None where their number is not known beforehand."""


class Silent:
    """Tells nobody: what the library does where it is not given another."""

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Step]:
        """Do the step unheard."""
        del name, total
        yield _Count()


SILENT = Silent()


class Lines:
    """Says a line every ten seconds, for a log or a pipe."""

    def __init__(self, say: Callable[[str], None], *, every_seconds: float = EVERY_SECONDS) -> None:
        self.say, self.every_seconds = say, every_seconds

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Step]:
        """Say how far the step is as long as it lasts, and how long it took if that was long."""
        count, ended, began = _Count(), Event(), monotonic()

        def watch() -> None:
            while not ended.wait(self.every_seconds):
                self.say(f"{name}: {_how_far(count.done, total)}{monotonic() - began:.0f} s")

        watcher = Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield count
        finally:
            ended.set()
            watcher.join()
        if (took := monotonic() - began) >= self.every_seconds:
            self.say(f"{name}: done in {took:.0f} s")


class Bars:
    """Shows a bar on a terminal, gone when the step is done."""

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Step]:
        """Show how far the step is, and how long it has taken."""
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[far]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(name, total=total, far="")

            def show(done: int) -> None:
                far = f"{done:,}" if total is None else f"{done:,} of {total:,}"
                bars.update(task, completed=done, far=far)

            yield _Count(show)


class _Count:
    """How many parts are done."""

    def __init__(self, show: Callable[[int], None] | None = None) -> None:
        self.done, self.show = 0, show

    def advance(self, count: int = 1) -> None:
        """Count them, and show the number where it is watched."""
        self.done += count
        if self.show is not None:
            self.show(self.done)


def _how_far(done: int, total: int | None) -> str:
    if total is not None:
        return f"{done:,} of {total:,}, "
    return f"{done:,}, " if done else ""
