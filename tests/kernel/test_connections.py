"""Replies, errors, neighbour discovery, and packets that conntrack does not understand."""

import pytest

from nodewall.model.policy import Action, Direction, Icmp, PortRange, Protocol, Tier
from nodewall.model.ruleset import Isolation, Match, Rule, RuleClass
from tests.kernel.checker import Checker
from tests.kernel.packets import ICMP, ICMPV6, TCP, UDP, Packet, encode
from tests.kernel.scenes import (
    DROPPED,
    FAMILIES,
    OTHER,
    OWN,
    PASSED,
    POD,
    WORLD,
    programmed,
    ruleset,
)

pytestmark = pytest.mark.kernel

_WEB = Rule("web", Tier.NETWORK_POLICY, Action.ACCEPT, Match(any_peer=True, ports=(PortRange(Protocol.TCP, 80, 80),)))
ONLY_WEB = RuleClass("in", Direction.INGRESS, (_WEB,), Isolation("i", ("a/b",), 1))
CLOSED_IN = RuleClass("in", Direction.INGRESS, (), Isolation("i", ("a/b",), 1))
CLOSED_OUT = RuleClass("out", Direction.EGRESS, (), Isolation("o", ("a/b",), 1))
DENY_ALL_OUT = RuleClass(
    "out", Direction.EGRESS, (Rule("d", Tier.ADMIN, Action.DENY, Match(any_peer=True, any_port=True)),)
)

SYN_FIN, ACK, RST = 0x03, 0x10, 0x04
NEIGHBOUR, ADVERT, REDIRECT = (133, 135, 136), 134, 137
_LINK_LOCAL = "fe80::99"


@pytest.mark.parametrize("i", FAMILIES)
def test_answers_pass_though_the_other_direction_is_isolated(checker: Checker, i: int) -> None:
    programmed(checker, ruleset(ingress=CLOSED_IN))
    ask = Packet(POD[i], WORLD[i], UDP, dport=53, sport=5000)
    answer = Packet(WORLD[i], POD[i], UDP, dport=5000, sport=53)
    checker.forget_connections()
    assert checker.send([answer]) == [DROPPED]
    checker.forget_connections()
    assert checker.send([ask, answer, answer, ask]) == [PASSED] * 4


@pytest.mark.parametrize("i", FAMILIES)
def test_errors_pass_when_they_are_about_an_accepted_connection(checker: Checker, i: int) -> None:
    """Path MTU and unreachable, from any router on the way (semantics 49); others are judged."""
    programmed(checker, ruleset(ingress=CLOSED_IN))
    about = encode(Packet(POD[i], WORLD[i], UDP, dport=53, sport=5000), 1, 5000)
    proto, kind = ((ICMP, 3), (ICMPV6, 1))[i]
    router = ("198.51.100.1", "2001:db8:f::1")[i]
    error = Packet(router, POD[i], proto, icmp_type=kind, icmp_code=4 - i, body=about)
    checker.forget_connections()
    assert checker.send([error]) == [DROPPED]
    assert checker.send([Packet(POD[i], WORLD[i], UDP, dport=53, sport=5000), error]) == [PASSED, PASSED]


@pytest.mark.parametrize("i", FAMILIES)
@pytest.mark.parametrize("flags", [SYN_FIN, ACK, RST])
def test_packets_out_of_the_blue_are_judged_like_new_ones(checker: Checker, i: int, flags: int) -> None:
    """Also those that conntrack calls invalid (semantics 51)."""
    programmed(checker, ruleset(ingress=ONLY_WEB))
    packets = [Packet(WORLD[i], POD[i], TCP, dport=port, flags=flags) for port in (80, 81)]
    assert checker.outcomes(packets) == [PASSED, DROPPED]


def test_untracked_packets_are_judged_like_new_ones(checker: Checker) -> None:
    """conntrack leaves neighbour discovery alone, routed though it is."""
    for kind in NEIGHBOUR:
        packet = [Packet(WORLD[1], POD[1], ICMPV6, icmp_type=kind, hop_limit=64)]
        accept = Rule("r", Tier.ADMIN, Action.ACCEPT, Match(any_peer=True, ports=(Icmp(6, kind),)))
        allowing = RuleClass("in", Direction.INGRESS, (accept,), Isolation("i", ("a/b",), 1))
        assert programmed(checker, ruleset(ingress=CLOSED_IN)).outcomes(packet) == [DROPPED]
        assert programmed(checker, ruleset(ingress=allowing)).outcomes(packet) == [PASSED]


def test_neighbour_discovery_with_the_own_node_passes_as_such_only(checker: Checker) -> None:
    """Hop limit 255 shows that nobody routed it (semantics 50); advertisements and redirects are judged."""
    programmed(checker, ruleset(egress=DENY_ALL_OUT))
    for kind in (*NEIGHBOUR, ADVERT, REDIRECT):
        near, far = (Packet(POD[1], OWN[1], ICMPV6, icmp_type=kind, hop_limit=limit) for limit in (255, 64))
        assert checker.outcomes([near]) == [PASSED if kind in NEIGHBOUR else DROPPED]
        assert checker.outcomes([far]) == [DROPPED]


def test_multicast_listeners_pass_from_link_local_only(checker: Checker) -> None:
    programmed(checker, ruleset(egress=DENY_ALL_OUT))
    for kind in (130, 131, 132, 143):
        assert checker.outcomes([Packet(POD[1], OWN[1], ICMPV6, icmp_type=kind, hop_limit=1)]) == [DROPPED]


def test_neighbour_discovery_is_no_tunnel_through_a_router(checker: Checker) -> None:
    """A router takes one off the hop limit, so what is forwarded is never discovery."""
    programmed(checker, ruleset(ingress=CLOSED_IN))
    packets = [Packet(OTHER[1], POD[1], ICMPV6, icmp_type=kind, hop_limit=255) for kind in NEIGHBOUR]
    assert checker.outcomes(packets) == [DROPPED] * 3


@pytest.mark.parametrize("i", FAMILIES)
def test_deny_all_covers_every_protocol(checker: Checker, i: int) -> None:
    """TCP, UDP, SCTP, echo, and ones that have no ports (semantics 49), in both directions."""
    programmed(checker, ruleset(CLOSED_IN, CLOSED_OUT))
    echo = (Packet(WORLD[i], POD[i], ICMP, icmp_type=8), Packet(WORLD[i], POD[i], ICMPV6, icmp_type=128))[i]
    towards = [echo, *(Packet(WORLD[i], POD[i], proto, dport=7) for proto in (6, 17, 132, 47, 50, 51, 89, 103, 253))]
    away = [Packet(POD[i], WORLD[i], p.proto, p.dport, icmp_type=p.icmp_type) for p in towards]
    assert checker.outcomes([*towards, *away]) == [DROPPED] * 20
    assert programmed(checker, ruleset()).outcomes([*towards, *away]) == [PASSED] * 20
