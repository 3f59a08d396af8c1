"""What is proposed from files in shapes that people have is taken in without a hand."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline.portfolio import PortfolioError
from pipeline.proposal.report import Proposed, propose_and_try
from tests.ingest_examples import NOW
from tests.pipeline.proposal.shapes import (
    amount,
    card_transactions,
    identities,
    moments,
    payments,
    transactions_of_identities,
    write_csv,
    write_gzip,
)

SHARED = Path(__file__).parents[4] / "shared"
Rows = list[dict[str, object]]


def propose(*files: Path) -> Proposed:
    """Propose a portfolio that would stand beside the first file."""
    return propose_and_try(files, out=files[0].parent / "portfolio.toml", now=NOW)


def said(proposed: Proposed) -> dict[str, Any]:
    """What the proposed file says."""
    return tomllib.loads(proposed.text)


def renamed(rows: Rows, **names: str) -> Rows:
    """The rows with columns called otherwise."""
    return [{names.get(name, name): value for name, value in row.items()} for row in rows]


def test_plain_payments_need_no_hand(tmp_path: Path) -> None:
    proposed = propose(write_csv(tmp_path / "shop.csv", payments()))
    assert said(proposed)["columns"] == {
        "transaction_id": "id",
        "event_time": "paid_at",
        "account_id": "customer",
        "amount": "amount",
        "merchant_id": "shop",
        "is_fraud": "fraud",
    }
    assert "dry run: read 120 = taken 120 + known 0" in proposed.report
    assert "time_zone" not in proposed.text
    assert not proposed.unanswered


def test_a_date_in_parts_and_money_with_signs_are_computed(tmp_path: Path) -> None:
    proposed = propose(write_csv(tmp_path / "card_transactions.csv", card_transactions()))
    columns = said(proposed)["columns"]
    assert columns["event_time"].startswith("make_timestamp(Year, Month, Day, hour(Time::TIME)")
    assert columns["amount"] == "replace(Amount, '$', '')"
    assert columns["account_id"] == "User"
    assert "transaction_id" not in columns
    source = said(proposed)["source"]
    assert {"Year", "Month", "Day", "Time", "User", "Amount"} <= {*source["identity"]}
    assert "Is Fraud?" not in source["identity"]
    assert said(proposed)["keys"]["zip"]["column"] == "Zip"
    assert (
        "dry run: read 200 = taken 189 + known 0 + left out 11 + quarantined 0" in proposed.report
    )


def test_two_tables_are_joined_by_the_id_they_share(tmp_path: Path) -> None:
    rows = transactions_of_identities()
    main = write_csv(tmp_path / "train_transaction.csv", rows)
    proposed = propose(write_csv(tmp_path / "train_identity.csv", identities()), main)
    source, extra = said(proposed)["source"], said(proposed)["groups"]["extra"]
    assert source["path"] == "train_transaction.csv"
    assert source["tables"] == {"train_identity": "train_identity.csv"}
    assert "LEFT JOIN train_identity ON source.TransactionID =" in source["query"]
    assert said(proposed)["columns"]["account_id"].startswith("concat_ws('-', card1, card2")
    assert extra["v"] == {"group": "amount", "kind": "number", "columns": "V*"}
    assert extra["d_1"]["columns"] == "D?"  # D* would take DeviceType
    assert extra["d_2"]["columns"] == "D??"
    assert extra["c_1"]["columns"] == "C?"  # C* would take card1: capitals do not count
    assert extra["m"]["kind"] == "category"
    assert "counts from a start that the file does not say" in " ".join(proposed.text.split())
    assert "read 150 = taken 150" in proposed.report


def test_chargebacks_of_their_own_are_labels(tmp_path: Path) -> None:
    rows = [{name: row[name] for name in row if name != "fraud"} for row in payments()]
    main = write_csv(tmp_path / "sales.csv", rows)
    back: Rows = [{"payment_ref": f"T{n:05d}", "posted": "2025-03-01"} for n in range(3, 90, 9)]
    proposed = propose(write_csv(tmp_path / "chargebacks.csv", back), main)
    labels = said(proposed)["labels"]
    assert labels["path"] == "chargebacks.csv"
    assert labels["columns"] == {
        "transaction_id": "payment_ref",
        "is_fraud": "true",
        "label_known_at": "posted",
    }


def test_files_of_the_same_columns_are_a_folder_or_a_pattern(tmp_path: Path) -> None:
    for day in range(3):
        write_gzip(
            tmp_path / "drop" / f"2025-02-0{day}.csv.gz", payments()[40 * day : 40 * day + 40]
        )
    folder = propose(tmp_path / "drop")
    assert said(folder)["source"]["path"] == "drop"
    assert "read 120 = taken 120" in folder.report
    write_csv(
        tmp_path / "drop" / "notes.csv", [{"who": "x", "what": "y"}, {"who": "z", "what": ""}]
    )
    assert said(propose(tmp_path / "drop"))["source"]["path"] == "drop/2025-02-0*.csv.gz"


@pytest.mark.parametrize(
    ("written", "time_format"),
    [
        ("%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M"),
        ("%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M:%S %p"),
        ("%Y%m%d%H%M%S", "%Y%m%d%H%M%S"),
        ("%s", "seconds"),
    ],
    ids=["day first", "month first, twelve hours", "digits alone", "since 1970"],
)
def test_how_times_are_written_is_found(tmp_path: Path, written: str, time_format: str) -> None:
    rows = payments()
    for row, moment in zip(rows, moments(120), strict=True):
        row["paid_at"] = (
            str(int(moment.timestamp())) if written == "%s" else moment.strftime(written)
        )
    proposed = propose(write_csv(tmp_path / "t.csv", rows))
    assert said(proposed)["source"]["time_format"] == time_format
    assert ("time_zone" in said(proposed)["source"]) == (written != "%s")
    assert "read 120 = taken 120" in proposed.report


def test_day_and_month_that_can_be_read_both_ways_are_a_doubt(tmp_path: Path) -> None:
    rows = payments(6)
    for day, row in enumerate(rows):
        row["paid_at"] = f"0{day + 1}/02/2025 10:00"
    text = " ".join(propose(write_csv(tmp_path / "t.csv", rows)).text.split())
    assert "'paid_at' can be read as %d/%m/%Y %H:%M and as %m/%d/%Y %H:%M" in text
    assert "row 1: paid_at = '01/02/2025 10:00' # row 2" in text


@pytest.mark.parametrize(
    ("names", "more"),
    [
        ({"paid_at": "Datum", "customer": "Kunde", "amount": "Betrag"}, {"id": "Belegnummer"}),
        ({"paid_at": "fecha", "customer": "cliente", "amount": "importe"}, {"id": "referencia"}),
        ({"paid_at": "date", "customer": "compte", "amount": "montant"}, {"id": "référence"}),
        ({"paid_at": "TX_DATETIME", "customer": "nameOrig", "amount": "txAmt"}, {"id": "TxnID"}),
    ],
    ids=["German", "Spanish", "French", "of a system"],
)
def test_names_of_other_tongues_are_known(
    tmp_path: Path, names: dict[str, str], more: dict[str, str]
) -> None:
    rows = renamed(payments(), **names, **more)
    columns = said(propose(write_csv(tmp_path / "t.csv", rows, delimiter=";")))["columns"]
    told = {ours: columns[ours] for ours in ("event_time", "account_id", "amount")}
    assert [*told.values()] == [*names.values()]
    assert columns["transaction_id"] == more["id"]


def with_text(rows: Rows, name: str, text: Callable[[int], object]) -> Rows:
    """The rows with other values of one column."""
    return [{**row, name: text(place)} for place, row in enumerate(rows)]


def test_decimal_commas_and_an_encoding_are_frozen(tmp_path: Path) -> None:
    rows = with_text(payments(), "amount", lambda n: f"1.{100 + n},{n % 90 + 10}")
    rows = with_text(rows, "shop", lambda n: ("Café", "Bäcker")[n % 2])
    file = write_csv(tmp_path / "t.csv", rows, delimiter=";", encoding="cp1252")
    form = said(propose(file))["source"]["csv"]
    assert (form["delimiter"], form["encoding"], form["header"]) == (";", "cp1252", "yes")
    assert (form["decimal"], form["thousands"]) == (",", ".")


def test_whole_large_amounts_are_taken_to_be_minor_units(tmp_path: Path) -> None:
    rows = with_text(payments(), "amount", lambda n: round(100 * amount(n)))
    proposed = propose(write_csv(tmp_path / "t.csv", rows))
    assert said(proposed)["source"]["amount_unit"] == "minor"
    assert 'Write "major" where they are not' in " ".join(proposed.text.replace("#", "").split())
    small = propose(write_csv(tmp_path / "u.csv", with_text(rows, "amount", lambda n: n % 60)))
    assert "amount_unit" not in small.text


def test_a_ledger_of_two_signs_and_rows_that_are_no_payments(tmp_path: Path) -> None:
    rows = with_text(payments(), "amount", lambda n: amount(n) if n % 10 == 0 else -amount(n))
    rows = with_text(rows, "type", lambda n: "fee" if n % 20 == 3 else "card")
    proposed = propose(write_csv(tmp_path / "t.csv", rows))
    assert said(proposed)["columns"]["amount"] == "-amount"
    where = said(proposed)["source"]["where"]
    assert where == "(amount < 0) AND (coalesce(type, '') NOT IN ('fee'))"
    assert "read 120 = taken 102 + known 0 + left out 18" in proposed.report


def test_guests_are_told_by_their_mail(tmp_path: Path) -> None:
    rows = with_text(payments(), "customer", lambda n: f"C{n % 9}" if n % 4 else "")
    rows = with_text(rows, "email", lambda n: f"m{n % 15}@mail.example")
    proposed = propose(write_csv(tmp_path / "t.csv", rows))
    assert said(proposed)["columns"]["account_id"] == "coalesce(customer, email)"
    assert said(proposed)["keys"]["email"] == {"column": "email", "meaning": "e-mail"}
    assert "30 of 120 rows have no 'customer'" in proposed.text


def test_words_of_labels_are_sorted_and_one_unknown_is_asked(tmp_path: Path) -> None:
    words = ("Legit", "Fraud", "pending", "weird")
    rows = with_text(payments(), "fraud", lambda n: words[n % 4])
    proposed = propose(write_csv(tmp_path / "t.csv", rows))
    assert said(proposed)["labels"]["values"] == {
        "fraud": ["Fraud"],
        "legitimate": ["Legit"],
        "unlabelled": ["pending"],
    }
    assert "What 'weird' mean is not known" in " ".join(proposed.text.replace("#", "").split())


def test_card_numbers_are_shown_masked(tmp_path: Path) -> None:
    cards = ("4613314721966121", "5555 5555 5555 4444", "4111-1111-1111-1111")
    rows = renamed(
        with_text(payments(), "customer", lambda n: cards[n % 3]), customer="card_number"
    )
    proposed = propose(write_csv(tmp_path / "t.csv", rows))
    for card in cards:
        assert card not in proposed.text + proposed.report
    assert "************6121" in proposed.text
    assert "looks like real card numbers" in " ".join(proposed.text.split())


def test_what_no_column_says_is_left_to_a_person(tmp_path: Path) -> None:
    rows = [{"t": row["paid_at"], "v": row["amount"]} for row in payments()]
    proposed = propose(write_csv(tmp_path / "t.csv", rows))
    assert "account_id" not in said(proposed)["columns"]
    assert '# account_id = ""' in proposed.text
    assert "TO WRITE: no column says who pays" in proposed.text
    assert "lacks account_id in [columns]" in proposed.unanswered


def test_rows_that_would_fail_are_counted_with_the_reason(tmp_path: Path) -> None:
    rows = with_text(payments(), "amount", lambda n: "cheap" if n in (7, 9) else amount(n))
    report = propose(write_csv(tmp_path / "t.csv", rows)).report
    assert "read 120 = taken 118 + known 0 + left out 0 + quarantined 2 + torn 0" in report
    assert "would fail: amount is 'cheap', no finite number" in report


def test_of_a_large_file_some_parts_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.proposal.sample.WHOLE_BYTES", {"csv": 20_000, "parquet": 20_000})
    monkeypatch.setattr("pipeline.proposal.sample.PART_BYTES", 20_000)
    monkeypatch.setattr("pipeline.proposal.sample.ROWS", 900)
    rows = payments(1_500)
    plain = propose(write_csv(tmp_path / "t.csv", rows))
    assert "parts of it were looked at" in " ".join(plain.text.replace("#", "").split())
    assert "dry run on the parts that were looked at: read" in plain.report
    assert "from 2025-02-03 to 2025-05-1" in " ".join(plain.text.replace("#", "").split())
    packed = propose(write_gzip(tmp_path / "u.csv.gz", rows))
    assert "dry run on the parts that were looked at: read" in packed.report
    name = str(tmp_path / "v.parquet")
    duckdb.from_csv_auto(str(tmp_path / "t.csv")).write_parquet(name)
    table = propose(Path(name))
    assert "read 900 = taken 900" in table.report
    assert "1,500 rows" in table.report


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.csv", b"", "is empty; name one that has rows"),
        ("t.csv", b"id,amount\n", "has no rows; name data"),
        ("t.csv", bytes(range(256)) * 9, "holds bytes that are no text"),
        ("t.parquet", b"PAR1 and no more", "cannot be read .*; check that it is a whole"),
        ("t.csv.gz", b"\x1f\x8b\x08rubbish", "cannot be read|is empty"),
        ("t.txt", b"hello\nyou\nthere\n", "has neither times nor money nor anybody who pays"),
        ("t.xlsx", b"PK\x03\x04rubbish", "is of a form that Strata does not read"),
    ],
    ids=["empty", "names alone", "binary", "no Parquet", "no gzip", "prose", "a sheet"],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PortfolioError, match=sentence):
        propose(tmp_path / name)


def test_a_folder_without_data_and_a_missing_file_are_said(tmp_path: Path) -> None:
    (tmp_path / "drop").mkdir()
    with pytest.raises(PortfolioError, match="has no file that Strata reads"):
        propose(tmp_path / "drop")
    with pytest.raises(PortfolioError, match="there is no file or folder"):
        propose(tmp_path / "absent.csv")


@pytest.mark.parametrize("data", ["handbook", "s-ffsd"])
def test_public_data_need_no_hand(data: str, tmp_path: Path) -> None:
    file = SHARED / "data" / data / "transactions.parquet"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    proposed = propose_and_try([file], out=tmp_path / "portfolio.toml", now=NOW)
    assert not proposed.unanswered
    assert "+ left out 0 + quarantined 0 + torn 0" in proposed.report
