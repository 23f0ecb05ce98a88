"""NetworkPolicy on the wire: nil, empty and defaults, each with its meaning; and what broken parts close."""

from typing import Any

import msgspec
import pytest

from nodewall.api.networkpolicy import read_network_policy
from nodewall.model.labels import EVERYTHING, Operator, Requirement, Selector
from nodewall.model.policy import (
    ANY_PORT,
    ANYONE,
    SAME_NAMESPACE,
    AllowRule,
    NetworkPolicy,
    Peer,
    PodPeer,
    Port,
    PortName,
    PortRange,
    Protocol,
)

RULE: dict[str, Any] = {}
ALL = (AllowRule(0, ANYONE, ANY_PORT),)
WEB = Selector.of([Requirement("app", Operator.IN, ("web",))])
WEB_LABELS = {"matchLabels": {"app": "web"}}


def read(spec: Any) -> tuple[NetworkPolicy, list[str]]:
    body = {"metadata": {"name": "p", "namespace": "shop"}, "spec": spec}
    parsed = read_network_policy(msgspec.json.encode(body))
    assert parsed == read_network_policy(body), "text and values differ"
    return parsed.value, [problem.path for problem in parsed.problems]


def sections(spec: Any) -> tuple[Any, Any]:
    policy, problems = read(spec)
    assert problems == []
    return policy.ingress, policy.egress


SECTIONS: list[tuple[Any, Any, Any]] = [
    # absent or empty policyTypes: Ingress, and Egress where egress has a rule (1)
    ({}, (), None),
    (None, (), None),
    ({"policyTypes": None}, (), None),
    ({"policyTypes": []}, (), None),
    ({"egress": None}, (), None),
    ({"egress": []}, (), None),
    ({"egress": [RULE]}, (), ALL),
    ({"ingress": [RULE], "egress": [RULE]}, ALL, ALL),
    # a section that is not named has no effect (2)
    ({"policyTypes": ["Egress"], "ingress": [RULE]}, None, ()),
    ({"policyTypes": ["Ingress"], "egress": [RULE]}, (), None),
    # a named section without rules denies all (3)
    ({"policyTypes": ["Ingress", "Egress"]}, (), ()),
    ({"policyTypes": ["Egress"], "egress": None}, None, ()),
    ({"policyTypes": ["Egress", "Egress"]}, None, ()),
    # absent, null and empty rule lists are the same (4)
    ({"policyTypes": ["Ingress"]}, (), None),
    ({"policyTypes": ["Ingress"], "ingress": None}, (), None),
    ({"policyTypes": ["Ingress"], "ingress": []}, (), None),
    # one empty rule allows everything, an empty entry of the list is one (5)
    ({"ingress": [RULE]}, ALL, None),
    ({"ingress": [None]}, ALL, None),
    # absent and empty peers are any peer, absent and empty ports any port (6)
    ({"ingress": [{"from": None, "ports": None}]}, ALL, None),
    ({"ingress": [{"from": [], "ports": []}]}, ALL, None),
    ({"egress": [{"to": []}]}, (), ALL),
]


@pytest.mark.parametrize(("spec", "ingress", "egress"), SECTIONS)
def test_what_is_isolated_and_allowed(spec: Any, ingress: Any, egress: Any) -> None:
    assert sections(spec) == (ingress, egress)


SUBJECTS = [
    ({}, EVERYTHING),
    ({"podSelector": {}}, EVERYTHING),
    ({"podSelector": None}, EVERYTHING),
    ({"podSelector": WEB_LABELS}, WEB),
]


@pytest.mark.parametrize(("spec", "pods"), SUBJECTS)
def test_the_subject_is_read(spec: Any, pods: Selector) -> None:
    assert read(spec)[0].pods == pods


PEERS: list[tuple[dict[str, Any], Peer]] = [
    ({"podSelector": {}}, PodPeer(SAME_NAMESPACE, EVERYTHING)),
    ({"podSelector": WEB_LABELS}, PodPeer(SAME_NAMESPACE, WEB)),
    ({"podSelector": WEB_LABELS, "namespaceSelector": None}, PodPeer(SAME_NAMESPACE, WEB)),
    ({"namespaceSelector": {}}, PodPeer(EVERYTHING, EVERYTHING)),
    ({"namespaceSelector": WEB_LABELS}, PodPeer(WEB, EVERYTHING)),
    ({"namespaceSelector": {}, "podSelector": {}}, PodPeer(EVERYTHING, EVERYTHING)),
    ({"namespaceSelector": WEB_LABELS, "podSelector": WEB_LABELS}, PodPeer(WEB, WEB)),
]


@pytest.mark.parametrize(("raw", "peer"), PEERS)
@pytest.mark.parametrize(("section", "field"), [("ingress", "from"), ("egress", "to")])
def test_a_peer_is_read(raw: dict[str, Any], peer: Peer, section: str, field: str) -> None:
    policy, problems = read({section: [{field: [raw]}]})
    rules = policy.ingress if section == "ingress" else policy.egress
    assert (problems, rules) == ([], (AllowRule(0, (peer,), ANY_PORT),))


def test_an_ip_block_is_read() -> None:
    block = {"cidr": "10.0.0.1/8", "except": ["10.1.0.0/16"]}
    policy, problems = read({"ingress": [{"from": [{"ipBlock": block}, {"ipBlock": {"cidr": "fd00::/8"}}]}]})
    assert problems == []
    assert policy.ingress is not None
    peers = policy.ingress[0].peers
    assert [str(one) for one in peers] == ["10.0.0.0/8 except 10.1.0.0/16", "fd00::/8"]  # type: ignore[union-attr]


PORTS: list[tuple[dict[str, Any] | None, Port]] = [
    ({}, PortRange(Protocol.TCP)),  # (7)
    (None, PortRange(Protocol.TCP)),
    ({"protocol": None}, PortRange(Protocol.TCP)),
    ({"protocol": "UDP"}, PortRange(Protocol.UDP)),  # (8)
    ({"protocol": "SCTP", "port": None}, PortRange(Protocol.SCTP)),
    ({"port": 1}, PortRange(Protocol.TCP, 1, 1)),
    ({"port": 65535}, PortRange(Protocol.TCP, 65535, 65535)),
    ({"port": 80, "endPort": None}, PortRange(Protocol.TCP, 80, 80)),
    ({"port": 80, "endPort": 80}, PortRange(Protocol.TCP, 80, 80)),
    ({"port": 80, "endPort": 65535, "protocol": "UDP"}, PortRange(Protocol.UDP, 80, 65535)),
    ({"port": "http"}, PortName("http", Protocol.TCP)),
    ({"port": "8080-a", "protocol": "SCTP"}, PortName("8080-a", Protocol.SCTP)),
    ({"port": "a" * 15}, PortName("a" * 15, Protocol.TCP)),
]


@pytest.mark.parametrize(("raw", "port"), PORTS)
def test_a_port_is_read(raw: dict[str, Any] | None, port: Port) -> None:
    policy, problems = read({"ingress": [{"ports": [raw]}]})
    assert (problems, policy.ingress) == ([], (AllowRule(0, ANYONE, (port,)),))


BROKEN_PARTS: list[tuple[Any, str]] = [
    # peers
    ({"from": [{}]}, ".from[0]"),
    ({"from": [None]}, ".from[0]"),
    ({"from": [{"podSelector": None}]}, ".from[0]"),
    ({"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}, ".from[0]"),
    ({"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "namespaceSelector": {}}]}, ".from[0]"),
    ({"from": [{"ipBlock": {}}]}, ".from[0].ipBlock"),
    ({"from": [{"ipBlock": {"cidr": ""}}]}, ".from[0].ipBlock.cidr"),
    ({"from": [{"ipBlock": {"cidr": 5}}]}, ".from[0].ipBlock.cidr"),
    ({"from": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]}, ".from[0].ipBlock.cidr"),
    ({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/8"]}}]}, ".from[0].ipBlock.except[0]"),
    ({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": "10.1.0.0/16"}}]}, ".from[0].ipBlock.except"),
    ({"from": [{"podSelector": {}}, {"podSelector": {"matchLabels": {"a": "b c"}}}]}, ".from[1].podSelector"),
    ({"from": [{"podSelector": "web"}]}, ".from[0].podSelector"),
    ({"from": [{"podSelector": {"matchLabels": {"a": 1}}}]}, ".from[0].podSelector.matchLabels"),
    ({"from": [{"podSelector": {}, "moreNarrow": {}}]}, ".from[0]"),
    ({"from": {"podSelector": {}}}, ".from"),
    ({"from": "all"}, ".from"),
    # ports
    ({"ports": [{"port": 0}]}, ".ports[0].port"),
    ({"ports": [{"port": 65536}]}, ".ports[0].port"),
    ({"ports": [{"port": -1}]}, ".ports[0].port"),
    ({"ports": [{"port": True}]}, ".ports[0].port"),
    ({"ports": [{"port": 80.5}]}, ".ports[0].port"),
    ({"ports": [{"port": "80"}]}, ".ports[0].port"),
    ({"ports": [{"port": ""}]}, ".ports[0].port"),
    ({"ports": [{"port": "HTTP"}]}, ".ports[0].port"),
    ({"ports": [{"port": "a--b"}]}, ".ports[0].port"),
    ({"ports": [{"port": "-a"}]}, ".ports[0].port"),
    ({"ports": [{"port": "a-"}]}, ".ports[0].port"),
    ({"ports": [{"port": "a\n"}]}, ".ports[0].port"),
    ({"ports": [{"port": "a" * 16}]}, ".ports[0].port"),
    ({"ports": [{"port": 80, "endPort": 79}]}, ".ports[0].endPort"),
    ({"ports": [{"port": 80, "endPort": 0}]}, ".ports[0].endPort"),
    ({"ports": [{"port": 80, "endPort": 65536}]}, ".ports[0].endPort"),
    ({"ports": [{"endPort": 80}]}, ".ports[0].endPort"),
    ({"ports": [{"port": "http", "endPort": 80}]}, ".ports[0].endPort"),
    ({"ports": [{"protocol": "tcp"}]}, ".ports[0].protocol"),
    ({"ports": [{"protocol": ""}]}, ".ports[0].protocol"),
    ({"ports": [{"protocol": "ICMP"}]}, ".ports[0].protocol"),
    ({"ports": [{"port": 80}, {"port": 80, "onlyFrom": 1}]}, ".ports[1]"),
    ({"ports": {"port": 80}}, ".ports"),
    # rules
    ({"form": []}, ""),
    ({"to": []}, ""),
    ([], ""),
    ("all", ""),
    (True, ""),
]


@pytest.mark.parametrize(("rule", "path"), BROKEN_PARTS)
def test_a_broken_rule_allows_nothing_and_touches_no_other(rule: Any, path: str) -> None:
    policy, problems = read({"ingress": [RULE, rule, {"ports": [{"port": 1}]}], "egress": [RULE]})
    assert [one.index for one in policy.ingress or ()] == [0, 2]
    assert policy.egress == ALL
    assert len(problems) == 1
    assert problems[0].startswith(f"spec.ingress[1]{path}")


def test_a_policy_of_broken_rules_still_isolates() -> None:
    policy, problems = read({"ingress": [{"from": [{}]}], "egress": [{"ports": [{"port": 0}]}]})
    assert (policy.ingress, policy.egress) == ((), ())
    assert problems == ["spec.ingress[0].from[0]", "spec.egress[0].ports[0].port"]


def test_every_problem_of_a_rule_is_reported() -> None:
    rule = {"from": [{}, {"ipBlock": {"cidr": "x"}}], "ports": [{"port": 0}, {"protocol": "X"}]}
    assert read({"ingress": [rule]})[1] == [
        "spec.ingress[0].from[0]",
        "spec.ingress[0].from[1].ipBlock.cidr",
        "spec.ingress[0].ports[0].port",
        "spec.ingress[0].ports[1].protocol",
    ]


BROKEN_SECTIONS: list[tuple[Any, Any, Any, str]] = [
    ({"ingress": "all"}, (), None, "spec.ingress"),
    ({"ingress": {}}, (), None, "spec.ingress"),
    ({"egress": "all"}, (), (), "spec.egress"),
    ({"policyTypes": ["Egress"], "egress": {"to": []}}, None, (), "spec.egress"),
    # what cannot be read of policyTypes stands for every section there is
    ({"policyTypes": ["ingress"]}, (), None, "spec.policyTypes[0]"),
    ({"policyTypes": [None]}, (), None, "spec.policyTypes[0]"),
    ({"policyTypes": ["egress"], "egress": [RULE]}, (), ALL, "spec.policyTypes[0]"),
    ({"policyTypes": ["Egress", "ingress"], "ingress": [RULE]}, ALL, (), "spec.policyTypes[1]"),
    ({"policyTypes": ["Egress", "Later"]}, None, (), "spec.policyTypes[1]"),
    ({"policyTypes": "Egress", "egress": [RULE]}, (), ALL, "spec.policyTypes"),
    ({"policyTypes": ["Egress", "Egress", "Egress"]}, None, (), "spec.policyTypes"),
    ({"policyTypes": ["Egress"], "later": 1}, None, (), "spec.later"),
]


@pytest.mark.parametrize(("spec", "ingress", "egress", "path"), BROKEN_SECTIONS)
def test_a_broken_section_isolates(spec: Any, ingress: Any, egress: Any, path: str) -> None:
    policy, problems = read(spec)
    assert (policy.ingress, policy.egress, problems) == (ingress, egress, [path])


BROKEN_SUBJECTS: list[Any] = [
    "web",
    [],
    {"matchLabels": {"a": "b c"}},
    {"matchLabels": "a=b"},
    {"matchExpressions": [{"key": "a", "operator": "Like"}]},
    {"matchFields": []},
]


@pytest.mark.parametrize("selector", BROKEN_SUBJECTS)
def test_a_broken_subject_isolates_the_whole_namespace(selector: Any) -> None:
    spec = {"podSelector": selector, "ingress": [RULE], "policyTypes": ["Ingress"]}
    parsed = read_network_policy({"metadata": {"name": "p", "namespace": "shop"}, "spec": spec})
    assert parsed.subject_broken
    assert (parsed.value.pods, parsed.value.ingress, parsed.value.egress) == (EVERYTHING, (), None)
    assert parsed.problems[0].path.startswith("spec.podSelector")


@pytest.mark.parametrize("spec", ["all", [], 5, True])
def test_a_spec_that_is_no_object_isolates_the_whole_namespace(spec: Any) -> None:
    parsed = read_network_policy({"metadata": {"name": "p"}, "spec": spec})
    assert parsed.subject_broken
    assert (parsed.value.pods, parsed.value.ingress) == (EVERYTHING, ())


def test_only_a_broken_subject_is_a_broken_subject() -> None:
    parsed = read_network_policy({"metadata": {"name": "p"}, "spec": {"ingress": [5], "policyTypes": ["x"]}})
    assert (len(parsed.problems), parsed.subject_broken) == (2, False)


def test_identity_comes_along() -> None:
    metadata = {"name": "p", "uid": "u", "generation": 3, "resourceVersion": "9"}
    parsed = read_network_policy({"metadata": metadata, "spec": {}})
    assert (parsed.meta.uid, parsed.meta.generation, parsed.meta.resource_version) == ("u", 3, "9")
    assert str(parsed.value.ref) == "NetworkPolicy default/p"
