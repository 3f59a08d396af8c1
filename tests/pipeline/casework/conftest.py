"""What the tests of casework share: a database with people, and one open alert of account a1."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from pipeline.casework import queue, raise_alerts
from tests.casework_examples import NOW, casework_with_people, flagged


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return casework_with_people(tmp_path)


@pytest.fixture
def alert_id(engine: Engine) -> int:
    raise_alerts(engine, [flagged("t1"), flagged("t2")], portfolio="world", now=NOW)
    return queue(engine)[0].id
