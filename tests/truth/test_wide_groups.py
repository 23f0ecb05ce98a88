"""A group of more pods than a NodeRuleSet may hold: written in parts, read by an agent, and enforced by the kernel."""

from ipaddress import IPv4Address, IPv6Address

import pytest

from nodewall.api.ruleset import encode_json
from nodewall.compile import Compiler, Settings
from nodewall.controller.groups import PART_LIMIT
from nodewall.controller.publish import SIZE_LIMIT
from nodewall.model.address import Address
from nodewall.model.cluster import ClusterState, Namespace, Node, Pod
from nodewall.model.labels import EVERYTHING, Labels
from nodewall.model.policy import PodPeer
from nodewall.render import render, replace
from tests.compile.world import allow, from_peers, labelled, policy
from tests.kernel.checker import Outcome
from tests.kernel.packets import Packet
from tests.truth.nodes import Nodes, changes
from tests.truth.wire import received, written

pytestmark = pytest.mark.kernel

PODS = 15_000
FIRST4, FIRST6 = int(IPv4Address("10.64.0.0")), int(IPv6Address("fd00:64:64:64:64:64:64:0"))
"""Addresses as long as they are in a real cluster."""
WEB = (Address("10.0.1.2"), Address("fd00:1::2"))


def peer(number: int) -> tuple[Address, Address]:
    return Address(str(IPv4Address(FIRST4 + number))), Address(str(IPv6Address(FIRST6 + number)))


def cluster_of(pods: int) -> ClusterState:
    """One pod here that lets in every pod of the cluster but those of no node here."""
    web = Pod("shop", "web", "u", Labels({"app": "web"}), "n1", WEB)
    others = {
        ("far", f"p{number}"): Pod("far", f"p{number}", f"u{number}", Labels(), f"other-{number // 100}", peer(number))
        for number in range(pods)
    }
    open_ = policy("shop/open", labelled(app="web"), ingress=allow(from_peers(PodPeer(EVERYTHING))))
    return ClusterState(
        pods={web.key: web} | others,
        namespaces={"shop": Namespace("shop"), "far": Namespace("far")},
        nodes={"n1": Node("n1")},
        network_policies={("shop", "open"): open_},
    )


def test_a_group_of_15_000_dual_stack_pods_is_enforced(cluster: Nodes) -> None:
    state = cluster_of(PODS)
    compiler, without = Compiler(Settings(share_above=50)), Compiler()
    for each in (compiler, without):
        each.apply(changes(ClusterState(), state))
    assert len(encode_json(without.ruleset("n1"))[1]) > SIZE_LIMIT, "what this is about"
    known = written(compiler)
    assert len(encode_json(compiler.ruleset("n1"))[1]) < 2048
    assert max(len(item.source) for item in known.parts.values()) < PART_LIMIT / 16
    cluster.change(state, "n1", replace(render(received(compiler, "n1", known))))
    inside = [(source, target) for number in (0, 7, PODS - 1) for source, target in zip(peer(number), WEB, strict=True)]
    outside = list(zip(peer(PODS), WEB, strict=True))
    packets = [Packet(source, target, 6, dport=80) for source, target in [*inside, *outside]]
    assert cluster.raw_outcomes("n1", packets) == [Outcome.PASSED] * 6 + [Outcome.DROPPED] * 2
