"""A long step says how far it is every so often, and a short one nothing at all."""

from queue import Queue

import pytest

from pipeline.progress import SILENT, Lines


def test_a_long_step_says_how_far_it_is_and_how_long_it_took() -> None:
    said: Queue[str] = Queue()
    with Lines(said.put, every_seconds=0.01).step("network 1 of 3", 8) as step:
        step.advance(3)
        while said.get(timeout=30) != "network 1 of 3: 3 of 8, 0 s":
            pass
    assert list(said.queue)[-1] == "network 1 of 3: done in 0 s"


def test_a_step_without_a_number_says_what_it_counted() -> None:
    said: Queue[str] = Queue()
    with Lines(said.put, every_seconds=0.01).step("reading") as step:
        step.advance(1500)
        while said.get(timeout=30) != "reading: 1,500, 0 s":
            pass


def test_a_short_step_says_nothing() -> None:
    said: list[str] = []
    with Lines(said.append).step("features"):
        pass
    assert not said


def test_a_step_that_fails_ends_its_line_and_lets_the_error_pass() -> None:
    said: list[str] = []
    with pytest.raises(OSError, match="no space"), Lines(said.append).step("features"):
        raise OSError("no space")
    assert not said


def test_silence_is_the_default_and_counts_unheard() -> None:
    with SILENT.step("features", 2) as step:
        step.advance()
