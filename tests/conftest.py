"""What tests share: one thread each, one demo of the whole product, and who runs beside whom."""

import os

for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")  # read when numpy, torch and xgboost are imported
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # as the command line sets it

import pytest  # noqa: E402 - what it imports reads the environment above

from tests.demo_home import Demo  # noqa: E402

# Fixtures made once a session: tests that use one run on one worker, so that it is made once.
# The longest groups come first, so that no worker is left with one at the end.
SHARED = ("demo", "world", "registry", "spark")
GROUP_OF = {"demo": "demo", "world": "world", "registry": "world", "spark": "spark"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests by what they share, and call those slow that need a whole product."""
    for item in items:
        shared = _shared_fixture(item)
        group = GROUP_OF[shared] if shared else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
        if shared:
            item.add_marker(pytest.mark.slow)
    items.sort(key=_place)


def _shared_fixture(item: pytest.Item) -> str | None:
    used = getattr(item, "fixturenames", ())
    return next((name for name in SHARED if name in used), None)


def _place(item: pytest.Item) -> int:
    shared = _shared_fixture(item)
    return SHARED.index(shared) if shared else len(SHARED)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The whole way, once: a world of 15,000 transactions."""
    home = tmp_path_factory.mktemp("demo") / "home"
    printed = Demo(home=home, printed="").strata("demo", "--transactions", "15000")
    return Demo(home=home, printed=printed)
