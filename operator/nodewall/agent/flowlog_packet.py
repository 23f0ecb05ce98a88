"""What a logged packet says about itself: addresses, protocol, ports or ICMP type, from its first bytes."""

from dataclasses import dataclass
from struct import Struct

TCP, UDP, SCTP, ICMP, ICMPV6 = 6, 17, 132, 1, 58
WITH_PORTS = frozenset((TCP, UDP, SCTP))
WITH_TYPE = frozenset((ICMP, ICMPV6))

_PORTS = Struct(">HH")
_FRAGMENT_HEADER, _AUTHENTICATION = 44, 51
_EXTENSIONS = frozenset((0, 43, _FRAGMENT_HEADER, _AUTHENTICATION, 60, 135, 139, 140))
_MOST_EXTENSIONS = 16


@dataclass(frozen=True, slots=True)
class Packet:
    """``source`` and ``destination`` are packed addresses: 4 bytes or 16. -1: the packet has no such thing, or it is
    beyond what was logged.
    """

    source: bytes
    destination: bytes
    protocol: int
    source_port: int = -1
    destination_port: int = -1
    icmp_type: int = -1
    icmp_code: int = -1


def parse(data: bytes) -> Packet | None:
    """None: not an IP packet, or too short to have addresses."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        return _ipv4(data)
    return _ipv6(data) if version == 6 and len(data) >= 40 else None


def _ipv4(data: bytes) -> Packet:
    first = not ((data[6] & 0x1F) << 8 | data[7])
    return _transport(data, (data[12:16], data[16:20]), data[9], (data[0] & 0x0F) * 4 if first else -1)


def _ipv6(data: bytes) -> Packet:
    protocol, offset = data[6], 40
    for _ in range(_MOST_EXTENSIONS):
        if protocol not in _EXTENSIONS or offset + 8 > len(data):
            break
        if protocol == _FRAGMENT_HEADER and (data[offset + 2] << 8 | data[offset + 3]) >> 3:
            return _transport(data, (data[8:24], data[24:40]), data[offset], -1)
        protocol, offset = data[offset], offset + _length(protocol, data[offset + 1])
    return _transport(data, (data[8:24], data[24:40]), protocol, offset)


def _length(header: int, stated: int) -> int:
    if header == _FRAGMENT_HEADER:
        return 8
    return (stated + 2) * 4 if header == _AUTHENTICATION else (stated + 1) * 8


def _transport(data: bytes, ends: tuple[bytes, bytes], protocol: int, offset: int) -> Packet:
    """``offset`` -1: a later fragment, which begins anywhere in what it is a part of."""
    if protocol in WITH_PORTS and 0 <= offset <= len(data) - 4:
        return Packet(*ends, protocol, *_PORTS.unpack_from(data, offset))
    if protocol in WITH_TYPE and 0 <= offset <= len(data) - 2:
        return Packet(*ends, protocol, icmp_type=data[offset], icmp_code=data[offset + 1])
    return Packet(*ends, protocol)
