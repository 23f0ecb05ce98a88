"""Policies as they are meant.

Broken parts never get here: ``nodewall.api`` has already turned them into what semantics.md says ("Broken parts": a
broken Accept rule is left out, a broken Deny or Pass rule denies everything in its direction, a broken subject is
``NOBODY`` or, for a NetworkPolicy, its whole namespace) and reports them as ``Problem`` beside the policy.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum

from nodewall.model.address import IpBlock
from nodewall.model.labels import EVERYTHING, Selector


class Direction(StrEnum):
    INGRESS = "Ingress"
    EGRESS = "Egress"


class Protocol(StrEnum):
    """Transport protocols that have ports."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


class Action(StrEnum):
    ACCEPT = "Accept"
    DENY = "Deny"
    PASS = "Pass"  # noqa: S105 - a verdict, not a password


class DenyWith(StrEnum):
    """How a denied sender learns of it. Reject: TCP gets a reset, everything else port-unreachable."""

    DROP = "Drop"
    REJECT = "Reject"


class Mode(StrEnum):
    ENFORCE = "Enforce"
    AUDIT = "Audit"
    DISABLED = "Disabled"


class Tier(IntEnum):
    """Order of evaluation; a smaller one is judged first."""

    ADMIN = 0
    NAMESPACE = 1
    NETWORK_POLICY = 2
    BASELINE = 3


class Kind(StrEnum):
    """Policy kinds. ``RANK`` orders equal priorities (semantics, "Equal priority")."""

    NETWORK_POLICY = "NetworkPolicy"
    EXTENDED = "ExtendedNetworkPolicy"
    CLUSTER_EXTENDED = "ClusterExtendedNetworkPolicy"
    CLUSTER = "ClusterNetworkPolicy"


@dataclass(frozen=True, slots=True, order=True)
class PolicyRef:
    """Identity of a policy; ``namespace`` is "" for cluster-scoped kinds."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


# --- which namespaces -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NamespaceNames:
    """Namespaces by name, sorted. Holds also for a namespace object that has not been seen."""

    names: tuple[str, ...]


class SameNamespace(Enum):
    """The namespace of the pod that the rule protects (the subject), whichever that is."""

    SAME_NAMESPACE = "sameNamespace"


SAME_NAMESPACE = SameNamespace.SAME_NAMESPACE
NamespaceMatch = Selector | NamespaceNames | SameNamespace


# --- peers ------------------------------------------------------------------------------------------------------------


class Anyone(Enum):
    """Every source or destination, external ones included. Never the meaning of an empty tuple."""

    ANYONE = "anyone"


ANYONE = Anyone.ANYONE


@dataclass(frozen=True, slots=True)
class PodPeer:
    """Pods by labels in the namespaces that match; never a hostNetwork pod, never an external address."""

    namespaces: NamespaceMatch
    pods: Selector = EVERYTHING


@dataclass(frozen=True, slots=True)
class ServiceAccountPeer:
    """Pods that run as this service account."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class ServicePeer:
    """In egress: the ready endpoints' addresses with their target ports. In ingress: their addresses."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class NodePeer:
    """Addresses of the nodes whose labels match."""

    nodes: Selector


Peer = PodPeer | ServiceAccountPeer | ServicePeer | NodePeer | IpBlock
Peers = tuple[Peer, ...] | Anyone
"""An empty tuple matches nothing."""


# --- ports ------------------------------------------------------------------------------------------------------------


class AnyPort(Enum):
    """Every protocol and port."""

    ANY_PORT = "any"


ANY_PORT = AnyPort.ANY_PORT
LAST_PORT = 65535


@dataclass(frozen=True, slots=True, order=True)
class PortRange:
    """Ports first..last of one protocol, both included. 0..65535 is the whole protocol."""

    protocol: Protocol
    first: int = 0
    last: int = LAST_PORT

    @property
    def whole(self) -> bool:
        return self.first == 0 and self.last == LAST_PORT


@dataclass(frozen=True, slots=True, order=True)
class PortName:
    """A container port by name. ``protocol`` None: whatever protocol the pod exposes it with (ClusterNetworkPolicy)."""

    name: str
    protocol: Protocol | None = None


@dataclass(frozen=True, slots=True, order=True)
class Icmp:
    """ICMP (family 4) or ICMPv6 (family 6); -1 is any type, or any code of the type."""

    family: int
    type: int = -1
    code: int = -1


@dataclass(frozen=True, slots=True, order=True)
class IpProtocol:
    """An IP protocol by number, whatever its ports."""

    number: int


NumericPort = PortRange | Icmp | IpProtocol
"""What a packet alone decides; port names have been resolved."""
Port = NumericPort | PortName
Ports = tuple[Port, ...] | AnyPort
"""An empty tuple matches nothing."""


# --- policies ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Logging:
    """Which verdicts of a rule to record: at most ``rate`` records per second with ``burst``. ``label`` is the user's
    own text.
    """

    accept: bool = False
    deny: bool = False
    rate: int = 10
    burst: int = 20
    label: str = ""


@dataclass(frozen=True, slots=True)
class AllowRule:
    """One entry of a NetworkPolicy's ingress or egress; ``index`` is its place there."""

    index: int
    peers: Peers = ANYONE
    ports: Ports = ANY_PORT


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """``ingress`` or ``egress`` None: the policy does not isolate in that direction. An empty tuple isolates and
    allows nothing.
    """

    namespace: str
    name: str
    pods: Selector = EVERYTHING
    ingress: tuple[AllowRule, ...] | None = None
    egress: tuple[AllowRule, ...] | None = None

    @property
    def ref(self) -> PolicyRef:
        return PolicyRef(Kind.NETWORK_POLICY, self.namespace, self.name)

    def rules(self, direction: Direction) -> tuple[AllowRule, ...] | None:
        return self.ingress if direction is Direction.INGRESS else self.egress


@dataclass(frozen=True, slots=True)
class Subject:
    """The pods a tier policy is about; hostNetwork pods never."""

    namespaces: Selector | NamespaceNames
    pods: Selector = EVERYTHING


class Nobody(Enum):
    """The subject of a policy whose subject cannot be read."""

    NOBODY = "nobody"


NOBODY = Nobody.NOBODY


@dataclass(frozen=True, slots=True)
class TierRule:
    """One ordered rule; ``index`` is its place in the spec. ``name`` may be ""."""

    index: int
    action: Action
    peers: Peers
    ports: Ports = ANY_PORT
    name: str = ""
    deny_with: DenyWith = DenyWith.DROP
    logging: Logging = Logging()


@dataclass(frozen=True, slots=True)
class TierPolicy:
    """An (Cluster)ExtendedNetworkPolicy or a ClusterNetworkPolicy. ``nodes`` limits it to pods on matching nodes;
    None: all.
    """

    kind: Kind
    namespace: str
    name: str
    tier: Tier
    priority: int
    subject: Subject | Nobody
    mode: Mode = Mode.ENFORCE
    nodes: Selector | None = None
    ingress: tuple[TierRule, ...] = ()
    egress: tuple[TierRule, ...] = ()

    @property
    def ref(self) -> PolicyRef:
        return PolicyRef(self.kind, self.namespace, self.name)

    def rules(self, direction: Direction) -> tuple[TierRule, ...]:
        return self.ingress if direction is Direction.INGRESS else self.egress


_RANK = {Kind.EXTENDED: 0, Kind.CLUSTER_EXTENDED: 0, Kind.CLUSTER: 1, Kind.NETWORK_POLICY: 2}


def evaluation_order(policy: TierPolicy) -> tuple[int, int, int, str, str]:
    """Sort key of tier policies: tier, priority, then ClusterExtendedNetworkPolicy before ClusterNetworkPolicy,
    namespace, name.
    """
    return (policy.tier, policy.priority, _RANK[policy.kind], policy.namespace, policy.name)
