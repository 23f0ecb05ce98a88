"""The new-pod guard: a local pod's address that the rule set does not list is closed, and nothing else is."""

from dataclasses import replace as changed
from ipaddress import ip_network

import pytest

from nodewall.model.policy import Action, DenyWith, Direction, Tier
from nodewall.model.ruleset import Match, NodeRuleSet, Rule, RuleClass
from nodewall.render import Guard, NewPodPolicy, Settings
from tests.kernel import nft
from tests.kernel.checker import Checker, Outcome
from tests.kernel.packets import ICMPV6, UDP, Packet
from tests.kernel.scenes import (
    DROPPED,
    FAMILIES,
    FRIEND,
    OTHER,
    OWN,
    PASSED,
    POD,
    REJECTED,
    UNKNOWN,
    WORLD,
    both_families,
    programmed,
    ruleset,
)

pytestmark = pytest.mark.kernel

SCOPES = {
    "the node's pod CIDRs": Guard(),
    "networks": Guard(networks=(ip_network("10.0.0.0/20"), ip_network("10.0.17.0/24"), ip_network("fd00::/15"))),
    "links": Guard(links=("pod0", "pod1", "pod2")),
    "links and networks": Guard(networks=(ip_network("10.0.17.0/24"),), links=("pod0", "pod1", "pod2")),
}
ALL_WAYS = [
    *both_families(UNKNOWN, WORLD),
    *both_families(WORLD, UNKNOWN),
    *both_families(UNKNOWN, POD),
    *both_families(POD, UNKNOWN),
    *both_families(UNKNOWN, OWN),
]


@pytest.mark.parametrize("guard", SCOPES.values(), ids=SCOPES)
def test_an_unlisted_pod_is_closed_both_ways(checker: Checker, guard: Guard) -> None:
    assert programmed(checker, ruleset()).outcomes(ALL_WAYS) == [PASSED] * len(ALL_WAYS)
    programmed(checker, ruleset(), Settings(guard=guard))
    assert checker.outcomes(ALL_WAYS) == [DROPPED] * len(ALL_WAYS)
    assert nft.counters(checker.router.name)["unlisted"] == len(ALL_WAYS)


@pytest.mark.parametrize("guard", SCOPES.values(), ids=SCOPES)
def test_nothing_else_is(checker: Checker, guard: Guard) -> None:
    """Listed pods, the node itself (kubelet probes), and what is forwarded for others, all the protocols."""
    programmed(checker, ruleset(), Settings(guard=guard))
    pairs = (
        (POD, OTHER),
        (POD, WORLD),
        (WORLD, POD),
        (OWN, POD),
        (OWN, UNKNOWN),
        (POD, OWN),
        (FRIEND, WORLD),
        (WORLD, OWN),
    )
    packets = [packet for proto in (6, 17, 47) for pair in pairs for packet in both_families(*pair, proto)]
    assert checker.outcomes(packets) == [PASSED] * len(packets)


def test_reject_tells_the_sender(checker: Checker) -> None:
    programmed(checker, ruleset(), Settings(guard=Guard(NewPodPolicy.REJECT)))
    assert checker.outcomes(ALL_WAYS) == [REJECTED] * len(ALL_WAYS)
    assert checker.outcomes(both_families(UNKNOWN, WORLD, UDP)) == [REJECTED] * 2


def test_allow_closes_nothing(checker: Checker) -> None:
    programmed(checker, ruleset(), Settings(guard=Guard(NewPodPolicy.ALLOW)))
    assert checker.outcomes(ALL_WAYS) == [PASSED] * len(ALL_WAYS)


@pytest.mark.parametrize("guard", [Guard(), Guard(links=("pod0", "pod1", "pod2"))], ids=["network", "link"])
def test_a_pod_that_reaches_itself_through_a_service_is_exempt(checker: Checker, guard: Guard) -> None:
    programmed(checker, ruleset(), Settings(guard=guard))
    assert checker.outcomes(both_families(UNKNOWN, UNKNOWN)) == [PASSED] * 2
    assert checker.outcomes(both_families(UNKNOWN, OTHER)) == [DROPPED] * 2


@pytest.mark.parametrize("i", FAMILIES)
def test_the_node_talks_to_itself_with_an_address_in_the_scope(checker: Checker, i: int) -> None:
    """The gateway of a pod network usually is one."""
    programmed(checker, ruleset(), Settings(guard=Guard()))
    gateway = ("10.0.1.1", "fd00:1::1")[i]
    checker.arrange([POD, OTHER, UNKNOWN], [*OWN, gateway])
    assert checker.outcomes([Packet(gateway, OWN[i]), Packet(gateway, gateway, UDP, 53)]) == [PASSED] * 2


@pytest.mark.parametrize("i", FAMILIES)
def test_answers_to_the_node_pass(checker: Checker, i: int) -> None:
    """A kubelet's probe of a pod that is not listed yet."""
    programmed(checker, ruleset(), Settings(guard=Guard()))
    ask = Packet(OWN[i], UNKNOWN[i], UDP, dport=8080, sport=5000)
    answer = Packet(UNKNOWN[i], OWN[i], UDP, dport=5000, sport=8080)
    checker.forget_connections()
    assert checker.send([answer]) == [DROPPED]
    checker.forget_connections()
    assert checker.send([ask, answer]) == [PASSED, PASSED]


@pytest.mark.parametrize("i", FAMILIES)
def test_established_connections_come_before_the_guard(checker: Checker, i: int) -> None:
    """A pod that is ending leaves the rule set before its last answers leave it; the agent ends its connections."""
    listed = ruleset()
    programmed(checker, listed, Settings(guard=Guard()))
    ask = Packet(POD[i], WORLD[i], UDP, dport=53, sport=5000)
    answer = Packet(WORLD[i], POD[i], UDP, dport=5000, sport=53)
    checker.forget_connections()
    assert checker.send([ask, answer]) == [PASSED] * 2
    programmed(checker, changed(listed, endpoints=listed.endpoints[1:]), Settings(guard=Guard()))
    assert checker.send([ask, answer]) == [PASSED] * 2
    checker.forget_connections()
    assert checker.send([ask]) == [DROPPED]


def test_neighbour_discovery_with_the_node_passes(checker: Checker) -> None:
    """Without it the pod would have no IPv6 when it is listed."""
    programmed(checker, ruleset(), Settings(guard=Guard()))
    assert checker.outcomes([Packet(UNKNOWN[1], OWN[1], ICMPV6, icmp_type=135, hop_limit=255)]) == [PASSED]


@pytest.mark.parametrize("source", ["::", "fe80::99", "0.0.0.0"])
def test_addresses_that_every_pod_uses_are_not_unlisted_pods(checker: Checker, source: str) -> None:
    """By link a listed pod's address detection, neighbour discovery and DHCP would look like strangers."""
    programmed(checker, ruleset(), Settings(guard=Guard(links=("pod0",))))
    destination, port = ("ff02::1", 546) if ":" in source else ("255.255.255.255", 67)
    checker.send([Packet(source, destination, UDP, dport=port, link="pod0")])
    assert checker.outcomes([Packet("fe80::99", OWN[1], UDP, dport=53, link="pod0")]) == [PASSED]
    assert nft.counters(checker.router.name)["unlisted"] == 0


def _deciding(action: Action) -> NodeRuleSet:
    """An Admin rule decides everything for the pods that are listed, in both directions."""
    rule = Rule("r", Tier.ADMIN, action, Match(any_peer=True, any_port=True), DenyWith.REJECT)
    return ruleset(RuleClass("in", Direction.INGRESS, (rule,)), RuleClass("out", Direction.EGRESS, (rule,)))


@pytest.mark.parametrize("action", [Action.ACCEPT, Action.DENY])
def test_the_guard_comes_before_every_policy(checker: Checker, action: Action) -> None:
    """In its direction: a rule that accepts everything opens no pod that is not listed, and one of a pod that it asks
    does not get to refuse it."""
    programmed(checker, _deciding(action), Settings(guard=Guard()))
    assert checker.outcomes(both_families(UNKNOWN, POD)) == [DROPPED] * 2
    assert nft.counters(checker.router.name) == {"r_r": 0, "unlisted": 2, "spoofed": 0}


@pytest.mark.parametrize(("action", "outcome", "hits"), [(Action.ACCEPT, DROPPED, 2), (Action.DENY, REJECTED, 0)])
def test_the_sender_is_judged_before_the_guard_of_whom_it_asks(
    checker: Checker, action: Action, outcome: Outcome, hits: int
) -> None:
    """As before any rule of the other end. Closed either way; who is denied by a policy of its own is told so."""
    programmed(checker, _deciding(action), Settings(guard=Guard()))
    assert checker.outcomes(both_families(POD, UNKNOWN)) == [outcome] * 2
    assert nft.counters(checker.router.name) == {"r_r": 2, "unlisted": hits, "spoofed": 0}


def test_no_scope_guards_nothing(checker: Checker) -> None:
    """Which the agent reports; it must never become everything."""
    rules = ruleset()
    programmed(checker, type(rules)(rules.node, endpoints=rules.endpoints), Settings(guard=Guard()))
    assert checker.outcomes(ALL_WAYS) == [PASSED] * len(ALL_WAYS)
