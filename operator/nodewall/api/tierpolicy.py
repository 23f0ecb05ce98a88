"""ClusterNetworkPolicy, ClusterExtendedNetworkPolicy and ExtendedNetworkPolicy -> model.

A broken Accept rule is left out. A broken Deny or Pass rule denies everything in its direction, as upstream asks of
rules that an implementation does not understand; so does a rule whose action cannot be read, because it may have been
a Deny. What decides whom the policy is about and where it stands in the order (subject, nodes, tier, priority, mode)
is its subject: broken, it selects nobody.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeVar

import msgspec

from nodewall.api.addresses import read_ip_block, read_network
from nodewall.api.cluster import Body
from nodewall.api.labels import LabelSelector, read_selector
from nodewall.api.networkpolicy import valid_port_name
from nodewall.api.parsed import Meta, Parsed, Pieces, Report, Wire, decode, located, meta_of, pieces
from nodewall.api.tierwire import (
    ClusterEgressPeer,
    ClusterEgressRule,
    ClusterExtendedNetworkPolicySpec,
    ClusterIngressPeer,
    ClusterIngressRule,
    ClusterNetworkPolicySpec,
    ClusterProtocol,
    EgressPeer,
    EgressRule,
    ExtendedNetworkPolicySpec,
    IngressPeer,
    IngressRule,
    NamespacedPod,
    TrafficProtocol,
    Transport,
)
from nodewall.api.tierwire import (
    Logging as LoggingWire,
)
from nodewall.api.tierwire import (
    Subject as SubjectWire,
)
from nodewall.model.address import IpBlock
from nodewall.model.labels import EVERYTHING, Selector
from nodewall.model.policy import (
    ANY_PORT,
    ANYONE,
    NOBODY,
    SAME_NAMESPACE,
    Action,
    DenyWith,
    Direction,
    Icmp,
    IpProtocol,
    Kind,
    Logging,
    Mode,
    NamespaceNames,
    NodePeer,
    Peer,
    Peers,
    PodPeer,
    Port,
    PortName,
    PortRange,
    Ports,
    Protocol,
    ServiceAccountPeer,
    ServicePeer,
    Subject,
    Tier,
    TierPolicy,
    TierRule,
)

PeerWire = ClusterIngressPeer | ClusterEgressPeer | IngressPeer | EgressPeer
RuleWire = ClusterIngressRule | ClusterEgressRule | IngressRule | EgressRule
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Form:
    """How a kind is written."""

    kind: Kind
    spec: type[Wire]
    rules: Mapping[Direction, type[RuleWire]]
    subject_fields: frozenset[str]
    """Broken, these leave open whom the policy is about, or when."""


_OURS: Mapping[Direction, type[RuleWire]] = {Direction.INGRESS: IngressRule, Direction.EGRESS: EgressRule}
_PLACE = frozenset({"priority", "mode", "nodes"})
_CLUSTER = _Form(
    Kind.CLUSTER,
    ClusterNetworkPolicySpec,
    {Direction.INGRESS: ClusterIngressRule, Direction.EGRESS: ClusterEgressRule},
    _PLACE | {"tier", "subject"},
)
_CLUSTER_EXTENDED = _Form(Kind.CLUSTER_EXTENDED, ClusterExtendedNetworkPolicySpec, _OURS, _PLACE | {"tier", "subject"})
_EXTENDED = _Form(Kind.EXTENDED, ExtendedNetworkPolicySpec, _OURS, _PLACE | {"pod_selector"})

_TIERS = {"Admin": Tier.ADMIN, "Baseline": Tier.BASELINE}
_PEER_FIELDS = {Direction.INGRESS: "from", Direction.EGRESS: "to"}


def read_cluster_network_policy(body: Body) -> Parsed[TierPolicy]:
    """:raises InvalidObjectError: no object with a name."""
    return _read(_CLUSTER, body)


def read_cluster_extended_network_policy(body: Body) -> Parsed[TierPolicy]:
    """:raises InvalidObjectError: no object with a name."""
    return _read(_CLUSTER_EXTENDED, body)


def read_extended_network_policy(body: Body) -> Parsed[TierPolicy]:
    """:raises InvalidObjectError: no object with a name."""
    return _read(_EXTENDED, body)


def _read(form: _Form, body: Body) -> Parsed[TierPolicy]:
    raw, report = decode(body), Report()
    meta = meta_of(raw, namespaced=form.kind is Kind.EXTENDED)
    spec = pieces(raw.get("spec"), form.spec, "spec", report, raw_fields=frozenset({"ingress", "egress"}))
    subject, nodes = _subject(spec, meta, report), _nodes(spec, report)
    broken = bool(form.subject_fields & spec.broken) or subject is None or (nodes is None and "nodes" in spec.values)
    defaults = _Defaults.of(spec)
    policy = TierPolicy(
        kind=form.kind,
        namespace=meta.namespace,
        name=meta.name,
        tier=Tier.NAMESPACE if form.kind is Kind.EXTENDED else _TIERS[spec.values.get("tier", "Admin")],
        priority=spec.values.get("priority", 0),
        subject=NOBODY if broken or subject is None else subject,
        mode=spec.values.get("mode", Mode.ENFORCE),
        nodes=nodes,
        ingress=_rules(spec.values.get("ingress"), _Section(form, Direction.INGRESS, defaults, spec.strange), report),
        egress=_rules(spec.values.get("egress"), _Section(form, Direction.EGRESS, defaults, spec.strange), report),
    )
    return Parsed(policy, meta, tuple(report.problems), subject_broken=broken)


# --- subject ----------------------------------------------------------------------------------------------------------


def _nodes(spec: Pieces, report: Report) -> Selector | None:
    wire = spec.values.get("nodes")
    return None if wire is None else read_selector(wire, "spec.nodes", report)


def _subject(spec: Pieces, meta: Meta, report: Report) -> Subject | None:
    """None where it cannot be read; whatever could not be converted is reported already."""
    own = spec.values.get("pod_selector")
    if own is not None:
        pods = read_selector(own, "spec.podSelector", report)
        return None if pods is None else Subject(NamespaceNames((meta.namespace,)), pods)
    wire = spec.values.get("subject")
    return None if wire is None else _cluster_subject(wire, "spec.subject", report)


def _cluster_subject(wire: SubjectWire, at: str, report: Report) -> Subject | None:
    if one_of(wire, at, report) is None:
        return None
    if wire.pods is not None:
        found = _namespaced_pods(wire.pods, f"{at}.pods", report)
        return None if found is None else Subject(*found)
    namespaces = read_selector(wire.namespaces or LabelSelector(), f"{at}.namespaces", report)
    return None if namespaces is None else Subject(namespaces)


def _namespaced_pods(wire: NamespacedPod, at: str, report: Report) -> tuple[Selector, Selector] | None:
    """(namespaces, pods)"""
    namespaces = read_selector(wire.namespace_selector or LabelSelector(), f"{at}.namespaceSelector", report)
    pods = read_selector(wire.pod_selector, f"{at}.podSelector", report)
    return None if namespaces is None or pods is None else (namespaces, pods)


def one_of(wire: msgspec.Struct, at: str, report: Report) -> str | None:
    """The Python name of the one field that is set; None (reported) where none is, or several are."""
    fields = msgspec.structs.fields(wire)
    given = [one for one in fields if getattr(wire, one.name) is not None]
    if len(given) == 1:
        return given[0].name
    names = ", ".join(one.encode_name for one in fields)
    if given:
        report.add(at, f"must have only one of {names}; write an entry of its own for each")
    else:
        report.add(at, f"must have one of {names}")
    return None


# --- rules ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Defaults:
    """What a rule takes from its policy."""

    logging: LoggingWire | None
    deny_with: DenyWith

    @classmethod
    def of(cls, spec: Pieces) -> "_Defaults":
        return cls(spec.values.get("logging"), spec.values.get("deny_with", DenyWith.DROP))


@dataclass(frozen=True, slots=True)
class _Section:
    """One direction of a policy."""

    form: _Form
    direction: Direction
    defaults: _Defaults
    narrowed: bool
    """By a field of the policy that is not known: whom its rules let pass, they may not be about."""


def _rules(raw: object, section: _Section, report: Report) -> tuple[TierRule, ...]:
    at = f"spec.{str(section.direction).lower()}"
    if raw is None:
        return ()
    if not isinstance(raw, list):
        report.add(at, "expected a list of rules")
        return (TierRule(0, Action.DENY, ANYONE),)
    found = [_told_rule(one, index, section, f"{at}[{index}]", report) for index, one in enumerate(raw)]
    return tuple(one for one in found if one is not None)


CLOSES = "; until then the rule denies everything in this direction"


def _told_rule(raw: object, index: int, section: _Section, at: str, report: Report) -> TierRule | None:
    """With the last thing that is wrong with it goes what that leads to, where it is more than the author wrote."""
    before = len(report.problems)
    rule = _rule(raw, index, section, at, report)
    if len(report.problems) > before and rule and (rule.peers, rule.ports) == (ANYONE, ANY_PORT):
        last = report.problems[-1]
        report.problems[-1] = replace(last, message=last.message + CLOSES)
    return rule


def _rule(raw: object, index: int, section: _Section, at: str, report: Report) -> TierRule | None:
    wire = _convert_rule(raw, section.form.rules[section.direction], at, report)
    if wire is None:
        return _closed(raw, index, section)
    ours = wire if isinstance(wire, IngressRule | EgressRule) else None
    peers, ports = _matched(wire, section.direction, at, report)
    if (peers is None or ports is None or section.narrowed) and wire.action is Action.ACCEPT:
        return None
    whole = peers is not None and ports is not None
    return TierRule(
        index=index,
        action=wire.action if whole and not section.narrowed else Action.DENY,
        peers=peers if whole and peers is not None else ANYONE,
        ports=ports if whole and ports is not None else ANY_PORT,
        name=wire.name or "",
        deny_with=(ours and ours.deny_with) or section.defaults.deny_with,
        logging=merge_logging(ours.logging if ours else None, section.defaults.logging),
    )


_REMARKS = ("name", "logging", "denyWith")
"""Fields of a rule that change no verdict: broken ones are reported and left out."""


def _convert_rule(raw: object, form: type[RuleWire], at: str, report: Report) -> RuleWire | None:
    try:
        return msgspec.convert(raw, form)
    except msgspec.ValidationError as error:
        report.add(*located(error, at))
    if not isinstance(raw, dict):
        return None
    types = {one.encode_name: one.type for one in msgspec.structs.fields(form)}
    kept = {key: value for key, value in raw.items() if key not in _REMARKS or _converts(value, types.get(key))}
    try:
        return msgspec.convert(kept, form)
    except msgspec.ValidationError:
        return None


def _converts(value: object, form: Any) -> bool:
    """Whether a remark is well formed. One that the kind does not know is no remark."""
    if form is None:
        return True
    try:
        msgspec.convert(value, form)
    except msgspec.ValidationError:
        return False
    return True


def _closed(raw: object, index: int, section: _Section) -> TierRule | None:
    """A rule of which nothing but its action can be relied on."""
    rule = raw if isinstance(raw, dict) else {}
    if rule.get("action") == Action.ACCEPT:
        return None
    name = rule.get("name")
    return TierRule(
        index=index,
        action=Action.DENY,
        peers=ANYONE,
        name=name if isinstance(name, str) else "",
        deny_with=section.defaults.deny_with,
        logging=merge_logging(None, section.defaults.logging),
    )


_SILENT = Logging()


def merge_logging(rule: LoggingWire | None, policy: LoggingWire | None) -> Logging:
    """The rule's own fields, else the policy's, else the defaults. Without any ``logging`` nothing is recorded."""
    if rule is None and policy is None:
        return _SILENT
    layers = [one for one in (rule, policy) if one is not None]
    verdicts = _first(one.verdicts for one in layers)
    recorded = ["Deny"] if verdicts is None else verdicts
    return Logging(
        accept="Accept" in recorded,
        deny="Deny" in recorded,
        rate=_first(one.rate for one in layers) or _SILENT.rate,
        burst=_first(one.burst for one in layers) or _SILENT.burst,
        label=_first(one.label for one in layers) or "",
    )


def _first(values: Iterable[T | None]) -> T | None:
    return next((one for one in values if one is not None), None)


def _matched(wire: RuleWire, direction: Direction, at: str, report: Report) -> tuple[Peers | None, Ports | None]:
    peers_at, protocols_at = f"{at}.{_PEER_FIELDS[direction]}", f"{at}.protocols"
    wires: Sequence[PeerWire] = wire.peers
    peers = _all([_peer(one, f"{peers_at}[{index}]", report) for index, one in enumerate(wires)])
    ports: Ports | None = ANY_PORT
    if wire.protocols is not None:
        found = [_port(one, f"{protocols_at}[{index}]", report) for index, one in enumerate(wire.protocols)]
        ports = None if None in found else tuple(one for one in found if one is not None)
    if direction is Direction.EGRESS and not _fits(wire, protocols_at, report):
        ports = None
    return (None if peers is None else tuple(chain.from_iterable(peers))), ports


def _all(found: list[T | None]) -> list[T] | None:
    return None if any(one is None for one in found) else [one for one in found if one is not None]


_WITHOUT_PORT_NAMES = ("nodes", "networks", "ip_block", "domain_names")


def _fits(wire: RuleWire, at: str, report: Report) -> bool:
    """Whether protocols and destinations of one egress rule make sense together."""
    if wire.protocols is None:
        return True
    if any(getattr(one, "services", None) is not None for one in wire.peers):
        report.add(
            at, "must be left out beside a services peer, which brings its own ports; write a rule of its own for it"
        )
        return False
    if not any(one.destination_named_port is not None for one in wire.protocols):
        return True
    if any(getattr(one, field, None) is not None for one in wire.peers for field in _WITHOUT_PORT_NAMES):
        report.add(at, "must not have destinationNamedPort beside nodes, networks or ipBlock, which have no port names")
        return False
    return True


# --- peers ------------------------------------------------------------------------------------------------------------


def _peer(wire: PeerWire, at: str, report: Report) -> tuple[Peer, ...] | None:
    field = one_of(wire, at, report)
    if field is None:
        return None
    name = next(one.encode_name for one in msgspec.structs.fields(wire) if one.name == field)
    return _PEER_READERS[field](getattr(wire, field), f"{at}.{name}", report)


def _namespaces_peer(wire: LabelSelector, at: str, report: Report) -> tuple[Peer, ...] | None:
    namespaces = read_selector(wire, at, report)
    return None if namespaces is None else (PodPeer(namespaces),)


def _pods_peer(wire: NamespacedPod, at: str, report: Report) -> tuple[Peer, ...] | None:
    found = _namespaced_pods(wire, at, report)
    return None if found is None else (PodPeer(*found),)


def _same_namespace_peer(wire: Any, at: str, report: Report) -> tuple[Peer, ...] | None:
    pods = EVERYTHING if wire.pod_selector is None else read_selector(wire.pod_selector, f"{at}.podSelector", report)
    return None if pods is None else (PodPeer(SAME_NAMESPACE, pods),)


def _nodes_peer(wire: LabelSelector, at: str, report: Report) -> tuple[Peer, ...] | None:
    nodes = read_selector(wire, at, report)
    return None if nodes is None else (NodePeer(nodes),)


def _networks_peer(wire: list[str], at: str, report: Report) -> tuple[Peer, ...] | None:
    found = [read_network(one, f"{at}[{index}]", report) for index, one in enumerate(wire)]
    return None if None in found else tuple(IpBlock(one) for one in found if one is not None)


def _ip_block_peer(wire: Any, at: str, report: Report) -> tuple[Peer, ...] | None:
    block = read_ip_block(wire.cidr, wire.except_ or [], at, report)
    return None if block is None else (block,)


UNSUPPORTED = "is not supported; write networks, or a services peer"
"""The one problem that an API server does not know of."""


def _domain_names_peer(_wire: object, at: str, report: Report) -> None:
    report.add(at, UNSUPPORTED)


_PEER_READERS: Mapping[str, Callable[[Any, str, Report], tuple[Peer, ...] | None]] = {
    "namespaces": _namespaces_peer,
    "namespace_names": lambda wire, _at, _report: (PodPeer(NamespaceNames(tuple(sorted(set(wire))))),),
    "pods": _pods_peer,
    "same_namespace": _same_namespace_peer,
    "service_accounts": lambda wire, _at, _report: tuple(ServiceAccountPeer(one.namespace, one.name) for one in wire),
    "services": lambda wire, _at, _report: tuple(ServicePeer(one.namespace, one.name) for one in wire),
    "nodes": _nodes_peer,
    "networks": _networks_peer,
    "ip_block": _ip_block_peer,
    "domain_names": _domain_names_peer,
}


# --- protocols --------------------------------------------------------------------------------------------------------

_TRANSPORTS = {"tcp": Protocol.TCP, "udp": Protocol.UDP, "sctp": Protocol.SCTP}
_ICMP_FAMILIES = {"icmp": 4, "icmpv6": 6}


def _port(wire: ClusterProtocol | TrafficProtocol, at: str, report: Report) -> Port | None:
    field = one_of(wire, at, report)
    if field in _TRANSPORTS:
        return _transport_ports(_TRANSPORTS[field], getattr(wire, field), f"{at}.{field}", report)
    if field in _ICMP_FAMILIES:
        return _icmp(_ICMP_FAMILIES[field], getattr(wire, field), f"{at}.{field}", report)
    if field == "destination_named_port":
        name = wire.destination_named_port or ""
        return PortName(name) if valid_port_name(name, f"{at}.destinationNamedPort", report) else None
    return None if field is None else IpProtocol(getattr(wire, field))


def _transport_ports(protocol: Protocol, wire: Transport, at: str, report: Report) -> PortRange | None:
    at = f"{at}.destinationPort"
    if wire.destination_port is None:
        report.add(at, "must have number or range")
        return None
    if one_of(wire.destination_port, at, report) is None:
        return None
    if wire.destination_port.number is not None:
        return PortRange(protocol, wire.destination_port.number, wire.destination_port.number)
    span = wire.destination_port.range
    if span is None or span.end < span.start:
        report.add(f"{at}.range", "end must not be before start")
        return None
    return PortRange(protocol, span.start, span.end)


def _icmp(family: int, wire: Any, at: str, report: Report) -> Icmp | None:
    if wire.type is None and wire.code is not None:
        report.add(f"{at}.code", "needs a type beside it")
        return None
    return Icmp(family, -1 if wire.type is None else wire.type, -1 if wire.code is None else wire.code)
