"""Does this match that: selectors, peers and ports, read straight off the API's own words."""

from ipaddress import ip_address
from typing import assert_never

from nodewall.evaluate.packet import PROTOCOL_NUMBERS, NodeParty, Party, PodParty, Situation, Traffic
from nodewall.model.address import IpBlock, family
from nodewall.model.cluster import ClusterState, Phase, Pod
from nodewall.model.labels import Labels, Operator, Requirement, Selector
from nodewall.model.policy import (
    ANY_PORT,
    ANYONE,
    Direction,
    Icmp,
    IpProtocol,
    NamespaceMatch,
    NamespaceNames,
    NodePeer,
    NumericPort,
    Peer,
    Peers,
    PodPeer,
    Port,
    PortName,
    PortRange,
    Ports,
    SameNamespace,
    ServiceAccountPeer,
    ServicePeer,
    Subject,
    TierPolicy,
)

NAME_LABEL = "kubernetes.io/metadata.name"


def requirement_holds(requirement: Requirement, labels: Labels) -> bool:
    """NotIn and DoesNotExist hold for objects without the key (semantics 18)."""
    value = labels.get(requirement.key)
    match requirement.operator:
        case Operator.IN:
            return value is not None and value in requirement.values
        case Operator.NOT_IN:
            return value is None or value not in requirement.values
        case Operator.EXISTS:
            return value is not None
        case Operator.DOES_NOT_EXIST:
            return value is None


def selects(selector: Selector, labels: Labels) -> bool:
    return all(requirement_holds(requirement, labels) for requirement in selector.requirements)


def namespace_labels(state: ClusterState, name: str) -> Labels:
    """Labels of a namespace; one not seen yet has at least the label that the API server gives every namespace."""
    namespace = state.namespaces.get(name)
    return namespace.labels if namespace else Labels({NAME_LABEL: name})


def namespace_matches(state: ClusterState, wanted: NamespaceMatch, name: str, subject: Pod | None) -> bool:
    if isinstance(wanted, Selector):
        return selects(wanted, namespace_labels(state, name))
    if isinstance(wanted, NamespaceNames):
        return name in wanted.names
    if isinstance(wanted, SameNamespace):
        return subject is not None and subject.namespace == name
    assert_never(wanted)


def can_be_selected(pod: Pod) -> bool:
    """HostNetwork pods are node traffic (36); finished ones have given their address away (37)."""
    return not pod.host_network and pod.phase is not Phase.FINISHED


def is_subject(state: ClusterState, subject: Subject, pod: Pod) -> bool:
    return (
        can_be_selected(pod)
        and namespace_matches(state, subject.namespaces, pod.namespace, None)
        and selects(subject.pods, pod.labels)
    )


def on_matching_node(state: ClusterState, policy: TierPolicy, pod: Pod) -> bool:
    if policy.nodes is None:
        return True
    node = state.nodes.get(pod.node)
    return node is not None and selects(policy.nodes, node.labels)


def in_block(block: IpBlock, party: Party) -> bool:
    if party.address is None or family(party.address) != block.cidr.version:
        return False
    address = ip_address(party.address)
    return address in block.cidr and not any(address in carved for carved in block.excepts)


def _pod_in_peer(situation: Situation, peer: PodPeer) -> bool:
    if not isinstance(situation.peer, PodParty):
        return False
    pod = situation.peer.pod
    return (
        can_be_selected(pod)
        and namespace_matches(situation.state, peer.namespaces, pod.namespace, situation.subject)
        and selects(peer.pods, pod.labels)
    )


def _runs_as(situation: Situation, peer: ServiceAccountPeer) -> bool:
    if not isinstance(situation.peer, PodParty):
        return False
    pod = situation.peer.pod
    return can_be_selected(pod) and (pod.namespace, pod.service_account) == (peer.namespace, peer.name)


def _serves(situation: Situation, peer: ServicePeer) -> bool:
    """A ready endpoint of the Service; towards it, a target port too. A slice pairs its own addresses and ports."""
    traffic = situation.traffic
    for piece in situation.state.slices.values():
        if (piece.namespace, piece.service) != (peer.namespace, peer.name):
            continue
        if situation.peer.address not in piece.addresses:
            continue
        if situation.direction is Direction.INGRESS:
            return True
        if any(PROTOCOL_NUMBERS[p] == traffic.protocol and number == traffic.port for p, number in piece.ports):
            return True
    return False


def _is_node(situation: Situation, peer: NodePeer) -> bool:
    """A node, by its address or (without one) by name; a pod is never a node, whatever its address."""
    party = situation.peer
    if isinstance(party, PodParty):
        return False
    nodes = [node for node in situation.state.nodes.values() if selects(peer.nodes, node.labels)]
    if isinstance(party, NodeParty) and party.address is None:
        return any(party.name == node.name for node in nodes)
    return any(party.address in node.addresses for node in nodes)


def peer_matches(situation: Situation, peer: Peer) -> bool:
    """Is the other end among ``peer``?"""
    match peer:
        case IpBlock():
            return in_block(peer, situation.peer)
        case PodPeer():
            return _pod_in_peer(situation, peer)
        case ServiceAccountPeer():
            return _runs_as(situation, peer)
        case ServicePeer():
            return _serves(situation, peer)
        case NodePeer():
            return _is_node(situation, peer)
    assert_never(peer)


def _exposes(pod: Pod, name: PortName, traffic: Traffic) -> bool:
    """Name and protocol must both match (33); of several ports with one name each counts."""
    return any(
        port.name == name.name
        and name.protocol in (None, port.protocol)
        and PROTOCOL_NUMBERS[port.protocol] == traffic.protocol
        and port.port == traffic.port
        for port in pod.ports
    )


def _numeric_port_matches(port: NumericPort, traffic: Traffic) -> bool:
    match port:
        case PortRange():
            same_protocol = PROTOCOL_NUMBERS[port.protocol] == traffic.protocol
            return same_protocol and (port.whole or port.first <= traffic.port <= port.last)
        case Icmp():
            protocol = PROTOCOL_NUMBERS["ICMP" if port.family == 4 else "ICMPv6"]
            same_type = port.type in (-1, traffic.icmp_type) and port.code in (-1, traffic.icmp_code)
            return protocol == traffic.protocol and same_type
        case IpProtocol():
            return port.number == traffic.protocol
    assert_never(port)


def _named_port_matches(situation: Situation, port: PortName, peer: Peer | None) -> bool:
    """In ingress the name is the subject's own (30, 33). In egress it is the destination pod's, and only a peer that
    stands for pods can mean it (31-33); ``peer`` None is a rule without peers, so any pod that exposes the name."""
    if situation.direction is Direction.INGRESS:
        return _exposes(situation.subject, port, situation.traffic)
    if not (peer is None or isinstance(peer, PodPeer | ServiceAccountPeer)):
        return False
    if not isinstance(situation.peer, PodParty):
        return False
    pod = situation.peer.pod
    return can_be_selected(pod) and _exposes(pod, port, situation.traffic)


def _port_matches(situation: Situation, port: Port, peer: Peer | None) -> bool:
    if isinstance(port, PortName):
        return _named_port_matches(situation, port, peer)
    return _numeric_port_matches(port, situation.traffic)


def _some_port_matches(situation: Situation, ports: Ports, peer: Peer | None) -> bool:
    return ports is ANY_PORT or any(_port_matches(situation, port, peer) for port in ports)


def rule_matches(situation: Situation, peers: Peers, ports: Ports) -> bool:
    """Some peer AND some port; ANYONE and ANY_PORT stand for all, an empty tuple for none (57)."""
    candidates: tuple[Peer | None, ...] = (None,) if peers is ANYONE else peers
    return any(
        (peer is None or peer_matches(situation, peer)) and _some_port_matches(situation, ports, peer)
        for peer in candidates
    )
