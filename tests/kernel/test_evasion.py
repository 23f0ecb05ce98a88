"""Packets made to slip past: whatever they look like, a rule that would deny the plain packet denies them.

Each shape is sent to a port that is open as well: one that never arrives would prove nothing.
"""

from collections.abc import Callable, Sequence

import pytest

from e2e import netns
from nodewall.model.policy import Action, Direction, PortRange, Protocol, Tier
from nodewall.model.ruleset import Match, Rule, RuleClass
from nodewall.render import Settings
from tests.kernel import nft, wire
from tests.kernel.checker import Checker
from tests.kernel.packets import ICMP, ICMPV6, TCP, UDP, Packet, encode
from tests.kernel.scenes import (
    DROPPED,
    FAMILIES,
    FRIEND,
    OTHER,
    OTHER_LINK,
    OWN,
    PASSED,
    POD,
    POD_LINK,
    WORLD,
    WORLD_LINK,
    programmed,
    ruleset,
)
from tests.kernel.test_connections import CLOSED_IN, CLOSED_OUT, ONLY_WEB

pytestmark = pytest.mark.kernel

LINKS = Settings(pod_links=("pod0", "pod1", "pod2"))
Shape = Callable[[Packet, int], Sequence[bytes]]
"""The pieces of a packet that carries this number."""


def _plain(packet: Packet, number: int) -> list[bytes]:
    return [wire.of(packet, number)]


def _options(*octets: int) -> Shape:
    return lambda packet, number: [wire.with_options(wire.of(packet, number), bytes(octets))]


def _headers(*headers: tuple[int, bytes]) -> Shape:
    return lambda packet, number: [wire.with_headers(wire.of(packet, number), *headers)]


def _pieces(*cuts: int, backwards: bool = False) -> Shape:
    def made(packet: Packet, number: int) -> list[bytes]:
        cut = wire.fragments6 if packet.family == 6 else wire.fragments4
        pieces = cut(wire.of(packet, number), *cuts)
        return pieces[::-1] if backwards else pieces

    return made


def _flags(flags: int) -> Shape:
    return lambda packet, number: [
        encode(Packet(packet.source, packet.destination, TCP, packet.dport, flags=flags), number, 4321)
    ]


PADDING, DESTINATIONS = (wire.HOP_BY_HOP, wire.options6()), (wire.DESTINATION, wire.options6(14))
OF_TCP: dict[str, Shape] = {
    f"flags {name}": _flags(flags)
    for name, flags in {
        "none": 0x00,
        "fin": 0x01,
        "syn fin": 0x03,
        "syn rst": 0x06,
        "syn ack": 0x12,
        "psh ack": 0x18,
        "xmas": 0x29,
        "all": 0x3F,
        "ecn": 0xC2,
    }.items()
}
FOURTH: dict[str, Shape] = {
    "plain": _plain,
    "no operation": _options(1, 1, 1, 0),
    "record route": _options(7, 7, 4, 0, 0, 0, 0),
    "time stamps": _options(68, 12, 5, 0, *[0] * 8),
    "router alert": _options(148, 4, 0, 0),
    "an unknown option": _options(0x9E, 4, 0, 0),
    "as long as it can be": _options(*[1] * 40),
    "two fragments": _pieces(24),
    "the port in the first, the flags in the second": _pieces(8),
    "many fragments": _pieces(8, 16, 24),
    "the last fragment first": _pieces(8, 16, backwards=True),
    **OF_TCP,
}
SIXTH: dict[str, Shape] = {
    "plain": _plain,
    "hop-by-hop options": _headers(PADDING),
    "destination options": _headers(DESTINATIONS),
    "both": _headers(PADDING, DESTINATIONS),
    "routing": _headers((wire.ROUTING, wire.routing(2))),
    "an unknown routing type": _headers((wire.ROUTING, wire.routing(253))),
    "a long chain": _headers(PADDING, *[DESTINATIONS] * 8),
    "an atomic fragment": _pieces(),
    "two fragments": _pieces(24),
    "many fragments": _pieces(24, 32, 40),
    "the last fragment first": _pieces(24, 32, backwards=True),
    **OF_TCP,
}


@pytest.mark.parametrize(
    ("i", "shape"),
    [
        pytest.param(i, shape, id=f"IPv{4 + 2 * i}: {name}")
        for i in FAMILIES
        for name, shape in (FOURTH, SIXTH)[i].items()
    ],
)
def test_no_shape_gets_a_packet_to_a_closed_port(checker: Checker, i: int, shape: Shape) -> None:
    programmed(checker, ruleset(ingress=ONLY_WEB))

    def passes(port: int) -> bool:
        checker.forget_connections()
        number = checker.next_number()
        packet = Packet(WORLD[i], POD[i], TCP, dport=port, body=b"\0" * 44)
        return checker.came_through(WORLD_LINK, shape(packet, number), number)

    assert (passes(80), passes(81)) == (True, False)


def test_what_is_authenticated_is_no_tcp(checker: Checker) -> None:
    """As in IPv4, where it is a protocol of its own: a rule about TCP does not open for it."""
    programmed(checker, ruleset(ingress=ONLY_WEB))
    number = checker.next_number()
    packet = wire.of(Packet(WORLD[1], POD[1], TCP, dport=80), number)
    pieces = [wire.with_headers(packet, (wire.AUTHENTICATION, wire.authentication()))]
    assert not checker.came_through(WORLD_LINK, pieces, number)
    programmed(checker, ruleset())
    assert checker.came_through(WORLD_LINK, pieces, number)


def test_fragments_that_write_over_each_other_do_not_change_the_port(checker: Checker) -> None:
    """Nobody may put together another packet than the one that was judged."""
    programmed(checker, ruleset(ingress=ONLY_WEB))
    checker.forget_connections()
    number = checker.next_number()
    good, bad = (wire.of(Packet(WORLD[0], POD[0], TCP, dport=port), number) for port in (80, 81))
    assert not checker.came_through(WORLD_LINK, wire.overlapping4(good, bad), number)


SPECIAL = {ICMP, ICMPV6, wire.HOP_BY_HOP, wire.ROUTING, wire.FRAGMENT, wire.AUTHENTICATION, wire.DESTINATION}
SPECIAL_FOURTH = {ICMP, ICMPV6}


@pytest.mark.parametrize("i", FAMILIES)
def test_every_protocol_number_is_closed(checker: Checker, i: int) -> None:
    """DCCP, UDP-Lite, IPIP, GRE, ESP and those that nobody has given a name; in both directions."""
    left_out = (SPECIAL_FOURTH, SPECIAL)[i]
    protocols = [number for number in range(256) if number not in left_out]
    packets = [
        Packet(*ends, number, dport=80) for number in protocols for ends in ((WORLD[i], POD[i]), (POD[i], WORLD[i]))
    ]
    open_ones = programmed(checker, ruleset()).verdicts(packets)
    assert sum(open_ones) >= 2 * 240
    assert not any(programmed(checker, ruleset(CLOSED_IN, CLOSED_OUT)).verdicts(packets))


TUNNELS = {"IPIP": (4, 0), "IPv6 in IP": (41, 0), "GRE": (47, 0), "VXLAN": (UDP, 4789), "of flannel": (UDP, 8472)}


@pytest.mark.parametrize("i", FAMILIES)
@pytest.mark.parametrize("tunnel", TUNNELS.values(), ids=TUNNELS)
def test_a_packet_in_a_packet_is_judged_by_the_outer_one(checker: Checker, i: int, tunnel: tuple[int, int]) -> None:
    """However welcome the one inside would be."""
    programmed(checker, ruleset(ingress=ONLY_WEB))
    protocol, port = tunnel
    inside = encode(Packet(WORLD[i], POD[i], TCP, dport=80), 0, 4321)
    packet = wire.wrapped(Packet(WORLD[i], POD[i], protocol, dport=port), inside)
    assert checker.verdicts([packet]) == [False]


@pytest.mark.parametrize("i", FAMILIES)
def test_the_way_into_a_tunnel_of_the_own_node_is_closed_by_explicit_rules_only(checker: Checker, i: int) -> None:
    """What the node unpacks comes from nowhere; docs/security.md says which rule closes this."""
    packets = [Packet(POD[i], node[i], UDP, dport=port) for node in (OWN, FRIEND) for port in (8472, 53)]
    assert programmed(checker, ruleset(egress=CLOSED_OUT)).verdicts(packets) == [True, True, False, False]
    tunnel = Match(any_peer=True, ports=(PortRange(Protocol.UDP, 8472, 8472),))
    denied = RuleClass("out", Direction.EGRESS, (Rule("t", Tier.ADMIN, Action.DENY, tunnel),))
    assert programmed(checker, ruleset(egress=denied)).verdicts(packets) == [False, True, False, True]


# --- what connection tracking is told ---------------------------------------------------------------------------------


@pytest.mark.parametrize("loose", [0, 1])
@pytest.mark.parametrize("i", FAMILIES)
def test_what_was_denied_leaves_no_entry_to_ride_on(checker: Checker, i: int, loose: int) -> None:
    """Neither for the one who began it nor for an answer, whether or not connections are picked up in their midst."""
    netns.set_sysctls(checker.router.name, {"netfilter/nf_conntrack_tcp_loose": loose})
    programmed(checker, ruleset(CLOSED_IN, CLOSED_OUT))
    checker.forget_connections()
    syn = Packet(WORLD[i], POD[i], TCP, dport=81, sport=5000)
    answer = Packet(POD[i], WORLD[i], TCP, dport=5000, sport=81, flags=0x12)
    ack = Packet(WORLD[i], POD[i], TCP, dport=81, sport=5000, flags=0x10)
    assert checker.send([syn, answer, ack, answer, syn, ack]) == [DROPPED] * 6
    netns.set_sysctls(checker.router.name, {"netfilter/nf_conntrack_tcp_loose": 1})


@pytest.mark.parametrize("i", FAMILIES)
def test_an_open_door_is_for_one_connection_only(checker: Checker, i: int) -> None:
    """Beside an accepted connection nothing with another port, another protocol or another end passes."""
    programmed(checker, ruleset(ingress=CLOSED_IN))
    checker.forget_connections()
    ask = Packet(POD[i], WORLD[i], UDP, dport=53, sport=5000)
    answer = Packet(WORLD[i], POD[i], UDP, dport=5000, sport=53)
    beside = [
        Packet(WORLD[i], POD[i], UDP, dport=5001, sport=53),
        Packet(WORLD[i], POD[i], UDP, dport=5000, sport=54),
        Packet(WORLD[i], POD[i], TCP, dport=5000, sport=53, flags=0x10),
        Packet(FRIEND[i], POD[i], UDP, dport=5000, sport=53),
    ]
    assert checker.send([ask, answer, *beside, answer]) == [PASSED, PASSED, *[DROPPED] * 4, PASSED]


@pytest.mark.parametrize("i", FAMILIES)
def test_an_error_about_somebody_elses_connection_is_no_way_in(checker: Checker, i: int) -> None:
    """It quotes a connection that was accepted, and goes to a pod that has none."""
    programmed(checker, ruleset(ingress=CLOSED_IN))
    checker.forget_connections()
    theirs = Packet(OTHER[i], WORLD[i], UDP, dport=53, sport=5000)
    protocol, kind = ((ICMP, 3), (ICMPV6, 1))[i]
    quoting = Packet(WORLD[i], POD[i], protocol, icmp_type=kind, icmp_code=3, body=encode(theirs, 1, 5000))
    assert checker.send([theirs, quoting]) == [PASSED, DROPPED]


def test_a_connection_of_another_zone_speaks_for_nobody(checker: Checker) -> None:
    """Who sorts packets into zones gets them judged by what is known in that zone."""
    programmed(checker, ruleset(ingress=CLOSED_IN))
    ask, answer = Packet(POD[0], WORLD[0], UDP, 53, 5000), Packet(WORLD[0], POD[0], UDP, 5000, 53)
    checker.forget_connections()
    assert checker.send([ask, answer]) == [PASSED, PASSED]
    nft.load_text(checker.router.name, ZONES)
    try:
        assert checker.send([answer]) == [DROPPED]
    finally:
        nft.load_text(checker.router.name, "delete table inet zones")


ZONES = f"""
table inet zones {{
  chain raw {{ type filter hook prerouting priority -300; iifname "{WORLD_LINK}" ct zone set 5; }}
}}
"""


# --- addresses that are nobody's --------------------------------------------------------------------------------------

STRANGE_SOURCES = (
    *("0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "10.0.1.255"),
    *("::", "::1", "::ffff:10.0.1.11", "::10.0.1.11", "64:ff9b::a00:10b", "2002:a00:10b::1", "fe80::99", "ff02::1"),
)
STRANGE_TARGETS = (
    *("127.0.0.1", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255", "10.0.1.255"),
    *(
        "::ffff:203.0.113.7",
        "::203.0.113.7",
        "64:ff9b::cb00:7107",
        "2002:cb00:7107::1",
        "fe80::7",
        "ff0e::1",
        "ff05::2",
    ),
)


@pytest.mark.parametrize("source", STRANGE_SOURCES)
def test_a_source_that_no_pod_has_reaches_no_pod(checker: Checker, source: str) -> None:
    """From another pod's link, to one that is open and to one that is closed."""
    i = ":" in source
    for rules in (ruleset(), ruleset(ingress=CLOSED_IN)):
        programmed(checker, rules, LINKS)
        number = checker.next_number()
        packet = Packet(source, POD[i], UDP, dport=80, sport=4321)
        assert not checker.came_through(OTHER_LINK, [wire.of(packet, number)], number)


@pytest.mark.parametrize("target", STRANGE_TARGETS)
def test_a_closed_pod_reaches_no_strange_target(checker: Checker, target: str) -> None:
    programmed(checker, ruleset(egress=CLOSED_OUT), LINKS)
    number = checker.next_number()
    packet = Packet(POD[":" in target], target, UDP, dport=80, sport=4321)
    assert not checker.came_through(POD_LINK, [wire.of(packet, number)], number)
