"""Which Nodes each selector means, kept up to date."""

from nodewall.compile.index import LabelIndex, SelectorIndex
from nodewall.compile.operations import Operations
from nodewall.compile.records import NodeRecord, NodeScope
from nodewall.compile.selectors import matches
from nodewall.model.address import Address
from nodewall.model.cluster import Node
from nodewall.model.labels import Selector


class Nodes:
    """The known Nodes, by name."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._records: dict[str, NodeRecord] = {}
        self._labels: LabelIndex[str] = LabelIndex()
        self._scopes: dict[Selector, NodeScope] = {}
        self._selectors: SelectorIndex[NodeScope] = SelectorIndex(operations)

    def __contains__(self, name: object) -> bool:
        return name in self._records

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, name: str) -> Node:
        return self._records[name].node

    def get(self, name: str) -> Node | None:
        record = self._records.get(name)
        return record.node if record else None

    def replace(self, name: str, node: Node | None) -> tuple[set[NodeScope], set[NodeScope]]:
        """The Node is this now, or gone. Returns the scopes it entered or left, and those with other addresses."""
        record = self._records.pop(name, None)
        before = record.scopes if record else set()
        if record:
            self._labels.remove(name)
        after = self._enter(name, node) if node else set()
        for scope in before - after:
            scope.names.discard(name)
        for scope in after - before:
            scope.names.add(name)
        moved = record is None or node is None or record.node.addresses != node.addresses
        return before ^ after, before | after if moved else before ^ after

    def _enter(self, name: str, node: Node) -> set[NodeScope]:
        record = self._records[name] = NodeRecord(node)
        self._labels.add(name, node.labels)
        record.scopes.update(self._selectors.matching(node.labels))
        return record.scopes

    def acquire(self, selector: Selector) -> NodeScope:
        """The scope of this selector, made if nobody holds it yet."""
        scope = self._scopes.get(selector)
        if scope is None:
            scope = self._scopes[selector] = NodeScope(selector)
            self._selectors.add(selector, scope)
            for name in self._labels.candidates(selector):
                self._operations.selectors += 1
                if matches(selector, self._records[name].node.labels):
                    scope.names.add(name)
                    self._records[name].scopes.add(scope)
        scope.users += 1
        return scope

    def release(self, scope: NodeScope) -> None:
        """One who acquired it lets go; without any the scope goes."""
        scope.users -= 1
        if scope.users:
            return
        for name in scope.names:
            self._records[name].scopes.discard(scope)
        self._selectors.remove(scope.key)
        del self._scopes[scope.key]

    def addresses(self, scope: NodeScope) -> set[Address]:
        return {address for name in scope.names for address in self._records[name].node.addresses}
