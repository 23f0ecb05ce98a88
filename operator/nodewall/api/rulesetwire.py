"""The NodeRuleSet on the wire. Its custom resource definition is generated from these structures.

A list without which the meaning would be another one is required, empty or not, and "any" is said by a boolean of its
own, so no loss of a field can turn "nobody" into "everybody".
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from nodewall.api.parsed import Wire

Verdict = Literal["Accept", "Deny", "Pass"]
Way = Literal["Ingress", "Egress"]
TierName = Literal["Admin", "Namespace", "NetworkPolicy", "Baseline"]

RuleId = Annotated[str, Meta(description="Name of the rule in policies, nft comments and log records.")]


def _empty() -> Any:
    """A list that is left out when it is empty: without it the rule matches less, never more."""
    return msgspec.field(default_factory=list)


class LogWire(Wire, frozen=True):
    """Records of connections that a rule decides."""

    rate: Annotated[int, Meta(description="At most so many records per second.")]
    burst: Annotated[int, Meta(description="So many records at once.")]


class BlockWire(Wire, frozen=True):
    """Addresses by CIDR."""

    cidr: Annotated[str, Meta(description="CIDR without host bits.")]
    except_: Annotated[list[str], Meta(description="CIDRs that are left out of it.")] = msgspec.field(
        name="except", default_factory=list
    )


class RuleWire(Wire, frozen=True):
    """One rule of a class.

    It matches (anyPeer or peer in groups or blocks) and (anyPort or port in ports), or, in egress, a destination in
    one of portGroups. Nothing given and nothing "any" matches no packet.
    """

    id: RuleId
    tier: Annotated[TierName, Meta(description="Tier of the policy.")]
    action: Annotated[Verdict, Meta(description="Accept and Deny decide; Pass leaves the tier.")]
    any_peer: Annotated[bool, Meta(description="Whether every peer matches.")]
    any_port: Annotated[bool, Meta(description="Whether every protocol and port matches.")]
    groups: Annotated[list[str], Meta(description="Names of addressGroups that the peer may be in.")] = msgspec.field(
        default_factory=list
    )
    blocks: Annotated[list[BlockWire], Meta(description="CIDRs that the peer may be in.")] = msgspec.field(
        default_factory=list
    )
    ports: Annotated[
        list[str],
        Meta(description="Like TCP, TCP/80, UDP/5000-5999, ICMP, ICMP/8, ICMPv6/128/0, IP/47."),
    ] = _empty()
    port_groups: Annotated[list[str], Meta(description="Names of portGroups that the destination may be in.")] = (
        _empty()
    )
    deny_with: Annotated[
        Literal["Drop", "Reject"], Meta(description="How a denied sender learns of it; left out: Drop.")
    ] = "Drop"
    log: Annotated[LogWire | None, Meta(description="Left out: nothing is recorded.")] = None


class IsolationWire(Wire, frozen=True):
    """The deny that ends the NetworkPolicy tier."""

    id: RuleId
    policies: Annotated[list[str], Meta(description="The first of the policies that isolate, as namespace/name.")]
    count: Annotated[int, Meta(description="How many policies isolate.")]
    log: Annotated[LogWire | None, Meta(description="Left out: nothing is recorded.")] = None


class AuditWire(Wire, frozen=True):
    """A policy in Audit mode, judged alone; it changes no verdict."""

    rules: Annotated[
        list[RuleWire], Meta(description="Rules in order; the first that matches is the would-be verdict.")
    ]


class ClassWire(Wire, frozen=True):
    """Pods with the same effective rules in one direction."""

    name: Annotated[str, Meta(description="Name of the class, made from its content.")]
    direction: Annotated[Way, Meta(description="Direction of the traffic that the class judges.")]
    rules: Annotated[list[RuleWire], Meta(description="Rules in order of evaluation.")]
    isolation: Annotated[
        IsolationWire | None, Meta(description="Left out: no NetworkPolicy isolates the pods in this direction.")
    ] = None
    audits: Annotated[list[AuditWire], Meta(description="Policies in Audit mode.")] = msgspec.field(
        default_factory=list
    )


class AddressGroupWire(Wire, frozen=True):
    """Addresses that one selector stands for; without any, it matches nothing."""

    name: Annotated[str, Meta(description="Name of the group, made from its selector.")]
    description: Annotated[str, Meta(description="The selector, for people.")]
    addresses: Annotated[list[str], Meta(description="IP addresses.")]


class PortGroupWire(Wire, frozen=True):
    """Destinations by address, protocol and port; without any, it matches nothing."""

    name: Annotated[str, Meta(description="Name of the group, made from its selector.")]
    description: Annotated[str, Meta(description="The selector, for people.")]
    members: Annotated[list[str], Meta(description="Destinations like 10.0.0.1/TCP/80.")]


Holding = Literal["Addresses", "Destinations"]


class SharedGroupWire(Wire, frozen=True):
    """A group whose members are in PeerGroup objects."""

    name: Annotated[str, Meta(description="Name of the group, made from its selector.")]
    holds: Annotated[Holding, Meta(description="What its members are.")]
    parts: Annotated[
        int, Meta(ge=1, le=65536, description="In how many PeerGroups they are; the rule set needs all of them.")
    ]


class EndpointWire(Wire, frozen=True):
    """A pod of the node."""

    namespace: Annotated[str, Meta(description="Namespace of the pod.")]
    pod: Annotated[str, Meta(description="Name of the pod.")]
    addresses: Annotated[list[str], Meta(description="Its IP addresses.")]
    ingress: Annotated[str, Meta(description="Class that judges traffic to it; left out: nothing is judged.")] = ""
    egress: Annotated[str, Meta(description="Class that judges traffic from it; left out: nothing is judged.")] = ""


class RuleRefWire(Wire, frozen=True):
    """Where a rule comes from."""

    id: RuleId
    kind: Annotated[
        Literal["NetworkPolicy", "ExtendedNetworkPolicy", "ClusterExtendedNetworkPolicy", "ClusterNetworkPolicy"],
        Meta(description="Kind of the policy."),
    ]
    name: Annotated[str, Meta(description="Name of the policy.")]
    direction: Annotated[Way, Meta(description="Direction of the rule.")]
    rule: Annotated[str, Meta(description="Name of the rule, or its place in the policy.")]
    namespace: Annotated[str, Meta(description="Namespace of the policy; left out for kinds without one.")] = ""
    label: Annotated[str, Meta(description="The log label that the policy gives.")] = ""


class NodeRuleSetSpec(Wire, frozen=True):
    """All that the node's agent needs to know. Written by the controller; what others change in it is undone."""

    digest: Annotated[str, Meta(description="SHA-256 of the rest of the spec as canonical JSON, in hexadecimal.")]
    address_groups: Annotated[list[AddressGroupWire], Meta(description="Addresses, shared by all rules that use them.")]
    port_groups: Annotated[list[PortGroupWire], Meta(description="Destinations of named ports and Services.")]
    classes: Annotated[list[ClassWire], Meta(description="What is judged, once for all pods with the same rules.")]
    endpoints: Annotated[list[EndpointWire], Meta(description="Every pod of the node that has an address of its own.")]
    policies: Annotated[list[RuleRefWire], Meta(description="Where each rule comes from.")]
    pod_cidrs: Annotated[
        list[str], Meta(description="CIDRs of the node's pods: where the guard for new pods holds.")
    ] = msgspec.field(name="podCIDRs")
    shared_groups: Annotated[
        list[SharedGroupWire], Meta(description="Groups that many nodes share; their members are in PeerGroups.")
    ] = _empty()
    groups_revision: Annotated[
        int, Meta(description="Revision of the PeerGroups that this was written for; an older one will not do.")
    ] = 0


class PeerGroupSpec(Wire, frozen=True):
    """One part of a group that many nodes share. Written by the controller; what others change in it is undone."""

    digest: Annotated[str, Meta(description="SHA-256 of the rest of the spec as canonical JSON, in hexadecimal.")]
    group: Annotated[str, Meta(description="Name of the group; empty in the object that tells the revision.")]
    description: Annotated[str, Meta(description="The selector, for people.")]
    holds: Annotated[
        Literal["Addresses", "Destinations", "Revision"],
        Meta(description="What the members are. Revision: none; all parts up to this revision are written."),
    ]
    parts: Annotated[int, Meta(description="In how many parts the group is.")]
    part: Annotated[int, Meta(description="Which of them this is, from 0.")]
    revision: Annotated[int, Meta(description="With which revision of all PeerGroups it came.")]
    members: Annotated[list[str], Meta(description="IP addresses, or destinations like 10.0.0.1/TCP/80.")]
    report_within: Annotated[
        int, Meta(description="Seconds over which the nodes spread their reports that they follow; in the revision.")
    ] = 0
