"""Records and counters of a real kernel: they arrive, losses are counted, and a flood holds nobody up."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise
from typing import TypeVar

import pytest

from e2e import netns
from nodewall.agent import flowlog_counters
from nodewall.agent.flowlog_packet import parse
from nodewall.agent.flowlog_socket import Group
from nodewall.agent.nflog import Logged
from tests.kernel import nft

pytestmark = pytest.mark.kernel

T = TypeVar("T")
GROUP = 5577
TABLE = """
table inet nodewall {
    counter r_r1 { }
    counter other { }
    chain out {
        type filter hook output priority 0; policy accept;
        udp dport 9 counter name r_r1 log prefix "deny:r1" group 5577 snaplen 64
        udp dport 10 log prefix "foreign" group 5577
    }
    chain in {
        type filter hook input priority 0; policy accept;
        udp dport 11 log prefix "accept:r2" group 5577 snaplen 64
    }
}
"""


@pytest.fixture
def place() -> Iterator[str]:
    name = f"nw-flowlog-{os.getpid()}"
    netns.add(name)
    try:
        nft.load_text(name, TABLE)
        yield name
    finally:
        netns.delete(name)


def inside(place: str, work: Callable[[], Awaitable[T]]) -> T:
    async def main() -> T:
        return await work()

    return netns.inside(place, lambda: asyncio.run(main()))


def send(port: int, count: int = 1, address: str = "127.0.0.1") -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        for _ in range(count):
            sender.sendto(b"x", (address, port))


async def come(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for is of the kernel
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_record_arrives_with_prefix_packet_and_time(place: str, address: str) -> None:
    async def work() -> None:
        found: list[Logged] = []
        with Group(GROUP, 64, found.append, lambda _: None):
            send(9, address=address)
            send(11, address=address)
            await come(lambda: len(found) == 2)
        assert [each.prefix for each in found] == ["deny:r1", "accept:r2"]
        assert [each.to_node for each in found] == [False, True]
        for each, port in zip(found, (9, 11), strict=True):
            packet = parse(each.packet)
            assert packet
            assert (packet.protocol, packet.destination_port) == (17, port)
        assert found[1].sequence == found[0].sequence + 1

    inside(place, work)


def test_a_group_has_one_reader(place: str) -> None:
    async def work() -> None:
        first = Group(GROUP, 64, lambda _: None, lambda _: None)
        with first, pytest.raises(OSError, match=r"not permitted|busy"):
            Group(GROUP, 64, lambda _: None, lambda _: None)
        with Group(GROUP, 64, lambda _: None, lambda _: None):
            pass

    inside(place, work)


def test_what_does_not_fit_is_counted(place: str) -> None:
    async def work() -> tuple[int, int, int]:
        found, lost, sent = list[Logged](), list[int](), 20_000
        with Group(GROUP, 64, found.append, lost.append):
            send(9, sent)  # the loop does not read meanwhile
            async with asyncio.timeout(10):
                while len(found) + sum(lost) < sent:  # the next number says what was lost before it
                    send(9)
                    sent += 1
                    await asyncio.sleep(0.1)
        return sent, len(found), sum(lost)

    sent, taken, lost = inside(place, work)
    assert taken + lost == sent
    assert taken > 100
    assert lost > 100


def test_the_loop_turns_for_others_while_a_flood_is_read(place: str) -> None:
    async def work() -> list[int]:
        found, at_turns = list[Logged](), list[int]()
        with Group(GROUP, 64, found.append, lambda _: None):
            send(9, 10_000)
            while not at_turns or at_turns[-1] < 5000:
                await asyncio.sleep(0)
                at_turns.append(len(found))
        return at_turns

    steps = inside(place, work)
    biggest = max(later - earlier for earlier, later in pairwise(steps))
    assert biggest < 5000  # a turn of the loop is a part of it


def test_counters_are_read_by_name(place: str) -> None:
    async def work() -> tuple[dict[str, flowlog_counters.Count], dict[str, int]]:
        send(9, 3)
        found = flowlog_counters.read()
        return found, flowlog_counters.by_rule(found)

    found, hits = inside(place, work)
    assert found == {"r_r1": flowlog_counters.Count(3, 3 * 29), "other": flowlog_counters.Count(0, 0)}
    assert hits == {"r1": 3}


def test_without_a_table_there_are_no_counters(place: str) -> None:
    nft.load_text(place, "delete table inet nodewall")

    async def work() -> dict[str, flowlog_counters.Count]:
        return flowlog_counters.read()

    assert inside(place, work) == {}
