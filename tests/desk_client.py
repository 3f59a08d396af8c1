"""A person at the review desk, in tests: a clock that is moved, forms that are sent."""

from datetime import datetime
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import Engine

from pipeline.casework import queue
from tests.casework_examples import NOW, PASSWORD

OWN = {"Sec-Fetch-Site": "same-origin"}


class Clock:
    """A clock the test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def signed_in(client: TestClient, name: str) -> TestClient:
    assert post(client, "/login", name=name, password=PASSWORD).status_code == 303
    return client


def post(client: TestClient, path: str, headers: dict[str, str] = OWN, **fields: str) -> Any:
    """The answer to a form, redirects not followed."""
    return client.post(path, data=fields, headers=headers, follow_redirects=False)


def alert_of(engine: Engine, account_id: str) -> int:
    return next(alert.id for alert in queue(engine) if alert.account_id == account_id)
