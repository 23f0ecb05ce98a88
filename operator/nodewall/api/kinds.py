"""The kinds that are read, as data: where each is found, and how it is read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nodewall.api.cluster import (
    Body,
    read_endpoint_slice,
    read_namespace,
    read_node,
    read_pod,
    read_service,
)
from nodewall.api.networkpolicy import read_network_policy
from nodewall.api.parsed import Parsed
from nodewall.api.tierpolicy import (
    read_cluster_extended_network_policy,
    read_cluster_network_policy,
    read_extended_network_policy,
)


@dataclass(frozen=True, slots=True)
class Resource:
    """``read`` never raises for what an object says; ``InvalidObjectError`` where it is not an object with a name."""

    kind: str
    group: str
    version: str
    plural: str
    namespaced: bool
    read: Callable[[Body], Parsed[Any]]

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


RESOURCES: tuple[Resource, ...] = (
    Resource("Namespace", "", "v1", "namespaces", namespaced=False, read=read_namespace),
    Resource("Node", "", "v1", "nodes", namespaced=False, read=read_node),
    Resource("Pod", "", "v1", "pods", namespaced=True, read=read_pod),
    Resource("Service", "", "v1", "services", namespaced=True, read=read_service),
    Resource("EndpointSlice", "discovery.k8s.io", "v1", "endpointslices", namespaced=True, read=read_endpoint_slice),
    Resource("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies", namespaced=True, read=read_network_policy),
    Resource(
        "ExtendedNetworkPolicy",
        "nodewall.io",
        "v1alpha1",
        "extendednetworkpolicies",
        namespaced=True,
        read=read_extended_network_policy,
    ),
    Resource(
        "ClusterExtendedNetworkPolicy",
        "nodewall.io",
        "v1alpha1",
        "clusterextendednetworkpolicies",
        namespaced=False,
        read=read_cluster_extended_network_policy,
    ),
    Resource(
        "ClusterNetworkPolicy",
        "policy.networking.k8s.io",
        "v1alpha2",
        "clusternetworkpolicies",
        namespaced=False,
        read=read_cluster_network_policy,
    ),
)
BY_KIND = {resource.kind: resource for resource in RESOURCES}
