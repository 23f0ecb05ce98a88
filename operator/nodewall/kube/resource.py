"""Which resource, and where it lives: the paths of the API as values."""

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of the API. ``group`` is "" for the core."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    @property
    def root(self) -> str:
        """Path of the group and version: also that of its discovery document."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def title(self) -> str:
        """The name that RBAC and CRDs use: ``pods``, ``noderulesets.nodewall.io``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Path of the collection, of one object or of its subresource, percent-encoded. No namespace: all of them."""
        parts = (*(("namespaces", namespace) if namespace else ()), self.plural, name, subresource)
        return "/".join([self.root, *(quote(part, safe="") for part in parts if part)])


@dataclass(frozen=True, slots=True)
class Collection:
    """What to list and watch. Selectors are the API's own text; "" selects everything."""

    resource: Resource
    namespace: str = ""
    field_selector: str = ""
    label_selector: str = ""

    @property
    def path(self) -> str:
        """Path to list and to watch."""
        return self.resource.path(self.namespace)

    @property
    def selectors(self) -> dict[str, str]:
        """Query parameters."""
        pairs = (("fieldSelector", self.field_selector), ("labelSelector", self.label_selector))
        return {key: value for key, value in pairs if value}


def single(resource: Resource, name: str, namespace: str = "") -> Collection:
    """The collection of at most this one object: the node agent's view."""
    return Collection(resource, namespace, field_selector=f"metadata.name={name}")


PODS = Resource("", "v1", "pods")
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
NODES = Resource("", "v1", "nodes", namespaced=False)
SERVICES = Resource("", "v1", "services")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices")
EVENTS = Resource("", "v1", "events")
LEASES = Resource("coordination.k8s.io", "v1", "leases")
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies")
CLUSTER_NETWORK_POLICIES = Resource("policy.networking.k8s.io", "v1alpha2", "clusternetworkpolicies", namespaced=False)
EXTENDED_NETWORK_POLICIES = Resource("nodewall.io", "v1alpha1", "extendednetworkpolicies")
CLUSTER_EXTENDED_NETWORK_POLICIES = Resource(
    "nodewall.io", "v1alpha1", "clusterextendednetworkpolicies", namespaced=False
)
NODE_RULE_SETS = Resource("nodewall.io", "v1alpha1", "noderulesets", namespaced=False)
PEER_GROUPS = Resource("nodewall.io", "v1alpha1", "peergroups", namespaced=False)
