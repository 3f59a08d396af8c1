"""Addresses and devices by hand: whose they are, how far off, and what else came from them."""

import math
from pathlib import Path
from typing import Any

import pytest

from features.build import BuildConfig
from tests.features.mmdb import write_database
from tests.features.streams import facts

LONDON, CALIFORNIA = "81.2.69.142", "8.8.8.8"
NAMELESS: dict[str, Any] = {
    "nonsense": "nonsense",
    "none": None,
    "private": "10.0.0.1",
    "v6 of nobody": "fd00::1",
}


def test_an_address_its_country_and_a_device_are_new_once() -> None:
    rows = [{"day": day, "ip_address": LONDON, "device_id": "d"} for day in (0, 1)]
    found = facts("ip", *rows, {"day": 2, "ip_address": "81.2.69.143", "device_id": "e"})
    assert found["ip_new_for_account"].tolist() == [1, 0, 1]
    assert found["ip_country_new"].tolist() == [1, 0, 0]
    assert found["device_new_for_account"].tolist() == [1, 0, 1]


def test_accounts_that_are_new_to_an_address_and_its_network_are_counted() -> None:
    rows = [
        {"day": day, "account_id": name, "ip_address": LONDON}
        for day, name in ((0, "a"), (0.1, "b"), (0.2, "b"))
    ]
    last = facts("ip", *rows, {"day": 0.3, "account_id": "c", "ip_address": "81.2.69.7"}).iloc[-1]
    assert (last["ip_count_1d"], last["network_count_1d"], last["network_new_accounts_1d"]) == (
        0,
        3,
        2,
    )


def test_declined_payments_from_an_address_count_whoever_made_them() -> None:
    rows = [
        {"day": 0.0, "account_id": "a", "ip_address": LONDON, "declined": True},
        {"day": 0.5, "account_id": "b", "ip_address": LONDON, "declined": True},
        {"day": 0.5, "account_id": "c", "ip_address": LONDON, "declined": False},
        {"day": 0.5, "account_id": "d", "ip_address": LONDON, "declined": None},
        {"day": 0.5, "account_id": "e", "ip_address": CALIFORNIA, "declined": True},
        {"day": 0.51, "account_id": "f", "ip_address": LONDON, "declined": True},
    ]
    last = facts("ip", *rows).iloc[-1]
    assert (last["ip_declined_1h"], last["ip_declined_1d"]) == (1, 2)


def test_the_distance_is_from_where_the_accounts_addresses_usually_are() -> None:
    rows = [
        {"day": 0, "ip_address": LONDON},
        {"day": 1, "ip_address": "10.0.0.1"},
        {"day": 2, "ip_address": LONDON},
    ]
    found = facts("ip", *rows, {"day": 3, "ip_address": CALIFORNIA})[
        "ip_distance_from_usual"
    ].tolist()
    assert found[:3] == pytest.approx([math.nan, math.nan, 0], nan_ok=True)
    # from 51.5143 N 0.0912 W to 37.4223 N 122.085 W
    assert found[3] == pytest.approx(8634.7, abs=0.1)


def test_the_country_is_held_against_the_cards_and_the_retailers() -> None:
    places = [("GB", "GB"), ("US", "US"), (None, None)]
    rows = [
        {"ip_address": LONDON, "country": card, "merchant_country": retailer}
        for card, retailer in places
    ]
    found = facts("ip", *rows)
    for name in ("ip_abroad", "ip_not_at_retailer"):
        assert found[name].tolist() == pytest.approx([0, 1, math.nan], nan_ok=True)


@pytest.mark.parametrize("address", NAMELESS.values(), ids=NAMELESS.keys())
def test_an_address_that_no_database_knows_loses_no_row(address: str | None) -> None:
    found = facts("ip", {"day": 0, "ip_address": LONDON}, {"day": 1, "ip_address": address})
    assert len(found) == 2
    assert found[["ip_country_code", "ip_distance_from_usual"]].iloc[1].isna().all()


def test_owner_and_anonymity_are_as_the_database_tells(tmp_path: Path) -> None:
    hosted = {
        "8.8.8.0/24": {"as_name": "Google", "hosting": "true", "vpn": "", "tor": "", "proxy": ""}
    }
    database = write_database(tmp_path / "own.mmdb", "Privacy", hosted)
    found = facts(
        "ip",
        {"ip_address": "8.8.8.8"},
        {"ip_address": LONDON},
        config=BuildConfig(ip_databases=(database,)),
    )
    assert found["ip_network_owner"].fillna("").tolist() == ["Google", ""]
    assert found["ip_is_hosting"].tolist() == [1, 0]
    assert found[["ip_is_vpn", "ip_is_tor", "ip_is_proxy"]].to_numpy().tolist() == [
        [0, 0, 0],
        [0, 0, 0],
    ]


def test_without_a_database_that_tells_owner_and_anonymity_they_are_unknown() -> None:
    found = facts("ip", {"ip_address": LONDON}).iloc[0]
    assert (
        found[["ip_network_owner", "ip_is_hosting", "ip_is_vpn", "ip_is_tor", "ip_is_proxy"]]
        .isna()
        .all()
    )
