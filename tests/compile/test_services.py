"""Services as peers: ready endpoints, slice by slice."""

import time
from dataclasses import replace

import pytest

from nodewall.compile import Change, Compiler, Input, compile_all
from nodewall.model.address import Address
from nodewall.model.cluster import ClusterState, EndpointSlice
from nodewall.model.policy import ANYONE, Action, Protocol, ServicePeer, Subject, TierPolicy
from tests.compile.verdicts import allowed
from tests.compile.world import TCP, UDP, cluster, labelled, ports, rules, tier_policy

WEB = ServicePeer("y", "web")


def slice_of(
    name: str, addresses: tuple[str, ...], *target: tuple[Protocol, int], service: str = "web"
) -> EndpointSlice:
    return EndpointSlice("y", name, service, tuple(map(Address, addresses)), target)


SLICES = (
    slice_of("web-1", ("10.1.2.1", "10.2.2.2"), (TCP, 80)),
    slice_of("web-2", ("10.2.2.3", "10.2.2.2"), (TCP, 8080), (UDP, 53)),
    EndpointSlice("z", "web-1", "web", (Address("10.1.3.1"),), ((TCP, 80),)),
    slice_of("other", ("10.1.3.1",), (TCP, 80), service="other"),
)
SUBJECT = Subject(labelled(ns="x"))
ONLY_WEB = rules((Action.ACCEPT, (WEB,)), (Action.DENY, ANYONE))


def egress() -> ClusterState:
    return cluster(tier_policy(subject=SUBJECT, egress=ONLY_WEB), slices=SLICES)


def test_egress_reaches_each_endpoint_at_its_slices_ports() -> None:
    assert allowed(egress(), "x/a -> y/a:80/TCP")
    assert allowed(egress(), "x/a -> y/c:8080/TCP")
    assert allowed(egress(), "x/a -> y/c:53/UDP")


def test_egress_never_crosses_slices() -> None:
    assert not allowed(egress(), "x/a -> y/a:8080/TCP")
    assert not allowed(egress(), "x/a -> y/c:80/TCP")


def test_an_endpoint_in_two_slices_has_the_ports_of_both() -> None:
    assert allowed(egress(), "x/a -> y/b:80/TCP")
    assert allowed(egress(), "x/a -> y/b:8080/TCP")
    (group,) = compile_all(egress())["n1"].port_groups
    assert len(group.members) == len(set(group.members))


def test_egress_to_another_service_its_namesake_or_another_port_is_not_meant() -> None:
    assert not allowed(egress(), "x/a -> z/a:80/TCP")
    assert not allowed(egress(), "x/a -> y/a:81/TCP")
    assert not allowed(egress(), "x/a -> y/a:80/UDP")


def test_ingress_is_from_the_endpoints_whatever_their_port() -> None:
    state = cluster(tier_policy(subject=SUBJECT, ingress=ONLY_WEB), slices=SLICES)
    assert allowed(state, "y/a -> x/a:9999/TCP")
    assert allowed(state, "y/c -> x/a:9999/UDP")
    assert not allowed(state, "z/a -> x/a:80/TCP")


def test_a_service_without_endpoints_matches_nothing() -> None:
    state = cluster(tier_policy(subject=SUBJECT, egress=ONLY_WEB))
    assert not allowed(state, "x/a -> y/a:80/TCP")
    (group,) = compile_all(state)["n1"].port_groups
    assert group.members == ()


def test_ports_beside_a_service_only_narrow_it() -> None:
    narrowed = rules((Action.ACCEPT, (WEB,), (ports(TCP, 1, 100),)), (Action.DENY, ANYONE))
    state = cluster(tier_policy(subject=SUBJECT, egress=narrowed), slices=SLICES)
    assert allowed(state, "x/a -> y/a:80/TCP")
    assert not allowed(state, "x/a -> y/c:8080/TCP")
    assert not allowed(state, "x/a -> y/a:81/TCP")


def compiling(policy: TierPolicy) -> Compiler:
    state, compiler = cluster(policy), Compiler()
    compiler.apply([Change(kind, key, value) for kind in Input for key, value in getattr(state, kind.value).items()])
    return compiler


def changed(*slices: EndpointSlice) -> list[Change]:
    return [Change(Input.SLICE, (each.namespace, each.name), each) for each in slices]


@pytest.mark.parametrize(
    "policy",
    [tier_policy(subject=SUBJECT, ingress=ONLY_WEB), tier_policy(subject=SUBJECT, egress=ONLY_WEB)],
    ids=["ingress", "egress"],
)
def test_what_two_slices_name_stays_while_one_does(policy: TierPolicy) -> None:
    one, other = slice_of("web-1", ("10.1.2.1",), (TCP, 80)), slice_of("web-2", ("10.1.2.1", "10.2.2.2"), (TCP, 80))
    states = [
        (one, other),
        (one, replace(other, addresses=other.addresses[1:])),
        (one, other),
        (replace(one, service="other"), other),
        (one, other),
        (one, replace(other, ports=((TCP, 81),))),
        (replace(one, addresses=()), replace(other, addresses=())),
    ]
    compiler = compiling(policy)
    for slices in states:
        compiler.apply(changed(*slices))
        wanted = compile_all(cluster(policy, slices=slices))
        assert {node: compiler.ruleset(node) for node in wanted} == wanted


def test_a_slice_more_is_not_all_of_them_again() -> None:
    """A Service of 1,000 slices, which anybody may make, took the controller 90 seconds."""
    compiler = compiling(tier_policy(subject=SUBJECT, ingress=ONLY_WEB))
    many = [
        slice_of(f"web-{number}", tuple(f"10.{number >> 8}.{number & 255}.{host}" for host in range(100)), (TCP, 80))
        for number in range(800)
    ]
    began = time.process_time()
    compiler.apply(changed(*many))
    assert time.process_time() - began < 1.5, "seconds; of 800 times all of them it would be four"
