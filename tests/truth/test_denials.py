"""Reject against drop, as a client sees it: told at once, or left waiting."""

import pytest

from nodewall.evaluate import Traffic
from nodewall.model.address import Address
from tests.kernel.checker import Outcome
from tests.truth.case import Case
from tests.truth.flows import Flow
from tests.truth.nodes import Nodes
from tests.truth.reading import state_of
from tests.truth.worlds import TWO_NODES, cluster_policy, policy

pytestmark = pytest.mark.kernel

SENDERS = {4: Address("203.0.113.7"), 6: Address("2001:db8::7")}
WEB = {4: Address("10.0.1.10"), 6: Address("fd00:1::a")}
NODE = {4: Address("192.168.0.1"), 6: Address("fd00:f::1")}
TCP, UDP = Traffic(6, 80), Traffic(17, 80)
SUBJECT = "subject: {namespaces: {}}"
ALL = "[{networks: [0.0.0.0/0, '::/0']}]"


def _outcomes(cluster: Nodes, policies: str, flows: list[Flow]) -> set[Outcome]:
    cluster.program(state_of(Case("denials", (), TWO_NODES, policies, "")))
    return set(cluster.outcomes("n1", flows))


def _ways(traffic: Traffic, *, towards: str) -> list[Flow]:
    ends = {"pod": (SENDERS, WEB), "world": (WEB, SENDERS), "node": (WEB, NODE)}[towards]
    return [Flow(ends[0][family], ends[1][family], traffic) for family in (4, 6)]


@pytest.mark.parametrize("traffic", [TCP, UDP], ids=str)
@pytest.mark.parametrize(
    ("towards", "rules"),
    [("pod", f"ingress: [{{action: Deny, from: {ALL}}}]")]
    + [(towards, f"egress: [{{action: Deny, to: {ALL}}}]") for towards in ("world", "node")],
)
@pytest.mark.parametrize(
    ("deny_with", "expected"), [("Drop", Outcome.DROPPED), ("Reject", Outcome.REJECTED)], ids=("Drop", "Reject")
)
def test_a_denied_sender_learns_what_the_policy_says(
    cluster: Nodes, deny_with: str, expected: Outcome, towards: str, rules: str, traffic: Traffic
) -> None:
    made = cluster_policy("p", f"{{tier: Admin, priority: 1, denyWith: {deny_with}, {SUBJECT}, {rules}}}")
    assert _outcomes(cluster, made, _ways(traffic, towards=towards)) == {expected}


def test_a_rule_overrides_what_its_policy_says(cluster: Nodes) -> None:
    made = cluster_policy(
        "p",
        f"{{tier: Admin, priority: 1, denyWith: Reject, {SUBJECT}, ingress:"
        f" [{{action: Deny, denyWith: Drop, from: {ALL}, protocols: [{{udp: {{destinationPort: {{number: 80}}}}}}]}},"
        f" {{action: Deny, from: {ALL}}}]}}",
    )
    assert _outcomes(cluster, made, _ways(UDP, towards="pod")) == {Outcome.DROPPED}
    assert _outcomes(cluster, made, _ways(TCP, towards="pod")) == {Outcome.REJECTED}


def test_a_network_policy_drops(cluster: Nodes) -> None:
    made = policy("p", "{podSelector: {}, policyTypes: [Ingress, Egress]}")
    for traffic in (TCP, UDP):
        assert _outcomes(cluster, made, _ways(traffic, towards="pod")) == {Outcome.DROPPED}
        assert _outcomes(cluster, made, _ways(traffic, towards="world")) == {Outcome.DROPPED}


def test_a_broken_deny_rejects_as_its_policy_says(cluster: Nodes) -> None:
    made = cluster_policy(
        "p",
        f"{{tier: Admin, priority: 1, denyWith: Reject, {SUBJECT}, ingress: [{{action: Deny, from: [{{x: 1}}]}}]}}",
    )
    assert _outcomes(cluster, made, _ways(TCP, towards="pod")) == {Outcome.REJECTED}
