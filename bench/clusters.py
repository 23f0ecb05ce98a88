"""Clusters to compile, of any size and always the same.

Twenty pods to a namespace, of four apps; ten namespaces to a team; two policies to a namespace: its pods hear their own
team, and its first app its second. A hundred pods to a node.
"""

from dataclasses import dataclass

from nodewall.model.address import Address
from nodewall.model.cluster import ClusterState, Namespace, Node, Pod
from nodewall.model.labels import EVERYTHING, Labels, Operator, Requirement, Selector
from nodewall.model.policy import ANY_PORT, AllowRule, NamespaceNames, NetworkPolicy, PodPeer, PortRange, Protocol

PODS_PER_NAMESPACE, APPS, NAMESPACES_PER_TEAM, PODS_PER_NODE = 20, 4, 10, 100


@dataclass(frozen=True, slots=True)
class Shape:
    """How many of each. By default they grow with the pods."""

    pods: int
    namespaces: int
    policies: int
    nodes: int

    @classmethod
    def of(cls, pods: int) -> "Shape":
        namespaces = pods // PODS_PER_NAMESPACE
        return cls(pods, namespaces, 2 * namespaces, max(pods // PODS_PER_NODE, 2))


def cluster(shape: Shape, *, teams: bool = True) -> ClusterState:
    """Without ``teams`` pods hear their own namespace instead, so that a pod concerns few nodes."""
    pods = [_pod(number, shape) for number in range(shape.pods)]
    policies = [_policy(number, shape, teams) for number in range(shape.policies)]
    return ClusterState(
        pods={pod.key: pod for pod in pods},
        namespaces={name: Namespace(name, _team(number)) for number, name in enumerate(_namespaces(shape))},
        nodes={name: Node(name, f"uid-{name}") for name in (f"node-{number:05}" for number in range(shape.nodes))},
        network_policies={(each.namespace, each.name): each for each in policies},
    )


def address(number: int, net: int = 10) -> Address:
    """The address of this number in ``net``.0.0.0/8."""
    return Address(f"{net}.{number >> 16}.{number >> 8 & 255}.{number & 255}")


def labelled(**labels: str) -> Selector:
    return Selector.of(Requirement(key, Operator.IN, (value,)) for key, value in labels.items())


def _namespaces(shape: Shape) -> list[str]:
    return [f"ns-{number:05}" for number in range(shape.namespaces)]


def _team(namespace: int) -> Labels:
    return Labels({"team": str(namespace // NAMESPACES_PER_TEAM)})


def _pod(number: int, shape: Shape) -> Pod:
    namespace, place = number % shape.namespaces, number // shape.namespaces
    return Pod(
        namespace=f"ns-{namespace:05}",
        name=f"pod-{number:06}",
        uid=str(number),
        labels=Labels({"app": f"app-{place % APPS}", "pod-template-hash": f"{place % APPS:08x}"}),
        node=f"node-{number % shape.nodes:05}",
        addresses=(address(number + 10),),
    )


def _policy(number: int, shape: Shape, teams: bool) -> NetworkPolicy:
    namespace, kind = number % shape.namespaces, number // shape.namespaces
    name = f"ns-{namespace:05}"
    if kind % 2 == 0:
        near = labelled(team=str(namespace // NAMESPACES_PER_TEAM)) if teams else NamespaceNames((name,))
        return NetworkPolicy(name, f"near-{kind}", EVERYTHING, ingress=(AllowRule(0, (PodPeer(near),), ANY_PORT),))
    port = PortRange(Protocol.TCP, 8000 + kind, 8000 + kind)
    second = PodPeer(NamespaceNames((name,)), labelled(app="app-1"))
    return NetworkPolicy(name, f"app-{kind}", labelled(app="app-0"), ingress=(AllowRule(0, (second,), (port,)),))
