"""A cluster state, indexed once for compiling many nodes, and what each group stands for in it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from nodewall.compile.addresses import owners
from nodewall.compile.groups import GroupKey, NamedPorts, PodSet, PortGroupKey, ServicePorts
from nodewall.compile.ports import covers, exposed_as
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
        members = self._named(key) if isinstance(key, NamedPorts) else self._served(key)
        return tuple(sorted(set(members)))

    def _named(self, key: NamedPorts) -> Iterator[PortMember]:
        for pod in self._pods(key.pods):
            for port in exposed_as(key.port, pod.ports):
                yield from (PortMember(address, port.protocol, port.port) for address in self.owned[pod.key])

    def _served(self, key: ServicePorts) -> Iterator[PortMember]:
        """Slice by slice: two slices of one Service may serve different target ports."""
        for each in self._slices(key.service):
            wanted = [port for port in each.ports if covers(key.ports, *port)]
            yield from (PortMember(address, *port) for address in each.addresses for port in wanted)

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
