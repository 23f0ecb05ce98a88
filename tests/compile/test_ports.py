"""Ports and port names (semantics 29-35)."""

import time

import pytest

from nodewall.compile import compile_all
from nodewall.compile.ports import canonical, resolved
from nodewall.model.cluster import ContainerPort
from nodewall.model.labels import EVERYTHING
from nodewall.model.policy import (
    ANYONE,
    Action,
    Icmp,
    IpProtocol,
    NetworkPolicy,
    NodePeer,
    NumericPort,
    PodPeer,
    PortName,
    PortRange,
    ServiceAccountPeer,
    TierRule,
)
from tests.compile.verdicts import allowed
from tests.compile.world import (
    SCTP,
    TCP,
    UDP,
    allow,
    block,
    cluster,
    labelled,
    pod,
    pods_of,
    policy,
    ports,
    rules,
    tier_policy,
)

HTTP = PortName("http", TCP)
PODS = (
    pod("x/a", ["10.1.0.1"], "n1", ["http:80/TCP"]),
    pod("x/b", ["10.1.0.2"], "n1", ["http:8080/TCP"]),
    pod("x/c", ["10.1.0.3"], "n1"),
    pod("x/d", ["10.1.0.4"], "n1", ["http:80/UDP"]),
    pod("y/a", ["10.2.0.1"], "n2", ["http:81/TCP", "http:82/TCP"], service_account="web"),
    pod("y/b", ["10.2.0.2"], "n2"),
)


def ingress(*wanted: object, peers: object = ANYONE) -> NetworkPolicy:
    return policy("x/in", ingress=allow((peers, wanted)))  # type: ignore[arg-type]


def egress(*wanted: object, peers: object = ANYONE) -> NetworkPolicy:
    return policy("x/out", egress=allow((peers, wanted)))  # type: ignore[arg-type]


TO_Y = egress(HTTP, peers=(pods_of("y"),))
TO_X = egress(HTTP, peers=(pods_of("x"),))
TO_WEB = egress(HTTP, peers=(ServiceAccountPeer("y", "web"),))
TO_BLOCK = egress(HTTP, peers=(block("10.0.0.0/8"),))
FROM_BLOCK = ingress(HTTP, peers=(block("10.2.0.0/16"),))
MIXED = egress(HTTP, ports(TCP, 9), peers=(pods_of("y"),))

CASES = [
    ("35: a range has its first", ingress(ports(TCP, 80, 90)), "y/a -> x/a:80/TCP", True),
    ("35: and its last", ingress(ports(TCP, 80, 90)), "y/a -> x/a:90/TCP", True),
    ("35: not the one before", ingress(ports(TCP, 80, 90)), "y/a -> x/a:79/TCP", False),
    ("35: not the one after", ingress(ports(TCP, 80, 90)), "y/a -> x/a:91/TCP", False),
    ("35: of its protocol only", ingress(ports(TCP, 80, 90)), "y/a -> x/a:80/UDP", False),
    ("30: an ingress name is each pod's own number", ingress(HTTP), "y/a -> x/a:80/TCP", True),
    ("30: another pod's number", ingress(HTTP), "y/a -> x/b:8080/TCP", True),
    ("30: one pod's number is not the other's", ingress(HTTP), "y/a -> x/a:8080/TCP", False),
    ("30: nor the other way", ingress(HTTP), "y/a -> x/b:80/TCP", False),
    ("33: the protocol must match in ingress", ingress(HTTP), "y/a -> x/d:80/TCP", False),
    ("33: in ingress whatever the peer", FROM_BLOCK, "y/b -> x/a:80/TCP", True),
    ("34: a name nobody exposes matches nothing", ingress(HTTP), "y/a -> x/c:80/TCP", False),
    ("34: and never all ports", ingress(HTTP), "y/a -> x/c:1/TCP", False),
    ("34: other ports of the rule stay", ingress(HTTP, ports(TCP, 9)), "y/a -> x/c:9/TCP", True),
    ("31: an egress name is each destination's number", TO_Y, "x/c -> y/a:81/TCP", True),
    ("31: each number of a name", TO_Y, "x/c -> y/a:82/TCP", True),
    ("31: of no other destination", TO_Y, "x/c -> y/b:81/TCP", False),
    ("31: no cross product, one way", TO_X, "x/c -> x/a:8080/TCP", False),
    ("31: no cross product, other way", TO_X, "x/c -> x/b:80/TCP", False),
    ("31: the pairs themselves", TO_X, "x/c -> x/b:8080/TCP", True),
    ("31: a number beside the name", MIXED, "x/c -> y/b:9/TCP", True),
    ("31: not for other peers", MIXED, "x/c -> x/b:9/TCP", False),
    ("32: without peers, any pod that exposes it", egress(HTTP), "x/c -> y/a:81/TCP", True),
    ("32: no pod that does not", egress(HTTP), "x/c -> y/b:81/TCP", False),
    ("32: no external address", egress(HTTP), "x/c -> 203.0.113.7:80/TCP", False),
    ("33: the protocol must match in egress", TO_X, "x/c -> x/d:80/UDP", False),
    ("33: an egress block never matches a name", TO_BLOCK, "x/c -> y/a:81/TCP", False),
    ("a service account's pods expose names", TO_WEB, "x/c -> y/a:81/TCP", True),
]


@pytest.mark.parametrize(
    ("wanted", "packet", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_verdict(wanted: NetworkPolicy, packet: str, expected: bool) -> None:
    assert allowed(cluster(wanted, pods=PODS), packet) is expected


def test_30_pods_that_resolve_a_name_differently_are_in_different_classes() -> None:
    ruleset = compile_all(cluster(ingress(HTTP), pods=PODS))["n1"]
    classes = {each.pod: each.ingress for each in ruleset.endpoints}
    assert classes["a"] != classes["b"]
    assert classes["c"] == classes["d"], "neither exposes it over TCP"


def test_30_port_names_that_no_policy_asks_for_make_no_class() -> None:
    ruleset = compile_all(cluster(ingress(ports(TCP, 80)), pods=PODS))["n1"]
    assert len({each.ingress for each in ruleset.endpoints}) == 1


def test_a_port_name_without_protocol_means_every_protocol_that_exposes_it() -> None:
    guard = tier_policy(
        "x/p", ingress=rules((Action.ACCEPT, ANYONE, (PortName("http"),)), (Action.DENY, ANYONE)), egress=()
    )
    state = cluster(guard, pods=PODS)
    assert allowed(state, "y/a -> x/a:80/TCP")
    assert allowed(state, "y/a -> x/d:80/UDP")
    assert not allowed(state, "y/a -> x/d:80/TCP")


@pytest.mark.parametrize("peer", [NodePeer(EVERYTHING), block("192.0.2.0/24")], ids=["nodes", "networks"])
def test_33_an_egress_name_makes_a_node_or_a_network_match_nothing(peer: object) -> None:
    deny = tier_policy(egress=(TierRule(0, Action.DENY, (peer,), (PortName("http"),)),))  # type: ignore[arg-type]
    ruleset = compile_all(cluster(deny, pods=PODS))["n1"]
    assert {each.egress for each in ruleset.endpoints} == {""}


def test_two_pods_of_one_selector_share_the_port_group() -> None:
    wanted = egress(HTTP, peers=(PodPeer(EVERYTHING, labelled(pod="a")),))
    (group,) = compile_all(cluster(wanted, pods=PODS))["n1"].port_groups
    pairs = [(each.address, each.port) for each in group.members]
    assert pairs == [("10.1.0.1", 80), ("10.2.0.1", 81), ("10.2.0.1", 82)]


MERGED: list[tuple[list[NumericPort], tuple[NumericPort, ...]]] = [
    ([ports(TCP, 80), ports(TCP, 80)], (ports(TCP, 80),)),
    ([ports(TCP, 5, 9), ports(TCP, 1, 6)], (ports(TCP, 1, 9),)),
    ([ports(TCP, 10), ports(TCP, 1, 9)], (ports(TCP, 1, 10),)),
    ([ports(TCP, 1, 100), ports(TCP, 5, 9), ports(TCP, 50, 101)], (ports(TCP, 1, 101),)),
    ([ports(TCP, 11), ports(TCP, 1, 9)], (ports(TCP, 1, 9), ports(TCP, 11))),
    ([ports(UDP, 1), ports(TCP, 2)], (ports(TCP, 2), ports(UDP, 1))),
    ([PortRange(SCTP), ports(SCTP, 9)], (PortRange(SCTP),)),
    ([IpProtocol(47), Icmp(6, 128), Icmp(4), ports(TCP, 1)], (ports(TCP, 1), Icmp(4), Icmp(6, 128), IpProtocol(47))),
]


@pytest.mark.parametrize(("given", "expected"), MERGED)
def test_ports_that_mean_the_same_are_equal(given: list[NumericPort], expected: tuple[NumericPort, ...]) -> None:
    assert canonical(given) == expected
    assert canonical(reversed(given)) == expected


def test_very_many_names_and_ports_cost_their_number() -> None:
    """A tenant may write both, and each pod with other ports held the controllers up for seconds."""
    names = [PortName(f"n{number}") for number in range(60_000)]
    exposed = tuple(ContainerPort(f"n{number}", TCP, number + 1) for number in range(50_000, 60_000))
    began = time.process_time()
    assert len(list(resolved(names, exposed))) == 10_000
    assert time.process_time() - began < 1, "seconds; their product takes twenty"
