"""IP: where the address is and what it hides, and whether it and the device are new or shared.

What is known of the address itself comes from `features.ip.addresses`.
"""

from features.declarations import Feature, Group, aggregate, fact, hidden, newly_seen
from features.known_fraud import known_fraud
from features.places import distance, mean_point, point

SPANS = ("1h", "1d", "7d")
UNTOLD = "no database tells"


def _differs(name: str, left: str, right: str, meaning: str) -> Feature:
    sql = f"CASE WHEN {left} <> {right} THEN 1.0 WHEN {left} = {right} THEN 0.0 END"
    return fact(name, sql, meaning, null="one of them is unknown", kind="flag")


def _shared(prefix: str, key: str, span: str, named: str) -> tuple[Feature, ...]:
    """Payments of an address, network or device in a span, and those of accounts new to it.

    Both are many when cards are tested.
    """
    payments, is_new = f"payments from the {named} in {span}", f"{prefix}_new_for_account"
    by_new = f"{payments} by accounts new to it"
    return (
        aggregate(f"{prefix}_count_{span}", "count", key, span, payments),
        aggregate(f"{prefix}_new_accounts_{span}", "sum", key, span, by_new, of=is_new),
    )


def _declined(span: str) -> Feature:
    meaning = f"declined payments from the IP address in {span}"
    return aggregate(
        f"ip_declined_{span}", "sum", "ip_address", span, meaning, of="declined_payment"
    )


GROUP = Group(
    name="ip",
    meaning="where the address is and what it hides, whether it and the device are usual for the account, "
    "who else uses them",
    needs=("ip_address",),
    features=(
        fact(
            "ip_is_v6",
            "CASE WHEN ip_version = 6 THEN 1.0 WHEN ip_version = 4 THEN 0.0 END",
            "IPv6 address",
            null="no address",
            kind="flag",
        ),
        fact(
            "ip_is_private",
            "ip_private",
            "private or reserved IP address",
            null="no address",
            kind="flag",
        ),
        fact(
            "ip_country_code",
            "ip_country",
            "country of the IP address",
            null="unknown",
            kind="category",
        ),
        fact(
            "ip_network_owner",
            "ip_owner",
            "owner of the IP address's network",
            null=UNTOLD,
            kind="category",
        ),
        fact(
            "ip_is_hosting",
            "ip_hosting",
            "IP address of a hosting provider",
            null=UNTOLD,
            kind="flag",
        ),
        fact("ip_is_vpn", "ip_vpn", "IP address of a VPN", null=UNTOLD, kind="flag"),
        fact("ip_is_tor", "ip_tor", "IP address where Tor comes out", null=UNTOLD, kind="flag"),
        fact("ip_is_proxy", "ip_proxy", "IP address of a proxy", null=UNTOLD, kind="flag"),
        _differs("ip_abroad", "ip_country", "country", "IP address outside the card's country"),
        _differs(
            "ip_not_at_retailer",
            "ip_country",
            "merchant_country",
            "IP address outside the retailer's country",
        ),
        *point("ip_place", "ip_latitude", "ip_longitude", "the IP address's place"),
        *mean_point("ip_usual", "ip_place", "mean place of the account's IP addresses of 90d"),
        *distance(
            "ip_distance_from_usual",
            "ip_place",
            "ip_usual",
            "distance of the IP address from the middle of the account's IP addresses of 90d",
            null="no known place of an IP address in the 90d before, or this one's unknown",
        ),
        newly_seen(
            "ip_new_for_account",
            "account_id+ip_address",
            "IP address new to the account within 90d",
        ),
        newly_seen(
            "ip_country_new",
            "account_id+ip_country",
            "IP address's country new to the account within 90d",
        ),
        *(feature for span in SPANS for feature in _shared("ip", "ip_address", span, "IP address")),
        *(_declined(span) for span in ("1h", "1d")),
        hidden(
            newly_seen(
                "network_new_for_account",
                "account_id+ip_network",
                "network new to the account within 90d",
            )
        ),
        *_shared("network", "ip_network", "1d", "network"),
        newly_seen(
            "device_new_for_account", "account_id+device_id", "device new to the account within 90d"
        ),
        *(feature for span in SPANS for feature in _shared("device", "device_id", span, "device")),
        *known_fraud("ip_address", "ip", named="IP address", spans=("7d",)),
        *known_fraud("device_id", "device", named="device", spans=("30d",)),
    ),
)
