"""A departed address takes its connections along, and nobody else's."""

import asyncio
import re
import subprocess

import pytest

from e2e import netns
from nodewall.agent import conntrack
from nodewall.agent.netlink import DUMP, NETLINK_NETFILTER, Netlink
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


def test_all_connections_of_the_address_go_and_no_other(namespace: str) -> None:
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
        return len(list(conntrack.delete_requests(everything, Address("10.0.1.1"))))

    assert netns.inside(namespace, requests) == 4


def test_forgetting_does_not_raise(namespace: str, caplog: pytest.LogCaptureFixture) -> None:
    fill(namespace)
    netns.inside(namespace, lambda: asyncio.run(conntrack.forget(frozenset({Address("10.0.1.1")}))))
    assert entries(namespace) == {NEIGHBOUR, SIXTH, SIXTH_NEIGHBOUR}
