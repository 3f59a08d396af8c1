"""No card numbers in the lake, and names that differ by their leading zeros are said."""

from pathlib import Path

import pytest

from pipeline.portfolio import PortfolioError
from tests.ingest_examples import PARQUET, row, stored, take_in

COLUMNS = """[columns]
transaction_id = "transaction_id"
event_time = "event_time"
amount = "amount"
account_id = "{}"
"""
# the card schemes' own numbers for tests
CARDS = ("4111111111111111", "5555555555554444", "378282246310005", "6011111111111117")
WRITTEN = ("4242 4242 4242 4242", "5105-1051-0510-5100", "30569309025904", "3530111333300000")


def of_cards(*cards: str) -> list[dict[str, object]]:
    return [row(f"t{place}", card=card) for place, card in enumerate(cards)]


@pytest.mark.parametrize("cards", [CARDS, WRITTEN], ids=["plain", "with blanks and dashes"])
def test_real_card_numbers_are_refused_with_the_lines_to_write(
    tmp_path: Path, cards: tuple[str, ...]
) -> None:
    said = (
        r"""account_id = 'card' looks like real card numbers \(4 values such as \d{6}\.\.\.\d{4} """
    )
    remedy = (
        r""".*write account_id = "sha256\('a secret of yours' \|\| card\)" .*tokens = \["card"\]"""
    )
    with pytest.raises(PortfolioError, match=said + remedy) as refused:
        take_in(tmp_path, of_cards(*cards), more=COLUMNS.format("card"))
    assert not any(card in str(refused.value) for card in cards)


def test_what_is_said_to_be_tokens_or_is_hashed_is_taken(tmp_path: Path) -> None:
    source = f'{PARQUET}\ntokens = ["card"]'
    rows = of_cards(*CARDS)
    _, (done,) = take_in(tmp_path / "said", rows, source=source, more=COLUMNS.format("card"))
    assert done.taken == 4
    hashed = COLUMNS.format("sha256('pepper' || card)")
    lake, (done,) = take_in(tmp_path / "hashed", rows, more=hashed)
    assert done.taken == 4
    assert len(stored(lake, "transactions")[0]["account_id"]) == 64


@pytest.mark.parametrize(
    "names",
    [
        ("4111111111111112", "5555555555554445", "378282246310006", "6011111111111118"),
        ("4111111111111111", "5555555555554444"),
        ("1000000000000008", "9000000000000001", "8000000000000002"),
        ("4111111111111111", *(f"44000000000000{number}" for number in range(10, 40))),
        ("a4111111111111111", "a5555555555554444", "a378282246310005"),
    ],
    ids=["wrong digits", "two by chance", "no issuer", "mostly others", "letters"],
)
def test_numbers_that_are_no_cards_are_taken(tmp_path: Path, names: tuple[str, ...]) -> None:
    _, (done,) = take_in(tmp_path, of_cards(*names), more=COLUMNS.format("card"))
    assert done.taken == len(names)


def test_tokens_name_a_column_of_the_source(tmp_path: Path) -> None:
    with pytest.raises(PortfolioError, match=r"tokens in \[source\] .* names 'crd'"):
        take_in(tmp_path, [row()], source=f'{PARQUET}\ntokens = ["crd"]')


def test_zeros_that_only_another_file_has_are_said_once(tmp_path: Path) -> None:
    first = [row("t1", account_id="069"), row("t2", account_id="7")]
    second = [row("t3", account_id="69"), row("t4", account_id="007")]
    _, (one, two, three) = take_in(tmp_path, first, second, [*second, row("t5", account_id="8")])
    assert one.doubts == three.doubts == ()
    assert "account_id has 2 values like '007' where the lake has '7'" in two.doubts[0]
