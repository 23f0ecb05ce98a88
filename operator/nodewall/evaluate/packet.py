"""One packet, and who sends and receives it."""

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from nodewall.model.address import Address, family
from nodewall.model.cluster import ClusterState, Node, Phase, Pod
from nodewall.model.errors import BadInputError
from nodewall.model.policy import Direction

PROTOCOL_NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132, "ICMP": 1, "ICMPv6": 58}


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is in the packet: an IP protocol number, and a port or an ICMP type and code where the protocol has them.

    ``port`` is the destination's port as the pod sees it, after any DNAT; -1 where the protocol has none.
    """

    protocol: int
    port: int = -1
    icmp_type: int = -1
    icmp_code: int = -1

    def __str__(self) -> str:
        name = next(
            (n for n, number in PROTOCOL_NUMBERS.items() if number == self.protocol), f"protocol {self.protocol}"
        )
        if self.port >= 0:
            return f"{self.port}/{name}"
        return f"{name} type {self.icmp_type} code {self.icmp_code}" if self.icmp_type >= 0 else name


@dataclass(frozen=True, slots=True)
class PodParty:
    """A pod by identity; ``address`` is what this packet carries, None for a pod that has none (of the family) yet."""

    pod: Pod
    address: Address | None = None

    def __str__(self) -> str:
        return f"pod {self.pod.namespace}/{self.pod.name}"


@dataclass(frozen=True, slots=True)
class NodeParty:
    """A node itself: its host processes, kubelet, and the hostNetwork pods on it."""

    name: str
    address: Address | None = None

    def __str__(self) -> str:
        return f"node {self.name}"


@dataclass(frozen=True, slots=True)
class AddressParty:
    """An address that is no pod's and no node's."""

    address: Address

    def __str__(self) -> str:
        return f"address {self.address}"


Party = PodParty | NodeParty | AddressParty


@dataclass(frozen=True, slots=True)
class Packet:
    """``via_service``: a pod that reaches itself does so through a Service, so that the packet does leave the pod."""

    source: Party
    destination: Party
    traffic: Traffic
    via_service: bool = False


@dataclass(frozen=True, slots=True)
class Situation:
    """One end of a packet: the pod whose policies speak, the other end as its ``peer``, and what is sent which way.

    ``hairpin``: the pod reaches itself through a Service.
    """

    state: ClusterState
    subject: Pod
    peer: Party
    traffic: Traffic
    direction: Direction
    hairpin: bool = False

    @property
    def peer_is_own_node(self) -> bool:
        """By locality (45): the node that runs the subject, its host processes and hostNetwork pods."""
        return isinstance(self.peer, NodeParty) and self.peer.name == self.subject.node != ""


def address_owner(state: ClusterState, address: Address) -> Pod | None:
    """The pod whose address this is now: a running one before a pending one, then the newest, then the highest uid."""
    claims = [
        pod
        for pod in state.pods.values()
        if address in pod.addresses and not pod.host_network and pod.phase is not Phase.FINISHED
    ]
    return max(claims, key=lambda pod: (pod.phase is Phase.RUNNING, pod.created, pod.uid, pod.key), default=None)


def node_of_address(state: ClusterState, address: Address) -> Node | None:
    """The node that has this address; of several, the first by name."""
    return min((n for n in state.nodes.values() if address in n.addresses), key=lambda n: n.name, default=None)


def party_of_address(state: ClusterState, address: Address) -> Party:
    """Who a packet with this address is from or to: the pod that owns it, else the node, else nobody known."""
    pod = address_owner(state, address)
    if pod is not None:
        return PodParty(pod, address)
    node = node_of_address(state, address)
    return NodeParty(node.name, address) if node else AddressParty(address)


def party_of_pod(pod: Pod, wanted_family: int | None) -> Party:
    """A pod by identity. A hostNetwork pod is its node (semantics 36)."""
    address = next((a for a in pod.addresses if wanted_family in (None, family(a))), None)
    return NodeParty(pod.node, address) if pod.host_network else PodParty(pod, address)


def canonical(text: str) -> Address:
    """The canonical spelling; an IPv4 address written as IPv6 is the IPv4 address. BadInputError: it is no address."""
    try:
        found = ip_address(text)
    except ValueError:
        raise BadInputError("is not an IP address", subject=f"ip:{text}") from None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return Address(str(mapped or found))
