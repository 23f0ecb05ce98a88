"""A verdict record as one line of JSON.

Field names are those of Hubble's flow where it has one (docs/logging.md). Whatever a name holds, the line stays one:
it is pure ASCII, controls and everything else that could steer a terminal is escaped.

A rule id is all that the kernel hands over, so names come from the rule set that was in force when the record was read.
Of the peer on another node the rule set knows the address only, and the line says no more than that.
"""

import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from ipaddress import ip_address
from typing import Any

from nodewall.agent.flowlog_fold import Entry
from nodewall.agent.flowlog_packet import ICMP, ICMPV6, SCTP, TCP, UDP, WITH_PORTS, WITH_TYPE, Packet
from nodewall.model.policy import Action, Direction, Kind, Tier
from nodewall.model.ruleset import Isolation, NodeRuleSet, Rule, RuleRef
from nodewall.render.names import WOULD, Recorded, read_log_prefix

Line = dict[str, Any]

PROTOCOLS = {TCP: "TCP", UDP: "UDP", SCTP: "SCTP", ICMP: "ICMP", ICMPV6: "ICMPv6"}
_LAYER4 = {**PROTOCOLS, ICMP: "ICMPv4"}
TIERS = {
    Tier.ADMIN: "Admin",
    Tier.NAMESPACE: "Namespace",
    Tier.NETWORK_POLICY: "NetworkPolicy",
    Tier.BASELINE: "Baseline",
}
_TIER_OF_KIND = {Kind.NETWORK_POLICY: Tier.NETWORK_POLICY, Kind.EXTENDED: Tier.NAMESPACE}
_DOES = {Action.ACCEPT: Recorded.ACCEPT, Action.DENY: Recorded.DENY}
_TAKEN_FOR = {Recorded.ACCEPT: "allowed", Recorded.DENY: "denied"}


@dataclass(frozen=True)
class Names:
    """What the ids and addresses in records stand for, looked up in one rule set."""

    ruleset: NodeRuleSet

    @cached_property
    def refs(self) -> Mapping[str, RuleRef]:
        return {ref.id: ref for ref in self.ruleset.rules}

    @cached_property
    def tiers(self) -> Mapping[str, Tier]:
        return {rule.id: rule.tier for rule in self._rules()}

    @cached_property
    def isolations(self) -> Mapping[str, tuple[Isolation, Direction]]:
        found = ((each.isolation, each.direction) for each in self.ruleset.classes)
        return {isolation.id: (isolation, direction) for isolation, direction in found if isolation}

    @cached_property
    def logged(self) -> frozenset[str]:
        """Ids of all that writes records."""
        rules = {rule.id for rule in self._rules() if rule.log}
        return frozenset(rules | {id_ for id_, (isolation, _) in self.isolations.items() if isolation.log})

    @cached_property
    def pods(self) -> Mapping[bytes, tuple[str, str]]:
        """(namespace, name) of the local pod that has the address."""
        ends = self.ruleset.endpoints
        return {ip_address(each).packed: (pod.namespace, pod.pod) for pod in ends for each in pod.addresses}

    @cached_property
    def verdicts(self) -> Mapping[str, Recorded]:
        """What the table's rules put on record; Pass puts nothing."""
        classes = self.ruleset.classes
        audits = (rule for each in classes for audit in each.audits for rule in audit.rules)
        found = {rule.id: WOULD[rule.action] for rule in audits}
        found |= {rule.id: _DOES[rule.action] for each in classes for rule in each.rules if rule.action in _DOES}
        return found | dict.fromkeys(self.isolations, Recorded.DENY)

    def _rules(self) -> Iterator[Rule]:
        for each in self.ruleset.classes:
            yield from each.rules
            for audit in each.audits:
                yield from audit.rules

    def knows(self, rule_id: str) -> bool:
        return rule_id in self.isolations or rule_id in self.refs


def line(entry: Entry, names: Names, node: str, suppressed: int = 0) -> Line:
    """One record. ``suppressed``: records of the same rule that were not made, or got lost, and not told of yet."""
    packet = entry.seen.packet
    return {
        **_head(*read_log_prefix(entry.seen.prefix), names, node, entry.seen.time),
        "IP": _addresses(packet),
        "l4": _layer4(packet),
        "protocol": PROTOCOLS.get(packet.protocol, str(packet.protocol)),
        "source": _end(packet.source, names),
        "destination": {"kind": "node", "node_name": node} if entry.seen.to_node else _end(packet.destination, names),
        "count": entry.count,
        **({"suppressed": suppressed} if suppressed else {}),
    }


def summary(rule_id: str, suppressed: int, names: Names, node: str, time: float) -> Line:
    """What a rule suppressed, where no record follows that could say so: a line about no flow in particular."""
    head = _head(names.verdicts.get(rule_id), rule_id, names, node, time)
    return {**head, "count": 0, "suppressed": suppressed}


def encode(found: Line) -> bytes:
    """The line, with its end."""
    return json.dumps(found, separators=(",", ":")).encode("ascii") + b"\n"


def rfc3339(seconds: float) -> str:
    """UTC, microseconds: the resolution of the kernel's own."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# --- who decided ------------------------------------------------------------------------------------------------------


def _head(verdict: Recorded | None, rule_id: str, names: Names, node: str, time: float) -> Line:
    """When, where, what, and by which rule of which policy. A rule that is gone has left its id only."""
    found: Line = {"time": rfc3339(time), "node_name": node} | ({"verdict": verdict.value} if verdict else {})
    if rule_id in names.isolations:
        found |= _by_isolation(*names.isolations[rule_id])
    elif verdict and rule_id in names.refs:
        found |= _by_rule(verdict, names.refs[rule_id], names)
    return found | {"rule_id": rule_id}


def _by_rule(verdict: Recorded, ref: RuleRef, names: Names) -> Line:
    policy = _policy(ref.kind, ref.namespace, ref.name)
    tier = _TIER_OF_KIND.get(ref.kind, names.tiers.get(ref.id, Tier.ADMIN))
    found: Line = {"drop_reason_desc": "POLICY_DENY"} if verdict is Recorded.DENY else {}
    found |= {"traffic_direction": ref.direction.upper(), "tier": TIERS[tier], "policy": policy, "rule": ref.rule}
    found |= {"label": ref.label} if ref.label else {}
    # Who "would" have decided did not decide: it is in no list of those that did.
    return found | ({_list_of(ref.direction, verdict): [policy]} if verdict in _TAKEN_FOR else {})


def _by_isolation(isolation: Isolation, direction: Direction) -> Line:
    policies = [_policy(Kind.NETWORK_POLICY, *each.split("/", 1)) for each in isolation.policies]
    return {
        "drop_reason_desc": "POLICY_DENIED",
        "traffic_direction": direction.upper(),
        "tier": TIERS[Tier.NETWORK_POLICY],
        _list_of(direction, Recorded.DENY): policies,
        "isolating_policies": isolation.count,
    }


def _policy(kind: Kind, namespace: str, name: str) -> Line:
    return {"kind": kind.value, **({"namespace": namespace} if namespace else {}), "name": name}


def _list_of(direction: Direction, verdict: Recorded) -> str:
    """``ingress_denied_by`` and its like."""
    return f"{direction.lower()}_{_TAKEN_FOR[verdict]}_by"


# --- about what -------------------------------------------------------------------------------------------------------


def _addresses(packet: Packet) -> Line:
    version = 4 if len(packet.source) == 4 else 6
    return {"source": _text(packet.source), "destination": _text(packet.destination), "ipVersion": f"IPv{version}"}


def _text(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _layer4(packet: Packet) -> Line:
    """Empty where the protocol has neither ports nor types, or a fragment does not show them."""
    if packet.protocol in WITH_PORTS and packet.source_port >= 0:
        ports = {"source_port": packet.source_port, "destination_port": packet.destination_port}
        return {_LAYER4[packet.protocol]: ports}
    if packet.protocol in WITH_TYPE and packet.icmp_type >= 0:
        return {_LAYER4[packet.protocol]: {"type": packet.icmp_type, "code": packet.icmp_code}}
    return {}


def _end(packed: bytes, names: Names) -> Line:
    """``remote``: a pod or node elsewhere, or something outside of the cluster. The node cannot tell which."""
    if packed not in names.pods:
        return {"kind": "remote"}
    namespace, pod = names.pods[packed]
    return {"kind": "pod", "namespace": namespace, "pod_name": pod}


# --- by several rule sets ---------------------------------------------------------------------------------------------


class Library:
    """Names by rule set, of the last few: making them takes longer than using them."""

    KEPT = 2

    def __init__(self) -> None:
        self._names: dict[int, Names] = {}

    def names(self, ruleset: NodeRuleSet) -> Names:
        known = self._names.pop(id(ruleset), None)
        found = known if known and known.ruleset is ruleset else Names(ruleset)
        self._names[id(ruleset)] = found  # at the end: the last one used
        for oldest in list(self._names)[: -self.KEPT]:
            del self._names[oldest]
        return found

    def best(self, rule_id: str, rulesets: Iterable[NodeRuleSet]) -> Names:
        """Of the first that knows the rule: a record may be read before its table is known to be in force. Else of the
        first."""
        known = [self.names(each) for each in rulesets]
        return next((names for names in known if names.knows(rule_id)), known[0])
