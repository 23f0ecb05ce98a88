"""Packets as they are on the wire, made of their parts."""

import struct
from ipaddress import ip_address

FOUR = ("10.0.0.1", "10.0.0.2")
SIX = ("fd00::1", "fd00::2")


def ipv4(protocol: int, body: bytes, *, options: bytes = b"", fragment: int = 0) -> bytes:
    """From FOUR[0] to FOUR[1]. ``fragment``: offset in units of 8 bytes."""
    length = 20 + len(options)
    head = bytes((0x40 | length // 4, 0)) + struct.pack(">HHHBBH", length + len(body), 1, fragment, 64, protocol, 0)
    return head + b"".join(ip_address(each).packed for each in FOUR) + options + body


def ipv6(protocol: int, body: bytes) -> bytes:
    """From SIX[0] to SIX[1]; ``protocol`` is that of the first header behind."""
    head = struct.pack(">IHBB", 6 << 28, len(body), protocol, 64)
    return head + b"".join(ip_address(each).packed for each in SIX) + body


def extension(following: int, *, words: int = 0) -> bytes:
    """A header of 8 bytes and 8 for each word more (4 in an authentication header, whose length counts otherwise)."""
    return bytes((following, words)) + bytes(6 + 8 * words)


def fragment(following: int, offset: int) -> bytes:
    return struct.pack(">BBHI", following, 0, offset << 3, 7)


def ports(source: int, destination: int) -> bytes:
    return struct.pack(">HH", source, destination) + bytes(16)


def icmp(kind: int, code: int) -> bytes:
    return bytes((kind, code)) + bytes(6)
