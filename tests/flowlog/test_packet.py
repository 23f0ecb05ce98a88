"""What is read from the first bytes of a packet, whatever they are."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodewall.agent.flowlog_packet import Packet, parse
from tests.flowlog.packets import FOUR, SIX, extension, fragment, icmp, ipv4, ipv6, ports

ENDS = {4: tuple(ip_address(each).packed for each in FOUR), 6: tuple(ip_address(each).packed for each in SIX)}


def four(protocol: int, **more: int) -> Packet:
    return Packet(ENDS[4][0], ENDS[4][1], protocol, **more)


def six(protocol: int, **more: int) -> Packet:
    return Packet(ENDS[6][0], ENDS[6][1], protocol, **more)


PORTS = {"source_port": 4711, "destination_port": 80}
ECHO4, ECHO6 = {"icmp_type": 8, "icmp_code": 0}, {"icmp_type": 128, "icmp_code": 0}
CASES = {
    "tcp": (ipv4(6, ports(4711, 80)), four(6, **PORTS)),
    "udp": (ipv4(17, ports(4711, 80)), four(17, **PORTS)),
    "sctp": (ipv4(132, ports(4711, 80)), four(132, **PORTS)),
    "icmp": (ipv4(1, icmp(8, 0)), four(1, **ECHO4)),
    "gre": (ipv4(47, bytes(8)), four(47)),
    "options": (ipv4(6, ports(4711, 80), options=bytes(8)), four(6, **PORTS)),
    "first fragment": (ipv4(17, ports(4711, 80), fragment=0x2000), four(17, **PORTS)),
    "later fragment": (ipv4(17, ports(4711, 80), fragment=0x0010), four(17)),
    "cut before the ports": (ipv4(6, ports(4711, 80))[:22], four(6)),
    "cut after the ports": (ipv4(6, ports(4711, 80))[:24], four(6, **PORTS)),
    "tcp6": (ipv6(6, ports(4711, 80)), six(6, **PORTS)),
    "icmp6": (ipv6(58, icmp(128, 0)), six(58, **ECHO6)),
    "nothing behind": (ipv6(59, b""), six(59)),
    "hop by hop": (ipv6(0, extension(6) + ports(4711, 80)), six(6, **PORTS)),
    "long options": (ipv6(60, extension(6, words=2) + ports(4711, 80)), six(6, **PORTS)),
    "authentication": (ipv6(51, bytes((6, 4)) + bytes(22) + ports(4711, 80)), six(6, **PORTS)),
    "first fragment6": (ipv6(44, fragment(17, 0) + ports(4711, 80)), six(17, **PORTS)),
    "later fragment6": (ipv6(44, fragment(17, 9) + ports(4711, 80)), six(17)),
    "several": (ipv6(0, extension(43) + extension(60) + extension(58) + icmp(128, 0)), six(58, **ECHO6)),
    "cut in an extension": (ipv6(0, extension(6))[:44], six(0)),
}


@pytest.mark.parametrize(("data", "expected"), CASES.values(), ids=CASES)
def test_a_packet_says_who_wants_what(data: bytes, expected: Packet) -> None:
    assert parse(data) == expected


@pytest.mark.parametrize("data", [b"", b"\x45", bytes(64), ipv4(6, b"")[:19], ipv6(6, b"")[:39], b"\x75" + bytes(60)])
def test_what_has_no_addresses_is_no_packet(data: bytes) -> None:
    assert parse(data) is None


@given(st.sampled_from([b"\x45", b"\x4f", b"\x60", b""]), st.binary(max_size=140))
def test_nothing_in_a_packet_is_an_error(first: bytes, rest: bytes) -> None:
    found = parse(first + rest)
    assert found is None or len(found.source) == len(found.destination)


def test_extensions_without_end_are_given_up() -> None:
    assert parse(ipv6(0, extension(0) * 30)) == six(0)
