"""What is known of an address, whatever it looks like and whoever made the database.

And which files are refused.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from features.ip.addresses import (
    LOOKED_AT,
    IpDatabaseError,
    address_facts,
    check_databases,
    database_date,
    open_databases,
    packaged_database,
)
from features.ip.records import record_facts
from tests.features.mmdb import BUILT_AT, write_database
from tests.features.streams import facts

NOWHERE = {"ip_country": None, "ip_latitude": None, "ip_longitude": None}
LONDON = {
    "ip_country": "GB",
    "ip_latitude": pytest.approx(51.5143),
    "ip_longitude": pytest.approx(-0.0912, abs=1e-3),
}
V4, V6, PUBLIC, PRIVATE = (
    {"ip_version": 4.0},
    {"ip_version": 6.0},
    {"ip_private": 0.0},
    {"ip_private": 1.0},
)
MALFORMED = NOWHERE | {"ip_version": None, "ip_private": None, "ip_network": None}
ADDRESSES: dict[str, dict[str, Any]] = {
    "81.2.69.142": LONDON | V4 | PUBLIC | {"ip_network": "81.2.69.0/24"},
    " 81.2.69.142\t": LONDON | V4 | PUBLIC | {"ip_network": "81.2.69.0/24"},
    "::ffff:81.2.69.142": LONDON | V4 | PUBLIC | {"ip_network": "81.2.69.0/24"},
    "2001:4860:4860::8888": V6 | PUBLIC | {"ip_country": "CA", "ip_network": "2001:4860:4860::/48"},
    "10.1.2.3": NOWHERE | V4 | PRIVATE | {"ip_network": "10.1.2.0/24"},
    "192.0.2.1": NOWHERE | V4 | PRIVATE,
    "100.64.0.1": NOWHERE | V4 | PRIVATE,
    "127.0.0.1": NOWHERE | V4 | PRIVATE,
    "169.254.0.1": NOWHERE | V4 | PRIVATE,
    "240.0.0.1": NOWHERE | V4 | PRIVATE,
    "224.0.0.1": NOWHERE | V4 | PRIVATE,
    "::ffff:10.1.2.3": NOWHERE | V4 | PRIVATE | {"ip_network": "10.1.2.0/24"},
    "fd00::1": NOWHERE | V6 | PRIVATE | {"ip_network": "fd00::/48"},
    "::1": NOWHERE | V6 | PRIVATE | {"ip_network": "::/48"},
    "fe80::1%eth0": NOWHERE | V6 | PRIVATE | {"ip_network": "fe80::/48"},
    "81.2.69": MALFORMED,
    "081.2.69.142": MALFORMED,
    "81.2.69.142:443": MALFORMED,
    "localhost": MALFORMED,
    "": MALFORMED,
}


def facts_of(address: str, *databases: Path) -> dict[str, Any]:
    facts: dict[str, Any] = address_facts(pa.array([address]), databases).to_pylist()[0]
    return facts


@pytest.mark.parametrize(
    ("address", "expected"), ADDRESSES.items(), ids=[repr(address) for address in ADDRESSES]
)
def test_the_facts_of_an_address(address: str, expected: dict[str, Any]) -> None:
    facts = facts_of(address, packaged_database())
    assert facts["ip_address"] == address
    assert {name: facts[name] for name in expected} == expected


RECORDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "GeoLite2 City": (
        {"country": {"iso_code": "GB"}, "location": {"latitude": 51.5, "longitude": -0.1}},
        {"ip_country": "GB", "ip_latitude": 51.5, "ip_longitude": -0.1},
    ),
    "GeoLite2 ASN": (
        {"autonomous_system_number": 15169, "autonomous_system_organization": "GOOGLE"},
        {"ip_owner": "GOOGLE"},
    ),
    "GeoIP2 Enterprise": (
        {"traits": {"autonomous_system_organization": "GOOGLE", "is_hosting_provider": True}},
        {"ip_owner": "GOOGLE", "ip_hosting": 1.0},
    ),
    "GeoIP2 Anonymous IP": ({"is_anonymous": True, "is_anonymous_vpn": True}, {"ip_vpn": 1.0}),
    "a residential proxy": (
        {"is_public_proxy": False, "is_residential_proxy": True},
        {"ip_proxy": 1.0},
    ),
    "an owner known by number": ({"autonomous_system_number": 15169}, {"ip_owner": "AS15169"}),
    "IPinfo Lite": (
        {
            "asn": "AS15169",
            "as_name": "Google LLC",
            "country": "United States",
            "country_code": "US",
        },
        {"ip_country": "US", "ip_owner": "Google LLC"},
    ),
    "IPinfo places": (
        {"country": "US", "lat": "37.4", "lng": "-122.1"},
        {"ip_country": "US", "ip_latitude": 37.4, "ip_longitude": -122.1},
    ),
    "IPinfo privacy": (
        {"hosting": "true", "proxy": "", "tor": "", "vpn": "true", "service": "some"},
        {"ip_hosting": 1.0, "ip_vpn": 1.0, "ip_tor": 0.0, "ip_proxy": 0.0},
    ),
    "half a place": ({"latitude": 51.5}, {}),
    "a place that is none": ({"latitude": 951.5, "longitude": 0.0}, {}),
    "words for a place": ({"latitude": "north", "longitude": "west"}, {}),
    "a country by its name alone": ({"country": {"names": {"en": "Nowhere"}}}, {}),
    "other things": ({"continent": {"code": "EU"}, "country": 3, "asn": {"id": 1}}, {}),
}


@pytest.mark.parametrize(("record", "expected"), RECORDS.values(), ids=RECORDS.keys())
def test_a_record_is_read_in_the_words_of(record: dict[str, Any], expected: dict[str, Any]) -> None:
    assert record_facts(record) == expected


def test_a_fact_comes_from_the_first_database_that_has_it(tmp_path: Path) -> None:
    places = write_database(
        tmp_path / "a.mmdb",
        "Places",
        {"8.8.8.0/24": {"country": "US"}, "9.9.9.0/24": {"as_name": "Q"}},
    )
    owners = write_database(
        tmp_path / "b.mmdb", "Owners", {"8.8.8.0/23": {"country": "CA", "as_name": "G"}}
    )
    found = facts_of("8.8.8.8", places, owners)
    assert (found["ip_country"], found["ip_owner"]) == ("US", "G")
    assert facts_of("8.8.9.1", places, owners)["ip_country"] == "CA"
    assert facts_of("8.8.8.8", owners, places)["ip_country"] == "CA"


def test_an_address_that_a_list_of_anonymous_ones_does_not_name_is_not_anonymous(
    tmp_path: Path,
) -> None:
    networks = {
        "8.8.8.0/24": {"is_anonymous_vpn": True},
        "2001:4860::/32": {"is_hosting_provider": True},
    }
    listed = write_database(tmp_path / "a.mmdb", "GeoIP2-Anonymous-IP", networks)
    flags = ("ip_vpn", "ip_hosting", "ip_tor", "ip_proxy")
    for address, expected in (
        ("8.8.8.8", [1, 0, 0, 0]),
        ("2001:4860:4860::8888", [0, 1, 0, 0]),
        ("9.9.9.9", [0, 0, 0, 0]),
        ("10.0.0.1", [None] * 4),
    ):
        assert [facts_of(address, listed)[name] for name in flags] == expected


def test_where_no_database_tells_a_flag_is_unknown() -> None:
    assert facts_of("81.2.69.142", packaged_database())["ip_tor"] is None
    assert facts_of("81.2.69.142")["ip_country"] is None


def test_a_database_says_when_it_was_made(tmp_path: Path) -> None:
    assert database_date(packaged_database()) == datetime(2023, 4, 1, 0, 26, 17, tzinfo=UTC)
    written = write_database(tmp_path / "a.mmdb", "Places", {"8.8.8.0/24": {"country": "US"}})
    assert database_date(written) == datetime.fromtimestamp(BUILT_AT, tz=UTC)


def test_each_distinct_address_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    @contextmanager
    def listening(
        databases: Sequence[Path],
    ) -> Iterator[Callable[[pa.Array, Collection[str]], pa.Table]]:
        with open_databases(databases) as facts_of:
            yield (
                lambda addresses, names: (
                    asked.append(sorted(addresses.to_pylist())) or facts_of(addresses, names)
                )
            )

    monkeypatch.setattr("features.build.open_databases", listening)
    addresses = ("8.8.8.8", "81.2.69.142", "8.8.8.8", None, "8.8.8.8")
    countries = facts("ip", *({"ip_address": address} for address in addresses))["ip_country_code"]
    assert asked == [["8.8.8.8", "81.2.69.142"]]
    assert countries.fillna("").tolist() == ["US", "GB", "US", "", "US"]


def test_addresses_of_one_network_differ_where_the_file_tells_them_apart(tmp_path: Path) -> None:
    networks = {
        "8.8.8.0/25": {"country": "US"},
        "8.8.8.128/25": {"country": "CA"},
        "9.9.9.0/24": {"country": "CH"},
    }
    file = write_database(tmp_path / "a.mmdb", "Places", networks)
    found = address_facts(
        pa.array(["8.8.8.1", "8.8.8.200", "8.8.8.2", "9.9.9.1", "9.9.9.200"]), [file]
    )
    assert found["ip_country"].to_pylist() == ["US", "CA", "US", "CH", "CH"]


def damaged(file: Path, *, records: int = 1) -> Path:
    """A database whose tree is whole, and whose last record is not."""
    networks = {
        f"8.{number // 256}.{number % 256}.0/24": {"country": "US"} for number in range(records)
    }
    whole = write_database(file, "Places", networks).read_bytes()
    place = whole.rindex(b"\x47country")
    file.write_bytes(whole[:place] + b"\xff" * 8 + whole[place + 8 :])
    return file


def test_databases_that_tell_something_pass(tmp_path: Path) -> None:
    check_databases(
        [
            packaged_database(),
            write_database(tmp_path / "a.mmdb", "Owners", {"8.0.0.0/8": {"asn": "AS1"}}),
        ]
    )


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda file: None, r"the IP database .*own\.mmdb is no file; name an \.mmdb file$"),
        (lambda file: file.mkdir(), r"own\.mmdb is no file"),
        (
            lambda file: file.touch(),
            r"own\.mmdb cannot be read: .*; name an \.mmdb file that is whole$",
        ),
        (
            lambda file: file.write_text("network,country\n8.8.8.0/24,US\n"),
            r"own\.mmdb cannot be read: ",
        ),
        (damaged, r"own\.mmdb cannot be read: .* corrupt data"),
        (
            lambda file: write_database(
                file, "Wines", {"8.8.8.0/24": {"grape": "Riesling", "year": 2021}}
            ),
            r"own\.mmdb is of the kind 'Wines' and tells nothing of an address that we use; name",
        ),
        (
            lambda file: write_database(file, "GeoIP2-Anonymous-IP", {}),
            r"tells nothing of an address",
        ),
    ],
    ids=["missing", "a folder", "empty", "another format", "damaged", "another kind", "no records"],
)
def test_a_database_is_refused_that_is(write: Any, message: str, tmp_path: Path) -> None:
    write(tmp_path / "own.mmdb")
    with pytest.raises(IpDatabaseError, match=message):
        check_databases([packaged_database(), tmp_path / "own.mmdb"])


def test_a_database_that_is_damaged_further_on_is_refused_when_it_is_read(tmp_path: Path) -> None:
    database = damaged(tmp_path / "a.mmdb", records=LOOKED_AT + 1)
    check_databases([database])
    assert facts_of("8.0.0.1", database)["ip_country"] == "US"
    with pytest.raises(IpDatabaseError, match=r"a\.mmdb cannot be read: .* corrupt data"):
        facts_of(f"8.{LOOKED_AT // 256}.{LOOKED_AT % 256}.1", database)
