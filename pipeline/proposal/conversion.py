"""A portfolio.toml of release 0.1, whose [columns] are theirs = ours, turned to ours = theirs.

Only the lines of [columns] change; comments and all else of the file stay as they are.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

from features.schema import BY_NAME
from pipeline.portfolio import PortfolioError
from pipeline.proposal.draft import toml_value

TABLE = re.compile(r"^\s*\[\s*([^\[\]]+?)\s*\]\s*(#.*)?$")
KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
PAIR = re.compile(
    rf"""(?P<lead>\s*(?:columns\s*\.\s*)?)(?P<key>{KEY})(?P<equals>\s*=\s*)"""
    rf"""(?P<value>"(?:[^"\\]|\\.)*"|'[^']*')(?P<rest>.*)"""
)
INLINE = re.compile(r"""^(\s*columns\s*=\s*)\{(.*)\}(\s*(?:#.*)?)$""")


def convert(file: Path) -> str:
    """The text of the file with its [columns] turned round.

    Raises PortfolioError where it cannot be read, is turned already, or cannot be turned.
    """
    text, old = _read(file)
    columns = _columns(old, file)
    lines, table = [], ""
    for line in text.splitlines(keepends=True):
        if found := TABLE.match(line.rstrip("\r\n")):
            table = found[1]
        lines.append(_turned(line, table))
    turned = "".join(lines)
    wanted = {**old, "columns": {ours: theirs for theirs, ours in columns.items()}}
    if _parsed(turned) != wanted:
        raise PortfolioError(
            f"[columns] of {file} is written in a way that cannot be turned line by line; "
            "write each column on a line of its own in the table [columns]"
        )
    return turned


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = file.read_bytes().decode("utf-8-sig")
        return text, tomllib.loads(text.replace("\r\n", "\n"))
    except FileNotFoundError:
        raise PortfolioError(f"there is no portfolio file {file}; name one to convert") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PortfolioError(f"{file} cannot be read as TOML: {error}; mend it there") from error


def _columns(old: dict[str, Any], file: Path) -> dict[str, str]:
    """Theirs -> ours, as the file has them."""
    columns = old.get("columns")
    if not isinstance(columns, dict) or not columns:
        raise PortfolioError(
            f"{file} has no [columns], so there is nothing to convert; use it as is"
        )
    groups = old.get("groups", {})
    own = groups.get("extra", {}) if isinstance(groups, dict) else {}
    known = {*BY_NAME, *own}
    if all(name in known for name in columns) and not all(
        isinstance(value, str) and value in known for value in columns.values()
    ):
        raise PortfolioError(f"[columns] of {file} is ours = theirs already; use it as it is")
    odd = [name for name, ours in columns.items() if ours not in known]
    if odd:
        raise PortfolioError(
            f"[columns] of {file} has {odd[0]!r} = {columns[odd[0]]!r}, which is no column of "
            "Strata; mend that line first"
        )
    if doubled := [ours for ours in columns.values() if [*columns.values()].count(ours) > 1]:
        raise PortfolioError(
            f"[columns] of {file} maps two columns to {doubled[0]!r}; leave one of them first"
        )
    return columns


def _turned(line: str, table: str) -> str:
    """A line with its pair turned, where it is one of [columns]."""
    body = line.rstrip("\r\n")
    end = line[len(body) :]
    if not table and (inline := INLINE.match(body)):
        return f"{inline[1]}{{{_all_turned(inline[2])}}}{inline[3]}{end}"
    pair = PAIR.fullmatch(body)
    is_column = table == "columns" or (not table and body.strip().startswith("columns."))
    return f"{_pair(pair)}{end}" if pair and is_column else line


def _all_turned(inside: str) -> str:
    """The pairs of an inline table, each turned."""
    one = re.compile(rf"""({KEY})(\s*=\s*)("(?:[^"\\]|\\.)*"|'[^']*')""")
    return one.sub(lambda pair: f"{_as_key(pair[3])}{pair[2]}{_as_value(pair[1])}", inside)


def _pair(pair: re.Match[str]) -> str:
    """A pair with what stood on its right now on its left."""
    key, value = _as_key(pair["value"]), _as_value(pair["key"])
    return f"{pair['lead']}{key}{pair['equals']}{value}{pair['rest']}"


def _as_key(value: str) -> str:
    """A value of TOML as a key: ours needs no quotes."""
    name = str(tomllib.loads(f"a = {value}")["a"])
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else toml_value(name)


def _as_value(key: str) -> str:
    name = next(iter(tomllib.loads(f"{key} = 1")))
    return toml_value(name)


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text.replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError:
        return None
