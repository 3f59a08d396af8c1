"""Whatever is broken in a file, each record is accounted for, or the file is refused.

STRATA_MUTATIONS=170 python -m pytest tests/pipeline/ingest/test_mutations.py tries 2,040 of them.
"""

import gzip
import io
import json
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.schema import SchemaError
from pipeline.ingest.ingest import ingest
from pipeline.lake.tables import Lake
from pipeline.portfolio import PortfolioError
from tests.ingest_examples import NOW, portfolio_of

MUTATIONS = int(os.environ.get("STRATA_MUTATIONS", "5"))  # of each file
STRAYS = (b'"', b"\n", b"\r\n", b",", b";", b"\x00", b"\xff", b"\\", b"'", b"\t", b"{", b"9" * 40)
LINES = [
    f"t{n},2025-05-{n % 28 + 1:02d}T10:00:00Z,a{n % 7},{n}.5,shop {n},{n % 2}" for n in range(60)
]
NAMES = "transaction_id,event_time,account_id,amount,merchant_id,is_fraud"
PLAIN = "\n".join([NAMES, *LINES, ""]).encode()
QUOTED = PLAIN.replace(b"shop 7,", b'"shop ""7"",\nupstairs",')


def as_json(lines: list[str]) -> bytes:
    names = NAMES.split(",")
    rows = [dict(zip(names, line.split(","), strict=True)) for line in lines]
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def as_parquet(lines: list[str]) -> bytes:
    columns = zip(*(line.split(",") for line in lines), strict=True)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(dict(zip(NAMES.split(","), map(list, columns), strict=True))), sink)
    return bytes(sink.getvalue())


def as_zip(content: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", content)
    return sink.getvalue()


def as_zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


TABS = PLAIN.replace(b",", b"\t")
COMMAS = b"\n".join(
    b";".join([*fields[:3], fields[3].replace(b".", b","), *fields[4:]])
    for fields in (line.split(b",") for line in PLAIN.splitlines())
)
FILES = {
    "plain.csv": PLAIN,
    "quoted.csv": QUOTED,
    "windows.csv": PLAIN.replace(b",", b";").replace(b"\n", b"\r\n").replace(b"shop", b"caf\xe9"),
    "packed.csv.gz": gzip.compress(QUOTED, mtime=0),
    "rows.jsonl": as_json(LINES),
    "rows.parquet": as_parquet(LINES),
    "tabs.tsv": TABS,
    "wide.csv": TABS.decode().encode("utf-16"),
    "commas.csv": COMMAS,
    "packed.csv.zst": as_zstd(QUOTED),
    "packed.zip": as_zip(QUOTED),
    "packed.jsonl.gz": gzip.compress(as_json(LINES), mtime=0),
}
CHECKED = ("rows.parquet", "packed.csv.gz", "packed.csv.zst", "packed.zip", "packed.jsonl.gz")


def insert(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + chance.choice(STRAYS) + content[at:]


def remove(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + content[at + chance.randint(1, 30) :]


def truncate(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def repeat(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return content + content[at : at + 200]


WAYS: list[Callable[[bytes, random.Random], bytes]] = [insert, remove, truncate, repeat]


@pytest.mark.parametrize("name", FILES)
def test_each_record_of_a_broken_file_is_accounted_for(tmp_path: Path, name: str) -> None:
    chance, refused = random.Random(name), 0
    for mutation in range(MUTATIONS):
        folder = tmp_path / f"{mutation}"
        source = f'path = "{name}"\nsettle = "0s"\nmax_bad_share = 1.0'
        portfolio = portfolio_of(folder, source=source)
        content = FILES[name]
        for _ in range(chance.randint(1, 3)):
            content = chance.choice(WAYS)(content, chance) or b"\n"
        (folder / name).write_bytes(content)
        lake = Lake(str(folder / "lake"), portfolio.name)
        try:
            done = ingest(portfolio, lake, now=NOW)
        except (PortfolioError, SchemaError):
            refused += 1
            assert not lake.exists("transactions")
            continue
        fates = done.taken + done.known + done.left_out + done.quarantined + done.torn
        assert done.read == fates
        assert done.taken == lake.count("transactions")
        assert done.known + done.read >= done.taken + lake.count("quarantine")
    assert refused < MUTATIONS or name in CHECKED  # they have checksums, or break whole
