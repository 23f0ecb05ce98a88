"""A line names verdict, policy, rule and pods, and is one line whatever the names are."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodewall.agent.flowlog_fold import Entry, Seen
from nodewall.agent.flowlog_lines import Library, Names, encode, line, rfc3339, summary
from nodewall.agent.flowlog_packet import Packet, parse
from nodewall.model.policy import Action
from nodewall.model.ruleset import NodeRuleSet
from tests.flowlog.packets import icmp, ipv4, ipv6, ports
from tests.flowlog.rulesets import INGRESS, MANY, NASTY, RULESET, rule

AT = 1_700_000_000.25
NAMES = Names(RULESET)


def entry(prefix: str, data: bytes = ipv4(6, ports(4711, 80)), *, to_node: bool = False, count: int = 1) -> Entry:
    packet = parse(data)
    assert packet
    return Entry(Seen(prefix, packet, to_node, AT, RULESET), count)


def written(*arguments: Any, **more: Any) -> dict[str, Any]:
    """As a reader of the log gets it."""
    found: dict[str, Any] = json.loads(encode(line(entry(*arguments, **more), NAMES, "n1")))
    return found


def test_a_whole_record() -> None:
    assert written("deny:admin", count=3) == {
        "time": "2023-11-14T22:13:20.250000Z",
        "node_name": "n1",
        "verdict": "deny",
        "drop_reason_desc": "POLICY_DENY",
        "traffic_direction": "INGRESS",
        "tier": "Admin",
        "policy": {"kind": "ClusterExtendedNetworkPolicy", "name": "guards"},
        "rule": "no-strangers",
        "label": "cross-tenant",
        "ingress_denied_by": [{"kind": "ClusterExtendedNetworkPolicy", "name": "guards"}],
        "rule_id": "admin",
        "IP": {"source": "10.0.0.1", "destination": "10.0.0.2", "ipVersion": "IPv4"},
        "l4": {"TCP": {"source_port": 4711, "destination_port": 80}},
        "protocol": "TCP",
        "source": {"kind": "remote"},
        "destination": {"kind": "pod", "namespace": "shop", "pod_name": "web-0"},
        "count": 3,
    }


VERDICTS: dict[str, dict[str, Any]] = {
    "accept:own": {
        "tier": "Namespace",
        "ingress_allowed_by": [{"kind": "ExtendedNetworkPolicy", "namespace": "shop", "name": "own"}],
    },
    "accept:plain": {
        "tier": "NetworkPolicy",
        "policy": {"kind": "NetworkPolicy", "namespace": "shop", "name": "web"},
        "rule": "ingress[0]",
    },
    "deny:out": {"tier": "Baseline", "traffic_direction": "EGRESS", "drop_reason_desc": "POLICY_DENY"},
    "would-deny:try-deny": {"tier": "Baseline", "rule": "ingress[0]"},
    "would-pass:try-pass": {"tier": "Baseline", "rule": "ingress[1]"},
    "deny:iso": {
        "tier": "NetworkPolicy",
        "drop_reason_desc": "POLICY_DENIED",
        "isolating_policies": 11,
        "ingress_denied_by": [{"kind": "NetworkPolicy", "namespace": "shop", "name": each[5:]} for each in MANY],
    },
}


@pytest.mark.parametrize(("prefix", "content"), VERDICTS.items())
def test_each_verdict_says_who_decided(prefix: str, content: dict[str, Any]) -> None:
    found = written(prefix)
    assert found["verdict"] == prefix.partition(":")[0]
    assert {key: found.get(key) for key in content} == content


@pytest.mark.parametrize("prefix", ["would-deny:try-deny", "would-pass:try-pass", "would-accept:try-deny"])
def test_who_would_have_decided_is_not_among_those_who_did(prefix: str) -> None:
    assert not [key for key in written(prefix) if key.endswith("_by")]
    assert "drop_reason_desc" not in written(prefix)


def test_an_accept_has_no_reason_to_drop() -> None:
    assert "drop_reason_desc" not in written("accept:own")
    assert not [key for key in written("accept:own") if "denied" in key]


def test_isolation_is_nobody_in_particular() -> None:
    assert not {"policy", "rule"} & written("deny:iso").keys()


FLOWS = {
    "udp": (ipv4(17, ports(5, 53)), "UDP", {"UDP": {"source_port": 5, "destination_port": 53}}),
    "sctp6": (ipv6(132, ports(5, 99)), "SCTP", {"SCTP": {"source_port": 5, "destination_port": 99}}),
    "icmp": (ipv4(1, icmp(8, 0)), "ICMP", {"ICMPv4": {"type": 8, "code": 0}}),
    "icmp6": (ipv6(58, icmp(128, 0)), "ICMPv6", {"ICMPv6": {"type": 128, "code": 0}}),
    "gre": (ipv4(47, bytes(8)), "47", {}),
    "fragment": (ipv4(17, bytes(8), fragment=9), "UDP", {}),
}


@pytest.mark.parametrize(("data", "protocol", "layer"), FLOWS.values(), ids=FLOWS)
def test_a_flow_by_its_protocol(data: bytes, protocol: str, layer: dict[str, Any]) -> None:
    found = written("deny:admin", data)
    assert (found["protocol"], found["l4"]) == (protocol, layer)
    assert found["destination"]["pod_name"] == "web-0"
    assert found["IP"]["ipVersion"] == ("IPv6" if data[0] >> 4 == 6 else "IPv4")


def test_what_was_for_the_node_itself_names_the_node() -> None:
    assert written("deny:out", to_node=True)["destination"] == {"kind": "node", "node_name": "n1"}


def test_a_rule_that_nobody_knows_is_its_id() -> None:
    found = written("deny:gone")
    assert (found["verdict"], found["rule_id"]) == ("deny", "gone")
    assert "policy" not in found


# --- what was suppressed ----------------------------------------------------------------------------------------------


def test_a_record_says_what_its_rule_suppressed() -> None:
    assert line(entry("deny:admin"), NAMES, "n1", 17)["suppressed"] == 17
    assert "suppressed" not in line(entry("deny:admin"), NAMES, "n1", 0)


@pytest.mark.parametrize(
    ("rule_id", "verdict"), [("admin", "deny"), ("own", "accept"), ("iso", "deny"), ("try-pass", "would-pass")]
)
def test_a_line_about_no_flow_says_it_where_no_record_does(rule_id: str, verdict: str) -> None:
    found = summary(rule_id, 17, NAMES, "n1", AT)
    assert (found["verdict"], found["count"], found["suppressed"]) == (verdict, 0, 17)
    assert not {"IP", "l4", "source", "destination"} & found.keys()


def test_of_a_rule_that_is_gone_the_verdict_is_not_guessed() -> None:
    assert "verdict" not in summary("gone", 17, NAMES, "n1", AT)


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_name_cannot_leave_its_line() -> None:
    data = encode(line(entry("accept:own"), NAMES, "n1"))
    assert data.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in data[:-1])
    assert json.loads(data)["rule"] == NASTY
    assert json.loads(data)["label"] == NASTY


@given(st.text())
def test_no_name_can_leave_its_line(name: str) -> None:
    refs = tuple(replace(ref, name=name, rule=name, label=name) for ref in RULESET.rules)
    ends = tuple(replace(each, namespace=name, pod=name) for each in RULESET.endpoints)
    names = Names(replace(RULESET, rules=refs, endpoints=ends))
    data = encode(line(entry("deny:admin"), names, name))
    assert all(0x20 <= byte < 0x7F for byte in data[:-1])
    assert json.loads(data)["policy"]["name"] == name


def test_the_rules_on_record_are_those_that_log() -> None:
    assert NAMES.logged == {"admin", "own", "plain", "iso", "try-deny", "try-pass", "out"}


def test_a_verdict_of_a_rule_that_was_changed_since_is_that_of_then() -> None:
    """The rule says what it did itself; what it is called is looked up."""
    changed = replace(INGRESS, rules=(rule("admin", INGRESS.rules[0].tier, Action.ACCEPT),))
    names = Names(replace(RULESET, classes=(changed,)))
    found = line(entry("deny:admin"), names, "n1")
    assert (found["verdict"], found["rule"]) == ("deny", "no-strangers")
    assert "ingress_denied_by" in found


def test_names_come_from_the_first_rule_set_that_knows_the_rule() -> None:
    library = Library()
    empty, other = NodeRuleSet("n1"), replace(RULESET, pod_cidrs=())
    assert library.best("admin", (empty, RULESET)).ruleset is RULESET
    assert library.best("admin", (other, RULESET)).ruleset is other
    assert library.best("gone", (empty, RULESET)).ruleset is empty


def test_names_of_a_rule_set_are_made_once_and_only_a_few_are_kept() -> None:
    library = Library()
    first = library.names(RULESET)
    assert library.names(RULESET) is first
    for number in range(Library.KEPT):
        library.names(NodeRuleSet(f"n{number}"))
    assert library.names(RULESET) is not first


def test_time_is_utc_with_microseconds() -> None:
    assert rfc3339(0.000001) == "1970-01-01T00:00:00.000001Z"


def test_a_packet_holds_addresses_as_they_are_on_the_wire() -> None:
    found = line(Entry(Seen("deny:admin", Packet(bytes(16), bytes(15) + b"\1", 6), False, AT, RULESET), 1), NAMES, "n1")
    assert found["IP"] == {"source": "::", "destination": "::1", "ipVersion": "IPv6"}
