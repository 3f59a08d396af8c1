"""What is known of an address, from the packaged database: v4, v6, private, reserved, mapped and malformed."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from features.build import build
from features.groups import portfolio_groups
from features.ip import address_facts, database_date, packaged_database, place
from tests.features.streams import START, stream_of

UNKNOWN = {"ip_country": None, "ip_latitude": None, "ip_longitude": None}
LONDON = {"ip_country": "GB", "ip_latitude": pytest.approx(51.5143), "ip_longitude": pytest.approx(-0.0912, abs=1e-3)}
V4, V6, PUBLIC, PRIVATE = {"ip_version": 4.0}, {"ip_version": 6.0}, {"ip_private": 0.0}, {"ip_private": 1.0}
ADDRESSES: dict[str, dict[str, Any]] = {
    "81.2.69.142": LONDON | V4 | PUBLIC | {"ip_network": "81.2.69.0/24"},
    "::ffff:81.2.69.142": LONDON | V4 | PUBLIC | {"ip_network": "81.2.69.0/24"},
    "2001:4860:4860::8888": V6 | PUBLIC | {"ip_country": "CA", "ip_network": "2001:4860:4860::/48"},
    "10.1.2.3": UNKNOWN | V4 | PRIVATE | {"ip_network": "10.1.2.0/24"},
    "192.0.2.1": UNKNOWN | V4 | PRIVATE,
    "100.64.0.1": UNKNOWN | V4 | PRIVATE,
    "127.0.0.1": UNKNOWN | V4 | PRIVATE,
    "fd00::1": UNKNOWN | V6 | PRIVATE | {"ip_network": "fd00::/48"},
    "::1": UNKNOWN | V6 | PRIVATE | {"ip_network": "::/48"},
    "fe80::1%eth0": UNKNOWN | V6 | PRIVATE | {"ip_network": "fe80::/48"},
    "81.2.69": UNKNOWN | {"ip_version": None, "ip_private": None, "ip_network": None},
    "081.2.69.142": UNKNOWN | {"ip_version": None},
    "": UNKNOWN | {"ip_version": None},
}


@pytest.mark.parametrize(("address", "expected"), ADDRESSES.items(), ids=[repr(address) for address in ADDRESSES])
def test_the_facts_of_an_address(address: str, expected: dict[str, Any]) -> None:
    facts = address_facts(pa.array([address]), packaged_database()).to_pylist()[0]
    assert facts["ip_address"] == address
    assert {name: facts[name] for name in expected} == expected


def test_a_database_with_flat_or_few_keys_is_read_as_well() -> None:
    assert place({"country": "GB", "latitude": 51.5, "longitude": -0.1}) == ("GB", 51.5, -0.1)
    assert place({"continent": {"code": "EU"}}) == (None, None, None)
    assert place({"country": {"names": {"en": "Nowhere"}}}) == (None, None, None)


def test_the_packaged_database_has_a_date() -> None:
    assert database_date(packaged_database()) == datetime(2023, 4, 1, 0, 26, 17, tzinfo=UTC)


def test_each_distinct_address_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def listening(addresses: pa.Array, database: object) -> pa.Table:
        asked.append(sorted(addresses.to_pylist()))
        return address_facts(addresses, packaged_database())

    monkeypatch.setattr("features.build.address_facts", listening)
    row = {"account_id": "a", "amount": 1.0, "as_of": START}
    rows = [row | {"ip_address": address} for address in ("8.8.8.8", "81.2.69.142", "8.8.8.8", None, "8.8.8.8")]
    stream = stream_of(rows, [])
    groups = portfolio_groups(stream.transactions.column_names, order=("ip",))
    countries = build(stream.transactions, stream.labels, groups, ip_database=packaged_database())[
        "ip_country_code"
    ].to_pylist()
    assert asked == [["8.8.8.8", "81.2.69.142"]]
    assert countries == ["US", "GB", "US", None, "US"]
