"""A few bad policies among ten thousand: each closes what it should, and the rest compile as if they were not there."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from nodewall.api.networkpolicy import read_network_policy
from nodewall.api.parsed import Parsed
from nodewall.compile import compile_all
from nodewall.evaluate import ask
from nodewall.model.address import Address
from nodewall.model.cluster import ClusterState, Namespace, Node, Pod
from nodewall.model.labels import Labels
from nodewall.model.policy import NetworkPolicy
from nodewall.model.ruleset import Endpoint, NodeRuleSet, RuleClass
from nodewall.render import render

POLICIES, NAMESPACES = 10_000, 100

BAD_SPECS = {
    "a peer selector": {
        "podSelector": {},
        "ingress": [{"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}]}],
    },
    "a cidr": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/99"}}]}]},
    "the subject": {"podSelector": {"matchLabels": {"not a key": "x"}}, "policyTypes": ["Ingress"]},
    "a list that is none": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": "everybody"},
    "the whole spec": "nothing at all",
}
BAD = {4711 + index: spec for index, spec in enumerate(BAD_SPECS.values())}
"""By number. Each is one of the policies of a namespace of its own, and would have opened port 48 there."""
SICK = {f"ns-{number % NAMESPACES}" for number in BAD}


def _good(number: int) -> dict[str, Any]:
    rule = {"from": [{"namespaceSelector": {}}], "ports": [{"port": 1 + number // NAMESPACES}]}
    return {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [rule]}


def _read(number: int, spec: object) -> Parsed[NetworkPolicy]:
    return read_network_policy(
        {"metadata": {"name": f"p{number}", "namespace": f"ns-{number % NAMESPACES}"}, "spec": spec}
    )


@cache
def _healthy() -> dict[int, Parsed[NetworkPolicy]]:
    return {number: _read(number, _good(number)) for number in range(POLICIES) if number not in BAD}


def _state(policies: Iterator[Parsed[NetworkPolicy]]) -> ClusterState:
    pods = [
        Pod(f"ns-{i}", "web", labels=Labels({"app": "web"}), node="n1", addresses=(Address(f"10.0.1.{i + 1}"),))
        for i in range(NAMESPACES)
    ]
    values = [parsed.value for parsed in policies]
    return ClusterState(
        pods={pod.key: pod for pod in pods},
        namespaces={pod.namespace: Namespace(pod.namespace) for pod in pods},
        nodes={"n1": Node("n1")},
        network_policies={(policy.namespace, policy.name): policy for policy in values},
    )


@cache
def _without() -> NodeRuleSet:
    return compile_all(_state(iter(_healthy().values())))["n1"]


def _others(ruleset: NodeRuleSet) -> list[tuple[Endpoint, RuleClass]]:
    """What is enforced for the pods of every other namespace."""
    classes = {rule_class.name: rule_class for rule_class in ruleset.classes}
    return [(each, classes[each.ingress]) for each in ruleset.endpoints if each.namespace not in SICK]


def test_the_rest_compile() -> None:
    bad = [_read(number, spec) for number, spec in BAD.items()]
    state = _state(iter([*_healthy().values(), *bad]))
    ruleset = compile_all(state)["n1"]
    assert all(parsed.problems for parsed in bad)
    assert not any(parsed.problems for parsed in _healthy().values())
    assert len(_others(ruleset)) == NAMESPACES - len(BAD)
    assert _others(ruleset) == _others(_without())
    assert render(ruleset).chains
    for namespace in SICK:
        answers = {port: ask(state, "ns-0/web", f"{namespace}/web", str(port))[0].allowed for port in (1, 48, 100)}
        assert answers == {1: True, 48: False, 100: True}
