"""What the tests of the desk share: three open alerts, a clock, and a browser of one's own."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from dashboards.app import create_app
from pipeline.casework import raise_alerts
from tests.casework_examples import NOW, casework_with_people, flagged
from tests.desk_client import Clock, signed_in


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Three open alerts; that of account a2 is worth most."""
    opened = casework_with_people(tmp_path)
    batch = [
        flagged("t1", "a1", loss=20),
        flagged("t2", "a2", loss=70),
        flagged("t3", "a2", score=0.5),
        flagged("t4", "a3", loss=5),
    ]
    raise_alerts(opened, batch, portfolio="world", now=NOW - timedelta(hours=3))
    return opened


@pytest.fixture
def client(engine: Engine, clock: Clock) -> Iterator[TestClient]:
    with TestClient(create_app(engine, clock=clock), base_url="http://desk.test") as opened:
        yield opened


@pytest.fixture
def ann(client: TestClient) -> TestClient:
    return signed_in(client, "ann")
