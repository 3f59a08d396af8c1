"""A portfolio's own keys and sets of columns in the lake: by their names, as what they are."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.groups.catalogue import GroupError
from features.schema import SchemaError
from pipeline.ingest.ingest import ingest
from pipeline.lake.tables import Lake
from pipeline.portfolio import PortfolioError
from tests.ingest_examples import NOW, portfolio_of, row, stored, take_in

EMAIL = '[keys.email]\ncolumn = "{column}"\nmeaning = "e-mail"\n'
SET = '[groups.extra.more]\ngroup = "amount"\ncolumns = "{columns}"\n'
NAMES = ("transaction_id", "event_time", "account_id", "amount")
MAPPED = "[columns]\n" + "".join(f'{name} = "{name}"\n' for name in NAMES)


def key_of(folder: Path, values: pa.Array, *, column: str = "Card") -> list[Any]:
    """What the lake has of a key over a column of theirs, in the rows' order."""
    rows = {name: [f"{name[:1]}{at}" for at in range(len(values))] for name in NAMES[::2]}
    rows |= {"event_time": ["2025-05-01T10:00:00Z"] * len(values), "amount": ["1"] * len(values)}
    portfolio = portfolio_of(folder, more=EMAIL.format(column=column))
    pq.write_table(
        pa.table({**rows, "transaction_id": rows["account_id"], "Card": values}),
        folder / "rows.parquet",
    )
    lake = Lake(str(folder / "lake"), portfolio.name)
    ingest(portfolio, lake, now=NOW)
    return [
        one["email"]
        for one in sorted(stored(lake, "transactions"), key=lambda r: r["transaction_id"])
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([411.0, None, 5e15]), ["411", None, "5000000000000000"]),
        (pa.array([7, 8]), ["7", "8"]),
        (pa.array([" a ", "nan", "NA", "", "007"]), ["a", None, None, None, "007"]),
    ],
    ids=["floats", "integers", "texts with blanks and words for null"],
)
def test_a_key_is_an_identifier(tmp_path: Path, values: pa.Array, expected: list[Any]) -> None:
    assert key_of(tmp_path, values) == expected


def test_a_key_is_sql_over_theirs(tmp_path: Path) -> None:
    values = pa.array(["jo@mail.example", None, "jim@web.example"])
    found = key_of(tmp_path, values, column="split_part(card, '@', 2)")
    assert found == ["mail.example", None, "web.example"]


def test_one_column_serves_several_purposes(tmp_path: Path) -> None:
    keys = EMAIL.format(column="mail") + EMAIL.format(column="left(mail, 1)").replace(
        "keys.email", "keys.initial"
    )
    ours = EMAIL.format(column="counterparty_id").replace("keys.email", "keys.payee")
    mapped = f'{MAPPED}counterparty_id = "mail"\n'
    lake, _ = take_in(tmp_path, [row("1", mail="x")], more=keys + ours + mapped)
    (found,) = stored(lake, "transactions")
    assert [found[name] for name in ("email", "initial", "counterparty_id")] == ["x"] * 3
    assert "payee" not in found
    groups = portfolio_of(tmp_path, more=keys + ours + mapped).groups([*found])
    assert {group.name: group.needs for group in groups[-3:]} == {
        "email": ("email",),
        "initial": ("initial",),
        "payee": ("counterparty_id",),
    }


WIDE = {"V1": "0.5", "V2": "-3", "Order": "7", "1st": "8", "kind": "x", "is_fraud": "0"}


def test_a_pattern_takes_what_is_not_mapped_otherwise(tmp_path: Path) -> None:
    portfolio = portfolio_of(tmp_path, more=SET.format(columns="*"))
    lake, (done,) = take_in(tmp_path, [row("1", **WIDE)], more=SET.format(columns="*"))
    (found,) = stored(lake, "transactions")
    assert [found[name] for name in ("v1", "v2", "c_order", "c_1st", "kind")] == [
        0.5,
        -3,
        7,
        8,
        None,
    ]
    assert [(lost.column, lost.count) for lost in done.missing] == [("kind", 1)]
    amount = portfolio.groups([*found])[0]
    own = [feature.name for feature in amount.features if feature.name.startswith("own_")]
    assert own == ["own_v1", "own_v2", "own_c_order", "own_c_1st", "own_kind"]


def test_numbers_of_a_set_are_read_as_those_of_any_column(tmp_path: Path) -> None:
    wide = [
        {"V1": "0.5", "V2": "-999", "V3": "1,5", "V4": "NULL"},
        {"V1": " 7 ", "V2": "2", "V3": "2,25", "V4": "x"},
    ]
    rows = [row(str(at), **values) for at, values in enumerate(wide)]
    lake, (done,) = take_in(
        tmp_path,
        rows,
        source='path = "rows.parquet"\ncsv = { nulls = ["-999"] }',
        more=SET.format(columns="V?"),
    )
    found = [[one[f"v{at}"] for at in (1, 2, 3, 4)] for one in stored(lake, "transactions")]
    assert sorted(found) == [[0.5, None, 1.5, None], [7.0, 2.0, 2.25, None]]
    assert [(lost.column, lost.count) for lost in done.missing] == [("v4", 1)]


@pytest.mark.parametrize(
    ("more", "rows", "sentence"),
    [
        (SET.format(columns="W*"), WIDE, "columns = 'W.' fits no column; .* mend the pattern"),
        (SET.format(columns="am*"), WIDE, "fits amount, which .columns. maps"),
        (
            SET.format(columns="V*") + SET.format(columns="*1").replace("more", "others"),
            WIDE,
            r"takes 'V1', and so does \[groups.extra.more\]; take it once",
        ),
        (
            SET.format(columns="V*"),
            {"V 1": "1", "V_1": "2"},
            "takes 'V_1', which would be called v_1",
        ),
        (
            SET.format(columns="V*") + EMAIL.replace("email", "v1").format(column="Order"),
            WIDE,
            "called v1, like the portfolio's own v1",
        ),
        (EMAIL.format(column="Mail"), WIDE, "email is mapped to 'Mail', which the source lacks"),
        (EMAIL.format(column="is_fraud"), WIDE, "is over is_fraud, which nobody knows yet"),
        (
            EMAIL.format(column="kind || Fraud") + MAPPED + 'is_fraud = "Fraud"',
            {**WIDE, "Fraud": "1"},
            "email = 'kind .. Fraud' .* reads Fraud, of which the label is made",
        ),
        (EMAIL.format(column="device_id"), WIDE, "lacks device_id; .* write device_id ="),
    ],
    ids=[
        "a pattern of nothing",
        "a pattern of what is mapped",
        "two sets of one column",
        "two columns of one name",
        "a set and a key of one name",
        "no such column",
        "the label",
        "what the label is made of",
        "a column of ours that is absent",
    ],
)
def test_own_columns_are_refused_with(
    tmp_path: Path, more: str, rows: dict[str, str], sentence: str
) -> None:
    with pytest.raises((SchemaError, PortfolioError), match=sentence):
        take_in(tmp_path, [row("1", **rows)], more=more)


def test_a_set_never_takes_what_the_label_is_made_of(tmp_path: Path) -> None:
    more = SET.format(columns="*") + MAPPED + "is_fraud = \"Fraud = 'yes'\""
    lake, _ = take_in(tmp_path, [row("1", **WIDE, Fraud="yes")], more=more)
    assert "fraud" not in stored(lake, "transactions")[0]
    assert stored(lake, "labels")[0]["is_fraud"]


def test_a_set_that_was_declared_later_asks_for_the_source_again(tmp_path: Path) -> None:
    take_in(tmp_path, [row("1")])
    portfolio = portfolio_of(tmp_path, more=SET.format(columns="V*"))
    with pytest.raises(GroupError, match=r"fits no column that was taken in; .* ingest --again"):
        portfolio.groups([*row()])
