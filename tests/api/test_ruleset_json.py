"""The NodeRuleSet's JSON: nothing is lost on the way, and nothing that is not whole gets through."""

import json
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodewall.api.ruleset import (
    RuleSetError,
    decode,
    digest_of,
    document,
    encode,
    encode_json,
    port_text,
    stated_digest,
)
from nodewall.model.address import Address, IpBlock
from nodewall.model.policy import (
    Action,
    DenyWith,
    Direction,
    Icmp,
    IpProtocol,
    Kind,
    PortRange,
    Protocol,
    Tier,
)
from nodewall.model.ruleset import (
    AddressGroup,
    Audit,
    Endpoint,
    Isolation,
    Match,
    NodeRuleSet,
    PortGroup,
    PortMember,
    Rule,
    RuleClass,
    RuleLog,
    RuleRef,
)

PORTS = (PortRange(Protocol.TCP), PortRange(Protocol.UDP, 5, 9), Icmp(4), Icmp(4, 0), Icmp(6, 128, 0), IpProtocol(0))
BLOCK = IpBlock(ip_network("10.0.0.0/8"), (ip_network("10.1.0.0/16"),))
FULL = NodeRuleSet(
    node="n1",
    groups=(AddressGroup("g1", "pods app=web", (Address("10.0.0.1"), Address("fd00::1"))), AddressGroup("g2", "", ())),
    port_groups=(
        PortGroup("p1", "named", (PortMember(Address("fd00::1"), Protocol.SCTP, 80),)),
        PortGroup("p2", "", ()),
    ),
    classes=(
        RuleClass(
            "c1",
            Direction.INGRESS,
            (
                Rule(
                    "r1", Tier.ADMIN, Action.DENY, Match(any_peer=True, any_port=True), DenyWith.REJECT, RuleLog(1, 2)
                ),
                Rule("r2", Tier.NETWORK_POLICY, Action.ACCEPT, Match(groups=("g1", "g2"), ports=PORTS)),
            ),
            Isolation("i1", ("shop/db",), 1, RuleLog(3, 4)),
            (Audit((Rule("r3", Tier.NAMESPACE, Action.PASS, Match(blocks=(BLOCK,), any_port=True)),)), Audit(())),
        ),
        RuleClass("c2", Direction.EGRESS, (Rule("r2", Tier.BASELINE, Action.ACCEPT, Match(port_groups=("p1",))),)),
    ),
    endpoints=(Endpoint("shop", "db-0", (Address("10.0.0.9"),), "c1", "c2"), Endpoint("shop", "web-0", ())),
    rules=(
        RuleRef("r1", Kind.CLUSTER_EXTENDED, "", "guard", Direction.INGRESS, "no-strangers", "label"),
        RuleRef("r2", Kind.NETWORK_POLICY, "shop", "db", Direction.INGRESS, "ingress[0]"),
        RuleRef("r3", Kind.CLUSTER, "", "x", Direction.INGRESS, "ingress[1]"),
    ),
    pod_cidrs=(ip_network("10.0.0.0/24"), ip_network("fd00::/64")),
)


@pytest.mark.parametrize("ruleset", [FULL, NodeRuleSet("n1")])
def test_nothing_is_lost_on_the_way(ruleset: NodeRuleSet) -> None:
    body = document(ruleset)
    assert decode(body) == ruleset
    assert decode(json.dumps(body).encode()) == ruleset
    assert stated_digest(body) == digest_of(body["spec"]) == encode_json(ruleset)[0]


def test_equal_rule_sets_are_equal_bytes() -> None:
    again = decode(json.dumps(document(FULL), sort_keys=True, indent=3).encode())
    assert encode_json(again) == encode_json(FULL)


def test_empty_lists_are_written_and_any_is_said() -> None:
    spec = encode(NodeRuleSet("n1", classes=(RuleClass("c", Direction.INGRESS),)))
    assert spec["addressGroups"] == spec["portGroups"] == spec["endpoints"] == spec["podCIDRs"] == []
    assert spec["classes"] == [{"name": "c", "direction": "Ingress", "rules": []}]
    nothing = encode(FULL)["classes"][1]["rules"][0]
    assert (nothing["anyPeer"], nothing["anyPort"]) == (False, False)


def test_members_are_short() -> None:
    spec = encode(FULL)
    assert spec["portGroups"][0]["members"] == ["fd00::1/SCTP/80"]
    assert spec["classes"][0]["rules"][1]["ports"] == ["TCP", "UDP/5-9", "ICMP", "ICMP/0", "ICMPv6/128/0", "IP/0"]


def test_the_digest_is_that_of_what_is_there() -> None:
    spec = encode(FULL)
    assert digest_of({**spec, "digest": "other"}) == spec["digest"]
    assert digest_of({**spec, "podCIDRs": []}) != spec["digest"]
    assert digest_of({**spec, "new": 1 << 70}) != spec["digest"]
    assert (digest_of(None), digest_of([]), digest_of("x")) == ("", "", "")


Change = Callable[[dict[str, Any]], object]
UNTRUE: list[tuple[str, Change]] = [
    ("spec.digest", lambda spec: spec["addressGroups"][0]["addresses"].pop()),
    ("spec.digest", lambda spec: spec["classes"][0].pop("isolation")),
    ("spec.digest", lambda spec: spec["classes"][0]["rules"][1].pop("groups")),
    ("spec.digest", lambda spec: spec.update(digest="")),
]


@pytest.mark.parametrize(("path", "change"), UNTRUE)
def test_a_changed_rule_set_is_refused(path: str, change: Change) -> None:
    body = document(FULL)
    change(body["spec"])
    with pytest.raises(RuleSetError, match="digest") as caught:
        decode(body)
    assert caught.value.path == path


def rule(spec: dict[str, Any], index: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = spec["classes"][0]["rules"][index]
    return found


UNUSABLE: list[tuple[str, Change]] = [
    ("spec", lambda spec: spec.update(later=1)),
    ("spec", lambda spec: spec.pop("endpoints")),
    ("spec", lambda spec: spec.pop("podCIDRs")),
    ("spec.addressGroups[0]", lambda spec: spec["addressGroups"][0].pop("addresses")),
    ("spec.portGroups[0]", lambda spec: spec["portGroups"][0].pop("members")),
    ("spec.classes[0]", lambda spec: spec["classes"][0].pop("rules")),
    ("spec.classes[0].rules[1]", lambda spec: rule(spec).pop("anyPeer")),
    ("spec.classes[0].rules[1]", lambda spec: rule(spec).pop("anyPort")),
    ("spec.classes[0].rules[1]", lambda spec: rule(spec).update(unlessFrom="x")),
    ("spec.classes[0].rules[1].anyPeer", lambda spec: rule(spec).update(anyPeer=None)),
    ("spec.classes[0].rules[1].action", lambda spec: rule(spec).update(action="Allow")),
    ("spec.classes[0].rules[1].tier", lambda spec: rule(spec).update(tier="Middle")),
    ("spec.classes[0].rules[1].ports[0]", lambda spec: rule(spec).update(ports=["tcp/80"])),
    ("spec.classes[0].rules[1].ports[0]", lambda spec: rule(spec).update(ports=["TCP/080"])),
    ("spec.classes[0].rules[1].ports[0]", lambda spec: rule(spec).update(ports=["TCP/9-5"])),
    ("spec.classes[0].rules[1].ports[0]", lambda spec: rule(spec).update(ports=["TCP/65536"])),
    ("spec.classes[0].rules[1].ports[0]", lambda spec: rule(spec).update(ports=["ICMP/256"])),
    ("spec.classes[0].rules[1].ports[0]", lambda spec: rule(spec).update(ports=["IP/999"])),
    ("spec.classes[0].rules[1].ports[0]", lambda spec: rule(spec).update(ports=["TCP/80\n"])),
    ("spec.classes[0].rules", lambda spec: rule(spec).update(groups=["g3"])),
    ("spec.classes[0].rules", lambda spec: rule(spec).update(portGroups=["g1"])),
    ("spec.classes[0].rules", lambda spec: rule(spec).update(id="r9")),
    ("spec.classes[0].rules", lambda spec: spec["classes"][0]["audits"][0]["rules"][0].update(groups=["g3"])),
    ("spec.classes[0].audits[0].rules[0].blocks[0].cidr", lambda spec: _block(spec).update(cidr="10.0.0.1/8")),
    ("spec.classes[0].audits[0].rules[0].blocks[0].except[0]", lambda spec: _block(spec).update({"except": ["x"]})),
    ("spec.addressGroups[0].addresses[0]", lambda spec: spec["addressGroups"][0].update(addresses=["010.0.0.1"])),
    ("spec.addressGroups[0].addresses[0]", lambda spec: spec["addressGroups"][0].update(addresses=["10.0.0.1; x"])),
    ("spec.addressGroups", lambda spec: spec["addressGroups"][1].update(name="g1")),
    ("spec.portGroups", lambda spec: spec["portGroups"][1].update(name="p1")),
    ("spec.portGroups[0].members[0]", lambda spec: spec["portGroups"][0].update(members=["10.0.0.1/TCP"])),
    ("spec.portGroups[0].members[0]", lambda spec: spec["portGroups"][0].update(members=["10.0.0.1/TCP/1-2"])),
    ("spec.portGroups[0].members[0]", lambda spec: spec["portGroups"][0].update(members=["x/TCP/1"])),
    ("spec.classes", lambda spec: spec["classes"][1].update(name="c1")),
    ("spec.policies", lambda spec: spec["policies"][1].update(id="r1")),
    ("spec.policies[0].kind", lambda spec: spec["policies"][0].update(kind="Policy")),
    ("spec.endpoints[0].ingress", lambda spec: spec["endpoints"][0].update(ingress="c9")),
    ("spec.endpoints[0].ingress", lambda spec: spec["endpoints"][0].update(ingress="c2")),
    ("spec.endpoints[0].egress", lambda spec: spec["endpoints"][0].update(egress="c1")),
    ("spec.endpoints", lambda spec: spec["endpoints"][1].update(addresses=["10.0.0.9"])),
    ("spec.podCIDRs[0]", lambda spec: spec.update(podCIDRs=["10.0.0.1/24"])),
]


def _block(spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = spec["classes"][0]["audits"][0]["rules"][0]["blocks"][0]
    return found


@pytest.mark.parametrize(("path", "change"), UNUSABLE)
def test_a_rule_set_that_cannot_be_used_is_refused_although_its_digest_is_right(path: str, change: Change) -> None:
    body = document(FULL)
    change(body["spec"])
    body["spec"]["digest"] = digest_of(body["spec"])
    with pytest.raises(RuleSetError) as caught:
        decode(body)
    assert (caught.value.path, caught.value.subject) == (path, "NodeRuleSet n1")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", [None, [], "x", 5])
def test_a_rule_set_without_spec_is_refused(spec: object) -> None:
    with pytest.raises(RuleSetError):
        decode({"metadata": {"name": "n1"}, "spec": spec})


ports = (
    st.builds(
        lambda protocol, first, last: PortRange(protocol, min(first, last), max(first, last)),
        st.sampled_from(Protocol),
        st.integers(0, 65535),
        st.integers(0, 65535),
    )
    | st.builds(IpProtocol, st.integers(0, 255))
    | st.builds(
        lambda family, kind, code: Icmp(family, kind, code if kind >= 0 else -1),
        st.sampled_from((4, 6)),
        st.integers(-1, 255),
        st.integers(-1, 255),
    )
)


@given(st.lists(ports, max_size=5))
def test_every_port_comes_back(given_ports: list[Any]) -> None:
    match = Match(any_peer=True, ports=tuple(given_ports))
    ruleset = NodeRuleSet(
        "n1",
        classes=(RuleClass("c", Direction.EGRESS, (Rule("r", Tier.ADMIN, Action.DENY, match),)),),
        rules=(RuleRef("r", Kind.CLUSTER, "", "x", Direction.EGRESS, "egress[0]"),),
    )
    assert decode(document(ruleset)) == ruleset
    assert len({port_text(one) for one in given_ports}) == len(set(given_ports))
