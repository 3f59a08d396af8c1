"""Ours = theirs: a column's name or SQL over their columns, and nothing but one row's values."""

from pathlib import Path
from typing import Any

import pytest

from features.schema import SchemaError
from pipeline.disk.turns import LOCKS
from pipeline.ingest.ingest import ingest
from pipeline.ingest.ingested import Ingested
from pipeline.lake.tables import Lake
from tests.ingest_examples import NOW, portfolio_of, reasons, stored

NAMED = {"transaction_id": "id", "event_time": "at", "account_id": "who", "amount": "sum"}
HEAD = "id,at,who,sum,kind\n"


def taken(
    folder: Path, content: str, *, source: str = "", labels: str = "", **columns: str
) -> tuple[list[dict[str, Any]], Ingested, Lake]:
    """The rows that a csv file becomes, with columns mapped otherwise than by the usual names."""
    mapped = "\n".join(f"{ours} = '''{said}'''" for ours, said in (NAMED | columns).items())
    text = f'path = "rows.csv"\n{source}'
    portfolio = portfolio_of(folder, source=text, more=f"[columns]\n{mapped}\n{labels}")
    (folder / "rows.csv").write_text(content, encoding="utf-8")
    lake = Lake(str(folder / "lake"), portfolio.name)
    done = ingest(portfolio, lake, now=NOW)
    return stored(lake, "transactions"), done, lake


@pytest.mark.parametrize(
    ("said", "values", "expected"),
    [
        pytest.param("sum", "12.5", 12.5, id="a column"),
        pytest.param("SUM", "12.5", 12.5, id="a column in capitals"),
        pytest.param("replace(sum, '£', '')", "£12.5", 12.5, id="money with a sign"),
        pytest.param("-sum", "-7.25", 7.25, id="the sign of a ledger"),
        pytest.param("sum / 100", "725", 7.25, id="a quotient of whole numbers"),
        pytest.param("coalesce(sum, 3)", "", 3.0, id="what else there is"),
        pytest.param("CASE WHEN kind = 'x' THEN sum ELSE 0 END", "9", 9.0, id="a case"),
    ],
)
def test_an_amount_is_computed(tmp_path: Path, said: str, values: str, expected: float) -> None:
    rows, *_ = taken(tmp_path, f"{HEAD}1,2025-05-01,a,{values},x\n", amount=said)
    assert [row["amount"] for row in rows] == [expected]


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("strptime(at, '%d.%m.%Y')", "07.04.2025"),
        ("make_timestamp(at // 10000, at // 100 % 100, at % 100, 0, 0, 0)", "20250407"),
        ("epoch_ms(at)", "1743984000000"),
        ("at || ' 00:00'", "2025-04-07"),
    ],
    ids=["another order", "digits", "milliseconds", "a part of it"],
)
def test_a_time_is_computed(tmp_path: Path, said: str, value: str) -> None:
    rows, *_ = taken(tmp_path, f"{HEAD}1,{value},a,5,x\n", event_time=said)
    assert rows[0]["event_time"].isoformat() == "2025-04-07T00:00:00+00:00"


def test_an_id_that_is_computed_keeps_its_zeros_and_words_for_null_are_nobody(
    tmp_path: Path,
) -> None:
    lines = "1,2025-05-01,0070,5,x\n2,2025-05-01,nan,5,me@home\n3,2025-05-01, ,5,NULL\n"
    rows, done, lake = taken(tmp_path, HEAD + lines, account_id="coalesce(who, kind)")
    assert [row["account_id"] for row in rows] == ["0070", "me@home"]
    assert (done.quarantined, reasons(lake)) == (1, ["account_id is missing"])


@pytest.mark.parametrize("said", ["who", "coalesce(who, kind)"], ids=["as it is", "computed"])
def test_whole_numbers_of_a_float_column_are_ids_without_decimals(
    tmp_path: Path, said: str
) -> None:
    lines = "1,2025-05-01,5244771001.0,5,\n2,2025-05-01,6.1e+09,5,\n3,2025-05-01,,5,g\n"
    rows, *_ = taken(tmp_path, HEAD + lines, account_id=said)
    assert [row["account_id"] for row in rows][:2] == ["5244771001", "6100000000"]


def test_a_hash_that_looks_like_a_number_stays_as_it_is(tmp_path: Path) -> None:
    lines = "1,2025-05-01,12e5,5,\n2,2025-05-01,ab.0,5,\n3,2025-05-01,007,5,\n"
    rows, *_ = taken(tmp_path, HEAD + lines)
    assert [row["account_id"] for row in rows] == ["12e5", "ab.0", "007"]


def test_zeros_that_some_ids_have_before_them_are_a_doubt(tmp_path: Path) -> None:
    _, done, _ = taken(tmp_path, f"{HEAD}1,2025-05-01,041,5,\n2,2025-05-01,41,5,\n")
    assert done.doubts == (
        "rows.csv: account_id has 1 values like '041' beside '41'; they stay apart",
    )


def test_where_leaves_out_what_is_no_payment(tmp_path: Path) -> None:
    lines = "1,2025-05-01,a,5,buy\n2,2025-05-01,a,5,fee\n3,2025-05-01,a,x,fee\n4,2025-05-01,a,1,\n"
    rows, done, _ = taken(tmp_path, HEAD + lines, source="where = \"kind = 'buy'\"")
    assert ([row["transaction_id"] for row in rows], done.quarantined) == (["1"], 0)
    assert (done.read, done.taken, done.left_out) == (4, 1, 3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1,234.50", "17", "2,000"], [1234.5, 17.0, 2000.0]),
        (["1.234,50", "17", "2.000"], [1234.5, 17.0, 2000.0]),
        (["3,5", "17", "0,25"], [3.5, 17.0, 0.25]),
    ],
    ids=["commas between thousands", "points between thousands", "a decimal comma"],
)
def test_how_numbers_are_written_shows_in_all_of_them(
    tmp_path: Path, values: list[str], expected: list[float]
) -> None:
    lines = "".join(f'{n},2025-05-01,a,"{value}",\n' for n, value in enumerate(values))
    rows, *_ = taken(tmp_path, HEAD + lines)
    assert [row["amount"] for row in rows] == expected


def test_a_number_that_reads_in_two_ways_is_not_guessed(tmp_path: Path) -> None:
    rows, _, lake = taken(tmp_path, f'{HEAD}1,2025-05-01,a,"1,234",\n')
    assert (rows, reasons(lake)) == ([], ["amount is '1,234', no finite number"])


def test_an_expression_that_fails_costs_its_row_alone(tmp_path: Path) -> None:
    lines = "1,2025-05-01,a,5,x\n2,soon,a,5,x\n3,,a,5,x\n"
    rows, _, lake = taken(tmp_path, HEAD + lines, event_time="CAST(at AS TIMESTAMP)")
    assert [row["transaction_id"] for row in rows] == ["1"]
    assert reasons(lake) == [
        "event_time is 'CAST(at AS TIMESTAMP)' of at = 'soon' in row 2, not to be computed",
        "event_time is missing",
    ]


def test_a_failing_expression_names_all_it_looks_at_but_no_card_number(tmp_path: Path) -> None:
    lines = "1,2025-05-01,a,5,x\n2,2025-05-01,4613314721966122,x,\n3,2025-05-01,b,7,x\n"
    said = "CAST(sum AS DOUBLE) + 0 * length(coalesce(who, kind))"
    _, done, lake = taken(tmp_path, HEAD + lines, amount=said)
    told = "of sum = 'x', who = '...6122', kind = nothing in row 2, not to be computed"
    assert reasons(lake) == [f"amount is '{said}' {told}"]
    assert (done.taken, done.quarantined) == (2, 1)


def test_a_condition_that_fails_leaves_no_row_out_in_silence(tmp_path: Path) -> None:
    lines = "1,2025-05-01,a,5,buy\n2,2025-05-01,a,x,buy\n3,2025-05-01,a,-3,buy\n"
    lines += "4,2025-05-01,a,6,\n"
    where = "CAST(sum AS INTEGER) > 0 AND kind = 'buy'"
    rows, done, lake = taken(tmp_path, HEAD + lines, source=f'where = "{where}"')
    assert [row["transaction_id"] for row in rows] == ["1"]
    assert (done.read, done.taken, done.left_out, done.quarantined) == (4, 1, 2, 1)
    (reason,) = reasons(lake)
    assert reason.startswith(f"where is '{where}' of sum = 'x', kind = 'buy' in row 2")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("som", r"amount is mapped to 'som', which the source lacks; .*did you mean 'sum'\?"),
        ("Net Sum", r"'Net Sum', which the source lacks; rows.csv has id, at, who, sum, kind"),
        ("sum + fees", r"'sum \+ fees', which cannot be understood \(no 'fees'\)"),
        ("sum +", r"'sum \+', which cannot be understood \(.*syntax error"),
        ("sum) FROM raw --", r"which cannot be understood"),
        ("sum, 1", r"'sum, 1' is of type (STRUCT|TUPLE).*; give it as"),
        ("(SELECT max(line) FROM torn)", r"has a subquery; write an expression over the columns"),
        ("sum(sum) OVER ()", r"has a window; write an expression"),
        ("max(sum)", r"cannot be computed \(Binder Error.*must appear in the GROUP BY"),
        ("upper(sum, 1)", r"cannot be computed \(Binder Error.*; mend it; rows.csv has id"),
    ],
)
def test_what_is_no_expression_over_one_row_is_refused(
    tmp_path: Path, said: str, sentence: str
) -> None:
    with pytest.raises(SchemaError, match=sentence):
        taken(tmp_path, f"{HEAD}1,2025-05-01,a,5,x\n", amount=said)
    assert [*(tmp_path / "lake").glob("*")] in ([], [tmp_path / "lake" / LOCKS])


def test_an_expression_reaches_no_file(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    said = f"(SELECT a FROM read_csv('{tmp_path}/secret.csv'))"
    with pytest.raises(SchemaError, match="has a subquery"):
        taken(tmp_path, f"{HEAD}1,2025-05-01,a,5,x\n", amount=said)


def test_the_words_of_labels_are_the_portfolios(tmp_path: Path) -> None:
    lines = "1,2025-05-01,a,5,CB\n2,2025-05-01,a,5,ok\n3,2025-05-01,a,5,open\n4,2025-05-01,a,5,?\n"
    values = '[labels.values]\nfraud = ["cb"]\nlegitimate = ["OK"]\nunlabelled = ["open"]'
    _, done, lake = taken(tmp_path, HEAD + lines, labels=values, is_fraud="kind")
    assert [label["is_fraud"] for label in stored(lake, "labels")] == [True, False]
    assert [lost.sentence for lost in done.missing] == ["is_fraud is '?', neither true nor false"]


def test_the_hour_that_comes_twice_is_said(tmp_path: Path) -> None:
    lines = "1,2024-11-03 01:30:00,a,5,\n2,2024-11-03 04:30:00,a,5,\n"
    rows, done, _ = taken(tmp_path, HEAD + lines, source='time_zone = "America/New_York"')
    assert rows[1]["event_time"].isoformat() == "2024-11-03T09:30:00+00:00"
    assert "1 event times such as 2024-11-03 01:30:00 come twice" in done.doubts[0]


def test_a_row_without_an_id_gets_one_of_what_it_says(tmp_path: Path) -> None:
    lines = "1,2025-05-01,a,5,\n2,2025-05-01,a,5,\n3,2025-05-01,b,5,\n"
    mapped = {name: said for name, said in NAMED.items() if name != "transaction_id"}
    columns = "\n".join(f"{ours} = '{said}'" for ours, said in mapped.items())
    portfolio = portfolio_of(tmp_path, source='path = "rows.csv"', more=f"[columns]\n{columns}")
    lake = Lake(str(tmp_path / "lake"), portfolio.name)
    for content in (lines, lines + "4,2025-05-01,c,5,\n"):
        (tmp_path / "rows.csv").write_text(HEAD + content)
        done = ingest(portfolio, lake, now=NOW)
    ids = [row["transaction_id"] for row in stored(lake, "transactions")]
    assert (done.taken, done.known, len(set(ids))) == (1, 3, 4)
    assert sum(name.endswith("-2") for name in ids) == 1
    assert "1 rows say the same as another one" in done.doubts[0]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("1 234,56", 1234.56, id="a blank"),
        pytest.param("1\u00a0234,56", 1234.56, id="a blank that does not break"),
        pytest.param("1\u202f234,56", 1234.56, id="a narrow blank"),
        pytest.param("1'234.5", 1234.5, id="an apostrophe"),
        pytest.param("1 234.5", 1234.5, id="a blank and a point"),
    ],
)
def test_thousands_set_apart_are_read(tmp_path: Path, written: str, expected: float) -> None:
    rows, done, _ = taken(tmp_path, f"id;at;who;sum;kind\nt1;2025-05-01;a;{written};\n")
    assert ([row["amount"] for row in rows], done.quarantined) == ([expected], 0)


def test_our_names_in_capitals_are_ours_without_columns(tmp_path: Path) -> None:
    portfolio = portfolio_of(tmp_path, source='path = "rows.csv"')
    head = "TRANSACTION_ID,EVENT_TIME,ACCOUNT_ID,AMOUNT"
    (tmp_path / "rows.csv").write_text(f"# of Monday\n{head}\nt1,2025-05-01,a,5\n")
    lake = Lake(str(tmp_path / "lake"), portfolio.name)
    assert ingest(portfolio, lake, now=NOW).taken == 1
