"""A departed address takes its connections along, and nobody else's."""

import asyncio
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from e2e import netns
from nodewall.agent import conntrack
from nodewall.agent.netlink import ACK, DUMP, NETLINK_NETFILTER, Message, Netlink, attribute, attributes
from nodewall.model.address import Address

pytestmark = pytest.mark.kernel


def tool(name: str, *arguments: str) -> str:
    command = [*netns.argv(name), "conntrack", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def connect(name: str, source: str, target: str, port: int, *extra: str) -> None:
    ports = ("--sport", str(port), "--dport", "80", "-t", "100")
    tool(name, "-I", "-s", source, "-d", target, "-p", "udp", *ports, *extra)


def entries(name: str) -> set[tuple[str, ...]]:
    """(source, destination, source and destination of replies) of each."""
    lines = (tool(name, "-L") + tool(name, "-L", "-f", "ipv6")).splitlines()
    return {tuple(re.findall(r"(?:src|dst)=(\S+)", line)) for line in lines if "dport=80" in line}


FROM = ("10.0.1.1", "10.0.2.1", "10.0.2.1", "10.0.1.1")
TO = ("10.0.2.1", "10.0.1.1", "10.0.1.1", "10.0.2.1")
TO_BY_SERVICE = ("10.0.2.2", "10.96.0.1", "10.0.1.1", "10.0.2.2")
MASQUERADED = ("10.0.1.1", "192.0.2.1", "192.0.2.1", "198.51.100.1")
NEIGHBOUR = ("10.0.1.11", "10.0.2.1", "10.0.2.1", "10.0.1.11")
SIXTH = ("fd00:1::1", "fd00:2::1", "fd00:2::1", "fd00:1::1")
SIXTH_NEIGHBOUR = ("fd00:1::11", "fd00:2::1", "fd00:2::1", "fd00:1::11")


def fill(name: str) -> None:
    for index, (source, target, answering, back) in enumerate(
        (FROM, TO, TO_BY_SERVICE, MASQUERADED, NEIGHBOUR, SIXTH, SIXTH_NEIGHBOUR)
    ):
        reply = ("--reply-port-src", "80", "--reply-port-dst", str(1000 + index))
        connect(name, source, target, 1000 + index, "-r", answering, "-q", back, *reply)


@pytest.mark.parametrize("alike", [0, conntrack.ALIKE], ids=["looked for", "all read"])
def test_all_connections_of_the_address_go_and_no_other(
    namespace: str, alike: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conntrack, "ALIKE", alike)
    fill(namespace)
    assert len(entries(namespace)) == 7
    gone = [Address("10.0.1.1"), Address("fd00:1::1")]
    assert netns.inside(namespace, lambda: conntrack.remove(gone)) == 5
    assert entries(namespace) == {NEIGHBOUR, SIXTH_NEIGHBOUR}
    assert netns.inside(namespace, lambda: conntrack.remove(gone)) == 0


def test_connections_of_every_zone_go(namespace: str) -> None:
    """A CNI plugin may sort them into zones; an entry is only found by its zone."""
    connect(namespace, FROM[0], FROM[1], 1000)
    connect(namespace, FROM[0], FROM[1], 1000, "--zone", "5")
    connect(namespace, NEIGHBOUR[0], NEIGHBOUR[1], 1000, "--zone", "5")
    assert netns.inside(namespace, lambda: conntrack.remove([Address("10.0.1.1")])) == 2
    assert entries(namespace) == {NEIGHBOUR}


def test_the_kernel_filters_the_dump(namespace: str) -> None:
    """Otherwise every departed pod would cost a copy of the node's whole connection table."""
    fill(namespace)

    def replies() -> list[int]:
        connection = Netlink(NETLINK_NETFILTER)
        requests = (conntrack.dump_request(Address("10.0.1.1"), side) for side in conntrack.SIDES)
        counts = [len(connection.ask(1 << 8 | 1, request, DUMP)) for request in requests]
        connection.close()
        return counts

    assert netns.inside(namespace, replies) == [2, 2]


def test_entries_of_others_are_never_named_even_when_the_kernel_does_not_filter(namespace: str) -> None:
    fill(namespace)

    def requests() -> int:
        connection = Netlink(NETLINK_NETFILTER)
        everything = connection.ask(1 << 8 | 1, bytes((2, 0, 0, 0)), DUMP)
        connection.close()
        assert len(everything) >= 5
        return len(list(conntrack.delete_requests(everything, 4, frozenset({bytes((10, 0, 1, 1))}))))

    assert netns.inside(namespace, requests) == 4


def dumps(name: str, addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """How often the whole table is walked to remove the connections of these."""
    asked: list[int] = []

    class Counting(Netlink):
        def replies(self, kind: int, payload: bytes, flags: int = ACK) -> Iterator[Message]:
            asked.append(flags)
            return super().replies(kind, payload, flags)

    monkeypatch.setattr(conntrack, "Netlink", Counting)
    netns.inside(name, lambda: conntrack.remove([Address(each) for each in addresses]))
    return asked.count(DUMP)


MANY = [f"10.0.7.{number}" for number in range(1, 101)]


def test_many_addresses_are_looked_for_at_once(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each walk of the table takes milliseconds, and the pods that come wait for those that go."""
    fill(namespace)
    assert dumps(namespace, [*MANY, "fd00:1::1"], monkeypatch) == 2
    assert entries(namespace).isdisjoint({SIXTH})
    assert dumps(namespace, [], monkeypatch) == 0


def test_a_large_table_is_not_read_for_few_addresses(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(namespace)
    monkeypatch.setattr(conntrack, "ALIKE", 3)
    assert dumps(namespace, MANY[:2], monkeypatch) == 4
    assert dumps(namespace, MANY[:3], monkeypatch) == 1


@pytest.mark.parametrize("cut", [0, 4, 10, 15])
def test_an_entry_that_looks_different_is_taken_apart(namespace: str, cut: int) -> None:
    """What is read where the kernel puts it today decides nothing but what need not be looked at closely."""
    fill(namespace)
    connection = netns.inside(namespace, lambda: Netlink(NETLINK_NETFILTER))
    everything = connection.ask(1 << 8 | 1, bytes((2, 0, 0, 0)), DUMP)
    connection.close()
    wanted = frozenset({bytes((10, 0, 1, 1))})
    (first, *_) = (each for each in everything if list(conntrack.delete_requests([each], 4, wanted)))
    parts = attributes(first.payload[4:])
    turned = b"".join(attribute(kind, parts[kind]) for kind in sorted(parts, reverse=True))
    named = list(conntrack.delete_requests([first], 4, wanted))
    assert list(conntrack.delete_requests([replace(first, payload=first.payload[:4] + turned)], 4, wanted)) == named
    assert list(conntrack.delete_requests([replace(first, payload=first.payload[:cut])], 4, wanted)) == []


def test_forgetting_does_not_raise(namespace: str, caplog: pytest.LogCaptureFixture) -> None:
    fill(namespace)
    netns.inside(namespace, lambda: asyncio.run(conntrack.forget(frozenset({Address("10.0.1.1")}))))
    assert entries(namespace) == {NEIGHBOUR, SIXTH, SIXTH_NEIGHBOUR}
