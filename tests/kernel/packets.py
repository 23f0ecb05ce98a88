"""Packets as bytes: TCP SYN, UDP, SCTP INIT, ICMP and anything else over IPv4 and IPv6.

Every packet carries a number, so that whoever sees it come out knows which one it was.
"""

import struct
from dataclasses import dataclass
from ipaddress import ip_address

TCP, UDP, SCTP, ICMP, ICMPV6 = 6, 17, 132, 1, 58
WITH_PORTS = (TCP, UDP, SCTP)

_MAGIC = b"\xf0\x9f\xa7\xb1nw\x00\x01"
_SYN, _RST = 0x02, 0x04


@dataclass(frozen=True, slots=True)
class Packet:
    """``proto`` is an IP protocol number; ports, or ICMP type and code, where the protocol has them.

    ``sport`` 0: the checker picks one that no other packet has. ``link`` names the link that the packet comes in by;
    "" is the one that its source is routed to. ``body`` comes first in the payload. ``arrives_as`` is (source,
    destination) as the receiver sees them, where NAT changes them on the way.
    """

    source: str
    destination: str
    proto: int = TCP
    dport: int = 0
    sport: int = 0
    icmp_type: int = 8
    icmp_code: int = 0
    link: str = ""
    hop_limit: int = 64
    flags: int = _SYN
    body: bytes = b""
    arrives_as: tuple[str, str] | None = None

    @property
    def family(self) -> int:
        return 6 if ":" in self.source else 4


def encode(packet: Packet, number: int, sport: int) -> bytes:
    """The packet from its IP header on."""
    return _ip(packet, _payload(packet, number, sport))


def number_of(data: bytes) -> int:
    """The number of a packet, wherever in ``data`` it is last; 0 when there is none."""
    _, magic, after = data.rpartition(_MAGIC)
    return int.from_bytes(after[:4]) if magic and len(after) >= 4 else 0


def ends(data: bytes) -> tuple[bytes, bytes]:
    """Source and destination of an IP packet."""
    return (data[8:24], data[24:40]) if data[0] >> 4 == 6 else (data[12:16], data[16:20])


def reset_ports(data: bytes) -> tuple[int, int] | None:
    """(source, destination) ports when this is a TCP reset."""
    protocol, header = (data[6], 40) if data[0] >> 4 == 6 else (data[9], (data[0] & 15) * 4)
    if protocol != TCP or len(data) < header + 20 or not data[header + 13] & _RST:
        return None
    first, second = struct.unpack_from("!HH", data, header)
    return first, second


def _mark(number: int) -> bytes:
    return _MAGIC + struct.pack("!I", number)


def _payload(packet: Packet, number: int, sport: int) -> bytes:
    mark = packet.body + _mark(number)
    if packet.proto == TCP:
        head = struct.pack("!HHIIBBHHH", sport, packet.dport, number, 0, 5 << 4, packet.flags, 65535, 0, 0)
        return _checksummed(packet, head + mark, 16)
    if packet.proto == UDP:
        return _checksummed(packet, struct.pack("!HHHH", sport, packet.dport, 8 + len(mark), 0) + mark, 6)
    if packet.proto == SCTP:
        return _sctp_init(sport, packet.dport, number, mark)
    if packet.proto in (ICMP, ICMPV6):
        head = struct.pack("!BBHHH", packet.icmp_type, packet.icmp_code, 0, sport, 1)
        return _checksummed(packet, head + mark, 2)
    return mark


def _sctp_init(sport: int, dport: int, tag: int, mark: bytes) -> bytes:
    parameter = struct.pack("!HH", 0xC000, 4 + len(mark)) + mark  # an unknown one: skip it, report nothing
    parameter += b"\0" * (-len(parameter) % 4)
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20 + len(parameter), tag + 1, 65535, 1, 1, 1) + parameter
    unsummed = struct.pack("!HHII", sport, dport, 0, 0) + chunk
    return unsummed[:8] + struct.pack("<I", _crc32c(unsummed)) + unsummed[12:]


def _ip(packet: Packet, payload: bytes) -> bytes:
    source, destination = ip_address(packet.source).packed, ip_address(packet.destination).packed
    if packet.family == 6:
        head = struct.pack("!IHBB", 6 << 28, len(payload), packet.proto, packet.hop_limit)
        return head + source + destination + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0x4000, packet.hop_limit, packet.proto, 0)
    head += source + destination
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + payload


def _checksummed(packet: Packet, payload: bytes, at: int) -> bytes:
    """``payload`` with its Internet checksum at that offset; ICMP of IPv4 has no pseudo header."""
    summed = payload if packet.proto == ICMP else _pseudo_header(packet, len(payload)) + payload
    return payload[:at] + struct.pack("!H", _checksum(summed) or 0xFFFF) + payload[at + 2 :]


def _pseudo_header(packet: Packet, length: int) -> bytes:
    both = ip_address(packet.source).packed + ip_address(packet.destination).packed
    if packet.family == 6:
        return both + struct.pack("!II", length, packet.proto)
    return both + struct.pack("!HH", packet.proto, length)


def _checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    folded: int = total + (total >> 16)
    return ~folded & 0xFFFF


def _crc_table() -> tuple[int, ...]:
    table: list[int] = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901 (the shift register itself)
        table.append(value)
    return tuple(table)


_CRC = _crc_table()


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return int(crc) ^ 0xFFFFFFFF
