"""Packets that no well-behaved sender makes: options, extension headers, fragments, odd flags. Bytes from IP on."""

import struct
from collections.abc import Sequence
from dataclasses import replace as changed
from ipaddress import ip_address

from tests.kernel.packets import Packet, encode

NO_MORE = 59
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, MOBILITY = 0, 43, 44, 51, 60, 135
_FIRST_WORD = struct.Struct("!HHI")


def payload(packet: bytes) -> bytes:
    """What follows the IP header of a packet of ours."""
    return packet[40:] if packet[0] >> 4 == 6 else packet[20:]


def with_options(packet: bytes, options: bytes) -> bytes:
    """An IPv4 packet with these options, padded."""
    options += b"\0" * (-len(options) % 4)
    return _fourth(packet, payload(packet), options=options)


def fragments4(packet: bytes, *cuts: int) -> list[bytes]:
    """An IPv4 packet in pieces, cut at these offsets of its payload (multiples of 8)."""
    whole = payload(packet)
    spans = list(zip((0, *cuts), (*cuts, len(whole)), strict=True))
    return [_fourth(packet, whole[a:b], flags=a // 8 | (0x2000 if b < len(whole) else 0)) for a, b in spans]


def overlapping4(packet: bytes, other: bytes) -> list[bytes]:
    """The first piece of one packet, and pieces of another one that write over it."""
    first, second = payload(packet), payload(other)
    return [
        _fourth(packet, first[:16], flags=0x2000),
        _fourth(packet, second[:8], flags=0x2000),
        _fourth(packet, second[8:], flags=1),
    ]


def _fourth(packet: bytes, body: bytes, *, options: bytes = b"", flags: int = 0) -> bytes:
    length = 20 + len(options)
    head = struct.pack("!BBHHH", 0x40 | length // 4, 0, length + len(body), 77, flags) + packet[8:10]
    head += b"\0\0" + packet[12:20] + options
    return head[:10] + struct.pack("!H", _sum(head)) + head[12:] + body


def with_headers(packet: bytes, *headers: tuple[int, bytes]) -> bytes:
    """An IPv6 packet with extension headers: (its number, what follows its next-header byte)."""
    numbers = [number for number, _ in headers] + [packet[6]]
    chain = b"".join(bytes((following,)) + body for following, (_, body) in zip(numbers[1:], headers, strict=True))
    return _sixth(packet, numbers[0], chain + payload(packet))


def options6(length: int = 6) -> bytes:
    """The body of hop-by-hop or destination options of ``length`` bytes of padding."""
    return bytes(((length + 2) // 8 - 1, 1, length - 2)) + b"\0" * (length - 2)


def routing(kind: int, left: int = 0) -> bytes:
    return bytes((2, kind, left, 0, 0, 0, 0)) + ip_address("2001:db8::99").packed


def authentication() -> bytes:
    return bytes((4, 0, 0)) + struct.pack("!II", 1, 1) + b"\0" * 12


def fragments6(packet: bytes, *cuts: int) -> list[bytes]:
    """An IPv6 packet in pieces; one piece (an atomic fragment) without any cut."""
    whole, kind = payload(packet), packet[6]
    spans = list(zip((0, *cuts), (*cuts, len(whole)), strict=True))
    return [
        _sixth(packet, FRAGMENT, bytes((kind, 0)) + struct.pack("!HI", a | (b < len(whole)), 77) + whole[a:b])
        for a, b in spans
    ]


def _sixth(packet: bytes, kind: int, body: bytes) -> bytes:
    return packet[:4] + struct.pack("!HBB", len(body), kind, packet[7]) + packet[8:40] + body


def wrapped(outer: Packet, inner: bytes) -> Packet:
    """A packet in a packet: IPIP, GRE, VXLAN as ``outer`` says."""
    return changed(outer, body=inner)


def of(packet: Packet, number: int, sport: int = 4321) -> bytes:
    return encode(packet, number, packet.sport or sport)


def _sum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


Pieces = Sequence[bytes]
