"""A cluster state, indexed once for compiling many nodes, and what each group stands for in it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from nodewall.compile.addresses import owners
from nodewall.compile.groups import GroupKey, PodSet, PortGroupKey, ServicePorts
from nodewall.compile.pairs import Pair, of_pod, of_slices
from nodewall.compile.selectors import matches, namespace_labels, namespace_matches
from nodewall.model.address import Address
from nodewall.model.cluster import ClusterState, EndpointSlice, NamespacedName, Pod
from nodewall.model.labels import Labels, Selector
from nodewall.model.policy import NamespaceNames, NodePeer, PodPeer, SameNamespace, ServiceAccountPeer, ServicePeer
from nodewall.model.ruleset import PortMember


class Snapshot:
    """Read only. ``owned`` maps the pods that hold addresses, and nobody else, to those that are theirs."""

    def __init__(self, state: ClusterState) -> None:
        self.state = state
        self.owned: dict[NamespacedName, tuple[Address, ...]] = _owned(state.pods.values())
        self.namespaces = {key[0]: self.namespace_labels(key[0]) for key in self.owned}
        self.by_node: dict[str, list[Pod]] = defaultdict(list)
        self.by_namespace: dict[str, list[Pod]] = defaultdict(list)
        for key in sorted(self.owned):
            pod = state.pods[key]
            self.by_node[pod.node].append(pod)
            self.by_namespace[pod.namespace].append(pod)

    def namespace_labels(self, namespace: str) -> Labels:
        return namespace_labels(namespace, self.state.namespaces.get(namespace))

    def addresses(self, key: GroupKey) -> tuple[Address, ...]:
        """The members of an address group, sorted."""
        return tuple(sorted(set(self._addresses(key))))

    def _addresses(self, key: GroupKey) -> Iterator[Address]:
        match key:
            case PodPeer() | ServiceAccountPeer():
                yield from (address for pod in self._pods(key) for address in self.owned[pod.key])
            case ServicePeer():
                yield from (address for each in self._slices(key) for address in each.addresses)
            case NodePeer():
                nodes = (node for node in self.state.nodes.values() if matches(key.nodes, node.labels))
                yield from (address for node in nodes for address in node.addresses)

    def port_members(self, key: PortGroupKey) -> tuple[PortMember, ...]:
        """The members of a port group, sorted."""
        return tuple(PortMember(*each) for each in sorted(set(self._pairs(key))))

    def _pairs(self, key: PortGroupKey) -> Iterator[Pair]:
        if isinstance(key, ServicePorts):
            yield from of_slices(self._slices(key.service), key.ports)
        else:
            for pod in self._pods(key.pods):
                yield from of_pod(key.port, self.owned[pod.key], pod.ports)

    def _pods(self, key: PodSet) -> Iterator[Pod]:
        if isinstance(key, ServiceAccountPeer):
            return (pod for pod in self.by_namespace.get(key.namespace, ()) if pod.service_account == key.name)
        names = self._matching(key.namespaces)
        return (pod for name in names for pod in self.by_namespace.get(name, ()) if matches(key.pods, pod.labels))

    def _matching(self, namespaces: Selector | NamespaceNames | SameNamespace) -> Iterable[str]:
        if isinstance(namespaces, SameNamespace):
            raise TypeError("sameNamespace has not been resolved")
        return (name for name, labels in self.namespaces.items() if namespace_matches(namespaces, name, labels))

    def _slices(self, service: ServicePeer) -> Iterator[EndpointSlice]:
        return (
            each
            for each in self.state.slices.values()
            if (each.namespace, each.service) == (service.namespace, service.name)
        )


def _owned(pods: Iterable[Pod]) -> dict[NamespacedName, tuple[Address, ...]]:
    owned: dict[NamespacedName, set[Address]] = defaultdict(set)
    for address, pod in owners(pods).items():
        owned[pod.key].add(address)
    return {key: tuple(sorted(addresses)) for key, addresses in owned.items()}
