"""Every feature of a fixed stream has the values of release 0.1, as windows and as a batch.

Kept of each feature, in `release_0_1.json`: in how many rows it is there, and the sum of its values
times their rows' numbers; a text counts as its CRC-32.
"""

import json
import random
from datetime import timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import pandas as pd
import pytest

from features.build import KEYS
from tests.features.streams import ALL_GROUPS, DAY, START, Stream, built_both_ways, stream_of

RELEASE_0_1 = Path(__file__).with_name("release_0_1.json")
ROWS, MINUTE = 300, timedelta(minutes=1)


def fixed_stream() -> Stream:
    """Payments of a few accounts in 200 days, most with a label, some with a reversed one."""
    drawn = random.Random(7)

    def one_of(*values: Any) -> Any:
        return values[int(drawn.random() * len(values))]

    places = [(51.5, -0.1), (48.9, 2.4), (40.7, -74.0), (None, None)]
    addresses = ["81.2.69.142", "8.8.8.8", "8.8.8.9", "2001:4860:4860::8888", "10.0.0.1", None]
    rows = [
        {
            "as_of": START + int(drawn.random() * 40) * 5 * DAY + one_of(*range(200)) * MINUTE,
            "late": one_of(timedelta(0), timedelta(0), timedelta(hours=2)),
            "account_id": one_of("a", "b", "c", "d"),
            "amount": round(drawn.random() ** 3 * 3000, one_of(0, 2)),
            "ip_address": one_of(*addresses),
            "device_id": one_of("d", "e", "f", None),
            "place": one_of(*places),
            "country": one_of("GB", "US", None),
            "merchant_id": one_of("m", "n", "o", None),
            "merchant_place": one_of(*places),
            "merchant_country": one_of("GB", "FR", None),
            "merchant_category": one_of("5411", "7995", None),
            "counterparty_id": one_of("a", "b", "r", "s", None),
            "channel": one_of("online", "pos", None),
            "declined": one_of(True, False, False, None),
            "account_opened_at": one_of(START - 100 * DAY, None),
            "credit_score": one_of(600.0, 680.5, 712.0, None),
            "social_event": one_of("breach_notice", "new_job", None),
            "social_event_at": START + int(drawn.random() * 200) * DAY,
        }
        for _ in range(ROWS)
    ]
    reversed_later = [(True, 10 * DAY), (False, 40 * DAY)]
    ledgers = [
        one_of([(False, 7 * DAY)], [(False, 30 * DAY)], [(True, 5 * DAY)], reversed_later, [])
        for _ in range(ROWS)
    ]
    return stream_of(rows, ledgers)


def sums(found: pd.DataFrame) -> dict[str, tuple[int, float]]:
    """Of each feature: in how many rows it is there, and the sum of its values by row number."""
    by_name = found.sort_index().drop(columns=[name for name in KEYS if name in found])
    numbers = pd.Series(range(1, len(by_name) + 1), index=by_name.index, dtype="float64")
    return {name: _sums(by_name[name], numbers) for name in by_name.columns}


def _sums(values: pd.Series, numbers: pd.Series) -> tuple[int, float]:
    there = values.dropna()
    if not pd.api.types.is_float_dtype(there):
        there = there.map(lambda text: crc32(text.encode())).astype("float64")
    return len(there), float((there * numbers[there.index]).sum())


def test_features_keep_the_values_of_release_0_1() -> None:
    kept = json.loads(RELEASE_0_1.read_text(encoding="utf-8"))
    for found in built_both_ways(fixed_stream(), ALL_GROUPS):
        now = sums(found)
        assert list(now) == list(kept)
        differing = [name for name in kept if now[name] != pytest.approx(kept[name], rel=1e-9)]
        assert differing == []
