"""The same payments, however they are written, packed, split, repeated or mended: the same lake."""

import gzip
import json
import random
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pipeline.ingest.ingest import Ingested, ingest
from pipeline.lake.tables import Lake
from tests.ingest_examples import NOW, end_state, portfolio_of

PAYMENTS = 1000
PARIS = ZoneInfo("Europe/Paris")
Texts = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Payment:
    """One of the thousand, as it was."""

    number: int
    at: datetime
    account: int
    cents: int
    is_fraud: bool


@dataclass(frozen=True, kw_only=True)
class Form:
    """One way to write a fact: their columns of a payment, and what the portfolio says of it."""

    write: Callable[[Payment], Texts]
    columns: Texts
    source: str = ""
    csv: str = ""


def payments() -> list[Payment]:
    chance = random.Random(11)
    start = datetime(2025, 4, 2, tzinfo=UTC)
    return [
        Payment(
            number=number,
            at=start + timedelta(seconds=chance.randrange(50 * 86_400)),
            account=chance.choice((chance.randrange(10**5, 10**6), 700_000, 4_400_000)),
            cents=chance.choice((chance.randrange(1, 10**4), chance.randrange(10**5, 10**7))),
            is_fraud=chance.random() < 0.03,
        )
        for number in range(PAYMENTS)
    ]


def parts(payment: Payment) -> Texts:
    return {
        name: str(getattr(payment.at, name.lower()))
        for name in ("Year", "Month", "Day", "Hour", "Minute", "Second")
    }


def grouped(payment: Payment, thousands: str, decimal: str) -> str:
    text = f"{payment.cents / 100:,.2f}"
    return text.replace(",", "t").replace(".", decimal).replace("t", thousands)


AT, AMOUNT, ACCOUNT = ({"event_time": "At"}, {"amount": "Amount"}, {"account_id": "Card"})
MADE = "make_timestamp(Year, Month, Day, Hour, Minute, Second)"
TIMES = {
    "iso": Form(write=lambda p: {"At": p.at.strftime("%Y-%m-%dT%H:%M:%SZ")}, columns=AT),
    "offset": Form(
        write=lambda p: {"At": p.at.astimezone(timezone(timedelta(hours=-5))).isoformat(" ")},
        columns=AT,
    ),
    "milliseconds": Form(
        write=lambda p: {"At": str(int(p.at.timestamp()) * 1000)},
        columns=AT,
        source='time_format = "milliseconds"',
    ),
    "parts": Form(write=parts, columns={"event_time": MADE}),
    "local": Form(
        write=lambda p: {"At": p.at.astimezone(PARIS).strftime("%d.%m.%Y %H:%M:%S")},
        columns=AT,
        source='time_format = "%d.%m.%Y %H:%M:%S"\ntime_zone = "Europe/Paris"',
    ),
}
MONEY = {
    "point": Form(write=lambda p: {"Amount": f"{p.cents / 100:.2f}"}, columns=AMOUNT),
    "dollars": Form(
        write=lambda p: {"Amount": f"${p.cents / 100:.2f}"},
        columns={"amount": "replace(Amount, '$', '')"},
    ),
    "minor": Form(
        write=lambda p: {"Amount": str(p.cents)}, columns=AMOUNT, source='amount_unit = "minor"'
    ),
    "comma": Form(write=lambda p: {"Amount": grouped(p, ".", ",")}, columns=AMOUNT),
    "thousands": Form(write=lambda p: {"Amount": grouped(p, ",", ".")}, columns=AMOUNT),
    "apart": Form(write=lambda p: {"Amount": grouped(p, "\u202f", ",")}, columns=AMOUNT),
}
IDS = {
    "plain": Form(write=lambda p: {"Card": str(p.account)}, columns=ACCOUNT),
    "float": Form(write=lambda p: {"Card": f"{p.account}.0"}, columns=ACCOUNT),
    "exponent": Form(write=lambda p: {"Card": f"{p.account:.6e}"}, columns=ACCOUNT),
    "blanks": Form(write=lambda p: {"Card": f"  {p.account} "}, columns=ACCOUNT),
}


def as_csv(rows: Sequence[Texts]) -> bytes:
    lines = [list(rows[0])] + [list(row.values()) for row in rows]
    written = ('"' + '";"'.join(line) + '"' for line in lines)
    return "".join(f"{line}\r\n" for line in written).encode()


def as_json(rows: Sequence[Texts]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def write_plain(folder: Path, name: str, rows: Sequence[Texts]) -> None:
    (folder / f"{name}.csv").write_bytes(as_csv(rows))


def write_gzip(folder: Path, name: str, rows: Sequence[Texts]) -> None:
    (folder / f"{name}.csv.gz").write_bytes(gzip.compress(as_csv(rows)))


def write_zstd(folder: Path, name: str, rows: Sequence[Texts]) -> None:
    with pa.CompressedOutputStream(str(folder / f"{name}.csv.zst"), "zstd") as stream:
        stream.write(as_csv(rows))


def write_zip(folder: Path, name: str, rows: Sequence[Texts]) -> None:
    with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.csv", as_csv(rows))


def write_json(folder: Path, name: str, rows: Sequence[Texts]) -> None:
    (folder / f"{name}.jsonl").write_bytes(as_json(rows))


def write_parquet(folder: Path, name: str, rows: Sequence[Texts]) -> None:
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / f"{name}.parquet")


PACKINGS = (write_plain, write_gzip, write_zstd, write_zip, write_json, write_parquet)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """How the payments come."""

    forms: tuple[Form, Form, Form]
    packing: Callable[[Path, str, Sequence[Texts]], None]
    files: int
    is_shuffled: bool
    is_repeated: bool
    is_corrected: bool
    is_half_written: bool


mixtures = st.builds(
    Mixture,
    forms=st.tuples(*(st.sampled_from(list(forms.values())) for forms in (TIMES, MONEY, IDS))),
    packing=st.sampled_from(PACKINGS),
    files=st.integers(1, 3),
    is_shuffled=st.booleans(),
    is_repeated=st.booleans(),
    is_corrected=st.booleans(),
    is_half_written=st.booleans(),
)
USUAL = Mixture(
    forms=(TIMES["iso"], MONEY["point"], IDS["plain"]),
    packing=write_plain,
    files=1,
    is_shuffled=False,
    is_repeated=False,
    is_corrected=False,
    is_half_written=False,
)


def texts_of(payment: Payment, mixture: Mixture) -> Texts:
    found = {"Id": f"t{payment.number:04d}", "Fraud": "Yes" if payment.is_fraud else "No"}
    for form in mixture.forms:
        found |= form.write(payment)
    return found


def portfolio_text(mixture: Mixture) -> tuple[str, str]:
    columns = {"transaction_id": "Id", "is_fraud": "Fraud"}
    for form in mixture.forms:
        columns |= form.columns
    source = "\n".join(['path = "drops"', *(form.source for form in mixture.forms)])
    mapped = "\n".join(f'{ours} = "{theirs}"' for ours, theirs in columns.items())
    return source, f"[columns]\n{mapped}"


def deliver(folder: Path, mixture: Mixture) -> tuple[dict[str, Any], list[Ingested]]:
    """Take the payments in as the mixture has them; returns the lake's end state, and counts."""
    chance = random.Random(5)
    drops = folder / "drops"
    drops.mkdir(parents=True)
    source, columns = portfolio_text(mixture)
    portfolio = portfolio_of(folder, source=source, more=columns)
    lake = Lake(str(folder / "lake"), "small")
    found = payments()
    done = []
    if mixture.is_corrected:  # an earlier delivery said less of some
        wrong = [Payment(**{**vars(one), "cents": one.cents + 7}) for one in found[40:300]]
        mixture.packing(drops, "a", [texts_of(one, mixture) for one in wrong])
        done.append(ingest(portfolio, lake, now=NOW))
    if mixture.is_half_written:
        content = as_csv([texts_of(one, mixture) for one in found])
        (drops / "b.csv").write_bytes(content[: len(content) * 2 // 3 - 9])
        done.append(ingest(portfolio, lake, now=datetime.now(UTC)))
        (drops / "b.csv").write_bytes(content)
    if mixture.is_shuffled:
        found = chance.sample(found, len(found))
    rows = [texts_of(one, mixture) for one in found]
    for place in range(mixture.files):
        part = rows[place :: mixture.files]
        repeated = chance.sample(rows, 30) if mixture.is_repeated else []
        mixture.packing(drops, f"c{place}", [*part, *repeated])
    done.append(ingest(portfolio, lake, now=NOW))
    done.append(ingest(portfolio, lake, now=NOW))  # again, which changes nothing
    return facts_of(lake), done


def facts_of(lake: Lake) -> dict[str, Any]:
    """The end state, but for when a correction came."""
    state = end_state(lake)
    for row in state["transactions"]:
        row.pop("corrected_at", None)
    return {name: sorted(rows, key=str) for name, rows in state.items()}


def test_the_usual_form_is_what_the_payments_say(tmp_path: Path) -> None:
    state, _ = deliver(tmp_path, USUAL)
    found = [
        (row["transaction_id"], row["event_time"], row["account_id"], row["amount"])
        for row in state["transactions"]
    ]
    said = [(f"t{p.number:04d}", p.at, str(p.account), p.cents / 100) for p in payments()]
    assert sorted(found) == sorted(said)
    labels = {row["transaction_id"]: row["is_fraud"] for row in state["labels"]}
    assert labels == {f"t{p.number:04d}": p.is_fraud for p in payments()}
    assert not state["quarantine"]


@settings(deadline=None, max_examples=80, phases=[Phase.explicit, Phase.generate])
@given(mixtures)
def test_any_mixture_of_forms_gives_the_same_lake(mixture: Mixture) -> None:
    with TemporaryDirectory() as folder:
        usual, _ = deliver(Path(folder) / "usual", USUAL)
        state, done = deliver(Path(folder) / "mixed", mixture)
    assert state == usual
    for one in done:
        assert one.read == one.taken + one.known + one.left_out + one.quarantined + one.torn
    assert (done[-1].taken, done[-1].known) == (0, done[-1].read)
