"""What tests share: one demo of the whole product, run once a session in a home of its own."""

import os

import pytest

from tests.demo_home import Demo

# as the command line sets it, before MLflow is imported
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The whole way, once: a world of 15,000 transactions."""
    home = tmp_path_factory.mktemp("demo") / "home"
    printed = Demo(home=home, printed="").strata("demo", "--transactions", "15000")
    return Demo(home=home, printed=printed)
