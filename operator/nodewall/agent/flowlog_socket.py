"""The reader's end of an NFLOG group, on the event loop.

A flood must not hold the loop: datagrams are read for at most ``BUDGET`` at a time, and then not before ``PAUSE`` is
over. What the socket cannot hold meanwhile is dropped by the kernel and counted here by the gap in the numbers.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import unpack_from
from typing import Self

from nodewall.agent import nflog
from nodewall.agent.netlink import ERROR, NETLINK_NETFILTER, SO_RCVBUFFORCE, NetlinkError, messages, open_socket
from nodewall.agent.nflog import Logged

BUFFER = 1 << 20
"""Bytes that wait in the kernel at most."""
BUDGET = 0.004
PAUSE = 0.016
"""Seconds: a fifth of one processor at most, and never the loop for longer than ``BUDGET`` and one datagram."""
FAREWELL = 0.5
_ANSWER = 5.0


class Group:
    """Binds the group and, as a context, hands over its records. Raises OSError: another program has it, or there is
    no permission.

    ``took`` is told of each record, ``missed`` how many the kernel dropped in between.
    """

    def __init__(self, number: int, copied: int, took: Callable[[Logged], None], missed: Callable[[int], None]) -> None:
        self._number, self._took, self._missed = number, took, missed
        self._last = -1
        self._resume: asyncio.TimerHandle | None = None
        self._socket = open_socket(NETLINK_NETFILTER)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
            self._socket.settimeout(_ANSWER)
            self._socket.send(nflog.binding(number, copied))
            _accepted(self._socket)
        except OSError:
            self._socket.close()
            raise
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        if self._resume:
            self._resume.cancel()
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def finish(self) -> None:
        """Let go of the group, and take what has come for us until then, for ``FAREWELL`` at most."""
        self._socket.send(nflog.unbinding(self._number))
        end = asyncio.get_running_loop().time() + FAREWELL
        while not self._read() and asyncio.get_running_loop().time() < end:
            pass

    def _listen(self) -> None:
        self._resume = None
        asyncio.get_running_loop().add_reader(self._socket, self._turn)

    def _turn(self) -> None:
        if self._read():
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        self._resume = loop.call_later(PAUSE, self._listen)

    def _read(self) -> bool:
        """Whether everything has been read."""
        loop = asyncio.get_running_loop()
        end = loop.time() + BUDGET
        for datagram in self._datagrams():
            for record in nflog.records(datagram):
                self._take(record)
            if loop.time() >= end:
                return False
        return True

    def _datagrams(self) -> Iterator[bytes]:
        while True:
            try:
                yield self._socket.recv(nflog.DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # an overrun: the next number will say how much it was
                    raise

    def _take(self, record: Logged) -> None:
        lost = nflog.missed(self._last, record.sequence)
        if lost:
            self._missed(lost)
        self._last = record.sequence
        self._took(record)


def _accepted(connection: socket.socket) -> None:
    """Wait for the kernel's word on the binding. Raises OSError."""
    for reply in messages(connection.recv(nflog.DATAGRAM)):
        if reply.kind == ERROR:
            (code,) = unpack_from("=i", reply.payload)
            if code:
                raise OSError(-code, str(NetlinkError(-code)))


def is_read(group: int) -> bool:
    """Whether some process of this network namespace reads the group now; only one at a time can."""
    try:
        listed = Path("/proc/thread-self/net/netfilter/nfnetlink_log").read_text()
    except OSError:
        return False  # nothing has ever been read here
    return any(line.split()[:1] == [str(group)] for line in listed.splitlines())
