"""TCP connections as packets, sent many at a time.

A connection is what a short request is on the wire, nine packets: handshake, request, acknowledgement, answer, and the
end from both sides. Sequence numbers are right, so that conntrack takes all of them for one connection.
"""

import ctypes
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

FIN, SYN, PSH, ACK = 1, 2, 8, 16
REQUEST, ANSWER = 100, 400
"""Bytes."""
PACKETS = 9
"""To a connection."""
_TOGETHER = 64
"""Connections whose packets take turns, as they do where many clients come at once."""
_CHUNK = 512
_ETHERTYPE_IP = 0x0800
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Frame:
    """An IPv4 packet, and whether it comes from the client's side."""

    data: bytes
    from_client: bool


@dataclass(frozen=True, slots=True)
class Flow:
    client: str
    server: str
    sport: int
    dport: int = 80


def connections(flows: Sequence[Flow]) -> list[Frame]:
    """All packets of all flows, in the order in which they are sent."""
    whole = [list(_connection(flow)) for flow in flows]
    groups = (whole[start : start + _TOGETHER] for start in range(0, len(whole), _TOGETHER))
    return [flow[step] for group in groups for step in range(PACKETS) for flow in group]


def openings(flows: Sequence[Flow]) -> list[Frame]:
    """The first packet of each flow."""
    return [next(_connection(flow)) for flow in flows]


def _connection(flow: Flow) -> Iterator[Frame]:
    there = _Side(flow.client, flow.server, flow.sport, flow.dport)
    back = _Side(flow.server, flow.client, flow.dport, flow.sport)
    c, s, after, answered = 1000, 5000, 1001 + REQUEST, 5001 + ANSWER
    yield Frame(there.packet(c, 0, SYN), True)
    yield Frame(back.packet(s, c + 1, SYN | ACK), False)
    yield Frame(there.packet(c + 1, s + 1, ACK), True)
    yield Frame(there.packet(c + 1, s + 1, PSH | ACK, REQUEST), True)
    yield Frame(back.packet(s + 1, after, ACK), False)
    yield Frame(back.packet(s + 1, after, PSH | ACK, ANSWER), False)
    yield Frame(there.packet(after, answered, FIN | ACK), True)
    yield Frame(back.packet(answered, after + 1, FIN | ACK), False)
    yield Frame(there.packet(after + 1, answered + 1, ACK), True)


@dataclass(frozen=True, slots=True)
class _Side:
    source: str
    destination: str
    sport: int
    dport: int

    def packet(self, seq: int, ack: int, flags: int, size: int = 0) -> bytes:
        """Without a TCP checksum: a network card or a veth has vouched for it already, and nobody looks again."""
        tcp = struct.pack("!HHIIBBHHH", self.sport, self.dport, seq, ack, 5 << 4, flags, 65535, 0, 0)
        ends = socket.inet_aton(self.source) + socket.inet_aton(self.destination)
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 40 + size, 0, 0x4000, 64, 6, 0) + ends
        return ip[:10] + struct.pack("!H", _checksum(ip)) + ip[12:] + tcp + bytes(size)


def _checksum(header: bytes) -> int:
    total: int = sum(struct.unpack("!10H", header))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


class _Address(ctypes.Structure):
    """struct sockaddr_ll"""

    _fields_ = (
        ("family", ctypes.c_ushort),
        ("protocol", ctypes.c_ushort),
        ("ifindex", ctypes.c_int),
        ("hatype", ctypes.c_ushort),
        ("pkttype", ctypes.c_ubyte),
        ("halen", ctypes.c_ubyte),
        ("addr", ctypes.c_ubyte * 8),
    )


class _Piece(ctypes.Structure):
    """struct iovec"""

    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr"""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr"""

    _fields_ = (("header", _Header), ("len", ctypes.c_uint))


class Burst:
    """Frames laid out for ``sendmmsg``, so that sending them costs Python nothing. Clients are behind one link, servers
    behind another.
    """

    def __init__(self, frames: Sequence[Frame], mac: str) -> None:
        self._keep = [ctypes.create_string_buffer(frame.data, len(frame.data)) for frame in frames]
        self._client, self._server = _address(mac), _address(mac)
        self._pieces = (_Piece * len(frames))()
        self._messages = (_Message * len(frames))()
        for number, (frame, data) in enumerate(zip(frames, self._keep, strict=True)):
            self._pieces[number] = _Piece(ctypes.addressof(data), len(frame.data))
            address = self._client if frame.from_client else self._server
            piece = ctypes.addressof(self._pieces) + number * ctypes.sizeof(_Piece)
            name = ctypes.addressof(address)
            self._messages[number] = _Message(_Header(name, ctypes.sizeof(address), piece, 1, None, 0, 0), 0)

    def __len__(self) -> int:
        return len(self._messages)

    def send(self, sender: socket.socket, clients: int, servers: int) -> None:
        """Send all; ``clients`` and ``servers`` are the indexes of their links. Raises OSError when not all went."""
        self._client.ifindex, self._server.ifindex = clients, servers
        start, size = ctypes.addressof(self._messages), ctypes.sizeof(_Message)
        for first in range(0, len(self), _CHUNK):
            count = min(_CHUNK, len(self) - first)
            sent = _libc.sendmmsg(sender.fileno(), ctypes.c_void_p(start + first * size), count, 0)
            if sent != count:
                raise OSError(ctypes.get_errno(), f"{sent} of {count} packets were sent")


def _address(mac: str) -> _Address:
    packed = bytes.fromhex(mac.replace(":", ""))
    return _Address(
        socket.AF_PACKET, socket.htons(_ETHERTYPE_IP), 0, 0, 0, len(packed), (ctypes.c_ubyte * 8)(*packed, 0, 0)
    )


def packet_socket() -> socket.socket:
    """One that hears nothing and sends whole IP packets."""
    return socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
