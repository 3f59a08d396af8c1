"""Labels of their own source: each finds its payment, or waits; none is known before it came."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from features.schema import SchemaError
from pipeline.ingest.ingest import Ingested, ingest
from pipeline.ingest.label_files import LabelsTaken
from pipeline.lake.tables import Lake
from pipeline.portfolio import PortfolioError
from tests.ingest_examples import NOW, PARQUET, portfolio_of, row, stored, write_rows

HAPPENED = datetime(2025, 5, 1, 10, tzinfo=UTC)
DAY = timedelta(days=1)
END = timedelta(microseconds=-1)
LATER = NOW + 3 * DAY
BY_ID = """[labels]
path = "chargebacks/*.csv"
columns = { transaction_id = "txn", is_fraud = "verdict = 'fraud'", label_known_at = "posted" }
"""
ALL_FRAUD = """[labels]
path = "chargebacks/*.csv"
delay = "2d"
columns = { transaction_id = "txn", is_fraud = "true" }
"""
BY_FACTS = """[labels]
path = "chargebacks"
columns = { account_id = "card", event_time = "day", amount = "sum", is_fraud = "true" }
match = ["account_id", "event_time", "amount"]
"""


def payment(name: object = "t1", **changes: object) -> dict[str, Any]:
    """A payment that says nothing of fraud."""
    return {**row(name, **changes), "is_fraud": None}


class Shop:
    """A folder with payments and chargebacks, and its lake."""

    def __init__(self, folder: Path, more: str, *, source: str = PARQUET) -> None:
        self.portfolio = portfolio_of(folder, more=more, source=source)
        self.folder, self.lake = folder, Lake(str(folder / "lake"), self.portfolio.name)
        (folder / "chargebacks").mkdir(exist_ok=True)

    def take(self, *payments: dict[str, Any], now: datetime = NOW, **options: bool) -> Ingested:
        if payments:
            write_rows(self.portfolio, payments)
        return ingest(self.portfolio, self.lake, now=now, **options)

    def write(self, name: str, *lines: str) -> None:
        text = "".join(f"{line}\n" for line in lines)
        (self.folder / "chargebacks" / name).write_text(text, encoding="utf-8")

    @property
    def words(self) -> list[tuple[str, bool, datetime]]:
        return sorted(
            (label["transaction_id"], label["is_fraud"], label["known_at"])
            for label in stored(self.lake, "labels")
        )

    @property
    def waiting(self) -> list[str]:
        return [label["state"] for label in stored(self.lake, "waiting_labels")]


def counts(done: LabelsTaken) -> tuple[int, ...]:
    """read = taken + known + left out + waiting + quarantined + torn."""
    parts = (done.taken, done.known, done.left_out, done.waiting, done.quarantined, done.torn)
    assert done.read == sum(parts)
    return (done.read, *parts)


def test_a_chargeback_is_known_when_its_day_is_over_and_won_back_from_its_own_day(
    tmp_path: Path,
) -> None:
    shop = Shop(tmp_path, BY_ID)
    shop.write("may.csv", "txn,verdict,posted", "t1,fraud,2025-05-09", "t1,won,2025-05-20")
    done = shop.take(payment(), payment("t2"))
    assert counts(done.label_files) == (2, 2, 0, 0, 0, 0, 0)
    ninth, twentieth = datetime(2025, 5, 10, tzinfo=UTC), datetime(2025, 5, 21, tzinfo=UTC)
    assert shop.words == [("t1", False, twentieth + END), ("t1", True, ninth + END)]
    assert counts(shop.take(now=LATER).label_files) == (2, 0, 2, 0, 0, 0, 0)
    assert counts(shop.take(now=LATER, again=True).label_files) == (2, 0, 2, 0, 0, 0, 0)


def test_of_two_words_of_one_day_the_one_further_down_stands(tmp_path: Path) -> None:
    shop = Shop(tmp_path, BY_ID)
    shop.write("may.csv", "txn,verdict,posted", "t1,fraud,2025-05-09", "t1,won,2025-05-09")
    shop.take(payment())
    known = {is_fraud: known_at for _, is_fraud, known_at in shop.words}
    assert known[False] == known[True] + timedelta(microseconds=1)
    shop.take(now=LATER, again=True)
    assert len(shop.words) == 2


def test_a_word_without_a_time_stands_after_those_that_were_said_before_it(
    tmp_path: Path,
) -> None:
    more = ALL_FRAUD.replace('"true"', '"verdict"').replace('"2d"', '"40d"')
    shop = Shop(tmp_path, more)
    shop.take(row("t1", is_fraud="0"), row("t2", is_fraud="0"))
    shop.write("1.csv", "txn,verdict", "t1,1")
    shop.write("2.csv", "txn,verdict", "t2,1")
    shop.take(now=LATER)
    known = {(name, is_fraud): known_at for name, is_fraud, known_at in shop.words}
    for name in ("t1", "t2"):
        assert known[name, False] == HAPPENED + 40 * DAY
        assert known[name, True] == HAPPENED + 40 * DAY - END


def test_a_label_without_a_time_is_known_the_delay_after_a_payment_it_came_with_else_now(
    tmp_path: Path,
) -> None:
    shop = Shop(tmp_path, ALL_FRAUD)
    shop.write("1.csv", "txn", "t1")
    shop.take(payment(), payment("t2"))
    shop.write("2.csv", "txn", "t2")
    shop.take(now=LATER)
    assert shop.words == [("t1", True, HAPPENED + 2 * DAY), ("t2", True, LATER)]


def test_a_label_that_came_before_its_payment_waits_and_is_found(tmp_path: Path) -> None:
    shop = Shop(tmp_path, ALL_FRAUD)
    shop.write("1.csv", "txn", "t2", "t2", "t9")
    done = shop.take(payment())
    assert counts(done.label_files) == (3, 0, 1, 0, 2, 0, 0)
    assert "2 labels fit no payment in the lake" in done.label_files.doubts[0]
    assert shop.waiting == ["no payment", "no payment"]
    found = shop.take(payment(), payment("t2"), now=LATER).label_files
    assert (found.found, shop.waiting) == (1, ["no payment"])
    assert [name for name, *_ in shop.words] == ["t2"]


def test_a_label_finds_its_payment_by_account_day_and_amount(tmp_path: Path) -> None:
    shop = Shop(tmp_path, BY_FACTS)
    shop.write("1.csv", "card,day,sum", "a1,2025-05-01,12.50", "a1,2025-05-01,12.51")
    done = shop.take(payment(), payment("t2", amount="7"))
    assert counts(done.label_files) == (2, 1, 0, 0, 1, 0, 0)
    assert [name for name, *_ in shop.words] == ["t1"]


def test_a_label_that_fits_several_payments_is_not_guessed(tmp_path: Path) -> None:
    shop = Shop(tmp_path, BY_FACTS)
    shop.write("1.csv", "card,day,sum", "a1,2025-05-01,12.5", "a1,2025-05-01T18:00:00Z,12.5")
    evening = payment("t2", event_time="2025-05-01T18:00:00Z")
    done = shop.take(payment(), evening)
    assert (done.label_files.waiting, done.label_files.several) == (1, 1)
    assert "fit several payments" in done.label_files.doubts[0]
    assert [name for name, *_ in shop.words] == ["t2"], "only one happened at that very moment"


def test_a_local_day_is_the_day_of_the_time_zone(tmp_path: Path) -> None:
    source = f'{PARQUET}\ntime_zone = "America/New_York"'
    shop = Shop(tmp_path, BY_FACTS, source=source)
    shop.write("1.csv", "card,day,sum", "a1,2025-04-30,12.5")
    shop.write("2.csv", "card,day,sum", "a1,2025-05-02,12.5")
    shop.take(payment(event_time="2025-05-01T02:00:00Z"))
    assert [name for name, *_ in shop.words] == ["t1"]
    assert shop.waiting == ["no payment"]


def test_a_label_before_its_payment_is_known_when_it_came_and_that_is_said(
    tmp_path: Path,
) -> None:
    shop = Shop(tmp_path, BY_ID)
    shop.write("1.csv", "txn,verdict,posted", "t1,fraud,2025-04-20", "t2,fraud,2031-01-01")
    lost = shop.take(payment(), payment("t2")).label_files.missing
    assert shop.words == [("t1", True, NOW), ("t2", True, NOW)]
    assert sorted(one.rule for one in lost) == ["before event_time", "in the future"]


def test_what_cannot_be_read_is_kept_and_leaves_when_the_file_says_it_better(
    tmp_path: Path,
) -> None:
    shop = Shop(tmp_path, BY_ID.replace("verdict = 'fraud'", "verdict"))
    lines = ["t1,yes,2025-05-09", "t2,perhaps,2025-05-09", ",yes,2025-05-09", "t1", "t3,,"]
    shop.write("1.csv", "txn,verdict,posted", *lines)
    done = shop.take(payment(), payment("t2")).label_files
    assert counts(done) == (5, 1, 0, 1, 0, 2, 1)
    assert done.examples[0] == "is_fraud is 'perhaps', neither true nor false"
    assert sorted(shop.waiting) == ["torn", "unreadable", "unreadable"]
    more = BY_ID.replace("verdict = 'fraud'", "verdict").replace(
        "columns", 'values = { fraud = ["yes", "perhaps"] }\ncolumns'
    )
    mended = Shop(tmp_path, more)
    again = mended.take(now=LATER, again=True).label_files
    assert (again.taken, len(mended.waiting)) == (1, 2)


def test_a_file_of_which_too_much_fails_waits_whole(tmp_path: Path) -> None:
    shop = Shop(tmp_path, BY_ID.replace("verdict = 'fraud'", "verdict"))
    lines = [f"t{number},perhaps,2025-05-09" for number in range(30)]
    shop.write("1.csv", "txn,verdict,posted", *lines)
    with pytest.raises(PortfolioError, match=r"is stopped: is_fraud is 'perhaps'"):
        shop.take(payment())
    assert (shop.words, shop.waiting) == ([], [])
    assert counts(shop.take(accept=True).label_files) == (30, 0, 0, 0, 0, 30, 0)


def test_a_run_killed_before_it_remembered_its_file_is_finished_by_the_next(
    tmp_path: Path,
) -> None:
    shop = Shop(tmp_path, BY_ID)
    shop.write("1.csv", "txn,verdict,posted", "t1,fraud,2025-05-09", "t9,fraud,2025-05-09", "x")
    first = shop.take(payment()).label_files
    state = (shop.words, shop.waiting)
    shutil.rmtree(tmp_path / "lake" / "small" / "label_deliveries")
    second = shop.take(now=LATER).label_files
    assert (shop.words, shop.waiting) == state
    assert (first.waiting, first.torn) == (second.waiting, second.torn) == (1, 1)


def test_an_unended_file_waits_and_a_dry_run_takes_nothing(tmp_path: Path) -> None:
    shop = Shop(tmp_path, ALL_FRAUD)
    (tmp_path / "chargebacks" / "1.csv").write_text("txn\nt1", encoding="utf-8")
    just_now = datetime.now(UTC)
    assert "waits" in shop.take(payment(), now=just_now).label_files.waiting_files[0]
    shop.write("1.csv", "txn", "t1", "t9")
    done = shop.take(now=just_now, dry_run=True).label_files
    assert (counts(done), shop.words, shop.waiting) == ((2, 1, 0, 0, 1, 0, 0), [], [])


def test_a_file_that_is_named_must_be_there_and_a_pattern_may_be_empty(tmp_path: Path) -> None:
    assert counts(Shop(tmp_path, ALL_FRAUD).take(payment()).label_files) == (0,) * 7
    shop = Shop(tmp_path, ALL_FRAUD.replace("chargebacks/*.csv", "gone.csv"))
    with pytest.raises(PortfolioError, match=r"gone\.csv of portfolio small are not there"):
        shop.take()


def test_a_file_of_other_columns_is_refused_and_the_others_are_taken(tmp_path: Path) -> None:
    shop = Shop(tmp_path, ALL_FRAUD)
    shop.write("1.csv", "reference", "t1")
    shop.write("2.csv", "txn", "t1")
    said = r"mapped to 'txn', which the source lacks; chargebacks/1.csv has reference"
    with pytest.raises(SchemaError, match=f"{said}; mend transaction_id in columns of .labels"):
        shop.take(payment())
    assert [name for name, *_ in shop.words] == ["t1"]
    assert shop.lake.count("transactions") == 1


def test_a_midnight_that_no_text_spells_out_is_a_day_and_known_when_it_is_over(
    tmp_path: Path,
) -> None:
    more = BY_ID.replace("posted", "strptime(posted, '%d/%m/%Y')", 1)
    shop = Shop(tmp_path, more)
    shop.write("1.csv", "txn,verdict,posted", "t1,fraud,09/05/2025")
    shop.take(payment())
    assert shop.words == [("t1", True, datetime(2025, 5, 10, tzinfo=UTC) + END)]


MISTAKES = {
    "columns without a path": ('columns = { is_fraud = "x" }', "has columns and no path"),
    "no verdict": ('path = "x"\ncolumns = { transaction_id = "x" }', "lack is_fraud"),
    "no payment": ('path = "x"\ncolumns = { is_fraud = "x" }', "which payment a label is of"),
    "match not mapped": (
        'path = "x"\ncolumns = { is_fraud = "x" }\nmatch = ["amount"]',
        "names amount, which its columns lack",
    ),
    "a column unknown": (
        'path = "x"\ncolumns = { is_fraud = "x", acount_id = "y" }',
        "did you mean 'account_id'",
    ),
    "a verdict to match by": (
        'path = "x"\ncolumns = { is_fraud = "x" }\nmatch = ["is_fraud"]',
        "tells no payments apart",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_table_of_labels_that_cannot_work_is_refused(tmp_path: Path, mistake: str) -> None:
    text, said = MISTAKES[mistake]
    with pytest.raises(PortfolioError, match=said):
        portfolio_of(tmp_path, more=f"[labels]\n{text}\n")


SINCE = datetime(2025, 5, 20, tzinfo=UTC)
FEED_SINCE = f"{PARQUET}\nfeed_since = 2025-05-20T00:00:00Z"

ONE = st.tuples(st.integers(1, 28), st.integers(0, 2), st.booleans())  # day, runs late, apart


@settings(deadline=None, max_examples=4, phases=[Phase.explicit, Phase.generate])
@given(
    st.lists(
        st.tuples(st.integers(1, 28), st.integers(0, 3), st.booleans()), min_size=1, max_size=4
    )
)
def test_by_a_feed_no_row_and_no_label_is_known_before_it_came(
    drawn: list[tuple[int, int, bool]],
) -> None:
    """Of payments of some days each label comes a run later or more, inside or apart."""
    days = {f"t{at}": datetime(2025, 5, day, 12, tzinfo=UTC) for at, (day, *_) in enumerate(drawn)}
    with TemporaryDirectory() as folder:
        shop = Shop(Path(folder), ALL_FRAUD, source=FEED_SINCE)
        came: dict[str, datetime] = {}
        for run in range(3):
            now = NOW + run * DAY
            rows = [payment(f"t{at}", event_time=str(days[f"t{at}"])) for at in range(len(drawn))]
            for at, (_, wait, is_apart) in enumerate(drawn):
                if wait > run:
                    continue
                came.setdefault(f"t{at}", now)
                if is_apart:
                    shop.write(f"{at}.csv", "txn", f"t{at}")
                else:
                    rows[at]["is_fraud"] = "1"
            shop.take(*rows, now=now)
        known = {name: known_at for name, _, known_at in shop.words}
        assert known.keys() == came.keys()
        for name, known_at in known.items():
            is_history = days[name] < SINCE and came[name] == NOW
            assert known_at == (days[name] + 2 * DAY if is_history else came[name])
        for one in stored(shop.lake, "transactions"):
            happened = one["event_time"]
            assert one["known_at"] == (NOW if happened >= SINCE else happened)


def test_a_feed_and_the_day_it_began_are_one_or_the_other(tmp_path: Path) -> None:
    with pytest.raises(PortfolioError, match="has both feed = true and feed_since"):
        portfolio_of(tmp_path, source=f"{FEED_SINCE}\nfeed = true")
    with pytest.raises(PortfolioError, match="'soon' is no ISO 8601 time"):
        portfolio_of(tmp_path, source=f'{PARQUET}\nfeed_since = "soon"')
