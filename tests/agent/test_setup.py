"""The scope of the new-pod guard: never silently nothing."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from nodewall.agent.setup import Links, Setup, settings, unguarded
from nodewall.model.address import Address, Network
from nodewall.model.ruleset import Endpoint, NodeRuleSet
from nodewall.render import NewPodPolicy, Strict

V4, V6 = ip_network("10.0.1.0/24"), ip_network("fd00:1::/64")
OTHER = ip_network("10.9.0.0/16")
BRIDGE = Links(own=("cni0",), shared=("cni0",))
VETHS = Links(own=("veth1", "veth2"))


def content(networks: tuple[Network, ...], *addresses: str) -> NodeRuleSet:
    pod = Endpoint("shop", "web-1", tuple(map(Address, addresses)))
    return NodeRuleSet("n1", endpoints=(pod,) if addresses else (), pod_cidrs=networks)


ROWS = {
    "both families": (Setup(), content((V4, V6), "10.0.1.1", "fd00:1::1"), ((V4, V6), ()), ""),
    "the setting beats the node": (Setup(networks=(OTHER, V6)), content((V4,), "10.9.0.1"), ((OTHER, V6), ()), ""),
    "one family, one needed": (Setup(), content((V4,), "10.0.1.1"), ((V4,), ()), ""),
    "one family, two needed": (Setup(), content((V4,), "10.0.1.1", "fd00:1::1"), ((V4,), ()), "fd00:1::1 of a pod"),
    "a bridge helps": (Setup(links=BRIDGE), content((V4,), "10.0.1.1", "fd00:1::1"), ((V4,), ("cni0",)), ""),
    "a bridge is not needed": (Setup(links=BRIDGE), content((V4, V6), "10.0.1.1"), ((V4, V6), ()), ""),
    "only a bridge": (Setup(links=BRIDGE), content((), "10.0.1.1"), ((), ("cni0",)), ""),
    "veths are one pod's each": (Setup(links=VETHS), content((), "10.0.1.1"), ((), ()), "10.0.1.1 of a pod"),
    "nothing known, no pod yet": (Setup(), content(()), ((), ()), "the scope is no network"),
    "pods elsewhere, on a bridge": (
        Setup(links=BRIDGE),
        content((V4, V6), "10.7.0.1"),
        ((V4, V6), ("cni0",)),
        "",
    ),
    "pods elsewhere": (Setup(), content((V4, V6), "10.7.0.1"), ((V4, V6), ()), "10.7.0.1 of a pod is outside of"),
}


@pytest.mark.parametrize(("setup", "rules", "scope", "problem"), ROWS.values(), ids=ROWS)
def test_scope(
    setup: Setup, rules: NodeRuleSet, scope: tuple[tuple[Network, ...], tuple[str, ...]], problem: str
) -> None:
    guard = settings(setup, rules).guard
    assert guard is not None
    assert (guard.networks, guard.links) == scope
    found = unguarded(setup, rules)
    assert len(found) == bool(problem)
    assert problem in "".join(found)
    assert unguarded(replace(setup, new_pods=NewPodPolicy.ALLOW), rules) == []


def test_what_was_set_and_found_reaches_the_table() -> None:
    setup = Setup(NewPodPolicy.REJECT, strict=Strict(generation=3), links=BRIDGE)
    drawn = settings(setup, content((V4, V6)))
    assert drawn.guard is not None
    assert drawn.guard.policy is NewPodPolicy.REJECT
    assert drawn.strict == Strict(generation=3)
    assert drawn.pod_links == ("cni0",)
