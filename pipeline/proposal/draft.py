"""A portfolio.toml as it is being written: its lines by table, each with the doubts about it."""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from features.groups.catalogue import RESERVED
from pipeline.sources.card_numbers import masked
from pipeline.sources.delivery import quoted

WIDTH = 98


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """What was guessed, as a sentence, and rows that show it."""

    about: str
    says: str
    rows: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Line:
    """A key with its value; one that a person has to write has none, and stands as a comment."""

    key: str
    value: object
    doubts: tuple[Doubt, ...] = ()


@dataclass(kw_only=True)
class Draft:
    """The lines of each table, in the order in which they are put, and what a person has to do."""

    head: list[str] = field(default_factory=list)
    tables: dict[str, list[Line]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def put(self, table: str, key: str, value: object, *doubts: Doubt) -> None:
        """Write a line; what is below the file's own keys stands in the table's."""
        self.tables.setdefault(table, []).append(Line(key=key, value=value, doubts=doubts))

    def ask(self, table: str, key: str, says: str, rows: tuple[str, ...] = ()) -> None:
        """Leave a line to a person: nothing there is guessed."""
        self.missing.append(key)
        self.put(table, key, None, Doubt(about=key, says=says, rows=rows))

    @property
    def doubts(self) -> list[Doubt]:
        """All that was guessed."""
        lines = [line for table in self.tables.values() for line in table]
        return [doubt for line in lines for doubt in line.doubts]

    def text(self) -> str:
        """The whole file; card-like numbers show their last digits alone, but for values."""
        parts = [_wrapped(sentence) for sentence in self.head]
        for name, lines in self.tables.items():
            parts.append(f"\n[{name}]\n" if name and lines else "")
            parts += [_line(line) for line in lines]
        return "".join(parts)


def _line(line: Line) -> str:
    comments = "".join(_comment(doubt, is_missing=line.value is None) for doubt in line.doubts)
    key = _key(line.key)
    if line.value is None:
        return f'{comments}# {key} = ""\n'
    return f"{comments}{key} = {toml_value(line.value)}\n"


def _comment(doubt: Doubt, *, is_missing: bool) -> str:
    kind = "TO WRITE" if is_missing else "doubt"
    return _wrapped(f"{kind}: {doubt.says}") + "".join(_shown(row) for row in doubt.rows)


def _shown(row: str) -> str:
    line = " ".join(masked(row).split())
    return f"#   {line if len(line) <= WIDTH - 4 else line[: WIDTH - 7] + '...'}\n"


def _wrapped(sentence: str) -> str:
    line = masked(" ".join(sentence.split()))
    lines = textwrap.wrap(line, WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    return "".join(f"# {part}\n" for part in lines)


def toml_value(value: object) -> str:
    """A value as TOML writes it.

    >>> toml_value({"a": ["b", 1]}), toml_value(True)
    ('{ a = ["b", 1] }', 'true')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        pairs = [f"{_key(str(key))} = {toml_value(one)}" for key, one in value.items()]
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, Sequence):
        return f"[{', '.join(map(toml_value, value))}]"
    return str(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def named(column: str) -> str:
    """A column's name as it stands in SQL: in quotes only where it needs them.

    >>> named("Amount"), named("Is Fraud?"), named("order")
    ('Amount', '"Is Fraud?"', '"order"')
    """
    is_word = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", column)
    return column if is_word and column.lower() not in RESERVED else quoted(column)
