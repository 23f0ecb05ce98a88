"""What a rule matches, packet by packet: one row per case, everything that is not named is denied."""

from dataclasses import replace as changed

import pytest

from nodewall.model.address import Address
from nodewall.model.policy import Action, Direction, Icmp, IpProtocol, PortRange, Protocol, Tier
from nodewall.model.ruleset import AddressGroup, Isolation, Match, NodeRuleSet, PortGroup, PortMember, Rule, RuleClass
from nodewall.render import Settings
from tests.kernel.checker import Checker
from tests.kernel.packets import ICMP, ICMPV6, SCTP, TCP, UDP, Packet
from tests.kernel.scenes import FAMILIES, FRIEND, POD, WORLD, programmed, ruleset
from tests.render.rulesets import block, tcp

pytestmark = pytest.mark.kernel

EVERY = (
    *((proto, port) for proto in (TCP, UDP, SCTP) for port in (1, 79, 80, 81, 90, 91, 443, 65535)),
    (ICMP, 8 << 8),
    (ICMP, 13 << 8),
    (ICMP, 3 << 8 | 1),
    (ICMPV6, 128 << 8),
    (ICMPV6, 1 << 8 | 3),
    (47, 0),
    (50, 0),
)
"""(protocol, port); for ICMP and ICMPv6 the type and the code in one number."""

HTTP = (tcp(80),)
NOTHING: set[tuple[int, int]] = set()
ALL = set(EVERY)


def _of(*protos: int) -> set[tuple[int, int]]:
    return {one for one in EVERY if one[0] in protos}


PORTS: dict[str, tuple[Match, set[tuple[int, int]]]] = {
    "every port": (Match(any_peer=True, any_port=True), ALL),
    "no port": (Match(any_peer=True), NOTHING),
    "nobody": (Match(any_port=True), NOTHING),
    "nothing at all": (Match(), NOTHING),
    "one port": (Match(any_peer=True, ports=HTTP), {(TCP, 80)}),
    "a range, both ends in": (Match(any_peer=True, ports=(tcp(80, 90),)), {(TCP, 80), (TCP, 81), (TCP, 90)}),
    "all of TCP": (Match(any_peer=True, ports=(PortRange(Protocol.TCP),)), _of(TCP)),
    "all of UDP and a TCP port": (
        Match(any_peer=True, ports=(PortRange(Protocol.UDP), tcp(443))),
        _of(UDP) | {(TCP, 443)},
    ),
    "ports of three protocols": (
        Match(any_peer=True, ports=(*HTTP, PortRange(Protocol.UDP, 79, 80), PortRange(Protocol.SCTP, 443, 443))),
        {(TCP, 80), (UDP, 79), (UDP, 80), (SCTP, 443)},
    ),
    "overlapping ranges": (
        Match(any_peer=True, ports=(tcp(79, 81), tcp(80, 90), PortRange(Protocol.UDP, 1, 65535))),
        {(TCP, 79), (TCP, 80), (TCP, 81), (TCP, 90)} | _of(UDP),
    ),
    "the last port": (Match(any_peer=True, ports=(tcp(65535),)), {(TCP, 65535)}),
    "an IP protocol": (Match(any_peer=True, ports=(IpProtocol(47),)), {(47, 0)}),
    "TCP as an IP protocol": (Match(any_peer=True, ports=(IpProtocol(6), tcp(80))), _of(TCP)),
    "echo of IPv4": (Match(any_peer=True, ports=(Icmp(4, 8),)), {(ICMP, 8 << 8)}),
    "echo of IPv6": (Match(any_peer=True, ports=(Icmp(6, 128, 0),)), {(ICMPV6, 128 << 8)}),
    "a type of the other family": (Match(any_peer=True, ports=(Icmp(4, 128), Icmp(6, 8))), NOTHING),
    "a code": (Match(any_peer=True, ports=(Icmp(4, 3, 1),)), {(ICMP, 3 << 8 | 1)}),
    "another code": (Match(any_peer=True, ports=(Icmp(4, 3, 0), Icmp(6, 1, 2))), NOTHING),
    "all of ICMP": (Match(any_peer=True, ports=(Icmp(4),)), _of(ICMP)),
    "all of ICMPv6": (Match(any_peer=True, ports=(Icmp(6),)), _of(ICMPV6)),
}


def _packet(source: Address, destination: Address, what: tuple[int, int]) -> Packet:
    proto, number = what
    if proto in (ICMP, ICMPV6):
        return Packet(source, destination, proto, icmp_type=number >> 8, icmp_code=number & 255)
    return Packet(source, destination, proto, number)


def _allowing(match: Match, direction: Direction = Direction.INGRESS) -> NodeRuleSet:
    rule = Rule("r", Tier.NETWORK_POLICY, Action.ACCEPT, match)
    judged = RuleClass("c", direction, (rule,), Isolation("i", ("a/b",), 1))
    return ruleset(ingress=judged) if direction is Direction.INGRESS else ruleset(egress=judged)


def _sent(i: int) -> list[tuple[int, int]]:
    """A host drops ICMP of the other family without being told."""
    return [what for what in EVERY if what[0] != (ICMPV6, ICMP)[i]]


@pytest.mark.parametrize("drawn", [Settings(), Settings(fold_from=0)], ids=["rules", "folded"])
@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("case", PORTS.values(), ids=PORTS)
@pytest.mark.parametrize("i", FAMILIES)
def test_ports(
    checker: Checker, i: int, case: tuple[Match, set[tuple[int, int]]], direction: Direction, drawn: Settings
) -> None:
    match, allowed = case
    programmed(checker, _allowing(match, direction), drawn)
    ends = (WORLD[i], POD[i]) if direction is Direction.INGRESS else (POD[i], WORLD[i])
    verdicts = checker.verdicts([_packet(*ends, what) for what in _sent(i)])
    passed = {what for what, verdict in zip(_sent(i), verdicts, strict=True) if verdict}
    assert passed == allowed & set(_sent(i))


A, B, C, D = "203.0.113.1", "203.0.113.65", "203.0.114.1", "10.0.2.7"
E, F = "2001:db8::1", "2001:db8:0:1::1"
PEERS: dict[str, tuple[Match, set[str]]] = {
    "anyone": (Match(any_peer=True, any_port=True), {A, B, C, D, E, F, *FRIEND}),
    "a group": (Match(groups=("friend",), any_port=True), set(FRIEND)),
    "an empty group": (Match(groups=("nobody",), any_port=True), set()),
    "an empty group and another": (Match(groups=("nobody", "friend"), any_port=True), set(FRIEND)),
    "a block": (Match(blocks=(block("203.0.113.0/24"),), any_port=True), {A, B, FRIEND[0]}),
    "one address": (Match(blocks=(block("203.0.113.1/32"),), any_port=True), {A}),
    "a block but": (Match(blocks=(block("203.0.113.0/24", "203.0.113.64/26"),), any_port=True), {A, FRIEND[0]}),
    "an except that another block allows": (
        Match(blocks=(block("203.0.113.0/24", "203.0.113.0/25"), block("203.0.113.1/32")), any_port=True),
        {A},
    ),
    "all of IPv4": (Match(blocks=(block("0.0.0.0/0"),), any_port=True), {A, B, C, D, FRIEND[0]}),
    "all of IPv6": (Match(blocks=(block("::/0"),), any_port=True), {E, F, FRIEND[1]}),
    "all of IPv4 but": (Match(blocks=(block("0.0.0.0/0", "203.0.113.0/24"),), any_port=True), {C, D}),
    "a block within IPv6 but": (
        Match(blocks=(block("2001:db8::/32", "2001:db8:0:1::/64"),), any_port=True),
        {E, FRIEND[1]},
    ),
    "a block and a group": (Match(groups=("friend",), blocks=(block("10.0.0.0/8"),), any_port=True), {D, *FRIEND}),
    "a block that is empty in the end": (
        Match(blocks=(block("203.0.113.0/24", "203.0.113.0/25", "203.0.113.128/25"),), any_port=True),
        set(),
    ),
}


@pytest.mark.parametrize("drawn", [Settings(), Settings(fold_from=0)], ids=["rules", "folded"])
@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("case", PEERS.values(), ids=PEERS)
def test_peers(checker: Checker, case: tuple[Match, set[str]], direction: Direction, drawn: Settings) -> None:
    match, allowed = case
    rules = _allowing(match, direction)
    programmed(checker, changed(rules, groups=(*rules.groups, AddressGroup("nobody", "", ()))), drawn)
    peers = [A, B, C, D, E, F, *FRIEND]
    pairs = [(peer, POD[":" in peer]) for peer in peers]
    ends = pairs if direction is Direction.INGRESS else [(pod, peer) for peer, pod in pairs]
    verdicts = checker.verdicts(Packet(source, destination, TCP, 80) for source, destination in ends)
    assert {peer for peer, verdict in zip(peers, verdicts, strict=True) if verdict} == allowed


def test_a_deny_without_members_denies_nobody(checker: Checker) -> None:
    """No members is not no restriction, whatever the action (semantics 57)."""
    for match in (Match(any_port=True), Match(groups=("nobody",), any_port=True), Match(any_peer=True)):
        rule = Rule("r", Tier.ADMIN, Action.DENY, match)
        rules = ruleset(ingress=RuleClass("c", Direction.INGRESS, (rule,)))
        programmed(checker, changed(rules, groups=(*rules.groups, AddressGroup("nobody", "", ()))))
        assert checker.verdicts([_packet(WORLD[i], POD[i], what) for i in FAMILIES for what in _sent(i)]) == [True] * (
            len(_sent(0)) + len(_sent(1))
        )


def test_named_ports_are_pairs_and_never_a_cross_product(checker: Checker) -> None:
    """Two pods with one name and different numbers (semantics 31); in the other direction they say nothing."""
    one, two = ("203.0.113.1", "2001:db8::1"), ("203.0.113.2", "2001:db8::2")
    members = tuple(
        PortMember(Address(address), Protocol.TCP, port) for pod, port in ((one, 8080), (two, 9090)) for address in pod
    )
    match = Match(port_groups=("web",))
    rules = _allowing(match, Direction.EGRESS)
    programmed(checker, changed(rules, port_groups=(PortGroup("web", "", members),)))
    asked = [(pod, port, proto) for pod in (one, two) for port in (8080, 9090) for proto in (TCP, UDP)]
    packets = [Packet(POD[i], pod[i], proto, port) for pod, port, proto in asked for i in FAMILIES]
    allowed = [
        (pod, port, proto) in ((one, 8080, TCP), (two, 9090, TCP)) for pod, port, proto in asked for _ in FAMILIES
    ]
    assert checker.verdicts(packets) == allowed
