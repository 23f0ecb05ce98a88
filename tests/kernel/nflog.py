"""What arrives at an NFLOG group of a network namespace."""

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from e2e import netns

_NFLOG, _PACKET, _CONFIG = 4 << 8, 0, 1
_REQUEST_ACK = 1 | 4
_PREFIX, _PAYLOAD, _BIND = 10, 9, 1
_WAIT = 5.0


@dataclass(frozen=True, slots=True)
class Record:
    prefix: str
    packet: bytes


class Group:
    """A bound group; records wait in its socket until they are taken."""

    def __init__(self, number: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        self._socket.settimeout(_WAIT)
        self._request(number, struct.pack("=HHBxxx", 5, 1, _BIND))
        self._request(number, struct.pack("!IBB", 0xFFFF, 2, 0), kind=2)
        self._request(number, struct.pack("!I", 1), kind=5)  # hand each record over at once

    def close(self) -> None:
        self._socket.close()

    def records(self, until: str) -> list[Record]:
        """All records up to the first with the prefix ``until``, that one left out."""
        found: list[Record] = []
        while True:
            for record in _records(self._socket.recv(1 << 20)):
                if record.prefix == until:
                    return found
                found.append(record)

    def _request(self, number: int, body: bytes, kind: int = 0) -> None:
        if kind:
            body = struct.pack("=HH", 4 + len(body), kind) + body
        body += b"\0" * (-len(body) % 4)
        message = struct.pack("=BBH", 0, 0, socket.htons(number)) + body
        self._socket.send(struct.pack("=IHHII", 16 + len(message), _NFLOG | _CONFIG, _REQUEST_ACK, 0, 0) + message)
        (error,) = struct.unpack_from("=i", self._socket.recv(4096), 16)
        if error:
            raise OSError(-error, errno.errorcode.get(-error, "unknown"))


@contextmanager
def group(namespace: str, number: int) -> Iterator[Group]:
    made = netns.inside(namespace, lambda: Group(number))
    try:
        yield made
    finally:
        made.close()


def _records(data: bytes) -> Iterator[Record]:
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        if kind == _NFLOG | _PACKET:
            attributes = dict(_attributes(data[20:length]))
            yield Record(attributes[_PREFIX].rstrip(b"\0").decode(), attributes.get(_PAYLOAD, b""))
        data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x7FFF, data[4:length]
        data = data[(length + 3) & ~3 :]
