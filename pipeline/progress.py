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


class _Count:
    """How many parts are done."""

    done = 0

    def advance(self, count: int = 1) -> None:
        """Count them."""
        self.done += count


def _how_far(done: int, total: int | None) -> str:
    if total is not None:
        return f"{done:,} of {total:,}, "
    return f"{done:,}, " if done else ""
