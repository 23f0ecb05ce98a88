"""The kernel as a judge: thousands of packets a second through a rendered table.

A packet is allowed when it comes out where it is going, and nobody waits for one that does not: every lot of packets
is followed by a packet that nothing denies, and because one CPU carries them all in order, what has not arrived
before that one never will.
"""

import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from enum import Enum
from ipaddress import ip_address
from itertools import count
from select import select
from types import TracebackType
from typing import Any, Self

from e2e import netns
from tests.kernel import nft
from tests.kernel.packets import ICMP, ICMPV6, WITH_PORTS, Packet, encode, ends, number_of, reset_ports
from tests.kernel.router import ROUTER_MAC, WORLD, Router, router

_ETHERTYPE = {4: 0x0800, 6: 0x86DD}
_TOLD_APART = (*WITH_PORTS, ICMP, ICMPV6)
"""By the port, or the identifier, that each packet has for itself."""
_LOT = 200
"""Packets between two sentinels: fewer than a CPU's backlog (1,000) can hold."""
_DEADLINE = 10.0
_SENTINEL = Packet("198.18.255.1", "198.18.255.2", 17, dport=9)
_FIRST_PORT, _PORTS = 20000, 40000
_BUFFER = 32 << 20
_FLUSH_CONNTRACK = struct.pack("=IHHIIBBH", 20, 1 << 8 | 2, 1 | 4, 1, 0, 0, 0, 0)
_SO_RCVBUFFORCE = 33


class Outcome(Enum):
    """REJECTED: the sender was told. DROPPED: nothing came back."""

    PASSED = "passed"
    REJECTED = "rejected"
    DROPPED = "dropped"


class Checker:
    """A node whose table can be changed, and packets sent through it. Use as a context manager."""

    def __init__(self) -> None:
        self._node: AbstractContextManager[Router] = router()
        self._raw: dict[tuple[int, int], socket.socket] = {}
        self._numbers = count(1)

    def __enter__(self) -> Self:
        self.router = self._node.__enter__()
        self._around = netns.inside(self.router.around, _packet_sockets)
        self._out, self._netlink = netns.inside(self.router.name, _router_sockets)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (*self._around.values(), *self._out.values(), *self._raw.values(), self._netlink):
            each.close()
        self._node.__exit__(kind, error, trace)

    def load(self, commands: Any) -> None:
        """Apply a transaction in libnftables' JSON schema."""
        nft.load(self.router.name, commands)

    def arrange(self, pods: Iterable[Sequence[str]], own: Iterable[str] = ()) -> None:
        """Which addresses are local pods' (one sequence per pod), and which the node's own. All others are out in the
        world.
        """
        links = self.router.pod_links
        routes = {address: links[i % len(links)] for i, addresses in enumerate(pods) for address in addresses}
        self.router.arrange(routes, set(own))

    def verdicts(self, packets: Iterable[Packet]) -> list[bool]:
        """For each packet: did it get where it was going? Every one is the first of its connection."""
        return [outcome is Outcome.PASSED for outcome in self.outcomes(packets)]

    def outcomes(self, packets: Iterable[Packet]) -> list[Outcome]:
        packets = list(packets)
        results = [Outcome.DROPPED] * len(packets)
        with _on_one_cpu():
            for wave in _waves(packets):
                self.forget_connections()
                for start in range(0, len(wave), _LOT):
                    self._judge(packets, wave[start : start + _LOT], results)
        return results

    def forget_connections(self) -> None:
        """Empty the router's connection tracking."""
        self._netlink.send(_FLUSH_CONNTRACK)
        (error,) = struct.unpack_from("=i", self._netlink.recv(4096), 16)
        if error:
            raise OSError(-error, os.strerror(-error))

    def send(self, packets: Iterable[Packet]) -> list[Outcome]:
        """Like ``outcomes``, but connections of earlier packets are remembered, and ports are as the packets say."""
        packets = list(packets)
        results = [Outcome.DROPPED] * len(packets)
        with _on_one_cpu():
            self._judge(packets, range(len(packets)), results)
        return results

    def came_through(self, link: str, pieces: Sequence[bytes], number: int) -> bool:
        """Whether the packet with this number, sent in from a link as these pieces, is forwarded, whole or in part."""
        family = pieces[0][0] >> 4
        with _on_one_cpu():
            for piece in pieces:
                target = bytes.fromhex(ROUTER_MAC.replace(":", ""))
                self._around[family].sendto(piece, (link, _ETHERTYPE[family], 0, 0, target))
            seen = self._until_sentinel()
        return any(number_of(data) == number and ends(data) == ends(pieces[0]) for data in seen)

    def next_number(self) -> int:
        """One that no packet had yet."""
        return next(self._numbers)

    def _until_sentinel(self) -> list[bytes]:
        """All that comes out."""
        sentinel = next(self._numbers)
        self._send(_SENTINEL, encode(_SENTINEL, sentinel, 9))
        end, seen = time.monotonic() + _DEADLINE, list[bytes]()
        while sentinel not in map(number_of, seen):
            select(self._around.values(), (), (), 0.1)
            seen += _drain(self._around.values())
            if time.monotonic() > end:
                raise TimeoutError("the sentinel did not come through: the router does not forward at all")
        return seen

    def _judge(self, packets: Sequence[Packet], lot: Sequence[int], results: list[Outcome]) -> None:
        sent: dict[int, int] = {}
        lot_ends: dict[tuple[bytes, bytes, int, int], int] = {}
        for index in lot:
            packet, number = packets[index], next(self._numbers)
            sport = packet.sport or _FIRST_PORT + number % _PORTS
            sent[number] = index
            lot_ends[_key(packet, sport)] = number
            self._listen(packet)
            self._send(packet, encode(packet, number, sport))
        self._collect(packets, sent, lot_ends, results)

    def _send(self, packet: Packet, data: bytes) -> None:
        if packet.source in self.router.own:
            with suppress(PermissionError):  # so a sender of its own learns of a drop
                self._out[packet.family].sendto(data, (packet.destination, 0))
            return
        link = packet.link or self.router.routes.get(packet.source, WORLD)
        frame = (link, _ETHERTYPE[packet.family], 0, 0, bytes.fromhex(ROUTER_MAC.replace(":", "")))
        self._around[packet.family].sendto(data, frame)

    def _listen(self, packet: Packet) -> None:
        key = (packet.family, packet.proto)
        if packet.destination in self.router.own and key not in self._raw:
            self._raw[key] = netns.inside(self.router.name, lambda: _raw_socket(*key))

    def _collect(
        self,
        packets: Sequence[Packet],
        sent: Mapping[int, int],
        lot_ends: Mapping[tuple[bytes, bytes, int, int], int],
        results: list[Outcome],
    ) -> None:
        sentinel = next(self._numbers)
        self._send(_SENTINEL, encode(_SENTINEL, sentinel, 9))
        end, seen = time.monotonic() + _DEADLINE, False
        while not seen:
            select(self._around.values(), (), (), 0.1)
            for data in _drain(self._around.values()):
                number = number_of(data)
                seen = seen or number == sentinel
                _note(data, number, packets, sent, lot_ends, results)
            if time.monotonic() > end:
                raise TimeoutError("the sentinel did not come through: the router does not forward at all")
        for data in _drain(self._raw.values()):
            number = number_of(data)
            if number in sent:
                results[sent[number]] = Outcome.PASSED


def _note(
    data: bytes,
    number: int,
    packets: Sequence[Packet],
    sent: Mapping[int, int],
    lot_ends: Mapping[tuple[bytes, bytes, int, int], int],
    results: list[Outcome],
) -> None:
    """What a packet seen outside says about one of ours: it came through, or it was answered."""
    source, destination = ends(data)
    ports = reset_ports(data)
    itself = number in sent
    if ports and not itself:
        number = lot_ends.get((destination, source, ports[1], ports[0]), 0)
    if number not in sent:
        return
    index = sent[number]
    packet = packets[index]
    there, here = packet.arrives_as or (packet.source, packet.destination)
    ours = (ip_address(there).packed, ip_address(here).packed)
    if itself and (source, destination) == ours:
        results[index] = Outcome.PASSED
    elif results[index] is Outcome.DROPPED:
        results[index] = Outcome.REJECTED


def _key(packet: Packet, sport: int) -> tuple[bytes, bytes, int, int]:
    return (ip_address(packet.source).packed, ip_address(packet.destination).packed, sport, packet.dport)


def _waves(packets: Sequence[Packet]) -> Iterator[list[int]]:
    """Indexes of packets, split so that within a wave no packet can be taken for the answer to another one.

    A protocol that is unknown to conntrack has one connection per pair of addresses, so there the second packet waits.
    """
    left = list(range(len(packets)))
    while left:
        taken: set[tuple[frozenset[str], int]] = set()
        wave, later = [], []
        for index in left:
            packet = packets[index]
            pair = (frozenset((packet.source, packet.destination)), packet.proto)
            if packet.proto not in _TOLD_APART and pair in taken:
                later.append(index)
                continue
            taken.add(pair)
            wave.append(index)
        yield wave
        left = later


@contextmanager
def _on_one_cpu() -> Iterator[None]:
    """Packets that one CPU sends over veth stay in their order."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _drain(sockets: Iterable[socket.socket]) -> Iterator[bytes]:
    for each in sockets:
        while True:
            try:
                yield each.recv(65535)
            except BlockingIOError:
                break


def _packet_sockets() -> dict[int, socket.socket]:
    made = {}
    for family, ethertype in _ETHERTYPE.items():
        made[family] = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ethertype))
        _roomy(made[family])
    return made


def _router_sockets() -> tuple[dict[int, socket.socket], socket.socket]:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    netlink.settimeout(_DEADLINE)
    return {
        4: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW),
        6: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW),
    }, netlink


def _raw_socket(family: int, protocol: int) -> socket.socket:
    """Gets what the node itself accepts."""
    made = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_RAW, protocol)
    _roomy(made)
    return made


def _roomy(made: socket.socket) -> None:
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    made.setblocking(False)
