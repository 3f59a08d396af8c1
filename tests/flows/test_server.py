"""The server that keeps the schedules: a named one is taken, one that ends at once is refused."""

import sys

import pytest

from flows.server import api


def test_a_server_that_is_named_is_taken() -> None:
    with api({"PREFECT_API_URL": "http://server:4200/api"}, port=1) as url:
        assert url == "http://server:4200/api"


def test_a_server_that_ends_at_once_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    sentence = r"127\.0\.0\.1:4299/api ended at once \(exit code 1\); take another port"
    with pytest.raises(ValueError, match=sentence), api({}, port=4299):
        pass
