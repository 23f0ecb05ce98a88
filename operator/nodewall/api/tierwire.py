"""ClusterNetworkPolicy, ClusterExtendedNetworkPolicy and ExtendedNetworkPolicy on the wire.

These structures are what the custom resource definitions of our two kinds are generated from, so every field carries
its description. Limits that only the door enforces are schema keywords (``_at_most``): a stored object beyond them is
still read.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from nodewall.api.labels import LabelSelector
from nodewall.api.networkpolicy import IpBlockWire
from nodewall.api.parsed import Wire
from nodewall.model.policy import Action, DenyWith, Mode


def _schema(description: str = "", **keywords: Any) -> Meta:
    """Schema keywords that reading does not enforce."""
    return Meta(description=description or None, extra_json_schema=keywords)


RULES, PEERS, NETWORKS, EXCEPTS = 25, 25, 25, 25
"""Limits of lists at the door; the cost budget of CEL rules depends on them."""

CIDR_LENGTH = 43
"""Characters of the longest spelling. Every string of this length is checked to be a CIDR at the door."""

PortNumber = Annotated[int, Meta(ge=1, le=65535)]
Byte = Annotated[int, Meta(ge=0, le=255)]
Cidr = Annotated[str, _schema("A CIDR like 10.0.0.0/8 or fd00::/8.", maxLength=CIDR_LENGTH)]
Name = Annotated[str, Meta(min_length=1), _schema(maxLength=253)]

# --- peers ------------------------------------------------------------------------------------------------------------


class NamespacedPod(Wire, frozen=True):
    """Pods by labels, in namespaces by labels. Pods on the host network are never selected."""

    pod_selector: Annotated[LabelSelector, Meta(description="Labels of the pods; empty selects all of them.")]
    namespace_selector: Annotated[
        LabelSelector | None, Meta(description="Labels of their namespaces; empty or left out selects every namespace.")
    ] = None


class SameNamespace(Wire, frozen=True):
    """Pods in the namespace of the pod that the policy protects."""

    pod_selector: Annotated[
        LabelSelector | None, Meta(description="Labels of the pods; empty or left out selects all of them.")
    ] = None


class ObjectName(Wire, frozen=True):
    """An object by namespace and name."""

    namespace: Annotated[Name, Meta(description="Namespace of the object.")]
    name: Annotated[Name, Meta(description="Name of the object.")]


class IpBlock(IpBlockWire, frozen=True):
    """Addresses of a CIDR without some smaller CIDRs inside of it; pod addresses are matched too."""

    cidr: Annotated[Cidr, Meta(description="Addresses, like 10.0.0.0/8 or fd00::/8.")]
    except_: Annotated[
        Annotated[list[Cidr], _schema(maxItems=EXCEPTS)] | None,
        Meta(description="CIDRs inside of cidr that are left out."),
    ] = msgspec.field(default=None, name="except")


class ClusterIngressPeer(Wire, frozen=True):
    namespaces: LabelSelector | None = None
    pods: NamespacedPod | None = None


class ClusterEgressPeer(ClusterIngressPeer, frozen=True):
    nodes: LabelSelector | None = None
    networks: Annotated[list[Cidr], Meta(min_length=1)] | None = None
    domain_names: Annotated[list[str], Meta(min_length=1)] | None = None


class IngressPeer(Wire, frozen=True):
    """Where traffic comes from. Exactly one field."""

    namespaces: Annotated[
        LabelSelector | None,
        Meta(description="All pods of the namespaces with these labels; empty selects every namespace."),
    ] = None
    namespace_names: Annotated[
        Annotated[list[Name], Meta(min_length=1), _schema(maxItems=PEERS)] | None,
        Meta(description="All pods of the namespaces with these names."),
    ] = None
    pods: Annotated[NamespacedPod | None, Meta(description="Pods by labels, in namespaces by labels.")] = None
    same_namespace: Annotated[
        SameNamespace | None, Meta(description="Pods in the namespace of the pod that the policy protects.")
    ] = None
    service_accounts: Annotated[
        Annotated[list[ObjectName], Meta(min_length=1), _schema(maxItems=PEERS)] | None,
        Meta(description="Pods that run as one of these service accounts."),
    ] = None
    services: Annotated[
        Annotated[list[ObjectName], Meta(min_length=1), _schema(maxItems=PEERS)] | None,
        Meta(
            description="Ready endpoints of these Services. In 'to' their addresses with their target ports (protocols "
            "beside them are refused); in 'from' their addresses."
        ),
    ] = None
    nodes: Annotated[
        LabelSelector | None, Meta(description="Addresses of the nodes with these labels; empty selects every node.")
    ] = None
    networks: Annotated[
        Annotated[list[Cidr], Meta(min_length=1), _schema(maxItems=NETWORKS)] | None,
        Meta(description="Addresses by CIDR; pod addresses are matched too."),
    ] = None
    ip_block: Annotated[IpBlock | None, Meta(description="Addresses of one CIDR without some inside of it.")] = None


class EgressPeer(IngressPeer, frozen=True):
    """Where traffic goes to. Exactly one field."""

    domain_names: Annotated[
        Annotated[list[str], Meta(min_length=1), _schema(maxItems=NETWORKS)] | None,
        Meta(description="Not supported: stored, and the rule counts as broken (see the condition Accepted)."),
    ] = None


# --- protocols --------------------------------------------------------------------------------------------------------


class PortRange(Wire, frozen=True):
    """Ports from start to end, both included."""

    start: Annotated[PortNumber, Meta(description="First port.")]
    end: Annotated[PortNumber, Meta(description="Last port; not before start.")]


class DestinationPort(Wire, frozen=True):
    """Destination ports after translation of Services. Exactly one field."""

    number: Annotated[PortNumber | None, Meta(description="One port.")] = None
    range: Annotated[PortRange | None, Meta(description="Ports from start to end.")] = None


class Transport(Wire, frozen=True):
    """Traffic of one transport protocol."""

    destination_port: Annotated[DestinationPort | None, Meta(description="Ports of the destination.")] = None


class Icmp(Wire, frozen=True):
    """ICMP messages."""

    type: Annotated[Byte | None, Meta(description="Message type; left out: every type.")] = None
    code: Annotated[Byte | None, Meta(description="Code of the type; left out: every code. Needs type.")] = None


class ClusterProtocol(Wire, frozen=True):
    """What traffic of the peers. Exactly one field."""

    tcp: Annotated[Transport | None, Meta(description="TCP to these ports.")] = None
    udp: Annotated[Transport | None, Meta(description="UDP to these ports.")] = None
    sctp: Annotated[Transport | None, Meta(description="SCTP to these ports.")] = None
    destination_named_port: Annotated[
        str | None,
        _schema("The container port of this name, with the protocol and number of each destination pod.", maxLength=15),
    ] = None


class TrafficProtocol(ClusterProtocol, frozen=True):
    """What traffic of the peers. Exactly one field."""

    icmp: Annotated[Icmp | None, Meta(description="ICMP over IPv4; empty: every message.")] = None
    icmpv6: Annotated[Icmp | None, Meta(description="ICMP over IPv6; empty: every message.")] = None
    ip_protocol: Annotated[Byte | None, Meta(description="IP protocol by number, like 47 for GRE.")] = None


# --- rules ------------------------------------------------------------------------------------------------------------


class Logging(Wire, frozen=True):
    """Records of connections. What a rule leaves out it takes from the policy."""

    verdicts: Annotated[
        list[Literal["Accept", "Deny"]] | None,
        _schema("Which verdicts to record; left out: Deny. An empty list records nothing.", maxItems=2),
    ] = None
    rate: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | None, Meta(description="At most so many records per second; default 10.")
    ] = None
    burst: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | None, Meta(description="So many records at once; default 20.")
    ] = None
    label: Annotated[
        str | None, _schema("Text of your own that stands in each record; at most 63 characters.", maxLength=63)
    ] = None


RuleName = Annotated[
    str | None, _schema("Name of the rule in records and explanations; at most 100 characters.", maxLength=100)
]
RuleAction = Annotated[Action, Meta(description="Accept and Deny are final for this direction; Pass leaves the tier.")]
RuleLogging = Annotated[Logging | None, Meta(description="Which verdicts of this rule to record.")]
RuleDenyWith = Annotated[DenyWith | None, Meta(description="How a denied sender learns of it; default: the policy's.")]
Protocols = Annotated[
    Annotated[list[TrafficProtocol], Meta(min_length=1), _schema(maxItems=25)] | None,
    Meta(description="Traffic of these protocols and ports only; left out: all traffic."),
]


class IngressRule(Wire, frozen=True):
    """One rule for traffic to the selected pods. The first rule that matches decides."""

    action: RuleAction
    peers: Annotated[
        list[IngressPeer], Meta(min_length=1, description="Sources; any of them."), _schema(maxItems=PEERS)
    ] = msgspec.field(name="from")
    name: RuleName = None
    protocols: Protocols = None
    deny_with: RuleDenyWith = None
    logging: RuleLogging = None


class EgressRule(Wire, frozen=True):
    """One rule for traffic from the selected pods. The first rule that matches decides."""

    action: RuleAction
    peers: Annotated[
        list[EgressPeer], Meta(min_length=1, description="Destinations; any of them."), _schema(maxItems=PEERS)
    ] = msgspec.field(name="to")
    name: RuleName = None
    protocols: Protocols = None
    deny_with: RuleDenyWith = None
    logging: RuleLogging = None


class ClusterIngressRule(Wire, frozen=True):
    action: Action
    peers: Annotated[list[ClusterIngressPeer], Meta(min_length=1)] = msgspec.field(name="from")
    name: str | None = None
    protocols: Annotated[list[ClusterProtocol], Meta(min_length=1)] | None = None


class ClusterEgressRule(Wire, frozen=True):
    action: Action
    peers: Annotated[list[ClusterEgressPeer], Meta(min_length=1)] = msgspec.field(name="to")
    name: str | None = None
    protocols: Annotated[list[ClusterProtocol], Meta(min_length=1)] | None = None


# --- policies ---------------------------------------------------------------------------------------------------------

TierName = Annotated[
    Literal["Admin", "Baseline"],
    Meta(description="Admin is judged before every other policy, Baseline after all of them."),
]
Priority = Annotated[int, Meta(ge=0, le=1000, description="Order in the tier, 0..1000; a lower one is judged first.")]
PolicyMode = Annotated[
    Mode | None,
    Meta(description="Enforce (default), Audit (changes no verdict, records what it would be) or Disabled."),
]
Nodes = Annotated[
    LabelSelector | None, Meta(description="Only for pods on nodes with these labels; left out: on every node.")
]
IngressRules = Annotated[
    Annotated[list[IngressRule], _schema(maxItems=RULES)] | None,
    Meta(description="Rules for traffic to the selected pods, in order; left out: the policy leaves it alone."),
]
EgressRules = Annotated[
    Annotated[list[EgressRule], _schema(maxItems=RULES)] | None,
    Meta(description="Rules for traffic from the selected pods, in order; left out: the policy leaves it alone."),
]
PolicyLogging = Annotated[Logging | None, Meta(description="Default of the rules' logging.")]
PolicyDenyWith = Annotated[
    DenyWith | None,
    Meta(
        description="Default of the rules' denyWith. Drop (default): the sender hears nothing. Reject: TCP gets a "
        "reset, everything else port-unreachable."
    ),
]


class Subject(Wire, frozen=True):
    """The pods that a policy is about. Exactly one field; pods on the host network are never selected."""

    namespaces: Annotated[
        LabelSelector | None,
        Meta(description="All pods of the namespaces with these labels; empty selects every namespace."),
    ] = None
    pods: Annotated[NamespacedPod | None, Meta(description="Pods by labels, in namespaces by labels.")] = None


class ClusterNetworkPolicySpec(Wire, frozen=True):
    tier: Literal["Admin", "Baseline"]
    priority: Annotated[int, Meta(ge=0, le=1000)]
    subject: Subject
    ingress: list[ClusterIngressRule] | None = None
    egress: list[ClusterEgressRule] | None = None


class ClusterExtendedNetworkPolicySpec(Wire, frozen=True):
    """What the policy does. A ClusterNetworkPolicy's spec can be pasted here and means the same."""

    tier: TierName
    priority: Priority
    subject: Annotated[Subject, Meta(description="The pods that the policy is about.")]
    mode: PolicyMode = None
    nodes: Nodes = None
    logging: PolicyLogging = None
    deny_with: PolicyDenyWith = None
    ingress: IngressRules = None
    egress: EgressRules = None


class ExtendedNetworkPolicySpec(Wire, frozen=True):
    """What the policy does. It is judged after the Admin tier and before every NetworkPolicy."""

    priority: Priority
    pod_selector: Annotated[
        LabelSelector, Meta(description="Pods of the policy's own namespace that it is about; empty selects all.")
    ]
    mode: PolicyMode = None
    nodes: Nodes = None
    logging: PolicyLogging = None
    deny_with: PolicyDenyWith = None
    ingress: IngressRules = None
    egress: EgressRules = None
