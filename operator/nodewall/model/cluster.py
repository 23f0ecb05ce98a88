"""The objects of a cluster as the policies see them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from nodewall.model.address import Address, Network
from nodewall.model.labels import Labels
from nodewall.model.policy import NetworkPolicy, PolicyRef, Protocol, TierPolicy

NamespacedName = tuple[str, str]
"""(namespace, name)"""


class Phase(StrEnum):
    """What the life of a pod means for its address."""

    PENDING = "Pending"
    RUNNING = "Running"
    FINISHED = "Finished"
    """Succeeded or Failed: its address may already be another pod's (semantics 37)."""


class LogWish(StrEnum):
    """Value of the Namespace annotation ``nodewall.io/log`` and of the operator-wide default."""

    DENY = "Deny"
    ACCEPT = "Accept"
    ALL = "All"
    NONE = "None"


@dataclass(frozen=True, slots=True, order=True)
class ContainerPort:
    """A named port that a pod exposes. Ports without a name are of no interest to any policy."""

    name: str
    protocol: Protocol
    port: int


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod as far as policies can see it. ``created`` is RFC 3339 text (UTC, so it sorts); ``node`` is "" before
    scheduling.

    ``addresses`` are every podIP of both families, in the order of status. A hostNetwork pod keeps them, and every
    reader must treat its traffic as the node's (semantics 36).
    """

    namespace: str
    name: str
    uid: str = ""
    labels: Labels = field(default_factory=Labels)
    node: str = ""
    addresses: tuple[Address, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    service_account: str = "default"
    host_network: bool = False
    phase: Phase = Phase.RUNNING
    terminating: bool = False
    created: str = ""

    @property
    def key(self) -> NamespacedName:
        return (self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Namespace:
    """``log`` is the wish of the annotation ``nodewall.io/log``; None where it is not set (the operator's default
    holds).
    """

    name: str
    labels: Labels = field(default_factory=Labels)
    terminating: bool = False
    log: LogWish | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """``addresses`` are the InternalIP and ExternalIP entries of status; ``pod_cidrs`` come from spec; ``uid`` for
    ownerReferences.
    """

    name: str
    uid: str = ""
    labels: Labels = field(default_factory=Labels)
    addresses: tuple[Address, ...] = ()
    pod_cidrs: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """A Service by name. Its endpoints are in the EndpointSlices; ClusterIPs serve explanations only (verdicts fall
    after DNAT).
    """

    namespace: str
    name: str
    cluster_ips: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """The ready addresses and the target ports of one slice of a Service. Equal addresses in several slices are one."""

    namespace: str
    name: str
    service: str
    addresses: tuple[Address, ...] = ()
    ports: tuple[tuple[Protocol, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterState:
    """Everything a rule set is compiled from. Keys: names for cluster-scoped kinds, (namespace, name) for the
    others.
    """

    pods: Mapping[NamespacedName, Pod] = field(default_factory=dict)
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    services: Mapping[NamespacedName, Service] = field(default_factory=dict)
    slices: Mapping[NamespacedName, EndpointSlice] = field(default_factory=dict)
    network_policies: Mapping[NamespacedName, NetworkPolicy] = field(default_factory=dict)
    tier_policies: Mapping[PolicyRef, TierPolicy] = field(default_factory=dict)
