"""ClusterNetworkPolicy and our two kinds on the wire: every field, and what broken parts close."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from nodewall.api.parsed import Parsed
from nodewall.api.tierpolicy import (
    CLOSES,
    read_cluster_extended_network_policy,
    read_cluster_network_policy,
    read_extended_network_policy,
)
from nodewall.model.labels import EVERYTHING, Operator, Requirement, Selector
from nodewall.model.policy import (
    ANY_PORT,
    ANYONE,
    NOBODY,
    SAME_NAMESPACE,
    Action,
    DenyWith,
    Icmp,
    IpProtocol,
    Kind,
    Logging,
    Mode,
    NamespaceNames,
    NodePeer,
    PodPeer,
    PortName,
    PortRange,
    Protocol,
    ServiceAccountPeer,
    ServicePeer,
    Subject,
    Tier,
    TierPolicy,
    TierRule,
)

Read = Callable[[Any], Parsed[TierPolicy]]
WEB = Selector.of([Requirement("app", Operator.IN, ("web",))])
WEB_LABELS = {"matchLabels": {"app": "web"}}
CLUSTER: dict[str, Any] = {"tier": "Admin", "priority": 5, "subject": {"namespaces": {}}}
OWN: dict[str, Any] = {"priority": 5, "podSelector": {}}
ANY_PEER: dict[str, Any] = {"namespaces": {}}
EVERY_POD = PodPeer(EVERYTHING)

READERS: list[tuple[Read, dict[str, Any]]] = [
    (read_cluster_network_policy, CLUSTER),
    (read_cluster_extended_network_policy, CLUSTER),
    (read_extended_network_policy, OWN),
]
OURS = READERS[1:]
every_kind = pytest.mark.parametrize(("read", "base"), READERS, ids=["cnp", "cxnp", "xnp"])
our_kinds = pytest.mark.parametrize(("read", "base"), OURS, ids=["cxnp", "xnp"])


def parse(read: Read, spec: Any) -> Parsed[TierPolicy]:
    body = {"metadata": {"name": "p", "namespace": "shop", "generation": 2}, "spec": spec}
    parsed = read(msgspec.json.encode(body))
    assert parsed == read(body), "text and values differ"
    return parsed


def ingress(read: Read, base: dict[str, Any], **rule: Any) -> tuple[tuple[TierRule, ...], list[str]]:
    parsed = parse(read, {**base, "ingress": [{"action": "Accept", "from": [ANY_PEER], **rule}]})
    assert not parsed.subject_broken
    return parsed.value.ingress, [problem.path for problem in parsed.problems]


def egress(read: Read, base: dict[str, Any], **rule: Any) -> tuple[tuple[TierRule, ...], list[str]]:
    parsed = parse(read, {**base, "egress": [{"action": "Accept", "to": [ANY_PEER], **rule}]})
    return parsed.value.egress, [problem.path for problem in parsed.problems]


# --- whole policies ---------------------------------------------------------------------------------------------------


def test_every_field_of_a_cluster_extended_policy() -> None:
    spec = {
        "tier": "Baseline",
        "priority": 1000,
        "mode": "Audit",
        "nodes": {"matchLabels": {"app": "web"}},
        "subject": {"pods": {"namespaceSelector": WEB_LABELS, "podSelector": WEB_LABELS}},
        "logging": {"verdicts": ["Deny"], "rate": 5, "burst": 6, "label": "guard"},
        "denyWith": "Reject",
        "ingress": [
            {"name": "a", "action": "Deny", "from": [ANY_PEER]},
            {"action": "Pass", "from": [ANY_PEER], "denyWith": "Drop", "logging": {"verdicts": [], "label": "x"}},
        ],
    }
    parsed = parse(read_cluster_extended_network_policy, spec)
    policy = parsed.value
    assert parsed.problems == ()
    assert (policy.kind, policy.namespace, policy.name) == (Kind.CLUSTER_EXTENDED, "", "p")
    assert (policy.tier, policy.priority, policy.mode, policy.nodes) == (Tier.BASELINE, 1000, Mode.AUDIT, WEB)
    assert policy.subject == Subject(WEB, WEB)
    assert policy.egress == ()
    deny, skip = policy.ingress
    assert deny == TierRule(0, Action.DENY, (EVERY_POD,), ANY_PORT, "a", DenyWith.REJECT, deny.logging)
    assert deny.logging == Logging(deny=True, rate=5, burst=6, label="guard")
    assert (skip.index, skip.action, skip.deny_with) == (1, Action.PASS, DenyWith.DROP)
    assert skip.logging == Logging(rate=5, burst=6, label="x")


def test_an_extended_policy_is_about_its_own_namespace() -> None:
    policy = parse(read_extended_network_policy, {**OWN, "podSelector": WEB_LABELS}).value
    assert (policy.kind, policy.namespace, policy.tier) == (Kind.EXTENDED, "shop", Tier.NAMESPACE)
    assert policy.subject == Subject(NamespaceNames(("shop",)), WEB)


@our_kinds
def test_defaults(read: Read, base: dict[str, Any]) -> None:
    policy = parse(read, base).value
    assert (policy.mode, policy.nodes, policy.ingress, policy.egress) == (Mode.ENFORCE, None, (), ())
    (rule,), problems = ingress(read, base)
    assert (rule.deny_with, rule.logging, rule.ports, rule.name, problems) == (
        DenyWith.DROP,
        Logging(),
        ANY_PORT,
        "",
        [],
    )


@our_kinds
def test_nodes_empty_is_every_node_and_absent_is_no_limit(read: Read, base: dict[str, Any]) -> None:
    assert parse(read, {**base, "nodes": {}}).value.nodes == EVERYTHING
    assert parse(read, {**base, "nodes": None}).value.nodes is None


UPSTREAM: dict[str, Any] = {
    "tier": "Admin",
    "priority": 0,
    "subject": {"pods": {"podSelector": WEB_LABELS}},
    "ingress": [
        {"name": "a", "action": "Accept", "from": [{"pods": {"namespaceSelector": {}, "podSelector": WEB_LABELS}}]},
        {"action": "Pass", "from": [ANY_PEER], "protocols": [{"udp": {"destinationPort": {"number": 53}}}]},
    ],
    "egress": [
        {
            "action": "Deny",
            "to": [{"networks": ["10.0.0.0/8", "fd00::/8"]}, {"nodes": WEB_LABELS}, ANY_PEER],
            "protocols": [
                {"tcp": {"destinationPort": {"range": {"start": 1, "end": 9}}}},
                {"sctp": {"destinationPort": {"number": 65535}}},
            ],
        },
        {"action": "Accept", "to": [ANY_PEER], "protocols": [{"destinationNamedPort": "http"}]},
        {"action": "Accept", "to": [{"domainNames": ["*.example.com"]}]},
    ],
}


def test_an_upstream_spec_means_the_same_in_our_kind() -> None:
    theirs, ours = parse(read_cluster_network_policy, UPSTREAM), parse(read_cluster_extended_network_policy, UPSTREAM)
    assert theirs.value.kind is Kind.CLUSTER
    for field in ("tier", "priority", "subject", "mode", "nodes", "ingress", "egress"):
        assert getattr(theirs.value, field) == getattr(ours.value, field)
    assert theirs.problems == ours.problems
    assert [problem.path for problem in theirs.problems] == ["spec.egress[2].to[0].domainNames"]
    assert [rule.index for rule in theirs.value.egress] == [0, 1]
    assert theirs.value.subject == Subject(EVERYTHING, WEB)


# --- peers ------------------------------------------------------------------------------------------------------------

PEERS: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
    ({"namespaces": {}}, (EVERY_POD,)),
    ({"namespaces": WEB_LABELS}, (PodPeer(WEB),)),
    ({"namespaceNames": ["b", "a", "b"]}, (PodPeer(NamespaceNames(("a", "b"))),)),
    ({"pods": {"podSelector": WEB_LABELS}}, (PodPeer(EVERYTHING, WEB),)),
    ({"pods": {"namespaceSelector": WEB_LABELS, "podSelector": {}}}, (PodPeer(WEB, EVERYTHING),)),
    ({"sameNamespace": {}}, (PodPeer(SAME_NAMESPACE, EVERYTHING),)),
    ({"sameNamespace": {"podSelector": WEB_LABELS}}, (PodPeer(SAME_NAMESPACE, WEB),)),
    ({"serviceAccounts": [{"namespace": "m", "name": "p"}]}, (ServiceAccountPeer("m", "p"),)),
    (
        {"services": [{"namespace": "m", "name": "p"}, {"namespace": "m", "name": "q"}]},
        (ServicePeer("m", "p"), ServicePeer("m", "q")),
    ),
    ({"nodes": {}}, (NodePeer(EVERYTHING),)),
    ({"nodes": WEB_LABELS}, (NodePeer(WEB),)),
]


@pytest.mark.parametrize(("raw", "peers"), PEERS)
@our_kinds
def test_a_peer_is_read_in_both_directions(
    read: Read, base: dict[str, Any], raw: dict[str, Any], peers: tuple[Any, ...]
) -> None:
    assert [rule.peers for rule in ingress(read, base, **{"from": [raw]})[0]] == [peers]
    assert [rule.peers for rule in egress(read, base, to=[raw])[0]] == [peers]


@our_kinds
def test_networks_and_ip_blocks_are_read_in_both_directions(read: Read, base: dict[str, Any]) -> None:
    raw = [{"networks": ["10.0.0.1/8", "fd00::/8"]}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]
    for rules, problems in (ingress(read, base, **{"from": raw}), egress(read, base, to=raw)):
        assert problems == []
        shown = [str(peer) for rule in rules for peer in rule.peers]  # type: ignore[union-attr]
        assert shown == ["10.0.0.0/8", "fd00::/8", "10.0.0.0/8 except 10.1.0.0/16"]


PORTS: list[tuple[dict[str, Any], Any]] = [
    ({"tcp": {"destinationPort": {"number": 80}}}, PortRange(Protocol.TCP, 80, 80)),
    ({"udp": {"destinationPort": {"range": {"start": 1, "end": 65535}}}}, PortRange(Protocol.UDP, 1, 65535)),
    ({"sctp": {"destinationPort": {"range": {"start": 5, "end": 5}}}}, PortRange(Protocol.SCTP, 5, 5)),
    ({"destinationNamedPort": "http"}, PortName("http", None)),
    ({"icmp": {}}, Icmp(4)),
    ({"icmp": {"type": 0}}, Icmp(4, 0)),
    ({"icmpv6": {"type": 128, "code": 0}}, Icmp(6, 128, 0)),
    ({"ipProtocol": 0}, IpProtocol(0)),
    ({"ipProtocol": 255}, IpProtocol(255)),
]


@pytest.mark.parametrize(("raw", "port"), PORTS)
@our_kinds
def test_a_protocol_is_read(read: Read, base: dict[str, Any], raw: dict[str, Any], port: Any) -> None:
    rules, problems = ingress(read, base, protocols=[raw])
    assert ([rule.ports for rule in rules], problems) == ([(port,)], [])


# --- broken parts -----------------------------------------------------------------------------------------------------

BROKEN_RULES: list[tuple[dict[str, Any], str]] = [
    ({"from": [{}]}, ".from[0]"),
    ({"from": []}, ".from"),
    ({"from": None}, ".from"),
    ({"from": [None]}, ".from[0]"),
    ({"from": [ANY_PEER, {"unheardOf": {}}]}, ".from[1]"),
    ({"from": [{"namespaces": {}, "pods": {"podSelector": {}}}]}, ".from[0]"),
    ({"from": [{"pods": {}}]}, ".from[0].pods"),
    ({"from": [{"namespaces": {"matchLabels": {"a": "b c"}}}]}, ".from[0].namespaces"),
    ({"from": "all"}, ".from"),
    ({"protocols": []}, ".protocols"),
    ({"protocols": [{}]}, ".protocols[0]"),
    ({"protocols": [None]}, ".protocols[0]"),
    ({"protocols": [{"gre": {}}]}, ".protocols[0]"),
    ({"protocols": [{"tcp": {}}]}, ".protocols[0].tcp.destinationPort"),
    ({"protocols": [{"tcp": {"destinationPort": {}}}]}, ".protocols[0].tcp.destinationPort"),
    ({"protocols": [{"tcp": {"sourcePort": {"number": 5}}}]}, ".protocols[0].tcp"),
    ({"protocols": [{"tcp": {"destinationPort": {"number": 0}}}]}, ".protocols[0].tcp.destinationPort.number"),
    ({"protocols": [{"tcp": {"destinationPort": {"number": 65536}}}]}, ".protocols[0].tcp.destinationPort.number"),
    (
        {"protocols": [{"tcp": {"destinationPort": {"number": 5, "range": {"start": 1, "end": 2}}}}]},
        ".protocols[0].tcp.destinationPort",
    ),
    (
        {"protocols": [{"udp": {"destinationPort": {"range": {"start": 2, "end": 1}}}}]},
        ".protocols[0].udp.destinationPort.range",
    ),
    ({"protocols": [{"udp": {"destinationPort": {"range": {"start": 2}}}}]}, ".protocols[0].udp.destinationPort.range"),
    ({"protocols": [{"destinationNamedPort": "HTTP"}]}, ".protocols[0].destinationNamedPort"),
    ({"protocols": [{"destinationNamedPort": ""}]}, ".protocols[0].destinationNamedPort"),
    ({"when": "later"}, ""),
]


@pytest.mark.parametrize(("rule", "path"), BROKEN_RULES)
@pytest.mark.parametrize("action", ["Accept", "Deny", "Pass"])
@every_kind
def test_a_broken_rule_closes(read: Read, base: dict[str, Any], action: str, rule: dict[str, Any], path: str) -> None:
    rules, problems = ingress(read, base, action=action, **rule)
    assert len(problems) == 1
    assert problems[0].startswith(f"spec.ingress[0]{path}")
    if action == "Accept":
        assert rules == ()
    else:
        (closed,) = rules
        assert (closed.index, closed.action, closed.peers, closed.ports) == (0, Action.DENY, ANYONE, ANY_PORT)


OUR_BROKEN_RULES: list[tuple[dict[str, Any], str]] = [
    ({"from": [{"networks": ["10.0.0.0/33"]}]}, ".from[0].networks[0]"),
    ({"from": [{"networks": []}]}, ".from[0].networks"),
    ({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}}]}, ".from[0].ipBlock.except[0]"),
    ({"from": [{"namespaceNames": []}]}, ".from[0].namespaceNames"),
    ({"from": [{"namespaceNames": [""]}]}, ".from[0].namespaceNames"),
    ({"from": [{"serviceAccounts": [{"name": "x"}]}]}, ".from[0].serviceAccounts[0]"),
    ({"from": [{"services": [{"namespace": "a", "name": ""}]}]}, ".from[0].services[0].name"),
    ({"from": [{"domainNames": ["a.b"]}]}, ".from[0]"),
    ({"protocols": [{"icmp": {"code": 0}}]}, ".protocols[0].icmp.code"),
    ({"protocols": [{"icmp": {"type": 256}}]}, ".protocols[0].icmp.type"),
    ({"protocols": [{"ipProtocol": -1}]}, ".protocols[0].ipProtocol"),
    ({"protocols": [{"icmp": {}, "icmpv6": {}}]}, ".protocols[0]"),
]


@pytest.mark.parametrize(("rule", "path"), OUR_BROKEN_RULES)
@our_kinds
def test_a_broken_rule_of_ours_closes(read: Read, base: dict[str, Any], rule: dict[str, Any], path: str) -> None:
    rules, problems = ingress(read, base, action="Deny", **rule)
    assert len(problems) == 1
    assert problems[0].startswith(f"spec.ingress[0]{path}")
    assert [(one.action, one.peers, one.ports) for one in rules] == [(Action.DENY, ANYONE, ANY_PORT)]


NAMED = [{"destinationNamedPort": "http"}]
NUMBER = [{"tcp": {"destinationPort": {"number": 80}}}]
EGRESS: list[tuple[list[dict[str, Any]], list[dict[str, Any]], bool]] = [
    ([ANY_PEER], NAMED, True),
    ([{"networks": ["10.0.0.0/8"]}], NUMBER, True),
    ([{"networks": ["10.0.0.0/8"]}], NAMED, False),
    ([{"nodes": {}}], NAMED, False),
    ([ANY_PEER, {"nodes": {}}], NAMED + NUMBER, False),
    ([{"ipBlock": {"cidr": "10.0.0.0/8"}}], NAMED, False),
    ([{"services": [{"namespace": "a", "name": "b"}]}], NUMBER, False),
    ([{"services": [{"namespace": "a", "name": "b"}]}, ANY_PEER], NAMED, False),
]


@pytest.mark.parametrize(("peers", "protocols", "good"), EGRESS)
@our_kinds
def test_protocols_fit_the_destinations(
    read: Read, base: dict[str, Any], peers: list[Any], protocols: list[Any], good: bool
) -> None:
    rules, problems = egress(read, base, to=peers, protocols=protocols)
    assert (bool(rules), problems) == (good, [] if good else ["spec.egress[0].protocols"])
    assert ingress(read, base, **{"from": peers, "protocols": protocols})[1] == []


ACTIONS: list[Any] = ["Allow", "accept", "", None, 5, []]


@pytest.mark.parametrize("action", ACTIONS)
@every_kind
def test_an_action_that_cannot_be_read_may_have_been_a_deny(read: Read, base: dict[str, Any], action: Any) -> None:
    rules, problems = ingress(read, base, action=action, name="guard")
    assert [(one.action, one.peers, one.name) for one in rules] == [(Action.DENY, ANYONE, "guard")]
    assert len(problems) == 1


@pytest.mark.parametrize("rule", [None, 5, "x", [], {}])
@every_kind
def test_a_rule_that_is_none_denies(read: Read, base: dict[str, Any], rule: Any) -> None:
    good = {"action": "Accept", "from": [ANY_PEER]}
    parsed = parse(read, {**base, "ingress": [good, rule, good]})
    assert [(one.index, one.action) for one in parsed.value.ingress] == [
        (0, Action.ACCEPT),
        (1, Action.DENY),
        (2, Action.ACCEPT),
    ]
    assert not parsed.subject_broken


@every_kind
def test_a_rule_list_that_is_none_denies_its_direction(read: Read, base: dict[str, Any]) -> None:
    policy = parse(read, {**base, "egress": {"action": "Deny"}}).value
    assert policy.ingress == ()
    assert [(one.action, one.peers, one.ports) for one in policy.egress] == [(Action.DENY, ANYONE, ANY_PORT)]


REMARKS: list[tuple[dict[str, Any], str]] = [
    ({"name": 5}, ".name"),
    ({"logging": "all"}, ".logging"),
    ({"logging": {"rate": 0}}, ".logging.rate"),
    ({"logging": {"verdicts": ["Pass"]}}, ".logging.verdicts"),
    ({"denyWith": "Ignore"}, ".denyWith"),
]


@pytest.mark.parametrize(("remark", "path"), REMARKS)
@our_kinds
def test_what_changes_no_verdict_breaks_no_rule(
    read: Read, base: dict[str, Any], remark: dict[str, Any], path: str
) -> None:
    rule = {"name": "scrape", "logging": {"label": "l"}, "denyWith": "Reject", **remark}
    (found,), problems = ingress(read, base, **rule)
    assert (found.action, found.peers, found.ports) == (Action.ACCEPT, (EVERY_POD,), ANY_PORT)
    assert len(problems) == 1
    assert problems[0].startswith(f"spec.ingress[0]{path}")
    assert found.name == ("" if "name" in remark else "scrape")
    assert found.deny_with is (DenyWith.DROP if "denyWith" in remark else DenyWith.REJECT)


@our_kinds
def test_a_broken_deny_keeps_how_it_denies_and_what_it_records(read: Read, base: dict[str, Any]) -> None:
    (rule,), _ = ingress(read, base, action="Deny", name="n", denyWith="Reject", logging={}, **{"from": [{}]})
    assert (rule.name, rule.deny_with, rule.logging) == ("n", DenyWith.REJECT, Logging(deny=True))


SUBJECTS: list[tuple[str, dict[str, Any]]] = [
    ("cxnp", {"subject": None}),
    ("cxnp", {"subject": {}}),
    ("cxnp", {"subject": {"namespaces": {}, "pods": {"podSelector": {}}}}),
    ("cxnp", {"subject": {"nodes": {}}}),
    ("cxnp", {"subject": {"pods": {}}}),
    ("cxnp", {"subject": {"namespaces": {"matchLabels": {"a": "b c"}}}}),
    ("cxnp", {"subject": "all"}),
    ("cxnp", {"tier": "Middle"}),
    ("cxnp", {"tier": None}),
    ("cnp", {"subject": {"pods": {"podSelector": {"matchLabels": {"a b": "c"}}}}}),
    ("cnp", {"tier": "admin"}),
    ("cnp", {"priority": 1001}),
    ("xnp", {"podSelector": None}),
    ("xnp", {"podSelector": {"matchLabels": {"a": "b c"}}}),
    ("xnp", {"priority": None}),
    ("xnp", {"priority": -1}),
    ("xnp", {"priority": "5"}),
    ("xnp", {"mode": "Audit "}),
    ("xnp", {"nodes": {"matchLabels": {"a b": "c"}}}),
    ("xnp", {"nodes": []}),
]


@pytest.mark.parametrize(("kind", "change"), SUBJECTS)
def test_a_broken_subject_selects_nobody(kind: str, change: dict[str, Any]) -> None:
    read, base = dict(zip(("cnp", "cxnp", "xnp"), READERS, strict=True))[kind]
    parsed = parse(read, {**base, **change, "ingress": [{"action": "Deny", "from": [ANY_PEER]}]})
    assert parsed.subject_broken
    assert parsed.value.subject is NOBODY
    (field,) = change
    assert len(parsed.problems) == 1
    assert parsed.problems[0].path.startswith(f"spec.{field}")


@pytest.mark.parametrize("spec", [None, 5, "x", []])
@every_kind
def test_a_policy_without_spec_selects_nobody(read: Read, base: dict[str, Any], spec: Any) -> None:
    parsed = parse(read, spec)
    assert (parsed.subject_broken, parsed.value.subject) == (True, NOBODY)


HARMLESS: list[dict[str, Any]] = [{"logging": {"rate": -1}}, {"denyWith": "drop"}, {"later": True}]


@pytest.mark.parametrize("change", HARMLESS)
@our_kinds
def test_what_does_not_place_a_policy_does_not_break_it(
    read: Read, base: dict[str, Any], change: dict[str, Any]
) -> None:
    parsed = parse(read, {**base, **change})
    assert (parsed.subject_broken, len(parsed.problems)) == (False, 1)
    assert parsed.value.subject is not NOBODY


LOGGINGS: list[tuple[Any, Any, Logging]] = [
    (None, None, Logging()),
    ({}, None, Logging(deny=True)),
    (None, {}, Logging(deny=True)),
    ({"verdicts": ["Accept"]}, None, Logging(accept=True)),
    ({"verdicts": ["Accept"]}, {"label": "x"}, Logging(accept=True, label="x")),
    ({"verdicts": ["Accept"], "rate": 1}, {"verdicts": ["Deny"]}, Logging(deny=True, rate=1)),
    ({"verdicts": ["Accept", "Deny"], "burst": 3}, {"verdicts": []}, Logging(burst=3)),
    ({"label": "a", "rate": 1, "burst": 2}, {"label": "b", "rate": 3, "burst": 4}, Logging(False, True, 3, 4, "b")),
]


@pytest.mark.parametrize(("policy", "rule", "meaning"), LOGGINGS)
@our_kinds
def test_a_rule_takes_what_it_leaves_out_from_its_policy(
    read: Read, base: dict[str, Any], policy: Any, rule: Any, meaning: Logging
) -> None:
    (found,), problems = ingress(read, {**base, "logging": policy}, logging=rule)
    assert (found.logging, problems) == (meaning, [])


DOMAINS = [{"to": [{"domainNames": ["a.example"]}]}, {"to": [{"networks": ["10.0.0.0/33"]}]}]


@pytest.mark.parametrize("rule", DOMAINS)
@pytest.mark.parametrize("action", ["Deny", "Pass", "Accept"])
def test_a_broken_rule_that_denies_everything_says_so(action: str, rule: dict[str, Any]) -> None:
    parsed = parse(read_cluster_extended_network_policy, CLUSTER | {"egress": [{"action": action, **rule}]})
    closes = parsed.problems[-1].message.endswith(CLOSES)
    assert closes is (action != "Accept")
    assert bool(parsed.value.egress) is closes


def test_a_remark_that_cannot_be_read_closes_nothing_and_does_not_say_so() -> None:
    rule = {"action": "Deny", "to": [{"networks": ["10.0.0.0/8"]}], "logging": {"rate": "often"}}
    parsed = parse(read_cluster_extended_network_policy, CLUSTER | {"egress": [rule]})
    assert [CLOSES in problem.message for problem in parsed.problems] == [False]
