"""What a portfolio.toml may say, and the sentence for each thing that it may not."""

from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.portfolio import PortfolioError, read_portfolio

GOOD = 'name = "small"\n[source]\npath = "rows.csv"\n'


def written(folder: Path, text: str) -> Path:
    file = folder / "portfolio.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_what_is_not_said_has_its_default(tmp_path: Path) -> None:
    portfolio = read_portfolio(written(tmp_path, GOOD))
    assert (portfolio.label_delay, portfolio.arrival_delay) == (timedelta(days=7), timedelta())
    assert portfolio.review.capacity_per_day == 100
    assert portfolio.extra_kinds == {}


def test_a_full_portfolio_is_read_whole(tmp_path: Path) -> None:
    text = """
        name = "world"
        [source]
        path = "rows.parquet"
        delay = "1h"
        feed = true
        [columns]
        amount = "TX_AMOUNT"
        basket_size = "lower(BASKET)"
        [groups]
        order = ["amount", "retailer"]
        [groups.extra.basket_size]
        group = "retailer"
        kind = "category"
        [labels]
        delay = "0s"
        [review]
        cost = 2
        [rules.huge]
        when = "amount > 5000"
    """
    portfolio = read_portfolio(written(tmp_path, text))
    assert (portfolio.arrival_delay, portfolio.label_delay) == (timedelta(hours=1), timedelta())
    assert portfolio.extra_kinds == {"basket_size": "text"}
    assert [group.name for group in portfolio.groups(["merchant_id", "basket_size"])] == [
        "amount",
        "retailer",
    ]
    assert portfolio.rules["huge"].action == "alert"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param(
            GOOD + "[colums]\n", r"'colums'.*did you mean 'columns'\?", id="typo in a section"
        ),
        pytest.param(
            GOOD + "[zzz]\n", r"'zzz'.*it knows columns, currency, features", id="unknown section"
        ),
        pytest.param(
            GOOD + 'dealy = "1h"',
            r"\[source\].*'dealy'.*did you mean 'delay'\?",
            id="typo in a key",
        ),
        pytest.param(
            GOOD + "[groups]\nordre = []",
            r"\[groups\].*'ordre'.*did you mean 'order'\?",
            id="typo in groups",
        ),
        pytest.param(
            GOOD + "[groups.extra.x]\ngruop = 'amount'",
            r"\[groups.extra.x\].*did you mean 'group'\?",
            id="typo in an extra column",
        ),
        pytest.param(
            GOOD + "feed = 'yes'",
            r"feed in \[source\].*is 'yes'; it must be of type bool",
            id="text for a flag",
        ),
        pytest.param(
            GOOD + "[review]\ncapacity_per_day = true",
            r"capacity_per_day in .*is True; it must be of type int",
            id="flag for a number",
        ),
        pytest.param(
            GOOD + "[review]\ncost = 'much'",
            r"cost in .*is 'much'; it must be of type float",
            id="text for a number",
        ),
        pytest.param(
            "source = 'rows.csv'\nname = 'small'",
            r"source of .*is 'rows.csv'; write it as the table \[source\]",
            id="text for a section",
        ),
        pytest.param(
            GOOD + "[rules]\nhuge = 'amount > 1'",
            r"\[rules.huge\].*is 'amount > 1'; write it as a table",
            id="text for a rule",
        ),
        pytest.param(
            GOOD + "[groups]\nextra = 3",
            r"extra of .*write it as the table \[groups.extra\]",
            id="a number for the extra columns",
        ),
        pytest.param(
            GOOD + "[groups]\norder = 'amount'",
            r"order in \[groups\].*is 'amount'; write it as a list",
            id="text for the order",
        ),
        pytest.param(
            GOOD + "[groups]\norder = ['amount', 'weather']",
            r"'weather', which is no group; choose from amount",
            id="unknown group",
        ),
        pytest.param(
            GOOD + "[groups.extra.x]\ngroup = 'weather'",
            r"'weather', which is no group",
            id="extra column of an unknown group",
        ),
        pytest.param(
            GOOD + "[groups.extra.x]\nkind = 'number'",
            r"\[groups.extra.x\].*incomplete.*'group'",
            id="extra column without a group",
        ),
        pytest.param(
            GOOD + "[groups.extra.x]\ngroup = 'amount'\nkind = 'word'",
            r"is 'word'; it must be 'number' or 'category'",
            id="extra kind",
        ),
        pytest.param(
            GOOD + "[groups.extra.as_of]\ngroup = 'amount'",
            r"cannot be called 'as_of'",
            id="extra column of the lake's own name",
        ),
        pytest.param(
            GOOD + "[groups.extra.'a b']\ngroup = 'amount'",
            r"cannot be called 'a b'; take lower-case",
            id="extra column with a blank",
        ),
        pytest.param(
            GOOD + "[columns]\namout = 'A'",
            r"'amout' in \[columns\].*did you mean 'amount'\?",
            id="typo in a column",
        ),
        pytest.param(
            GOOD + "[columns]\nzzz = 'A'",
            r"'zzz'.*choose from transaction_id, .*groups.extra",
            id="unknown column",
        ),
        pytest.param(
            GOOD + "[columns]\namount = 3",
            r"amount in \[columns\].*is mapped to 3; map it to the name",
            id="a number for a column",
        ),
        pytest.param(
            GOOD + "[columns]\n'Sum total' = 'amount'\nWho = 'account_id'",
            r'"Sum total" = "amount", theirs = ours; .*write:\namount = "Sum total"\n'
            r'account_id = "Who"$',
            id="columns written the other way round",
        ),
        pytest.param(
            GOOD + "time_zone = 'Europe/Atlantis'",
            r"time_zone in \[source\].*'Europe/Atlantis' is no time zone; name one of the IANA",
            id="a time zone that is none",
        ),
        pytest.param(
            GOOD + "max_bad_share = 2",
            r"max_bad_share in \[source\].*is 2; it must be from 0 to 1",
            id="a share beyond all",
        ),
        pytest.param(
            GOOD + "[source.csv]\nseparator = ';'",
            r"\[source.csv\].*'separator', which means nothing to Strata; it knows decimal, del",
            id="unknown key of csv",
        ),
        pytest.param(
            GOOD + "[labels.values]\nfraud = 'yes'",
            r"fraud in \[labels.values\].*is 'yes'; it must be of type list",
            id="a word for a list of words",
        ),
        pytest.param(
            GOOD.replace('name = "small"', ""),
            r"the name of .* is None; give it one of",
            id="no name",
        ),
        pytest.param(
            GOOD.replace("small", "../up"),
            r"is '../up'; give it one of lower-case",
            id="a name that leaves its folder",
        ),
        pytest.param("name = 'small'", r"\[source\].*has neither of path and url", id="no source"),
        pytest.param(
            GOOD + "url = 'sqlite://'\nquery = 'select 1'",
            r"\[source\].*has both of path and url",
            id="path and url",
        ),
        pytest.param(
            "name = 'small'\n[source]\nurl = 'sqlite://'",
            r"has a url and no query; a database needs both",
            id="url without query",
        ),
        pytest.param(
            GOOD + "tables = { names = 'names.csv' }",
            r"has tables and no query; say how they are joined",
            id="tables without query",
        ),
        pytest.param(
            GOOD + "tables = { source = 'names.csv' }\nquery = 'select 1'",
            r"tables in \[source\].* cannot be called 'source'",
            id="a table called source",
        ),
        pytest.param(
            "name = 's'\n[source]\nurl = 'sqlite://'\nquery = 'x'\ntables = { a = 'a.csv' }",
            r"has url and tables; join the tables of a database in its query",
            id="tables of a database",
        ),
        pytest.param(
            GOOD + "delay = '1 hour'",
            r"delay in \[source\].*'1 hour'.*write it like '1h'",
            id="bad span of the source",
        ),
        pytest.param(
            GOOD + "[labels]\ndelay = '-7d'",
            r"delay in \[labels\].*'-7d'",
            id="bad span of the labels",
        ),
        pytest.param(
            GOOD + "[review]\ncapacity_per_day = 0",
            r"capacity_per_day in .*is 0; it must be at least 1",
            id="no capacity",
        ),
        pytest.param(
            GOOD + "[review]\nminutes = -1",
            r"minutes in .*is -1; it must be at least 0",
            id="negative minutes",
        ),
        pytest.param(
            GOOD + "[review]\ncost = nan",
            r"cost in .*is nan; it must be at least 0",
            id="cost not a number",
        ),
        pytest.param(
            GOOD + "[review]\nfriction_cost = inf",
            r"friction_cost in .*is inf; it must be at least 0",
            id="infinite cost",
        ),
        pytest.param(
            GOOD + "[review]\nrecovered_share = 1.5",
            r"recovered_share in .*is 1.5; it must be from 0 to 1",
            id="share above one",
        ),
        pytest.param(
            GOOD + "[rules.r]\naction = 'alert'",
            r"\[rules.r\].*incomplete.*'when'",
            id="rule without a condition",
        ),
        pytest.param(
            GOOD + "[rules.r]\nwhen = 'TRUE'\naction = 'block'",
            r"is 'block'; it must be 'alert'",
            id="unknown action",
        ),
        pytest.param(
            GOOD + "[rules.r]\nwehn = 'TRUE'",
            r"\[rules.r\] of .* has 'wehn', which .*; did you mean 'when'\?",
            id="typo in a required key",
        ),
        pytest.param(
            GOOD + "[groups.prices]\nweather = 1",
            r"\[groups.prices\] of .* names 'weather', which is no group; choose from amount",
            id="price of an unknown group",
        ),
        pytest.param(
            GOOD + "[groups.prices]\nip = true",
            r"the price of ip in \[groups.prices\] of .* is True; give a number of 0 or more",
            id="flag for a price",
        ),
        pytest.param(
            GOOD + "[groups.prices]\nip = inf",
            r"the price of ip in \[groups.prices\] of .* is inf; give a number of 0 or more",
            id="infinite price",
        ),
        pytest.param(
            GOOD + "[groups]\norder = [1]",
            r"order in \[groups\] of .* is \[1\]; write it as a list of group names, or as 'auto'",
            id="a number for a group",
        ),
        pytest.param(
            GOOD + "[groups]\nextra = { x = 3 }",
            r"\[groups.extra.x\] of .* is 3; write it as a table",
            id="a number for an extra column",
        ),
        pytest.param(
            "columns = 3\n" + GOOD,
            r"columns of .* is 3; write it as the table \[columns\]",
            id="a number for the columns",
        ),
        pytest.param(
            GOOD + "[review]\ncapacity_per_day = 2.5",
            r"capacity_per_day in \[review\] of .* is 2.5; it must be of type int",
            id="part of an account",
        ),
        pytest.param(
            GOOD.replace('path = "rows.csv"', "path = 3"),
            r"path in \[source\] of .* is 3; it must be of type str",
            id="a number for a path",
        ),
        pytest.param("name = small", r"cannot be read as TOML", id="no TOML"),
    ],
)
def test_a_portfolio_that_says_something_else_is_refused(
    tmp_path: Path, text: str, sentence: str
) -> None:
    with pytest.raises(PortfolioError, match=sentence):
        read_portfolio(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PortfolioError, match=r"there is no portfolio file .*nowhere\.toml"):
        read_portfolio(tmp_path / "nowhere.toml")


def test_a_folder_is_no_portfolio(tmp_path: Path) -> None:
    with pytest.raises(PortfolioError, match="cannot be read as TOML"):
        read_portfolio(tmp_path)


def test_no_error_shows_the_password_of_the_url(tmp_path: Path) -> None:
    with pytest.raises(PortfolioError) as refusal:
        read_portfolio(
            written(tmp_path, "name = 'small'\n[source]\nurl = 'postgresql://me:secret@host/db'")
        )
    assert "secret" not in str(refusal.value)
    whole = read_portfolio(
        written(
            tmp_path,
            "name = 'small'\n[source]\nurl = 'postgresql://me:secret@host/db'\nquery = 'select 1'",
        )
    )
    assert "secret" not in repr(whole)
