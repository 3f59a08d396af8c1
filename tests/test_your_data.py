"""Each recipe of docs/your-data.md is run as it stands there, and gives what it says."""

import re
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.lake.tables import Lake
from pipeline.portfolio import read_portfolio
from tests.command_line import run

PAGE = (Path(__file__).parent.parent / "docs" / "your-data.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```(\w+) ?(\S*)\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Recipe:
    """A section of the page: files by name, commands each with the lines it prints, rows."""

    title: str
    files: dict[str, str]
    commands: list[tuple[str, list[str]]]
    rows: list[dict[str, str]]


def recipes() -> list[Recipe]:
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    return [found for found in map(recipe, sections) if found.files]


def recipe(section: str) -> Recipe:
    blocks = BLOCK.findall(section)
    files = {name: text for _, name, text in blocks if name}
    commands = [shown(text) for kind, _, text in blocks if kind == "console"]
    return Recipe(
        title=section.splitlines()[0],
        files=files,
        commands=[one for block in commands for one in block],
        rows=table(section),
    )


def shown(text: str) -> list[tuple[str, list[str]]]:
    parts = [part.splitlines() for part in text.split("$ strata ") if part]
    return [(lines[0], lines[1:]) for lines in parts]


def table(section: str) -> list[dict[str, str]]:
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def written(value: Any) -> str:
    """A value as the page writes it."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def in_the_lake(lake: Lake) -> list[dict[str, Any]]:
    """The transactions in order, each with its label."""
    found = lake.read("transactions")
    labels = lake.read("labels")
    assert found is not None
    said = {} if labels is None else {row["transaction_id"]: row for row in labels.to_pylist()}
    rows = found.sort_by([("event_time", "ascending"), ("transaction_id", "ascending")])
    assert isinstance(rows, pa.Table)
    return [
        {**row, "is_fraud": said.get(row["transaction_id"], {}).get("is_fraud")}
        for row in rows.to_pylist()
    ]


@pytest.mark.parametrize("one", recipes(), ids=lambda one: one.title)
def test_a_recipe_gives_what_it_says(
    tmp_path: Path,
    one: Recipe,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STRATA_HOME", str(tmp_path / "home"))
    for name, text in one.files.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    for command, printed in one.commands:
        words = [str(tmp_path / word) if word in one.files else word for word in command.split()]
        monkeypatch.setattr(sys, "argv", ["strata", *words])
        code, out, err = run(capsys)
        assert code == 0, err
        for line in printed:
            assert line in out
    portfolio = read_portfolio(tmp_path / "portfolio.toml")
    rows = in_the_lake(Lake(str(tmp_path / "home" / "lake"), portfolio.name))
    told = [{name: written(row[name]) for name in one.rows[0]} for row in rows]
    assert told == one.rows


def test_the_page_has_a_recipe_for_each_shape() -> None:
    listed = re.findall(r"\[([^]]+)\]\(#", PAGE)
    assert listed == [one.title for one in recipes()]
    assert len(listed) == 7
