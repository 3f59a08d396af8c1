"""A writer of small MaxMind database files, as maxmind.github.io/MaxMind-DB describes them."""

import struct
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

BITS = 128  # the tree of a v6 file, in which the v4 addresses lie under ::/96
MARKER = b"\xab\xcd\xefMaxMind.com"
BUILT_AT = 1_700_000_000


def write_database(file: Path, kind: str, records: Mapping[str, Any]) -> Path:
    """Write the records of networks that do not overlap."""
    nodes: list[list[Any]] = [[None, None]]
    data = b""
    for network, record in records.items():
        _plant(nodes, network, len(data))
        data += _encoded(record)
    tree = b""
    for node in nodes:
        tree += struct.pack(">II", *(_pointer(branch, len(nodes)) for branch in node))
    about = {
        "binary_format_major_version": _unsigned(2, 16),
        "binary_format_minor_version": _unsigned(0, 16),
        "build_epoch": _unsigned(BUILT_AT, 64),
        "database_type": kind,
        "description": {"en": kind},
        "ip_version": _unsigned(6, 16),
        "languages": ["en"],
        "node_count": _unsigned(len(nodes), 32),
        "record_size": _unsigned(32, 16),
    }
    file.write_bytes(tree + bytes(16) + data + MARKER + _encoded(about))
    return file


def _plant(nodes: list[list[Any]], network: str, offset: int) -> None:
    """Grow the tree down to the network; its leaf is the place of its record in the data."""
    parsed = ip_network(network)
    depth, number, node = (
        parsed.prefixlen + BITS - parsed.max_prefixlen,
        int(parsed.network_address),
        0,
    )
    for place in range(depth):
        side = number >> (BITS - 1 - place) & 1
        if place == depth - 1:
            nodes[node][side] = ("data", offset)
        elif nodes[node][side] is None:
            nodes[node][side] = len(nodes)
            nodes.append([None, None])
        node = nodes[node][side]


def _pointer(branch: Any, count: int) -> int:
    if branch is None:
        return count
    return branch if isinstance(branch, int) else count + 16 + branch[1]


def _unsigned(value: int, bits: int) -> bytes:
    return _head({16: 5, 32: 6, 64: 9}[bits], bits // 8) + value.to_bytes(bits // 8, "big")


def _encoded(value: Any) -> bytes:
    match value:
        case bytes():
            code = value
        case bool():
            code = _head(14, int(value))
        case int():
            code = _unsigned(value, 32)
        case float():
            code = _head(3, 8) + struct.pack(">d", value)
        case str():
            code = _head(2, len(value.encode())) + value.encode()
        case dict():
            code = _head(7, len(value)) + b"".join(
                _encoded(key) + _encoded(value[key]) for key in value
            )
        case list():
            code = _head(11, len(value)) + b"".join(map(_encoded, value))
        case _:
            raise TypeError(f"{value!r} has no type of a MaxMind database")
    return code


def _head(kind: int, size: int) -> bytes:
    """The control byte: kind and size.

    A kind from 8 on stands in a byte of its own, a size from 29 on too.
    """
    first, rest = (size, b"") if size < 29 else (29, bytes([size - 29]))
    return (bytes([kind << 5 | first]) if kind < 8 else bytes([first, kind - 7])) + rest
