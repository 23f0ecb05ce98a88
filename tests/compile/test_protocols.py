"""Protocols that have no ports (semantics 49, 51)."""

import pytest

from nodewall.compile import compile_all
from nodewall.model.policy import ANYONE, Action, Icmp, IpProtocol, Protocol
from tests.compile.verdicts import Packet, passes
from tests.compile.world import ALL, TCP, allow, at_ports, cluster, policy, ports, rules, tier_policy

ECHO, ECHO6, GRE = Icmp(4, 8, 0), Icmp(6, 128, 0), IpProtocol(47)
ADDRESSES = {4: ("10.1.2.1", "10.1.1.1"), 6: ("fd00:1:2::1", "fd00:1:1::1")}


def reaches(state_policy: object, what: Protocol | Icmp | IpProtocol, family: int = 4) -> bool:
    source, destination = ADDRESSES[family]
    return passes(compile_all(cluster(state_policy)), Packet(source, destination, what, 9))  # type: ignore[arg-type]


EVERYTHING = [(TCP, 4), (Protocol.UDP, 6), (Protocol.SCTP, 4), (ECHO, 4), (ECHO6, 6), (GRE, 4)]


@pytest.mark.parametrize(("what", "family"), EVERYTHING)
def test_49_an_isolated_pod_is_closed_to_every_protocol(what: Protocol | Icmp | IpProtocol, family: int) -> None:
    assert not reaches(policy("x/p", ingress=()), what, family)


@pytest.mark.parametrize(("what", "family"), EVERYTHING)
def test_6_a_rule_without_ports_opens_every_protocol(what: Protocol | Icmp | IpProtocol, family: int) -> None:
    assert reaches(policy("x/p", ingress=allow(ALL)), what, family)


def test_49_ports_open_no_other_protocol() -> None:
    assert not reaches(policy("x/p", ingress=allow(at_ports(ports(TCP, 0, 65535)))), ECHO)


def denies(port: object) -> object:
    return tier_policy("x/p", ingress=rules((Action.DENY, ANYONE, (port,))))  # type: ignore[arg-type]


CASES = [
    ("echo is denied by type", Icmp(4, 8), ECHO, 4, False),
    ("and by code", Icmp(4, 8, 0), ECHO, 4, False),
    ("another type is not", Icmp(4, 0), ECHO, 4, True),
    ("nor another code", Icmp(4, 8, 1), ECHO, 4, True),
    ("any type of the family", Icmp(6), ECHO6, 6, False),
    ("not of the other family", Icmp(4), ECHO6, 6, True),
    ("a protocol by number", IpProtocol(47), GRE, 4, False),
    ("another number", IpProtocol(50), GRE, 4, True),
    ("TCP by number, whatever the port", IpProtocol(6), TCP, 4, False),
]


@pytest.mark.parametrize(
    ("port", "what", "family", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_explicit_rules(port: object, what: Protocol | Icmp | IpProtocol, family: int, expected: bool) -> None:
    assert reaches(denies(port), what, family) is expected
