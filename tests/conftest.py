"""What tests share: one thread each, one demo of the whole product, and who runs beside whom."""

import os

for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")  # read when numpy, torch and xgboost are imported
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # as the command line sets it

from functools import cache  # noqa: E402 - what is imported from here on reads the environment
from typing import Any  # noqa: E402

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402
from xdist.scheduler import LoadScopeScheduling  # noqa: E402

from tests.demo_home import ROOT, Demo  # noqa: E402

settings.register_profile("untimed", deadline=None)  # a busy machine fails no test
settings.load_profile("untimed")

# What marks a file whose tests use a fixture that is made once a session: they run on one worker,
# so that it is made once. The longest come first, so that no worker is left with one at the end.
SHARED = {"demo": "demo: Demo", "world": ": World", "registry": "registry: Registry"}
GROUPS = {"demo": "demo", "world": "world", "registry": "world"}


@cache
def group_of(file: str) -> str:
    """The group that a file's tests run in: that of the fixture they share, else its own."""
    path = ROOT / file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = [GROUPS[name] for name, sign in SHARED.items() if sign in text]
    return found[0] if file.startswith("tests/") and found else file


class SharedFixtures(LoadScopeScheduling):
    """Gives each worker a whole group of tests at a time."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.split("::", maxsplit=1)[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharedFixtures:
    """Run the tests by groups wherever there is more than one worker."""
    return SharedFixtures(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Call those tests slow that need a whole product, and let them begin."""
    for item in items:
        if set(getattr(item, "fixturenames", ())) & SHARED.keys():
            item.add_marker(pytest.mark.slow)
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    """Groups in their order, the rest behind them."""
    group = group_of(item.nodeid.split("::")[0])
    order = list(dict.fromkeys(GROUPS.values()))
    return order.index(group) if group in order else len(order)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The whole way, once: a world of 15,000 transactions."""
    home = tmp_path_factory.mktemp("demo") / "home"
    printed = Demo(home=home, printed="").strata("demo", "--transactions", "15000")
    return Demo(home=home, printed=printed)
