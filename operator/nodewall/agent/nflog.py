"""Packets that nft rules log: how the kernel hands them over (nfnetlink_log), as bytes to values and back.

A group belongs to one network namespace and to one reader in it. Each record carries a sequence number of its group, so
that what was lost on the way can be counted. Layouts: linux/netfilter/nfnetlink_log.h.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct, pack

from nodewall.agent.netlink import ACK, REQUEST, attribute, message

_SUBSYSTEM = 4 << 8
_PACKET, CONFIG = _SUBSYSTEM | 0, _SUBSYSTEM | 1
_BIND, _UNBIND, _COPY_PACKET, _WITH_SEQUENCE = 1, 2, 2, 1
_CFG_COMMAND, _CFG_MODE, _CFG_BUFFER, _CFG_TIMEOUT, _CFG_THRESHOLD, _CFG_FLAGS = 1, 2, 3, 4, 5, 6
_HEADER, _TIMESTAMP, _PAYLOAD, _PREFIX, _SEQUENCE = 1, 3, 9, 10, 12
_LOCAL_IN = 1
"""The input hook's number: the packet is for the node itself."""

_MESSAGE = Struct("=IHHII")
_ATTRIBUTE = Struct("=HH")
_UNSIGNED = Struct(">I")
_TIME = Struct(">QQ")
_BODY = _MESSAGE.size + 4  # behind it a family, a version and the group
_NUMBERS = 1 << 32

AT_ONCE = 32
"""Records that the kernel collects before it wakes us."""
PATIENCE = 10
"""Hundredths of a second after which it wakes us with fewer."""
DATAGRAM = 1 << 16
"""Bytes of one lot of records, which the kernel fills as far as they go."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One record. ``time``: seconds since 1970, 0.0 where the kernel does not say; ``sequence`` -1 likewise.

    ``to_node``: seen on the input hook. ``packet`` begins with its IP header and may be cut.
    """

    prefix: str
    packet: bytes
    to_node: bool
    time: float
    sequence: int


def binding(group: int, copied: int) -> bytes:
    """The request that makes the socket the reader of ``group``, with the first ``copied`` bytes of each packet."""
    body = (
        bytes((0, 0)) + pack(">H", group),
        attribute(_CFG_COMMAND, bytes((_BIND,))),
        attribute(_CFG_MODE, pack(">IBx", copied, _COPY_PACKET)),
        attribute(_CFG_BUFFER, pack(">I", DATAGRAM)),
        attribute(_CFG_TIMEOUT, pack(">I", PATIENCE)),
        attribute(_CFG_THRESHOLD, pack(">I", AT_ONCE)),
        attribute(_CFG_FLAGS, pack(">H", _WITH_SEQUENCE)),
    )
    return message(CONFIG, REQUEST | ACK, b"".join(body))


def unbinding(group: int) -> bytes:
    """The request that lets go of the group. What the kernel has collected for us, it hands over first."""
    return message(CONFIG, REQUEST, bytes((0, 0)) + pack(">H", group) + attribute(_CFG_COMMAND, bytes((_UNBIND,))))


def records(datagram: bytes) -> Iterator[Logged]:
    """The records of one lot. What is cut or of another kind is left out: a log never fails for its contents."""
    offset = 0
    while offset + _BODY <= len(datagram):
        length, kind, _, _, _ = _MESSAGE.unpack_from(datagram, offset)
        if length < _MESSAGE.size:
            return
        if kind == _PACKET and offset + length <= len(datagram):
            yield _record(datagram, offset + _BODY, offset + length)
        offset += (length + 3) & ~3


def _record(data: bytes, offset: int, end: int) -> Logged:
    """Attributes in place: this runs for each record of a flood, so nothing is copied that is not kept."""
    prefix, packet, hook, time, sequence = "", b"", 0, 0.0, -1
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            break
        start, size = offset + 4, length - 4
        if kind == _PAYLOAD:
            packet = data[start : offset + length]
        elif kind == _PREFIX:
            prefix = data[start : offset + length].rstrip(b"\0").decode("ascii", "replace")
        elif kind == _SEQUENCE and size >= 4:
            (sequence,) = _UNSIGNED.unpack_from(data, start)
        elif kind == _TIMESTAMP and size >= 16:
            time = _seconds(*_TIME.unpack_from(data, start))
        elif kind == _HEADER and size >= 3:
            hook = data[start + 2]
        offset += (length + 3) & ~3
    return Logged(prefix, packet, hook == _LOCAL_IN, time, sequence)


def _seconds(seconds: int, micro: int) -> float:
    return seconds + micro / 1e6


def missed(before: int, sequence: int) -> int:
    """Records lost between the two of these numbers; 0 when either is unknown (-1)."""
    return (sequence - before - 1) % _NUMBERS if before >= 0 and sequence >= 0 else 0
