"""What a record of an IP database tells of an address, in the words of those who make such files.

MaxMind and DB-IP nest their keys (`country.iso_code`, `traits.is_tor_exit_node`); IPinfo's lie
flat, numbers and flags as text.
"""

from collections.abc import Mapping
from typing import Any

Facts = dict[str, str | float]

FLAGS = {
    "ip_hosting": ("is_hosting_provider", "is_hosting", "hosting"),
    "ip_vpn": ("is_anonymous_vpn", "is_vpn", "vpn"),
    "ip_tor": ("is_tor_exit_node", "is_tor", "tor"),
    "ip_proxy": ("is_public_proxy", "is_residential_proxy", "is_proxy", "proxy"),
}
OWNERS = ("autonomous_system_organization", "as_name", "organization", "isp")
NUMBERS = ("autonomous_system_number", "asn")


def record_facts(record: Mapping[str, Any]) -> Facts:
    """Return the facts of an address that the record of its network has.

    >>> place = {"latitude": 51.5, "longitude": -0.1}
    >>> record_facts({"country": {"iso_code": "GB"}, "location": place})
    {'ip_country': 'GB', 'ip_latitude': 51.5, 'ip_longitude': -0.1}
    >>> record_facts({"country": "Norway", "country_code": "NO", "vpn": "true", "tor": ""})
    {'ip_country': 'NO', 'ip_vpn': 1.0, 'ip_tor': 0.0}
    """
    flat = {**record, **_nested(record, "traits")}
    return {
        **_country(record),
        **_place({**flat, **_nested(record, "location")}),
        **_owner(flat),
        **_flags(flat),
    }


def _nested(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = record.get(key)
    return value if isinstance(value, dict) else {}


def _country(record: Mapping[str, Any]) -> Facts:
    """The two letters of the country.

    A flat "country" is its whole name in some of IPinfo's files, its letters in others.
    """
    country = record.get("country")
    short = country.get("iso_code") if isinstance(country, dict) else country
    code = record.get("country_code") or short
    if isinstance(code, str) and len(code) == 2 and code.isupper():
        return {"ip_country": code}
    return {}


def _place(flat: Mapping[str, Any]) -> Facts:
    """Both coordinates or none: half a place must not be completed from another file."""
    latitude = _degrees(flat.get("latitude", flat.get("lat")), most=90)
    longitude = _degrees(flat.get("longitude", flat.get("lng")), most=180)
    if latitude is None or longitude is None:
        return {}
    return {"ip_latitude": latitude, "ip_longitude": longitude}


def _degrees(value: object, *, most: float) -> float | None:
    """The number, or the number that a text says; null where it is none, or out of range."""
    try:
        degrees = float(value) if isinstance(value, float | int | str) else None
    except ValueError:
        return None
    return degrees if degrees is not None and -most <= degrees <= most else None


def _owner(flat: Mapping[str, Any]) -> Facts:
    """The organisation; where only the number of its network is known, that, as AS15169."""
    for key in (*OWNERS, *NUMBERS):
        if isinstance(flat.get(key), str | int) and flat[key]:
            return {"ip_owner": f"AS{flat[key]}" if isinstance(flat[key], int) else flat[key]}
    return {}


def _flags(flat: Mapping[str, Any]) -> Facts:
    """1 where any of a flag's keys is true, 0 where they are there and none is."""
    flags: Facts = {}
    for name, keys in FLAGS.items():
        if values := [flat[key] for key in keys if key in flat]:
            flags[name] = float(any(map(_is_true, values)))
    return flags


def _is_true(value: object) -> bool:
    """Whether a flag is set; as text, IPinfo leaves one that is not set empty."""
    return value.strip().lower() in {"true", "1"} if isinstance(value, str) else bool(value)
