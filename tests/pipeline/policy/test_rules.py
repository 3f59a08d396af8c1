"""Hand-written rules hold where they are true, and can reach nothing but their own row."""

import numpy as np
import pandas as pd
import pytest

from pipeline.policy.rules import rules_hit
from pipeline.portfolio_tables import Rule


def test_a_rule_looks_at_columns_and_holds_only_where_it_is_true() -> None:
    facts = pd.DataFrame(
        {"amount": [10.0, 6000.0, np.nan], "country": pd.array(["FR", "RO", None], dtype="string")},
        index=[7, 8, 9],
    )
    rules = {
        "huge": Rule(when="amount > 5000"),
        "abroad": Rule(when="country NOT IN ('FR') -- not home"),
    }
    found = rules_hit(rules, facts)
    assert found.index.tolist() == [7, 8, 9]
    assert found.isna().tolist() == [True, False, True]
    assert found.loc[8] == "huge, abroad"


def test_a_column_may_be_called_like_the_clock() -> None:
    facts = pd.DataFrame({"amount": [1.0], "localtime": [3.0]})
    assert rules_hit({"night": Rule(when="facts.localtime < 5")}, facts).tolist() == ["night"]


def test_no_rules_hit_nothing_and_no_rows_are_no_hits() -> None:
    facts = pd.DataFrame({"amount": [1.0]})
    assert rules_hit({}, facts).isna().all()
    assert rules_hit({"huge": Rule(when="amount > 5000")}, facts.head(0)).empty


@pytest.mark.parametrize(
    ("when", "message"),
    [
        pytest.param(
            "amuont > 5",
            'Referenced column "amuont" not found.*; the columns are amount, name',
            id="a column's typo",
        ),
        pytest.param("amount >", "syntax error.*; write one condition", id="half a condition"),
        pytest.param("", "it is empty; write one condition", id="empty"),
        pytest.param("amount", "gives a DOUBLE, not true or false", id="no comparison"),
        pytest.param("name > 5", "Cannot compare", id="text with a number"),
        pytest.param("amount > 5; DROP TABLE facts", "is not one condition", id="two statements"),
        pytest.param("true) OR (true", "syntax error", id="brackets closed early"),
        pytest.param("amount > 5 AS hit", "cannot be used", id="a name"),
        pytest.param("amount > 5, true", "looks beyond its own row", id="two conditions"),
        pytest.param("true FROM facts", "looks beyond its own row", id="a table"),
        pytest.param("true WHERE amount > 1", "looks beyond its own row", id="a clause"),
        pytest.param("true UNION SELECT true", "looks beyond its own row", id="a union"),
        pytest.param("true LIMIT 1", "looks beyond its own row", id="a limit"),
        pytest.param("EXISTS (FROM '/etc/passwd')", "looks beyond its own row", id="a file"),
        pytest.param(
            "EXISTS (FROM read_text('/etc/passwd'))",
            "looks beyond its own row",
            id="a file by function",
        ),
        pytest.param(
            "amount > (SELECT avg(amount) FROM facts)", "looks beyond its own row", id="a subquery"
        ),
        pytest.param("amount > avg(amount)", "aggregates", id="an aggregate"),
        pytest.param("lag(amount) OVER () > 1", "looks beyond its own row", id="a window"),
        pytest.param("random() < 0.5", "random gives another answer each time", id="chance"),
        pytest.param(
            "now() > TIMESTAMP '2025-01-01'", "now gives another answer each time", id="the clock"
        ),
        pytest.param(
            "current_timestamp > TIMESTAMP '2025-01-01'",
            "gives another answer each time",
            id="the clock by keyword",
        ),
        pytest.param("getenv('HOME') = '/'", "cannot be used", id="the environment"),
    ],
)
@pytest.mark.parametrize("rows", [0, 2])
def test_a_rule_that_is_no_condition_on_a_row_is_refused_in_a_sentence(
    when: str, message: str, rows: int
) -> None:
    facts = pd.DataFrame(
        {"amount": [10.0, 20.0], "name": pd.array(["x", "y"], dtype="string")}
    ).head(rows)
    with pytest.raises(ValueError, match=message) as refused:
        rules_hit({"wrong": Rule(when=when)}, facts)
    assert str(refused.value).startswith(f"[rules.wrong] when = {when!r}")
    assert "\n" not in str(refused.value)
