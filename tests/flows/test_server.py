"""The server that keeps the schedules: one that is named is taken, one that ends at once is told of."""

import sys

import pytest

from flows.server import api


def test_a_server_that_is_named_is_taken() -> None:
    with api({"PREFECT_API_URL": "http://server:4200/api"}, port=1) as url:
        assert url == "http://server:4200/api"


def test_a_server_that_ends_at_once_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        pytest.raises(
            ValueError,
            match=r"127\.0\.0\.1:4299/api ended at once \(exit code 1\); take another port",
        ),
        api({}, port=4299),
    ):
        pass
