"""A small cluster to judge packets in: pods a, b, c in namespaces x, y, z, on two nodes, with both families."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_network

from nodewall.model.address import Address, IpBlock
from nodewall.model.cluster import ClusterState, ContainerPort, EndpointSlice, Namespace, Node, Pod
from nodewall.model.labels import EVERYTHING, Labels, Operator, Requirement, Selector
from nodewall.model.policy import (
    ANY_PORT,
    ANYONE,
    Action,
    AllowRule,
    Kind,
    NamespaceNames,
    NetworkPolicy,
    Peer,
    Peers,
    PodPeer,
    PortRange,
    Ports,
    Protocol,
    Subject,
    Tier,
    TierPolicy,
    TierRule,
)

TCP, UDP, SCTP = Protocol.TCP, Protocol.UDP, Protocol.SCTP
EXTERNAL, EXTERNAL6 = "203.0.113.7", "2001:db8::7"

NODES = (
    Node(
        "n1", labels=Labels({"zone": "east"}), addresses=(Address("192.0.2.1"),), pod_cidrs=(ip_network("10.1.0.0/16"),)
    ),
    Node(
        "n2", labels=Labels({"zone": "west"}), addresses=(Address("192.0.2.2"),), pod_cidrs=(ip_network("10.2.0.0/16"),)
    ),
)
NAMESPACES = tuple(Namespace(name, Labels({"ns": name, "kubernetes.io/metadata.name": name})) for name in "xyz")


def named(text: str) -> ContainerPort:
    """``http:80/TCP``"""
    name, _, rest = text.partition(":")
    number, _, protocol = rest.partition("/")
    return ContainerPort(name, Protocol(protocol), int(number))


def pod(key: str, addresses: Iterable[str] = (), node: str = "n1", ports: Iterable[str] = (), **more: object) -> Pod:
    """``x/a`` with label ``pod=a``; every further field by its own name."""
    namespace, _, name = key.partition("/")
    found = Pod(
        namespace=namespace,
        name=name,
        uid=key,
        labels=Labels({"pod": name}),
        node=node,
        addresses=tuple(map(Address, addresses)),
        ports=tuple(map(named, ports)),
    )
    return replace(found, **more)  # type: ignore[arg-type]


def _everyday_pod(namespace: str, name: str) -> Pod:
    node = "n1" if name == "a" else "n2"
    subnet, host = "xyz".index(namespace) + 1, "abc".index(name) + 1
    addresses = (f"10.{node[1]}.{subnet}.{host}", f"fd00:{node[1]}:{subnet}::{host}")
    return pod(f"{namespace}/{name}", addresses, node, ("http:80/TCP", "dns:53/UDP", "sig:7777/SCTP"))


PODS = tuple(_everyday_pod(namespace, name) for namespace in "xyz" for name in "abc")


def cluster(
    *policies: NetworkPolicy | TierPolicy,
    pods: Iterable[Pod] = PODS,
    namespaces: Iterable[Namespace] = NAMESPACES,
    nodes: Iterable[Node] = NODES,
    slices: Iterable[EndpointSlice] = (),
) -> ClusterState:
    return ClusterState(
        pods={each.key: each for each in pods},
        namespaces={each.name: each for each in namespaces},
        nodes={each.name: each for each in nodes},
        slices={(each.namespace, each.name): each for each in slices},
        network_policies={(each.namespace, each.name): each for each in policies if isinstance(each, NetworkPolicy)},
        tier_policies={each.ref: each for each in policies if isinstance(each, TierPolicy)},
    )


# --- parts of policies ------------------------------------------------------------------------------------------------


def labelled(**labels: str) -> Selector:
    return Selector.of(Requirement(key, Operator.IN, (value,)) for key, value in labels.items())


def where(key: str, operator: Operator, *values: str) -> Selector:
    return Selector.of([Requirement(key, operator, tuple(sorted(values)))])


def pods_of(namespace: str, pods: Selector = EVERYTHING) -> PodPeer:
    """A peer with a podSelector alone, as the boundary reads it in a policy of ``namespace``."""
    return PodPeer(NamespaceNames((namespace,)), pods)


def block(cidr: str, *excepts: str) -> IpBlock:
    return IpBlock(ip_network(cidr), tuple(map(ip_network, excepts)))


def ports(protocol: Protocol, first: int, last: int | None = None) -> PortRange:
    return PortRange(protocol, first, first if last is None else last)


def allow(*rules: tuple[Peers, Ports]) -> tuple[AllowRule, ...]:
    return tuple(AllowRule(index, peers, wanted) for index, (peers, wanted) in enumerate(rules))


ALL: tuple[Peers, Ports] = (ANYONE, ANY_PORT)


def from_peers(*peers: Peer) -> tuple[Peers, Ports]:
    return (peers, ANY_PORT)


def at_ports(*wanted: object) -> tuple[Peers, Ports]:
    return (ANYONE, wanted)  # type: ignore[return-value]


def policy(key: str = "x/policy", pods: Selector = EVERYTHING, **directions: tuple[AllowRule, ...]) -> NetworkPolicy:
    """``policy("x/name", labelled(pod="a"), ingress=allow(...))``; a direction that is not given is not isolated."""
    namespace, _, name = key.partition("/")
    return NetworkPolicy(namespace, name, pods, **directions)


def tier_policy(key: str = "policy", tier: Tier = Tier.ADMIN, priority: int = 10, **more: object) -> TierPolicy:
    """A ClusterExtendedNetworkPolicy for every pod; with a key ``x/name`` an ExtendedNetworkPolicy for those of x."""
    namespace, _, name = key.rpartition("/")
    found = TierPolicy(
        kind=Kind.EXTENDED if namespace else Kind.CLUSTER_EXTENDED,
        namespace=namespace,
        name=name,
        tier=Tier.NAMESPACE if namespace else tier,
        priority=priority,
        subject=Subject(NamespaceNames((namespace,)) if namespace else EVERYTHING),
    )
    return replace(found, **more)  # type: ignore[arg-type]


def rules(*given: tuple[Action, Peers] | tuple[Action, Peers, Ports] | TierRule) -> tuple[TierRule, ...]:
    """Ordered rules; each one's index is its place."""
    return tuple(
        replace(each, index=index) if isinstance(each, TierRule) else TierRule(index, *each)
        for index, each in enumerate(given)
    )
