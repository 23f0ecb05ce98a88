"""Hits of rules, as the kernel counts them: one dump of the table's counters, asked of nftables itself.

libnftables 1.0.6 would read every set of the table for it. Layouts: linux/netfilter/nf_tables.h.
"""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import Struct, pack

from nodewall.agent.kernel import TABLE
from nodewall.agent.netlink import (
    ACK,
    DUMP,
    NETLINK_NETFILTER,
    Message,
    Netlink,
    NetlinkError,
    attribute,
    attributes,
    text,
)
from nodewall.model.errors import NodewallError
from nodewall.render.names import name

_SUBSYSTEM = 10 << 8
_GET_TABLE, _GET_OBJECT = _SUBSYSTEM | 1, _SUBSYSTEM | 19
_TABLE, _NAME, _TYPE, _DATA = 1, 2, 3, 4
_COUNTER = 1
_BYTES, _PACKETS = 1, 2
_INET = 1
_RULE = name("r", "0").removesuffix("0")
_NUMBER = Struct(">Q")


@dataclass(frozen=True, slots=True)
class Count:
    packets: int
    bytes: int


class CountersError(NodewallError):
    """The counters cannot be read; the message says why, in words."""


def read() -> dict[str, Count]:
    """The named counters of our table by name; none when there is no table. Blocks for milliseconds.

    Raises CountersError.
    """
    request = b"".join(
        (
            bytes((_INET, 0, 0, 0)),
            attribute(_TABLE, TABLE.encode() + b"\0"),
            attribute(_TYPE, pack(">I", _COUNTER)),
        )
    )
    return dict(map(_counter, _ask(_GET_OBJECT, request, DUMP)))


def has_table() -> bool:
    """Whether there is anything to count in. Blocks for less than a millisecond. Raises CountersError."""
    request = bytes((_INET, 0, 0, 0)) + attribute(_TABLE, TABLE.encode() + b"\0")
    return bool(_ask(_GET_TABLE, request, ACK))


def _ask(kind: int, request: bytes, flags: int) -> Sequence[Message]:
    """Nothing, when what is asked for does not exist."""
    try:
        socket = Netlink(NETLINK_NETFILTER)
        try:
            return socket.ask(kind, request, flags)
        finally:
            socket.close()
    except (NetlinkError, OSError) as error:
        if error.errno == errno.ENOENT:
            return ()
        raise CountersError(f"the counters of the table cannot be read: {error}") from error


def _counter(reply: Message) -> tuple[str, Count]:
    found = attributes(reply.payload[4:])
    data = attributes(found.get(_DATA, b""))
    (packets,), (size,) = (_NUMBER.unpack(data.get(kind, bytes(8))) for kind in (_PACKETS, _BYTES))
    return text(found.get(_NAME, b"")), Count(packets, size)


def by_rule(counters: Mapping[str, Count]) -> dict[str, int]:
    """Packets by rule id. Ids are the controller's, so they stand in the names of counters as they are."""
    return {key.removeprefix(_RULE): count.packets for key, count in counters.items() if key.startswith(_RULE)}
