"""Removal of an address's connections from the kernel's connection tracking (semantics 60).

An address that leaves a pod is given to another one soon. The entries of its connections must be gone by then: a packet
that matches one is "established", and no rule looks at it again.

Layouts: linux/netfilter/nfnetlink_conntrack.h. A dump is filtered in the kernel (since Linux 5.8; an older one sends
every entry) and again here, so that nothing else can be hit. The filter takes one address and one side, and each dump
walks the whole hash table, 5 ms for 262,144 buckets: where many addresses depart, or few connections are there, to read
all of them once is cheaper.
"""

import asyncio
import errno
import logging
import socket
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address
from itertools import product
from math import inf
from pathlib import Path
from struct import Struct, pack

from nodewall.agent.netlink import (
    ACK,
    DUMP,
    NETLINK_NETFILTER,
    TYPE_MASK,
    Message,
    Netlink,
    NetlinkError,
    attribute,
    attributes,
    nested,
)
from nodewall.model.address import Address

log = logging.getLogger(__name__)

_SUBSYSTEM = 1 << 8
_GET, _DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2
_TUPLE_ORIG, _TUPLE_REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_TUPLE_IP = 1
_IP_SOURCE = {4: 1, 6: 3}
_BY_SOURCE = 1
_FILTER_ORIG, _FILTER_REPLY = 1, 2
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_NO_FLAGS = pack("=I", 0)

ALIKE = 4_000
"""Entries that take as long to read as one address takes to look for: some 10 ms."""

_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
_HEADS = Struct("=HHHHHH")
"""Lengths and types of a tuple, of the addresses in it, and of the source, one inside the other."""

SIDES = ((_TUPLE_ORIG, _FILTER_ORIG), (_TUPLE_REPLY, _FILTER_REPLY))
"""A pod's address is the source of the original direction of what it began, and of the reply direction of what it
answered, whatever address translation made of the other fields."""


def dump_request(address: Address, side: tuple[int, int]) -> bytes:
    """Asks for the entries in which this address is the source, on one side."""
    version, packed = _packed(address)
    tuple_type, filter_type = side
    other = _FILTER_REPLY if filter_type == _FILTER_ORIG else _FILTER_ORIG
    return b"".join(
        (
            bytes((_FAMILY[version], 0, 0, 0)),
            nested(tuple_type, nested(_TUPLE_IP, attribute(_IP_SOURCE[version], packed))),
            nested(_FILTER, attribute(filter_type, pack("=I", _BY_SOURCE)), attribute(other, _NO_FLAGS)),
        )
    )


def delete_requests(replies: Iterable[Message], version: int, wanted: frozenset[bytes]) -> Iterator[bytes]:
    """One request per entry of a dump whose source on one side is ``wanted`` (packed addresses); each names exactly
    that entry.
    """
    for reply in replies:
        sources = _sources(reply.payload, version)
        if sources and wanted.isdisjoint(sources):
            continue
        entry = attributes(reply.payload[4:])
        if any(_source(entry.get(kind, b""), version) in wanted for kind, _ in SIDES):
            named = (attribute(kind, entry[kind]) for kind in (_TUPLE_ORIG, _ID, _ZONE) if kind in entry)
            yield bytes((_FAMILY[version], 0, 0, 0)) + b"".join(named)


def _sources(payload: bytes, version: int) -> list[bytes]:
    """Of both sides, read where the kernel puts them, which is much cheaper than to take the entry apart; nothing where
    something else is there.
    """
    found, at = [], 4
    for side, _ in SIDES:
        if len(payload) < at + _HEADS.size:
            return []
        length, tuple_type, _, ip_type, size, source_type = _HEADS.unpack_from(payload, at)
        if [tuple_type & TYPE_MASK, ip_type & TYPE_MASK, source_type] != [side, _TUPLE_IP, _IP_SOURCE[version]]:
            return []
        found.append(payload[at + _HEADS.size : at + _HEADS.size + size - 4])
        at += length + 3 & ~3
    return found


def _source(tuple_value: bytes, version: int) -> bytes:
    addresses = attributes(attributes(tuple_value).get(_TUPLE_IP, b""))
    return addresses.get(_IP_SOURCE[version], b"")


def _packed(address: Address) -> tuple[int, bytes]:
    parsed = ip_address(address)
    return parsed.version, parsed.packed


def remove(addresses: Iterable[Address]) -> int:
    """Remove all connections of these addresses; returns how many there were. Raises NetlinkError, OSError."""
    connection = Netlink(NETLINK_NETFILTER)
    try:
        return sum(_delete(connection, request) for request in list(_found(connection, sorted(addresses))))
    finally:
        connection.close()


def _found(connection: Netlink, addresses: Sequence[Address]) -> Iterator[bytes]:
    of_family = defaultdict[int, dict[Address, bytes]](dict)
    for address in addresses:
        version, packed = _packed(address)
        of_family[version][address] = packed
    for version, wanted in of_family.items():
        if _entries() <= ALIKE * len(wanted):
            everything = connection.replies(_GET, bytes((_FAMILY[version], 0, 0, 0)), DUMP)
            yield from delete_requests(everything, version, frozenset(wanted.values()))
            continue
        for address, side in product(wanted, SIDES):
            its_own = connection.replies(_GET, dump_request(address, side), DUMP)
            yield from delete_requests(its_own, version, frozenset({wanted[address]}))


def _entries() -> float:
    """Connections of this network namespace, of both families."""
    try:
        return int(_COUNT.read_text())
    except (OSError, ValueError):
        return inf


def _delete(connection: Netlink, request: bytes) -> bool:
    try:
        connection.ask(_DELETE, request, ACK)
    except NetlinkError as error:
        if error.errno == errno.ENOENT:  # it ended by itself since
            return False
        raise
    return True


async def forget(addresses: frozenset[Address]) -> None:
    """``remove`` off the event loop. A failure is logged: the rules are in force all the same."""
    try:
        count = await asyncio.to_thread(remove, addresses)
    except (NetlinkError, OSError) as error:
        fields = {"addresses": len(addresses), "error": str(error)}
        log.warning("connections of departed addresses cannot be removed", extra={"fields": fields})
        return
    if count:
        log.info("connections of departed addresses removed", extra={"fields": {"connections": count}})
