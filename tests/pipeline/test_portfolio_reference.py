"""The page of the portfolio has every key that the code reads, and its example is read whole."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from features.schema import BY_NAME
from pipeline.portfolio import read_portfolio
from pipeline.portfolio_reference import EXAMPLE, page
from pipeline.portfolio_tables import (
    ExtraColumn,
    Groups,
    Labels,
    PortfolioTables,
    Review,
    Rule,
    Source,
)

DOCS = Path(__file__).parents[2] / "docs"
TABLES = {
    "The file": PortfolioTables,
    "`[source]`": Source,
    "`[groups]`": Groups,
    "`[groups.extra.NAME]`": ExtraColumn,
    "`[labels]`": Labels,
    "`[review]`": Review,
    "`[rules.NAME]`": Rule,
}


def listed(heading: str) -> list[str]:
    """The first cells of the table under a heading of the page."""
    section = page().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]


def test_the_page_is_what_the_code_reads() -> None:
    assert (DOCS / "portfolio.md").read_text(encoding="utf-8") == page(), (
        "docs/portfolio.md is stale; run make docs"
    )


@pytest.mark.parametrize("heading", TABLES)
def test_every_key_of_a_table_stands_under_its_heading(heading: str) -> None:
    assert listed(heading) == list(TABLES[heading].model_fields)


def test_every_column_is_listed() -> None:
    assert listed("`[columns]`") == list(BY_NAME)


def test_every_key_says_what_it_means() -> None:
    for table in TABLES.values():
        for key, field in table.model_fields.items():
            is_table = isinstance(field.annotation, type) and issubclass(
                field.annotation, BaseModel
            )
            assert is_table or field.description, f"{key} of {table.__name__}"


def test_the_example_is_a_portfolio(tmp_path: Path) -> None:
    file = tmp_path / "portfolio.toml"
    file.write_text(EXAMPLE, encoding="utf-8")
    portfolio = read_portfolio(file)
    assert portfolio.columns["account_id"] == "coalesce(Card, Email)"
    assert portfolio.extra_kinds == {"basket_size": "number"}
    assert portfolio.rules["huge_amount"].action == "alert"
