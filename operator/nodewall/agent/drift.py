"""Who else writes to our table, and when: the kernel's own announcements of every nftables change.

A transaction is announced as one message per object, then one that names the writer (process id and name). Messages
carry the port of the writer's socket, by which our own are told from others'. Of other tables' messages only the bytes
are scanned: an iptables-restore of 10,000 rules costs a search for our name.

Layouts: linux/netfilter/nf_tables.h.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import pack, unpack
from typing import Self

from nodewall.agent.kernel import TABLE
from nodewall.agent.netlink import (
    NETLINK_NETFILTER,
    SO_RCVBUFFORCE,
    Message,
    attach_filter,
    attributes,
    messages,
    open_socket,
    ports_of_this_process,
    text,
)
from nodewall.telemetry.lines import one_line

log = logging.getLogger(__name__)

_SUBSYSTEM = 10 << 8
_NEWGEN = _SUBSYSTEM | 15
_GENERATION_PID, _GENERATION_COMMAND = 2, 3
_TABLE_NAME = 1
"""Every kind of object carries its table's name as attribute 1."""
_INET = 1
_NAME = TABLE.encode() + b"\0"

_SOL_NETLINK, _ADD_MEMBERSHIP, _NFNLGRP_NFTABLES = 270, 1, 7
_BUFFER = 32 << 20
"""Bytes: announcements of a transaction with 300,000 elements. The kernel takes what is used, not this."""
_DATAGRAM = 1 << 17
_AT_ONCE = 64
"""Datagrams read before the event loop has its turn again."""


@dataclass(frozen=True, slots=True)
class Touched:
    """Ports of other writers whose transaction has touched our table, and whose name is yet to come."""

    ports: frozenset[int] = frozenset()


def hear(touched: Touched, datagram: bytes, own: Callable[[int], bool]) -> tuple[Touched, list[str]]:
    """Take in one datagram. Returns what is still open, and who changed our table, in words."""
    if not touched.ports and _NAME not in datagram:
        return touched, []
    ports, writers = set(touched.ports), list[str]()
    for message in messages(datagram):
        if message.kind == _NEWGEN and message.port in ports:
            ports.discard(message.port)
            writers.append(_writer(message))
        elif _is_ours(message) and not own(message.port):
            ports.add(message.port)
    return Touched(frozenset(ports)), writers


def _is_ours(message: Message) -> bool:
    if message.kind & 0xFF00 != _SUBSYSTEM or message.payload[:1] != bytes((_INET,)) or _NAME not in message.payload:
        return False
    return attributes(message.payload[4:]).get(_TABLE_NAME) == _NAME


def _writer(message: Message) -> str:
    found = attributes(message.payload[4:])
    (pid,) = unpack(">I", found.get(_GENERATION_PID, bytes(4)))
    command = one_line(text(found.get(_GENERATION_COMMAND, b"")))
    return f"{command or 'a process without a name'} (pid {pid})"


def deaf_to(port: int) -> list[tuple[int, int, int, int]]:
    """A socket filter that drops datagrams of this port in the kernel.

    Without it each replace of 100,000 elements by ourselves would come back as 6 MB to read.
    """
    # Classic BPF loads in network order; the header's port (offset 12) is in host order.
    (swapped,) = unpack(">I", pack("=I", port))
    load, jump_equal, give = 0x20, 0x15, 0x06
    return [(load, 0, 0, 12), (jump_equal, 0, 1, swapped), (give, 0, 0, 0), (give, 0, 0, 0xFFFFFFFF)]


class Ears:
    """Listens on the event loop, as a context.

    ``changed`` is told who changed our table; ``missed`` that announcements were lost. Raises OSError when there are
    none to be had.
    """

    def __init__(self, changed: Callable[[str], None], missed: Callable[[], None]) -> None:
        self._changed, self._missed = changed, missed
        self._touched = Touched()
        self._own: frozenset[int] = frozenset()
        self._socket = open_socket(NETLINK_NETFILTER)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _BUFFER)
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
        except OSError:
            self._socket.close()
            raise
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._socket, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        for datagram in self._datagrams():
            self._touched, writers = hear(self._touched, datagram, self._is_own)
            for writer in writers:
                self._changed(writer)

    def _datagrams(self) -> Iterator[bytes]:
        for _ in range(_AT_ONCE):
            try:
                yield self._socket.recv(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._touched = Touched()
                self._missed()

    def _is_own(self, port: int) -> bool:
        """libnftables may open another socket at any time, so an unknown port is looked up first."""
        if port not in self._own:
            self._own = ports_of_this_process(NETLINK_NETFILTER)
            if port in self._own:
                attach_filter(self._socket, deaf_to(port))
        return port in self._own
