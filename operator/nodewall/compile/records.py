"""What the incremental compiler keeps of each object. Mutable, compared by identity, and seen by nobody else.

Pods with the same namespace and labels are one ``Cell``: a selector matches all of them or none, so a pod that joins a
cell costs no selector at all. A ``Scope`` is one pair of namespace match and pod selector, whoever uses it: as peer or
as subject.
"""

from collections.abc import Mapping

from nodewall.compile.classes import BoundClass
from nodewall.compile.members import Group
from nodewall.compile.templates import Templates
from nodewall.model.address import Address
from nodewall.model.cluster import ContainerPort, EndpointSlice, NamespacedName, Node, Pod
from nodewall.model.labels import Labels, Selector
from nodewall.model.policy import (
    Direction,
    NetworkPolicy,
    PodPeer,
    PolicyRef,
    ServiceAccountPeer,
    ServicePeer,
    TierPolicy,
)
from nodewall.model.ruleset import Endpoint

Classes = tuple[BoundClass | None, BoundClass | None]
"""(ingress, egress)"""


class Source:
    """Something that feeds groups, by their names."""

    __slots__ = ("groups",)

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {}


class Scope(Source):
    """The cells that match ``key``. ``subjects`` are the policies about them, ``users`` counts who holds the scope."""

    __slots__ = ("cells", "key", "subjects", "users")

    def __init__(self, key: PodPeer) -> None:
        super().__init__()
        self.key = key
        self.users = 0
        self.cells: dict[Cell, None] = {}
        self.subjects: dict[PolicyRef, PolicyRecord] = {}


class Account(Source):
    """The pods that run as the service account ``key``."""

    __slots__ = ("key",)

    def __init__(self, key: ServiceAccountPeer) -> None:
        super().__init__()
        self.key = key


class NodeScope(Source):
    """The Nodes that match ``key``, as peers and as where the policies ``subjects`` hold."""

    __slots__ = ("key", "names", "subjects", "users")

    def __init__(self, key: Selector) -> None:
        super().__init__()
        self.key = key
        self.users = 0
        self.names: set[str] = set()
        self.subjects: dict[PolicyRef, PolicyRecord] = {}


class Served(Source):
    """The Service ``key`` by its slices."""

    __slots__ = ("key", "slices")

    def __init__(self, key: ServicePeer) -> None:
        super().__init__()
        self.key = key
        self.slices: dict[NamespacedName, EndpointSlice] = {}


class PolicyRecord:
    """A policy in force, with all that it holds: its subject, its nodes, and the names of its groups."""

    __slots__ = ("groups", "nodes", "scope", "templates", "value")

    def __init__(
        self,
        value: NetworkPolicy | TierPolicy,
        templates: Mapping[Direction, Templates],
        scope: Scope,
        nodes: NodeScope | None,
        groups: frozenset[str],
    ) -> None:
        self.value, self.templates, self.scope, self.nodes, self.groups = value, templates, scope, nodes, groups


class Profile:
    """What the classes of the pods are made from that these policies select, and those that were made.

    Pods differ in the ports that they expose and in their nodes, if any of the policies asks for that.
    """

    __slots__ = ("__weakref__", "made", "named", "nodes", "policies")

    def __init__(self, policies: frozenset[PolicyRecord]) -> None:
        self.policies = policies
        self.named = any(templates.named for each in policies for templates in each.templates.values())
        self.nodes = [each.nodes for each in policies if each.nodes]
        self.made: dict[tuple[tuple[ContainerPort, ...], tuple[bool, ...]], Classes] = {}


class Cell:
    """Pods with the same namespace and labels. ``profile`` is None when a policy about them has changed."""

    __slots__ = ("labels", "namespace", "pods", "profile", "scopes")

    def __init__(self, namespace: str, labels: Labels) -> None:
        self.namespace, self.labels = namespace, labels
        self.pods: dict[NamespacedName, PodRecord] = {}
        self.scopes: dict[Scope, None] = {}
        self.profile: Profile | None = None


class PodRecord:
    """A pod; ``pod`` None when it is gone. ``cell`` None: it can neither be a peer nor a subject.

    ``endpoint`` is what its node's rule set says of it (on ``node``), one batch of changes behind until the batch ends.
    """

    __slots__ = ("cell", "endpoint", "node", "owned", "pod")

    def __init__(self) -> None:
        self.pod: Pod | None = None
        self.cell: Cell | None = None
        self.owned: tuple[Address, ...] = ()
        self.node = ""
        self.endpoint: Endpoint | None = None


class ClassRecord:
    """A class in use; ``nodes`` counts its pods on each node."""

    __slots__ = ("bound", "nodes")

    def __init__(self, bound: BoundClass) -> None:
        self.bound = bound
        self.nodes: dict[str, int] = {}


class NodeRecord:
    """A Node, and the selectors that match it."""

    __slots__ = ("node", "scopes")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.scopes: set[NodeScope] = set()
