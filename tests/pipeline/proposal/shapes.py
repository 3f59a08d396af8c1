"""Files in shapes that people have, with invented values."""

import csv
import gzip
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

START = datetime(2025, 2, 3, 8, tzinfo=UTC)


def write_csv(file: Path, rows: Sequence[dict[str, object]], **how: str) -> Path:
    """Write rows as csv; `how` is delimiter and encoding."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding=how.get("encoding", "utf-8"), newline="") as opened:
        writer = csv.DictWriter(opened, [*rows[0]], delimiter=how.get("delimiter", ","))
        writer.writeheader()
        writer.writerows(rows)
    return file


def write_gzip(file: Path, rows: Sequence[dict[str, object]]) -> Path:
    """Write rows as a csv that is packed."""
    plain = write_csv(file.with_suffix(""), rows)
    file.write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    return file


def moments(count: int) -> Iterator[datetime]:
    """Moments 97 minutes apart."""
    for place in range(count):
        yield START + timedelta(minutes=97 * place, seconds=place % 60)


def amount(place: int) -> float:
    """An amount with decimals, some of a thousand and more."""
    return round(3.17 * (place % 41 + 1) * (11 if place % 23 == 0 else 1), 2)


def payments(count: int = 120) -> list[dict[str, object]]:
    """Plain payments: an id, a time with its offset, who pays, how much, where, and the label."""
    return [
        {
            "id": f"T{place:05d}",
            "paid_at": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "customer": f"C{place % 17:03d}",
            "amount": f"{amount(place):.2f}",
            "shop": f"M{place % 7}",
            "fraud": int(place % 31 == 5),
        }
        for place, moment in enumerate(moments(count))
    ]


def card_transactions(count: int = 200) -> list[dict[str, object]]:
    """Card payments with a date in parts, money with signs, yes and no, and no id."""
    return [
        {
            "User": place % 13,
            "Card": place % 3,
            "Year": moment.year,
            "Month": moment.month,
            "Day": moment.day,
            "Time": moment.strftime("%H:%M"),
            "Amount": f"${amount(place):.2f}" if place % 19 else f"$-{amount(place):.2f}",
            "Use Chip": ("Chip Transaction", "Swipe Transaction", "Online Transaction")[place % 3],
            "Merchant Name": (-1) ** place * (3_527_213_246_127_876_953 + place % 12),
            "Merchant City": "La Verne" if place % 3 < 2 else "ONLINE",
            "Merchant State": "CA" if place % 3 < 2 else "",
            "Zip": f"{91_000 + place % 15}.0" if place % 3 < 2 else "",
            "MCC": (5300, 5411, 742)[place % 3],
            "Errors?": "Technical Glitch," if place % 50 == 7 else "",
            "Is Fraud?": "Yes" if place % 29 == 3 else "No",
        }
        for place, moment in enumerate(moments(count))
    ]


def transactions_of_identities(count: int = 150) -> list[dict[str, object]]:
    """Transactions counted from an unknown start, with columns that nobody explains."""
    rows = []
    for place in range(count):
        row: dict[str, object] = {
            "TransactionID": 2_987_000 + place,
            "isFraud": int(place % 28 == 4),
            "TransactionDT": 86_400 + 5_411 * place,
            "TransactionAmt": amount(place),
            "ProductCD": "WCHRS"[place % 5],
        }
        row |= {f"card{at}": 1_000 * at + place % (5 + at) for at in (1, 2, 3, 5)}
        row |= {"card4": ("visa", "mastercard")[place % 2], "card6": ("debit", "credit")[place % 2]}
        row |= {"addr1": 200 + place % 14, "addr2": 87, "dist1": place if place % 3 else ""}
        row |= {"P_emaildomain": f"mail{place % 12}.example" if place % 5 else ""}
        row |= {f"C{at}": place % at for at in range(1, 15)}
        row |= {f"D{at}": place * at if place % 4 else "" for at in range(1, 16)}
        row |= {f"M{at}": "TF"[(place + at) % 2] for at in range(1, 10)}
        row |= {f"V{at}": round(place / at, 3) for at in range(1, 100)}
        rows.append(row)
    return rows


def identities(count: int = 150) -> list[dict[str, object]]:
    """The identities of every third of those transactions."""
    rows = []
    for place in range(0, count, 3):
        row: dict[str, object] = {"TransactionID": 2_987_000 + place}
        row |= {f"id_{at:02d}": round(-0.5 * at + place, 1) for at in range(1, 39)}
        row |= {"id_12": "NotFound" if place % 2 else "Found"}
        row |= {"DeviceType": ("desktop", "mobile")[place % 2], "DeviceInfo": "SAMSUNG SM-G892A"}
        rows.append(row)
    return rows
