"""What tests of the lake share."""

import pytest


@pytest.fixture(autouse=True)
def few_rows_are_split_by_month(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests have few rows, and look at what many do."""
    monkeypatch.setattr("pipeline.lake.data_files.MIN_SPLIT", 1)
