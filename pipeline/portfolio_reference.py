"""The reference of portfolio.toml, docs/portfolio.md, written from the tables that read it.

python -m pipeline.portfolio_reference > docs/portfolio.md
"""

import json
import sys
from collections.abc import Iterable, Iterator
from textwrap import fill
from typing import Any

from features.encoder import BUCKETS, MAX_KNOWN
from features.expressions import FUNCTIONS, MADE, POSITIVE
from features.groups.declared import EVER
from features.schema import COLUMNS, LABEL_COLUMNS, Column, Kind
from pipeline.portfolio_errors import in_bounds
from pipeline.portfolio_tables import PortfolioTables

EXAMPLE = """\
name = "shop"

[source]
path = "payments.csv"               # beside this file
delay = "1h"                        # a row may reach us an hour late

[columns]                           # ours = theirs, a column's name or SQL over their columns
transaction_id = "TransactionID"
event_time = "Time"
account_id = "coalesce(Card, Email)"
amount = "replace(Amount, '$', '')"
merchant_id = "Shop"
basket_size = "Basket"
is_fraud = "Chargeback"

[groups]
order = ["amount", "clock", "sender", "retailer"]

[groups.extra.basket_size]          # a column of your own
group = "retailer"
kind = "number"

[groups.extra.anonymous]            # all columns whose names begin like this
group = "amount"
columns = "V*"

[keys.email]                        # a history of your own: a stage with the usual facts
column = "split_part(Email, '@', 2)"
meaning = "e-mail domain"
after = "retailer"

[features.email_fast]               # a feature of your own
group = "email"
aggregate = "count"
key = "email"
span = "1h"
meaning = "payments from the domain in 1h"

[labels]
delay = "30d"                       # a chargeback takes a month

[review]
capacity_per_day = 50
cost = 4.0

[rules.huge_amount]
when = "amount > 5000"
"""
HEAD = """# The portfolio

`portfolio.toml` is the one file that says what a data set means. It needs a `name`, a `[source]`
and the required columns; what Strata does not understand in it is refused in one sentence. This
page is written from the code by `make docs`; a test says when it is stale.

```toml
"""
SPANS = """
A span of time is a whole number and a unit: `90s`, `30m`, `12h`, `7d`; `0s` is none. The groups of
facts are those of [the features](features.md).
"""
COLUMNS_TEXT = """
## `[columns]`

Ours = theirs: the name of a column of the source, exactly as it stands there, or SQL over its
columns. Only what is mapped is read; where there is no `[columns]` at all, the columns that have
our names already are. A row that lacks a required value, or has one that cannot be read or may not
be, goes to quarantine with the reason. An optional value that cannot be read is missing, and
counted. Our columns are these, and those of `[groups.extra]`:

"""
OWN_TEXT = """
## Keys, features and columns of your own

A key is kept as text in the lake's column of its name, read as an identifier: without blanks around
it, whole numbers without decimals, words for null never a key. One column may serve several
purposes: as a column of ours and as a key, or for two keys. Where the key's `column` is the name of
a column of ours that is mapped, the key is over that one; else it is theirs. What a key brings
stands [with the features](features.md#keys-of-a-portfolios-own).

An expression of a feature (`of`, `where`, `sql`) looks at the columns and features of one payment:
`+ - * / %`, `||`, `LIKE`, comparisons, `AND OR NOT IN BETWEEN CASE`, `CAST(x AS DOUBLE)`, and

    {functions}

A division by 0, or the logarithm of what is not above 0, gives null. Windows, subqueries,
aggregates within `sql`, the label, the clock and chance are refused. A feature may use others by
their names; a flag is 1 or 0. A `last` is what stands in the last row of the key that has a value;
{ever} look back 90d.

A set of columns (`columns = "V*"`) takes all of theirs that fit and that no line of `[columns]`
reads, whatever their capitals: `*` is any signs, `?` one. Each is called by its name in lower case,
and `c_` before it where that name means something else. A category with more than {known}
different values knows the most frequent of them by name; the others share {buckets} codes by
their hash. Declare a key where each value is to have a history of its own.

A key, feature or column that is declared when rows are there already is filled by
`strata ingest --again`: where files say nothing else than before, their rows are completed and not
corrected. A model that was trained without it goes on only after a training with it.
"""
Schema = dict[str, Any]  # JSON schema, as pydantic writes it
COLLECTIONS = {"array": "list", "object": "table"}
TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
}
KINDS: dict[Kind, str] = {
    "text": "text",
    "number": "number",
    "time": "ISO 8601 time",
    "flag": "true or false",
}


def page() -> str:
    """Return the text of docs/portfolio.md: an example, then every table with its keys."""
    schema = PortfolioTables.model_json_schema()
    tables = dict(_tables(schema, schema["$defs"], path=""))
    sections = [_section(title, table) for title, table in tables.items()]
    sections.insert(1, f"{COLUMNS_TEXT}{_columns()}")
    functions = " ".join((*FUNCTIONS, *POSITIVE, *(name for name in MADE if name.islower())))
    own = OWN_TEXT.format(
        functions=fill(functions, width=96, subsequent_indent="    "),
        ever=f"{', '.join(EVER[:-1])} and {EVER[-1]}",
        known=f"{MAX_KNOWN:,}",
        buckets=BUCKETS,
    )
    text = "".join([HEAD, EXAMPLE, "```\n", SPANS, *sections])
    return f"{text}{own}"


def _tables(table: Schema, models: Schema, *, path: str) -> Iterator[tuple[str, Schema]]:
    """The table and those in it, each with the path that it has in the file."""
    yield path, table
    for key, value in table["properties"].items():
        below = f"{path}.{key}" if path else key
        if "$ref" in value:
            yield from _tables(_model(value, models), models, path=below)
        elif "$ref" in value.get("additionalProperties", {}):
            named = _model(value["additionalProperties"], models)
            yield from _tables(named, models, path=f"{below}.NAME")


def _model(reference: Schema, models: Schema) -> Schema:
    found: Schema = models[reference["$ref"].rpartition("/")[2]]
    return found


def _section(path: str, table: Schema) -> str:
    """One table of the file: what it is, and its keys."""
    required = table.get("required", [])
    rows = [
        (
            f"`{key}`",
            _type(value),
            "required" if key in required else _default(value),
            value.get("description", f"see `[{key}]` below"),
        )
        for key, value in table["properties"].items()
    ]
    heading = f"`[{path}]`" if path else "The file"
    head = f"\n## {heading}\n\n{table['description']}\n\n"
    return head + _markdown(("key", "type", "default", "meaning"), rows)


def _type(value: Schema) -> str:
    """What may stand behind a key.

    >>> _type({"type": "integer", "minimum": 1})
    'whole number, at least 1'
    >>> _type({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"const": "auto"}]})
    'list of text, or `"auto"`'
    """
    if "anyOf" in value:
        return ", or ".join(map(_type, value["anyOf"]))
    choices = value.get("enum", [value["const"]] if "const" in value else [])
    if choices:
        return " or ".join(f"`{json.dumps(choice)}`" for choice in choices)
    if "$ref" in value:
        return "table"
    if held := value.get("items") or value.get("additionalProperties"):
        return f"{COLLECTIONS[value['type']]} of {_type(held)}"
    name: str = value.get("format", TYPES[value["type"]])
    return ", ".join(filter(None, [name, in_bounds(value)]))


def _default(value: Schema) -> str:
    default = value.get("default")
    is_nothing = default in (None, "") or isinstance(default, dict)
    return "–" if is_nothing else f"`{json.dumps(default)}`"


def _columns() -> str:
    rows = [
        (
            f"`{column.name}`",
            KINDS[column.kind],
            "required" if column.required else "–",
            _must_be(column),
            column.meaning,
        )
        for column in (*COLUMNS, *LABEL_COLUMNS)
    ]
    return _markdown(("column", "type", "required", "must be", "meaning"), rows)


def _must_be(column: Column) -> str:
    """What a value of the column must satisfy; a dash where it may be any.

    >>> from features.schema import BY_NAME
    >>> _must_be(BY_NAME["latitude"]), _must_be(BY_NAME["amount"]), _must_be(BY_NAME["currency"])
    ('from -90 to 90', 'at least 0', '`[A-Z]{3}`')
    """
    if column.pattern is not None:
        return f"`{column.pattern}`"
    limits = {"minimum": column.least, "maximum": column.most}
    return in_bounds({name: limit for name, limit in limits.items() if limit is not None}) or "–"


def _markdown(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, ("---",) * len(head), *rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(page())
