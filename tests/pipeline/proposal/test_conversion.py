"""A portfolio of release 0.1 is turned round, and nothing else of it changes."""

import tomllib
from pathlib import Path

import pytest

from pipeline.portfolio import PortfolioError, read_portfolio
from pipeline.proposal.conversion import convert

OLD = """\
# ours
name = "shop"   # the shop

[source]
path = "t.csv"

[columns]   # theirs = ours
"Order No." = "transaction_id"   # of the till
paid_at = 'event_time'
'it''s' = "never"
"""
TURNABLE = OLD.replace("'it''s' = \"never\"\n", 'acc="account_id"\n\n  sum = "amount"\n')
REST = """
[groups.extra.basket]   # "basket" = "kept"
group = "amount"

[rules.huge]
when = "amount > 5"
"""


def converted(folder: Path, text: str) -> str:
    (folder / "old.toml").write_bytes(text.encode())
    return convert(folder / "old.toml")


def test_only_the_lines_of_columns_change(tmp_path: Path) -> None:
    turned = converted(tmp_path, f'{TURNABLE}Basket = "basket"\n{REST}')
    assert turned == (
        TURNABLE.split('"Order')[0]
        + 'transaction_id = "Order No."   # of the till\n'
        + 'event_time = "paid_at"\naccount_id="acc"\n\n  amount = "sum"\nbasket = "Basket"\n'
        + REST
    )
    new = tmp_path / "new.toml"
    new.write_text(turned, encoding="utf-8")
    assert read_portfolio(new).columns["transaction_id"] == "Order No."


@pytest.mark.parametrize(
    "text",
    [
        'name = "a"\ncolumns = { "My Id" = "transaction_id", sum = "amount" }  # all\n',
        'name = "a"\ncolumns.sum = "amount"\ncolumns."My Id" = "transaction_id"\n',
        'name = "a"\r\n[columns]\r\nsum = "amount"\r\n"My Id" = "transaction_id"\r\n',
    ],
    ids=["inline", "dotted", "lines of Windows"],
)
def test_other_ways_to_write_it_are_turned_too(tmp_path: Path, text: str) -> None:
    turned = converted(tmp_path, text)
    columns = tomllib.loads(turned.replace("\r\n", "\n"))["columns"]
    assert columns == {"transaction_id": "My Id", "amount": "sum"}
    assert turned.count("\r\n") == text.count("\r\n")
    assert ("# all" in turned) == ("# all" in text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('name = "a"\n[columns]\namount = "sum"\n', "is ours = theirs already"),
        ('name = "a"\n', "has no \\[columns\\], so there is nothing to convert"),
        ('name = "a"\n[columns]\nsum = "amuont"\n', "'sum' = 'amuont', which is no column"),
        ('name = "a"\n[columns]\na = "amount"\nb = "amount"\n', "maps two columns to 'amount'"),
        ("name = \n", "cannot be read as TOML"),
        ('[columns]\nsum = """amount"""\n', "cannot be turned line by line"),
    ],
    ids=["turned", "none", "unknown", "twice", "no TOML", "of many lines"],
)
def test_what_cannot_be_turned_is_said(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(PortfolioError, match=sentence):
        converted(tmp_path, text)
