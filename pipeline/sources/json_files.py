"""JSON files: an object a line, or one list of objects, each object a record."""

import re

import duckdb

from pipeline.portfolio import Portfolio
from pipeline.sources.delivery import (
    PLACE,
    Delivery,
    check_count,
    count_of,
    file_literal,
    literal,
    load_lines,
    numbered,
    quoted,
)
from pipeline.sources.files import SourceFile
from pipeline.sources.text_files import TextFile, TornFileError, blocks_of

# what stands within an object that is whole, once all but brackets is gone
WITHIN = re.compile(rb"\{(?:\{\}|\[\])+\}|\[(?:\{\}|\[\])+\]")
WHOLE = re.compile(rb"(\{\})*")
NO_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
MAX_OBJECT_BYTES = 1 << 26


def read_json(
    file: SourceFile, text: TextFile, portfolio: Portfolio, connection: duckdb.DuckDBPyConnection
) -> Delivery:
    """Read the objects of a file, whose names are the keys that any of them has."""
    records, is_list = text.lines, text.head.lstrip("\ufeff \t\r\n")[:1] == "["
    if is_list:
        records = _count_objects(file, text)
        connection.execute(
            "CREATE TABLE loaded AS SELECT json::VARCHAR AS line "
            f"FROM read_json_objects({file_literal(text.path)}, format = 'array', "
            f"compression = '{text.packing}', maximum_object_size = {MAX_OBJECT_BYTES})"
        )
        connection.execute("CREATE TABLE torn (line VARCHAR)")
    else:
        load_lines(connection, text, {"line": "VARCHAR"}, "\x1f", "", 0)
    is_object = "CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' ELSE false END"
    connection.execute(
        f"INSERT INTO torn SELECT line FROM loaded WHERE NOT coalesce({is_object}, false)"
    )
    connection.execute(f"CREATE TABLE objects AS SELECT line FROM loaded WHERE {is_object}")
    keys = connection.execute(
        "SELECT key FROM (SELECT unnest(json_keys(line)) AS key, rowid AS place FROM objects) "
        "GROUP BY key ORDER BY min(place), key"
    ).fetchall()
    names = tuple(str(key) for (key,) in keys)
    values = [
        f"json_extract_string(line, {literal(json_path(name))}) AS {quoted(numbered(at))}"
        for at, name in enumerate(names)
    ]
    columns = ", ".join([f"rowid AS {quoted(PLACE)}", *values])
    connection.execute(f"CREATE OR REPLACE VIEW raw AS SELECT {columns} FROM objects")
    taken = count_of(connection, "SELECT count(*) FROM objects")
    torn = count_of(connection, "SELECT count(*) FROM torn")
    check_count(str(file.path), records, taken, torn)
    return Delivery(
        connection=connection,
        name=file.name,
        names=names,
        types=("VARCHAR",) * len(names),
        records=records,
        torn=torn,
        is_ended=is_list or text.is_ended,
    )


def json_path(key: str) -> str:
    """Where a key's value is in an object, as DuckDB writes it."""
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'$."{escaped}"'


def _count_objects(file: SourceFile, text: TextFile) -> int:
    """How many objects a list has. Raises TornFileError where it has no end."""
    counter = ObjectCounter()
    for block in blocks_of(text):
        counter.add(block)
    if not counter.is_ended:
        found = f"the source {file.path} cannot be read (its list of objects has no end)"
        raise TornFileError(f"{found}; check that it is a whole file")
    return counter.objects


class ObjectCounter:
    r"""Counts the objects of a JSON list by its brackets outside of texts, block by block.

    >>> counter = ObjectCounter()
    >>> counter.add(b'[{"a": "}", "b": [{}, 1]},'), counter.add(b' {"c": "\\""}]')
    (None, None)
    >>> counter.objects, counter.is_ended
    (2, True)
    """

    def __init__(self) -> None:
        self.objects = 0
        self.is_ended = False
        self._brackets = b""
        self._rest = b""
        self._is_inside = False

    def add(self, block: bytes) -> None:
        """Take in the next block."""
        block = self._rest + block
        # a backslash at the end may belong to a quote that comes
        cut = len(block) - (len(block) - len(block.rstrip(b"\\")))
        block, self._rest = block[:cut], block[cut:]
        parts = block.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b"".join(parts[self._is_inside :: 2])
        self._is_inside ^= (len(parts) - 1) % 2 == 1
        self._brackets += outside.translate(None, NO_BRACKETS)
        self._reduce()

    def _reduce(self) -> None:
        """Count what is whole, and keep what is open."""
        body, count = self._brackets[1:], 1
        while count:
            body, count = WITHIN.subn(lambda found: found[0][:1] + found[0][-1:], body)
        whole = len(WHOLE.match(body)[0])  # type: ignore[index]
        self.objects += whole // 2
        self.is_ended = body[whole:] == b"]"
        self._brackets = self._brackets[:1] + body[whole:]
