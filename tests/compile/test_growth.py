"""The work of a change is that of the change: it does not grow with the cluster around it.

The same small namespace is changed in clusters of 100 to 10,000 pods and 10 to 1,000 policies, and operations are
counted. Around it there are policies of every shape that others could stumble over: cluster-wide peers, shared label
keys, tiers, node scopes.
"""

from collections.abc import Iterator
from dataclasses import astuple, fields, replace
from functools import cache
from math import log10

import pytest

from nodewall.compile import Change, Compiler, Input, Operations
from nodewall.model.address import Address
from nodewall.model.cluster import Namespace, Node, Pod
from nodewall.model.labels import EVERYTHING, Labels
from nodewall.model.policy import ANYONE, Action, NetworkPolicy, PodPeer, PortName, Subject, Tier, TierPolicy
from tests.compile.world import TCP, allow, at_ports, from_peers, labelled, pod, pods_of, policy, rules, tier_policy

SLOPE = 0.1
PODS_PER_NAMESPACE = 50
PODS_PER_NODE = 20
HTTP = "http:8080/TCP"
"""Only the tenants expose it: their egress by name means them all, so that one more would concern every node."""

SIZES = {"pods": [(100, 100), (1000, 100), (10_000, 100)], "policies": [(1000, 10), (1000, 100), (1000, 1000)]}


def _around(pods: int, policies: int) -> Iterator[Change]:
    """A cluster of ordinary tenants."""
    namespaces = pods // PODS_PER_NAMESPACE
    for number in range(pods // PODS_PER_NODE):
        yield _node(f"node-{number}", f"zone-{number % 3}")
    for number in range(namespaces):
        yield _namespace(f"ns-{number}", team=f"team-{number}")
    for number in range(pods):
        labels = Labels({"app": f"app-{number % PODS_PER_NAMESPACE // 10}", "role": f"role-{number % 2}"})
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        yield _pod(f"ns-{number % namespaces}/pod-{number}", address, f"node-{number // PODS_PER_NODE}", labels, HTTP)
    for number in range(policies):
        yield _policy(_tenant_policy(f"ns-{number % namespaces}", number))


def _tenant_policy(namespace: str, number: int) -> NetworkPolicy | TierPolicy:
    team, subject = labelled(team=f"team-{number}"), labelled(app=f"app-{number % 5}")
    if number % 10 == 0:
        deny = rules((Action.DENY, (PodPeer(team),)))
        nodes = labelled(zone=f"zone-{number}")
        return tier_policy(f"p-{number}", Tier.ADMIN, subject=Subject(team), ingress=deny, nodes=nodes)
    peers = from_peers(pods_of(namespace, labelled(role="role-0")), PodPeer(team, labelled(app="app-1")))
    named = at_ports(PortName("http", TCP))
    return policy(f"{namespace}/p-{number}", subject, ingress=allow(peers), egress=allow(named))


def _probed() -> Iterator[Change]:
    """The namespace that changes: a few pods, policies of its own, and two that are about the whole cluster."""
    for number in range(3):
        yield _node(f"probe-{number}", "probe")
    yield _namespace("probe", team="probe")
    for number, app in enumerate(("web", "web", "db", "client")):
        yield _pod(f"probe/{app}-{number}", f"10.255.0.{number}", f"probe-{number % 3}", Labels({"app": app}))
    yield _policy(WEB)
    yield _policy(policy("probe/db", labelled(app="db"), ingress=allow(from_peers(PodPeer(labelled(team="probe"))))))
    yield _policy(policy("probe/all", labelled(app="client"), egress=allow(from_peers(PodPeer(EVERYTHING)))))
    yield _policy(tier_policy("metadata", Tier.ADMIN, egress=rules((Action.DENY, ANYONE, (PortName("metadata"),)))))


def _node(name: str, zone: str) -> Change:
    return Change(Input.NODE, name, Node(name, labels=Labels({"zone": zone})))


def _namespace(name: str, **labels: str) -> Change:
    return Change(Input.NAMESPACE, name, Namespace(name, Labels(labels)))


def _pod(key: str, address: str, node: str, labels: Labels, *ports: str) -> Change:
    made = pod(key, [address], node, ports, labels=labels)
    return Change(Input.POD, made.key, made)


def _policy(made: NetworkPolicy | TierPolicy) -> Change:
    if isinstance(made, TierPolicy):
        return Change(Input.TIER_POLICY, made.ref, made)
    return Change(Input.NETWORK_POLICY, (made.namespace, made.name), made)


WEB = policy("probe/web", labelled(app="web"), ingress=allow(from_peers(pods_of("probe", labelled(app="client")))))
FROM_DB = allow(from_peers(pods_of("probe", labelled(app="db"))))
LAST = pod("probe/client-3", ["10.255.0.3"], "probe-0", labels=Labels({"app": "client"}))
NEWCOMER = pod("probe/new", ["10.255.1.1"], "probe-0", labels=Labels({"app": "client"}))


def _is(made: Pod) -> Change:
    return Change(Input.POD, NEWCOMER.key, made)


CHANGES = {
    "a pod is added": [_is(NEWCOMER)],
    "a pod with labels of its own is added": [_is(replace(NEWCOMER, labels=Labels({"app": "client", "x": "y"})))],
    "a pod is removed": [_is(NEWCOMER), Change(Input.POD, NEWCOMER.key, None)],
    "a pod is relabelled": [_is(NEWCOMER), _is(replace(NEWCOMER, labels=Labels({"app": "web"})))],
    "a pod gets another address": [_is(NEWCOMER), _is(replace(NEWCOMER, addresses=(Address("10.255.1.2"),)))],
    "a pod changes in nothing relevant": [_is(NEWCOMER), _is(replace(NEWCOMER, terminating=True))],
    "a namespace is relabelled": [_namespace("probe", team="other")],
    "a policy selects others": [_policy(replace(WEB, pods=labelled(app="db")))],
    "a policy has other peers": [_policy(replace(WEB, ingress=FROM_DB))],
    "a policy is removed": [Change(Input.NETWORK_POLICY, ("probe", "web"), None)],
    "a policy is added": [_policy(replace(WEB, name="second"))],
    "a policy selects by a label that is everywhere": [
        _policy(policy("probe/role", labelled(role="role-0"), ingress=()))
    ],
    "a policy's last pod is gone and back": [Change(Input.POD, LAST.key, None), Change(Input.POD, LAST.key, LAST)],
    "a node is relabelled": [_node("probe-0", "other")],
}


@cache
def _compiler(pods: int, policies: int) -> Compiler:
    compiler = Compiler()
    compiler.apply([*_around(pods, policies), *_probed()])
    return compiler


def _cost(pods: int, policies: int, changes: list[Change]) -> Operations:
    """Of the last change; the others prepare for it. Everything is put back for the next measurement."""
    compiler = _compiler(pods, policies)
    compiler.apply(changes[:-1])
    before = astuple(compiler.operations)
    compiler.apply(changes[-1:])
    after = astuple(compiler.operations)
    compiler.apply([Change(each.kind, each.key, None) for each in changes])
    compiler.apply(_probed())
    return Operations(*(now - then for now, then in zip(after, before, strict=True)))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("grown", SIZES)
def test_cost_does_not_grow(name: str, grown: str) -> None:
    costs = [_cost(pods, policies, CHANGES[name]) for pods, policies in SIZES[grown]]
    for each in fields(Operations):
        small, *_, large = (max(getattr(cost, each.name), 1) for cost in costs)
        slope = log10(large / small) / 2
        assert slope <= SLOPE, f"{each.name} grow with {grown}: {[getattr(cost, each.name) for cost in costs]}"


def test_what_is_counted_does_happen() -> None:
    cost = _cost(1000, 100, CHANGES["a pod is added"])
    assert cost.nodes == 3, "its own, and those whose pods let it in"
    assert cost.classified == 1
    assert cost.groups == 3, "clients of the namespace, pods of the namespace, all pods"
    assert cost.selectors == 0, "pods with these labels have been seen"
    assert 0 < _cost(1000, 100, CHANGES["a pod with labels of its own is added"]).selectors <= 10


def test_what_changes_nothing_relevant_stops_early() -> None:
    cost = _cost(1000, 100, CHANGES["a pod changes in nothing relevant"])
    assert (cost.selectors, cost.groups, cost.nodes, cost.classes) == (0, 0, 0, 0)


def test_policies_with_equal_selectors_share_one_group() -> None:
    cost = _cost(1000, 100, CHANGES["a policy is added"])
    assert cost.fed == 0, "its group is there already"


FOR_ALL = tier_policy("all", Tier.BASELINE, ingress=rules((Action.DENY, (PodPeer(EVERYTHING),))))
BIG = {
    "everything is listed": [*_around(2000, 100), *_probed()],
    "a policy for all pods": [_policy(FOR_ALL)],
    "and gone again": [Change(Input.TIER_POLICY, FOR_ALL.ref, None)],
}


def test_work_is_done_in_small_steps() -> None:
    compiler = Compiler()
    for name, changes in BIG.items():
        before, largest, total = sum(astuple(compiler.operations)), 0, 0
        for _ in compiler.steps(changes):
            now = sum(astuple(compiler.operations))
            largest, before, total = max(largest, now - before), now, total + 1
        assert largest <= 64, name
        assert total > 2000, f"{name}: the steps are counted in pods"
