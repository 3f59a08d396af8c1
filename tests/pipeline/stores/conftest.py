"""One home of release 0.1, brought forward once; each test works on a copy of it."""

import shutil
from pathlib import Path

import pytest

from tests.demo_home import Demo
from tests.old_home import give_verdicts, unpack, use


@pytest.fixture(scope="package")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The old home, brought forward: its stores carry its id, and two verdicts are in the lake."""
    home = unpack(tmp_path_factory.mktemp("settled"))
    give_verdicts(home.home, 2, by="ann")
    use(home)
    return home


@pytest.fixture
def home(settled: Demo, tmp_path: Path) -> Demo:
    """A copy of the settled home."""
    shutil.copytree(settled.home, tmp_path / "home")
    return Demo(home=tmp_path / "home", printed="")
