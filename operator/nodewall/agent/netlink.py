"""Raw netlink: packing, unpacking and one socket that asks and gets its answer.

Used for what libnftables does not offer or does too dearly: is my table there, who changed it, which link leads to an
address, and removal of connection tracking entries. Layouts: linux/netlink.h, linux/netfilter/nfnetlink.h; numbers are
in host order, netfilter's own attribute values in network order.
"""

import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ctypes import addressof, create_string_buffer
from dataclasses import dataclass

from nodewall.model.errors import NodewallError

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
ERROR, DONE = 2, 3
_NESTED = 0x8000
TYPE_MASK = 0x3FFF
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_INSTRUCTION = struct.Struct("=HBBI")
_SO_ATTACH_FILTER = 26
_RECEIVE = 1 << 18
_REPLIES = 2 << 20
"""Bytes, of which the kernel counts some 800 for one short reply: a refused batch may have one for every request."""
_TIMEOUT_SECONDS = 5.0
_LAST_NUMBER = (1 << 32) - 1
# From linux/socket.h and linux/netlink.h: not in Python's socket module.
SO_RCVBUFFORCE = 33
_SOL_NETLINK, _CAP_ACK = 270, 10
"""An acknowledgement without the request that it is for."""


class NetlinkError(NodewallError):
    """The kernel refused a request; ``errno`` says why, ``about`` which of a batch ("" when that is not told)."""

    def __init__(self, code: int, about: str = "") -> None:
        self.errno, self.about = code, about
        super().__init__(os.strerror(code))


@dataclass(frozen=True, slots=True)
class Message:
    """One netlink message. ``port`` is the socket that caused it (0: the kernel itself)."""

    kind: int
    flags: int
    sequence: int
    port: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """A message to the kernel, before it has its number. ``about`` is for the words of a refusal."""

    kind: int
    flags: int
    payload: bytes
    about: str = ""


def message(kind: int, flags: int, payload: bytes, sequence: int = 1) -> bytes:
    return _HEADER.pack(_HEADER.size + len(payload), kind, flags, sequence, 0) + payload


def messages(datagram: bytes) -> Iterator[Message]:
    """The messages of one datagram; a cut one ends it."""
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, flags, sequence, port = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size:
            return
        yield Message(kind, flags, sequence, port, datagram[offset + _HEADER.size : offset + length])
        offset += (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + b"\0" * (-len(value) % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(parts))


def attributes(data: bytes) -> dict[int, bytes]:
    """Attribute values by type. A type that repeats keeps its last value (no message that is read here repeats one)."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            return found
        found[kind & TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def text(value: bytes) -> str:
    """A NUL-terminated string of the kernel. Foreign bytes (a process may name itself anything) are replaced."""
    return value.rstrip(b"\0").decode("utf-8", "replace")


def attach_filter(connection: socket.socket, instructions: Sequence[tuple[int, int, int, int]]) -> None:
    """Let the kernel drop datagrams by a program of classic BPF: (operation, jump if true, jump if false, operand)."""
    program = create_string_buffer(b"".join(_INSTRUCTION.pack(*each) for each in instructions))
    # struct sock_fprog; the kernel copies the program, so that it may go when this returns.
    connection.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(instructions), addressof(program))
    )


def open_socket(protocol: int) -> socket.socket:
    connection = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    connection.bind((0, 0))
    return connection


def ports_of_this_process(protocol: int) -> frozenset[int]:
    """The ports of all netlink sockets of ``protocol`` that this process has open, a library's too."""
    return frozenset(port for descriptor in _descriptors() if (port := _port_of(descriptor, protocol)) is not None)


def _descriptors() -> list[int]:
    return [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 - names only, no objects


def _port_of(descriptor: int, protocol: int) -> int | None:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return None
        copy = socket.socket(fileno=os.dup(descriptor))
    except OSError:  # closed since
        return None
    with copy:
        if copy.family != socket.AF_NETLINK or copy.proto != protocol:
            return None
        port: int = copy.getsockname()[0]
        return port


def first_number(last: int, count: int) -> int:
    """Where the numbers of so many requests begin after ``last``: at 1 again when they would not fit into 32 bits."""
    return last + 1 if last + count <= _LAST_NUMBER else 1


class Netlink:
    """A socket for requests with an answer. Blocking, one at a time: for what the kernel answers at once."""

    def __init__(self, protocol: int) -> None:
        self._socket = open_socket(protocol)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        with suppress(PermissionError):  # who may not has fewer requests to be refused
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _REPLIES)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def ask(self, kind: int, payload: bytes, flags: int = ACK) -> list[Message]:
        """Send one request and return the replies up to its acknowledgement (or the end of the dump).

        Raises NetlinkError with the kernel's errno, TimeoutError when no answer comes.
        """
        return list(self.replies(kind, payload, flags))

    def replies(self, kind: int, payload: bytes, flags: int = ACK) -> Iterator[Message]:
        """The same, one by one: for a dump that is too large to be held as a whole. The next request ends it."""
        self._forget()
        self._sequence = first_number(self._sequence, 1)
        self._socket.send(message(kind, REQUEST | flags, payload, self._sequence))
        while True:
            for reply in messages(self._socket.recv(_RECEIVE)):
                if reply.sequence != self._sequence:
                    continue  # the late answer to a request that timed out
                if reply.kind == ERROR:
                    _raise_for(reply)
                    return
                if reply.kind == DONE:
                    return
                yield reply

    def commit(self, requests: Sequence[Request]) -> None:
        """Send requests as one batch, which the kernel takes as a whole or not at all.

        Raises NetlinkError with the first errno and what it is about, TimeoutError when no answer comes.
        """
        self._forget()
        first = first_number(self._sequence, len(requests))
        self._sequence = first + len(requests) - 1
        numbered = enumerate(requests, first)
        # The last one before the end is answered whatever happens, and after everything that fails before it.
        last = self._sequence - 1
        self._socket.send(
            b"".join(
                message(each.kind, each.flags | (ACK if number == last else 0), each.payload, number)
                for number, each in numbered
            )
        )
        while True:
            for reply in messages(self._socket.recv(_RECEIVE)):
                if reply.kind == ERROR and reply.sequence >= first:
                    _raise_for(reply, requests[reply.sequence - first].about)
                    if reply.sequence == last:
                        return

    def _forget(self) -> None:
        """What is left of the last answer: the rest of a refusal. In a full buffer the next answer would be lost."""
        self._socket.setblocking(False)
        while True:
            try:
                self._socket.recv(_RECEIVE)
            except BlockingIOError:
                break
            except OSError as error:  # replies were lost, which were not waited for any more
                if error.errno != errno.ENOBUFS:
                    raise
        self._socket.settimeout(_TIMEOUT_SECONDS)


def _raise_for(reply: Message, about: str = "") -> None:
    (code,) = struct.unpack_from("=i", reply.payload)
    if code:
        raise NetlinkError(-code, about)
