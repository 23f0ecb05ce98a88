"""networking.k8s.io/v1 NetworkPolicy -> model, with the API server's defaults applied.

Absent, null and empty are decided here, once (semantics 1-8, 14, 15): a rule list that is not there allows nothing, a
peer or port list that is not there allows every one, a selector that is not there is not an empty one. Null entries
of lists are zero values, as the API server reads them.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from nodewall.api.addresses import read_ip_block
from nodewall.api.bulk import MOST_EXCLUSIONS, MOST_RULES, TOO_LARGE, exclusions, fits
from nodewall.api.cluster import Body
from nodewall.api.labels import LabelSelector, read_selector
from nodewall.api.parsed import Parsed, Pieces, Report, Wire, convert, decode, meta_of, pieces
from nodewall.model.labels import EVERYTHING, Selector
from nodewall.model.policy import (
    ANY_PORT,
    ANYONE,
    SAME_NAMESPACE,
    AllowRule,
    Direction,
    NetworkPolicy,
    Peer,
    Peers,
    PodPeer,
    Port,
    PortName,
    PortRange,
    Ports,
    Protocol,
)

# --- the wire ---------------------------------------------------------------------------------------------------------


class IpBlockWire(Wire, frozen=True):
    """A CIDR without some smaller ones inside of it."""

    cidr: Annotated[str, Meta(description="Addresses, like 10.0.0.0/8 or fd00::/8.")]
    except_: Annotated[list[str] | None, Meta(description="CIDRs inside of cidr that are left out.")] = msgspec.field(
        default=None, name="except"
    )


class NetworkPolicyPeer(Wire, frozen=True):
    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IpBlockWire | None = None


class NetworkPolicyPort(Wire, frozen=True):
    protocol: str | None = None
    port: int | str | None = None
    end_port: int | None = None


class IngressRule(Wire, frozen=True):
    peers: list[NetworkPolicyPeer | None] | None = msgspec.field(default=None, name="from")
    ports: list[NetworkPolicyPort | None] | None = None


class EgressRule(Wire, frozen=True):
    peers: list[NetworkPolicyPeer | None] | None = msgspec.field(default=None, name="to")
    ports: list[NetworkPolicyPort | None] | None = None


class NetworkPolicySpec(Wire, frozen=True):
    pod_selector: LabelSelector | None = None
    policy_types: list[str | None] | None = None
    ingress: list[IngressRule | None] | None = None
    egress: list[EgressRule | None] | None = None


_FORMS: dict[Direction, type[IngressRule | EgressRule]] = {
    Direction.INGRESS: IngressRule,
    Direction.EGRESS: EgressRule,
}
_PEERS = {Direction.INGRESS: "from", Direction.EGRESS: "to"}
_PROTOCOLS: dict[str, Protocol] = {str(protocol): protocol for protocol in Protocol}
_DIRECTIONS: dict[str, Direction] = {str(direction): direction for direction in Direction}
_PORT_NAME = re.compile(r"(?=.{1,15}\Z)(?=[^a-z]*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)

# --- wire -> model ----------------------------------------------------------------------------------------------------


def read_network_policy(body: Body) -> Parsed[NetworkPolicy]:
    """A broken rule is left out; a broken subject isolates the whole namespace in the directions that the policy names.
    A field that is not known may narrow every rule, so none is left.

    :raises InvalidObjectError: no object with a name.
    """
    raw, report = decode(body), Report()
    meta = meta_of(raw, namespaced=True)
    spec = pieces(raw.get("spec"), NetworkPolicySpec, "spec", report, raw_fields=frozenset({"ingress", "egress"}))
    directions = _directions(spec, report)
    pods = _subject(spec, report)
    rules = {one: _rules(spec.values.get(str(one).lower()), one, report) for one in Direction}
    if spec.strange:
        rules = dict.fromkeys(Direction, ())
    value = NetworkPolicy(
        namespace=meta.namespace,
        name=meta.name,
        pods=EVERYTHING if pods is None else pods,
        ingress=_section(Direction.INGRESS, directions, rules, pods),
        egress=_section(Direction.EGRESS, directions, rules, pods),
    )
    return Parsed(value, meta, tuple(report.problems), subject_broken=pods is None)


def _section(
    direction: Direction,
    directions: frozenset[Direction],
    rules: Mapping[Direction, tuple[AllowRule, ...]],
    pods: Selector | None,
) -> tuple[AllowRule, ...] | None:
    if direction not in directions:
        return None
    return () if pods is None else rules[direction]


def _subject(spec: Pieces, report: Report) -> Selector | None:
    if "pod_selector" in spec.broken:
        return None
    wire = spec.values.get("pod_selector")
    pods = EVERYTHING if wire is None else read_selector(wire, "spec.podSelector", report)
    if pods is not None and exclusions(pods) > MOST_EXCLUSIONS:
        report.add("spec.podSelector", f"must not have more than {MOST_EXCLUSIONS} conditions that only exclude")
        return None
    return pods


def _directions(spec: Pieces, report: Report) -> frozenset[Direction]:
    """The directions that the policy isolates. A part of policyTypes that cannot be read stands for every section
    there is.
    """
    named = spec.values.get("policy_types") or []
    sections = {one for one in Direction if spec.values.get(str(one).lower())}
    known = {_DIRECTIONS[one] for one in named if one in _DIRECTIONS}
    for index, one in enumerate(named):
        if one not in _DIRECTIONS:
            report.add(f"spec.policyTypes[{index}]", f"{one or ''!r} must be Ingress or Egress")
    if len(named) > len(_DIRECTIONS):
        report.add("spec.policyTypes", "must not have more than two entries")
    if known and all(one in _DIRECTIONS for one in named):
        return frozenset(known)
    return frozenset(known | sections | (set() if known else {Direction.INGRESS}))


def _rules(raw: object, direction: Direction, report: Report) -> tuple[AllowRule, ...]:
    at = f"spec.{str(direction).lower()}"
    if raw is None:
        return ()
    if not isinstance(raw, list):
        report.add(at, "expected a list of rules")
        return ()
    read = (_rule(one, index, direction, f"{at}[{index}]", report) for index, one in enumerate(raw))
    found = tuple(one for one in read if one is not None) if len(raw) <= MOST_RULES else ()
    if len(raw) <= MOST_RULES and fits(found, direction):
        return found
    report.add(at, TOO_LARGE)
    return ()


def _rule(raw: Any, index: int, direction: Direction, at: str, report: Report) -> AllowRule | None:
    wire = convert({} if raw is None else raw, _FORMS[direction], at, report)
    if wire is None:
        return None
    peers = _peers(wire.peers or [], f"{at}.{_PEERS[direction]}", report)
    ports = _ports(wire.ports or [], f"{at}.ports", report)
    return None if peers is None or ports is None else AllowRule(index, peers, ports)


def _peers(wires: list[NetworkPolicyPeer | None], at: str, report: Report) -> Peers | None:
    if not wires:
        return ANYONE
    found = [_peer(one or NetworkPolicyPeer(), f"{at}[{index}]", report) for index, one in enumerate(wires)]
    return None if None in found else tuple(one for one in found if one is not None)


def _peer(wire: NetworkPolicyPeer, at: str, report: Report) -> Peer | None:
    if wire.ip_block is not None:
        if wire.pod_selector is not None or wire.namespace_selector is not None:
            report.add(at, "must not have ipBlock beside a selector; write two entries")
            return None
        return read_ip_block(wire.ip_block.cidr, wire.ip_block.except_ or [], f"{at}.ipBlock", report)
    if wire.pod_selector is None and wire.namespace_selector is None:
        report.add(at, "must have podSelector, namespaceSelector or ipBlock")
        return None
    return _pod_peer(wire, at, report)


def _pod_peer(wire: NetworkPolicyPeer, at: str, report: Report) -> PodPeer | None:
    """Without a namespaceSelector: the policy's own namespace. Without a podSelector: all pods there."""
    pods = read_selector(wire.pod_selector or LabelSelector(), f"{at}.podSelector", report)
    if wire.namespace_selector is None:
        return None if pods is None else PodPeer(SAME_NAMESPACE, pods)
    namespaces = read_selector(wire.namespace_selector, f"{at}.namespaceSelector", report)
    return None if pods is None or namespaces is None else PodPeer(namespaces, pods)


def _ports(wires: list[NetworkPolicyPort | None], at: str, report: Report) -> Ports | None:
    if not wires:
        return ANY_PORT
    found = [_port(one or NetworkPolicyPort(), f"{at}[{index}]", report) for index, one in enumerate(wires)]
    return None if None in found else tuple(one for one in found if one is not None)


def _port(wire: NetworkPolicyPort, at: str, report: Report) -> Port | None:
    protocol = _PROTOCOLS.get("TCP" if wire.protocol is None else wire.protocol)
    if protocol is None:
        report.add(f"{at}.protocol", f"{wire.protocol!r} must be TCP, UDP or SCTP")
        return None
    if isinstance(wire.port, int):
        return _numeric_port(protocol, wire.port, wire.port if wire.end_port is None else wire.end_port, at, report)
    if wire.end_port is not None:
        report.add(f"{at}.endPort", "needs a numeric port beside it")
        return None
    if wire.port is None:
        return PortRange(protocol)
    return PortName(wire.port, protocol) if valid_port_name(wire.port, f"{at}.port", report) else None


def _numeric_port(protocol: Protocol, first: int, last: int, at: str, report: Report) -> PortRange | None:
    if not 1 <= first <= 65535:
        report.add(f"{at}.port", f"{first} must be 1..65535")
    elif not first <= last <= 65535:
        report.add(f"{at}.endPort", f"{last} must be {first}..65535, not before port")
    else:
        return PortRange(protocol, first, last)
    return None


def valid_port_name(name: str, at: str, report: Report) -> bool:
    """At most 15 lower-case letters, digits and single hyphens, with a letter among them; reported when not."""
    if _PORT_NAME.fullmatch(name):
        return True
    report.add(
        at, f"{name!r} is no port name: at most 15 of a-z, 0-9 and single inner hyphens, with a letter among them"
    )
    return False
