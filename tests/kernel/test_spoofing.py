"""A source that is not routed back to the link it came by is dropped before anything else (semantics 59)."""

import pytest

from nodewall.model.address import Address
from nodewall.model.policy import Action, Direction, Tier
from nodewall.model.ruleset import Isolation, Match, NodeRuleSet, Rule, RuleClass
from nodewall.render import Settings
from tests.kernel import nft
from tests.kernel.checker import Checker
from tests.kernel.packets import UDP, Packet
from tests.kernel.scenes import (
    DROPPED,
    FAMILIES,
    OTHER,
    OTHER_LINK,
    OWN,
    PASSED,
    POD,
    POD_LINK,
    WORLD,
    WORLD_LINK,
    both_families,
    programmed,
    ruleset,
)

pytestmark = pytest.mark.kernel

LINKS = Settings(pod_links=("pod0", "pod1", "pod2"))
_ALLOW_OTHER = Rule("r", Tier.NETWORK_POLICY, Action.ACCEPT, Match(groups=("friend",), any_port=True))
ISOLATED = RuleClass("in", Direction.INGRESS, (_ALLOW_OTHER,), Isolation("i", ("a/b",), 1))


@pytest.mark.parametrize("destination", [WORLD, POD, OWN], ids=["world", "pod", "node"])
def test_nobody_borrows_a_pods_address(checker: Checker, destination: tuple[Address, ...]) -> None:
    """Not another pod, not the world: whether or not any policy is about the pod that owns it."""
    programmed(checker, ruleset())
    own_link = both_families(OTHER, destination)
    others = [packet for link in (POD_LINK, WORLD_LINK) for packet in both_families(OTHER, destination, link=link)]
    assert checker.outcomes(own_link) == [PASSED] * 2
    assert checker.outcomes(others) == [DROPPED] * 4


def test_an_established_connection_is_no_way_in(checker: Checker) -> None:
    programmed(checker, ruleset())
    for i in FAMILIES:
        ask = Packet(OTHER[i], WORLD[i], UDP, dport=53, sport=5000)
        answer = Packet(WORLD[i], OTHER[i], UDP, dport=5000, sport=53)
        forged = Packet(OTHER[i], WORLD[i], UDP, dport=53, sport=5000, link=POD_LINK)
        checker.forget_connections()
        assert checker.send([ask, answer, ask, forged]) == [PASSED, PASSED, PASSED, DROPPED]


@pytest.mark.parametrize("destination", [WORLD, OTHER, OWN], ids=["world", "pod", "node"])
def test_from_a_pods_link_comes_nothing_foreign(checker: Checker, destination: tuple[Address, ...]) -> None:
    """Once the link is known as one that only pods are behind."""
    foreign = both_families(WORLD, destination, link=POD_LINK)
    assert programmed(checker, ruleset()).outcomes(foreign) == [PASSED] * 2
    assert programmed(checker, ruleset(), LINKS).outcomes(foreign) == [DROPPED] * 2
    assert checker.outcomes(both_families(POD, destination)) == [PASSED] * 2
    assert checker.outcomes(both_families(WORLD, destination)) == [PASSED] * 2


def test_what_is_dropped_is_counted(checker: Checker) -> None:
    programmed(checker, ruleset(), LINKS)
    checker.outcomes(both_families(OTHER, WORLD, link=POD_LINK) + both_families(POD, WORLD))
    assert nft.counters(checker.router.name)["spoofed"] == 2


@pytest.mark.parametrize("source", ["::", "fe80::99", "0.0.0.0"])
def test_addresses_that_no_pod_owns_and_every_pod_uses_pass(checker: Checker, source: str) -> None:
    """Duplicate address detection, neighbour discovery and DHCP."""
    programmed(checker, ruleset(), LINKS)
    packet = (
        Packet(source, "ff02::1", 58, icmp_type=135, hop_limit=255, link=POD_LINK)
        if ":" in source
        else Packet(source, "255.255.255.255", UDP, dport=67, sport=68, link=POD_LINK)
    )
    checker.send([packet])
    assert nft.counters(checker.router.name)["spoofed"] == 0


def test_a_spoofer_gets_no_rights_of_an_allowed_peer(checker: Checker) -> None:
    """The peer is elsewhere, so only the links can tell."""
    allowed: NodeRuleSet = ruleset(ingress=ISOLATED)
    packet = [Packet("203.0.113.8", POD[0], dport=80, link=OTHER_LINK)]
    assert programmed(checker, allowed).outcomes(packet) == [PASSED]
    assert programmed(checker, allowed, LINKS).outcomes(packet) == [DROPPED]
    assert checker.outcomes([Packet("203.0.113.8", POD[0], dport=80)]) == [PASSED]


@pytest.mark.parametrize("destination", [WORLD, OTHER, OWN], ids=["world", "pod", "node"])
def test_from_a_link_that_nobody_knows_yet_comes_nothing_foreign(
    checker: Checker, destination: tuple[Address, ...]
) -> None:
    """That of a pod which began a moment ago; the node's own way out is a veth as well."""
    foreign = both_families(WORLD, destination, link=POD_LINK)
    programmed(checker, ruleset(), Settings(pod_links=(OTHER_LINK,), foreign_veths=(WORLD_LINK,)))
    assert checker.outcomes(foreign) == [DROPPED] * 2
    assert checker.outcomes(both_families(POD, destination)) == [PASSED] * 2
    assert checker.outcomes(both_families(WORLD, destination)) == [PASSED] * 2
    routed_elsewhere = both_families(OTHER, destination, link=WORLD_LINK)
    assert checker.outcomes(routed_elsewhere) == [DROPPED] * 2, "a local pod's address, which the world may not have"
