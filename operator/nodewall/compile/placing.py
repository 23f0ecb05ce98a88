"""Which pods are on which node, in which classes; and so which nodes need which groups."""

from collections.abc import Generator, Iterator

from nodewall.compile.classes import BoundClass
from nodewall.compile.feeding import Feeding
from nodewall.compile.members import AddressMembers, Group, PortMembers
from nodewall.compile.records import ClassRecord, PodRecord
from nodewall.compile.sharing import Sharing
from nodewall.model.cluster import NamespacedName, Node
from nodewall.model.ruleset import AddressGroup, Endpoint, NodeRuleSet, PortGroup, SharedGroup


class Placing:
    """Endpoints by node, and the classes that they are in."""

    def __init__(self, feeding: Feeding, sharing: Sharing) -> None:
        self._feeding, self._sharing = feeding, sharing
        self._classes: dict[str, ClassRecord] = {}
        self._local: dict[str, dict[NamespacedName, PodRecord]] = {}

    def local(self, node: str) -> dict[NamespacedName, PodRecord]:
        """The pods with an endpoint on a node."""
        return self._local.get(node, {})

    def move(
        self, key: NamespacedName, record: PodRecord, node: str, endpoint: Endpoint | None, classes: list[BoundClass]
    ) -> Iterator[None]:
        """The pod's endpoint is this now, on this node (None: it has none). New classes first: shared groups stay."""
        for bound in classes:
            yield from self._enter(bound, node)
        self._leave_all(record)
        if record.endpoint:
            del self._local[record.node][key]
            if not self._local[record.node]:
                del self._local[record.node]
        record.endpoint, record.node = endpoint, node
        if endpoint:
            self._local.setdefault(node, {})[key] = record

    def assembling(self, node: Node) -> Generator[None, None, NodeRuleSet]:
        """All that the node's pods need; in steps, of which each puts one group in order at most."""
        local = self.local(node.name)
        endpoints = [record.endpoint for _, record in sorted(local.items()) if record.endpoint]
        names = {name for each in endpoints for name in (each.ingress, each.egress) if name}
        classes = {name: self._classes[name].bound for name in names}
        groups = {name for each in classes.values() for name, _ in (*each.groups, *each.port_groups)}
        apart = {name: parts for name in groups if (parts := self._sharing.parts(name))}
        values = list[AddressGroup | PortGroup]()
        for name in sorted(groups - apart.keys()):
            yield
            values.append(self._feeding[name].value())
        refs = {ref.id: ref for each in classes.values() for ref in each.refs}
        return NodeRuleSet(
            node=node.name,
            groups=tuple(each for each in values if isinstance(each, AddressGroup)),
            port_groups=tuple(each for each in values if isinstance(each, PortGroup)),
            classes=tuple(classes[name].value for name in sorted(classes)),
            endpoints=tuple(endpoints),
            rules=tuple(refs[id_] for id_ in sorted(refs)),
            pod_cidrs=tuple(sorted(set(node.pod_cidrs), key=str)),
            shared=self._shared(apart, AddressMembers),
            shared_ports=self._shared(apart, PortMembers),
        )

    def _shared(self, apart: dict[str, int], kind: type[Group]) -> tuple[SharedGroup, ...]:
        return tuple(SharedGroup(name, apart[name]) for name in sorted(apart) if isinstance(self._feeding[name], kind))

    def _enter(self, bound: BoundClass, node: str) -> Iterator[None]:
        record = self._classes.get(bound.value.name)
        if record is None:
            record = self._classes[bound.value.name] = ClassRecord(bound)
            for name, key in (*bound.groups, *bound.port_groups):
                yield from self._feeding.acquire(name, key)
                yield
        if node not in record.nodes:
            self._span(record, node, 1)
        record.nodes[node] = record.nodes.get(node, 0) + 1

    def _leave_all(self, record: PodRecord) -> None:
        if record.endpoint:
            for name in (record.endpoint.ingress, record.endpoint.egress):
                if name:
                    self._leave(self._classes[name], record.node)

    def _leave(self, record: ClassRecord, node: str) -> None:
        record.nodes[node] -= 1
        if not record.nodes[node]:
            del record.nodes[node]
            self._span(record, node, -1)
        if not record.nodes:
            del self._classes[record.bound.value.name]
            for name, _ in (*record.bound.groups, *record.bound.port_groups):
                self._feeding.release(name)

    def _span(self, record: ClassRecord, node: str, count: int) -> None:
        """The class has come to the node, or left it: so have its groups, as far as no other class there names them."""
        for name, _ in (*record.bound.groups, *record.bound.port_groups):
            self._feeding.span(name, node, count)
