"""The groups that somebody names, fed from the pods, Nodes and slices that they stand for.

A policy names its groups as long as it is there, so they need not be filled again when its last pod goes and the next
one comes. What depends on the pod (sameNamespace) is named by the class.
"""

from collections.abc import Generator, Iterable, Iterator

from nodewall.compile.groups import GroupKey, NamedPorts, PortGroupKey, ServicePorts
from nodewall.compile.matching import Matching
from nodewall.compile.members import AddressMembers, Group, PortMembers
from nodewall.compile.nodes import Nodes
from nodewall.compile.operations import Operations
from nodewall.compile.records import Account, NodeScope, PodRecord, Scope, Served, Source
from nodewall.model.cluster import EndpointSlice, NamespacedName
from nodewall.model.policy import NodePeer, PodPeer, ServiceAccountPeer, ServicePeer


class Feeding:
    """All groups, by name."""

    def __init__(self, matching: Matching, nodes: Nodes, operations: Operations) -> None:
        self._matching, self._nodes, self._operations = matching, nodes, operations
        self._groups: dict[str, Group] = {}
        self._sources: dict[str, Source] = {}
        self._accounts: dict[ServiceAccountPeer, Account] = {}
        self._served: dict[ServicePeer, Served] = {}
        self._touched: dict[Group, None] = {}
        self._unnamed: dict[str, None] = {}
        self._spread: dict[Group, None] = {}

    def __getitem__(self, name: str) -> Group:
        return self._groups[name]

    # --- who names a group

    def acquire(self, name: str, key: GroupKey | PortGroupKey) -> Iterator[None]:
        """Name a group once more; the first time it is made and filled, in steps."""
        group = self._groups.get(name)
        if group is None:
            source = yield from self._source(key)
            group = AddressMembers(name, key) if isinstance(key, GroupKey) else PortMembers(name, key)
            self._groups[name], self._sources[name] = group, source
            source.groups[name] = group
            yield from self._fill(group, source)
            group.settle()
        group.users += 1

    def release(self, name: str) -> None:
        """Name it once less. It goes with the next ``sweep``, unless somebody has named it again by then."""
        group = self._groups[name]
        group.users -= 1
        if not group.users:
            self._unnamed[name] = None

    def sweep(self) -> Iterator[None]:
        """Drop the groups that nobody names any more."""
        for name in self._unnamed:
            if not self._groups[name].users:
                del self._groups[name]
                source = self._sources.pop(name)
                del source.groups[name]
                yield from self._let_go(source)
                yield
        self._unnamed.clear()

    def _source(self, key: GroupKey | PortGroupKey) -> Generator[None, None, Source]:
        match key:
            case NamedPorts():
                return (yield from self._source(key.pods))
            case ServicePorts():
                return (yield from self._source(key.service))
            case PodPeer():
                return (yield from self._matching.acquire(key))
            case NodePeer():
                return self._nodes.acquire(key.nodes)
            case ServiceAccountPeer():
                return self._accounts.setdefault(key, Account(key))
            case ServicePeer():
                return self._served.setdefault(key, Served(key))

    def _let_go(self, source: Source) -> Iterator[None]:
        match source:
            case Scope():
                yield from self._matching.release(source)
            case NodeScope():
                self._nodes.release(source)
            case Account() if not source.groups:
                del self._accounts[source.key]
            case Served() if not (source.groups or source.slices):
                del self._served[source.key]

    # --- pods

    def feed(self, record: PodRecord) -> None:
        """The pod is there: put what it has into the groups that mean it."""
        for source in self._sources_of(record):
            self.join(source, record)

    def withdraw(self, record: PodRecord) -> None:
        """Take out what ``feed`` has put in; the record must not have changed in between."""
        for source in self._sources_of(record):
            self.part(source, record)

    def join(self, source: Source, record: PodRecord) -> None:
        """The source means the pod."""
        for group in source.groups.values():
            if record.pod:
                group.join(record.pod, record.owned)
                self._touch(group)

    def part(self, source: Source, record: PodRecord) -> None:
        """The source means the pod no longer."""
        for group in source.groups.values():
            if record.pod:
                group.part(record.pod, record.owned)
                self._touch(group)

    def _sources_of(self, record: PodRecord) -> Iterator[Source]:
        if record.cell and record.pod:
            yield from record.cell.scopes
            account = self._accounts.get(ServiceAccountPeer(record.pod.namespace, record.pod.service_account))
            if account:
                yield account

    def _fill(self, group: Group, source: Source) -> Iterator[None]:
        """In steps, because a selector may mean very many pods, and a Service have very many slices."""
        if isinstance(source, Scope | Account):
            for record in self._records(source):
                if record.pod:
                    group.join(record.pod, record.owned)
                    self._operations.fed += 1
                yield
        elif isinstance(source, Served):
            for each in source.slices.values():
                group.serve(None, each)
                self._operations.fed += 1
                yield
        elif isinstance(group, AddressMembers) and isinstance(source, NodeScope):
            group.replace(self._nodes.addresses(source))

    def _records(self, source: Scope | Account) -> Iterator[PodRecord]:
        if isinstance(source, Scope):
            yield from (record for cell in source.cells for record in cell.pods.values())
            return
        for cell in self._matching.cells_of(source.key.namespace):
            for record in cell.pods.values():
                if record.pod and record.pod.service_account == source.key.name:
                    yield record

    # --- Nodes and slices

    def slice(self, key: NamespacedName, old: EndpointSlice | None, new: EndpointSlice | None) -> Iterator[None]:
        """A slice is this now, or gone; it may have moved from one Service to another."""
        if old:
            served = self._served[ServicePeer(old.namespace, old.service)]
            del served.slices[key]
            self._serve(served, old, None)
            yield from self._let_go(served)
        if new:
            service = ServicePeer(new.namespace, new.service)
            served = self._served.setdefault(service, Served(service))
            served.slices[key] = new
            self._serve(served, None, new)

    def _serve(self, served: Served, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for group in served.groups.values():
            group.serve(old, new)
            self._touch(group)

    def refill(self, scopes: Iterable[NodeScope]) -> None:
        """These scopes mean other addresses now."""
        for scope in scopes:
            for group in scope.groups.values():
                if isinstance(group, AddressMembers):
                    group.replace(self._nodes.addresses(scope))
                    self._touch(group)

    # --- what changed

    def changed(self) -> list[Group]:
        """The groups whose members differ from those of the last time; the change counts as told now."""
        found = [each for each in self._touched if each.added or each.removed]
        self._touched.clear()
        self._operations.groups += len(found)
        return found

    def spread(self) -> list[Group]:
        """The groups that other nodes use than the last time."""
        found = list(self._spread)
        self._spread.clear()
        return found

    def span(self, name: str, node: str, count: int) -> None:
        """So many more (or fewer) classes of a node use the group."""
        group = self._groups[name]
        nodes = group.nodes
        nodes[node] = nodes.get(node, 0) + count
        if not nodes[node]:
            del nodes[node]
        self._spread[group] = None

    def _touch(self, group: Group) -> None:
        self._operations.fed += 1
        self._touched[group] = None
